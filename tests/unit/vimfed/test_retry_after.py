"""What a server asks for with Retry-After."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from vimfed.process.retry_after import retry_after


def test_seconds_and_dates() -> None:
    assert retry_after("17") == 17.0
    moment = datetime.now(UTC) + timedelta(seconds=60)
    asked = retry_after(format_datetime(moment, usegmt=True))
    assert asked is not None
    assert 50 < asked <= 60
    assert retry_after("Thu, 01 Jan 1970 00:00:00 GMT") == 0.0


@pytest.mark.parametrize(
    "value",
    [
        "",
        "soon",
        "-5",
        "1.5",
        "Thu, 99 Jan 2026",
        f"Thu, 01 Jan {10**20} 00:00:00 GMT",
        f"Thu, {10**11} Jan 2026 00:00:00 GMT",
        f"Thu, 01 Jan 2026 00:00:00 +{10**20}",
    ],
)
def test_what_says_nothing_useful(value: str) -> None:
    assert retry_after(value) is None
