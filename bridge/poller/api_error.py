"""Why an API that is polled did not give what was asked for."""

from typing import Literal

Reason = Literal[
    "down", "slow", "unauthorised", "forbidden", "throttled", "failing", "garbage", "refused"
]


class CloudApiError(Exception):
    """The API did not give what was asked for; the text says what happened."""

    def __init__(self, reason: Reason, text: str, retry_after: float = 0.0) -> None:
        super().__init__(text)
        self.reason = reason
        self.retry_after = retry_after
        """Seconds for which the cloud asked not to be asked again."""
