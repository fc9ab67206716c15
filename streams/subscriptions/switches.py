"""Which outputs are paused, as told by the subscriptions topic under the keys ``output/NAME``."""

import msgspec

from vimfed.model.decoding import decoded


class Paused(msgspec.Struct, frozen=True, kw_only=True):
    """The value under an output's key while it is paused; a tombstone resumes it."""

    paused_at: str
    """ISO 8601, UTC, ``Z``."""


_decode = msgspec.json.Decoder(Paused).decode
encode_paused = msgspec.json.Encoder().encode


class OutputSwitches:
    """Knows since when outputs are paused."""

    prefix = "output"

    def __init__(self) -> None:
        self._paused: dict[str, Paused] = {}
        self._resumed: dict[str, int] = {}

    def add(self, name: str, value: bytes | None, taken_at: int, /) -> None:
        """Note what lies on the topic of an output since ``taken_at``, in ms since 1970.

        Raises ValueError where it is no pause.
        """
        if value is None:
            self._paused.pop(name, None)
            self._resumed[name] = taken_at
        else:
            self._paused[name] = decoded(_decode, value)

    def paused_at(self, output: str) -> str:
        """Return since when an output is paused; empty: it is not."""
        paused = self._paused.get(output)
        return "" if paused is None else paused.paused_at

    def resumed_at(self, output: str) -> int:
        """Return when an output was last resumed, in ms since 1970; 0: nobody knows.

        The topic tells of it for a day: then compaction removes the tombstone.
        """
        return self._resumed.get(output, 0)


def switch_key(output: str) -> bytes:
    """Return the key under which the subscriptions topic tells whether an output is paused."""
    return f"{OutputSwitches.prefix}/{output}".encode()
