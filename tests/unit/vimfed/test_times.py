"""Times as records carry them."""

import pytest

from vimfed.model.times import milliseconds, read_time


@pytest.mark.parametrize(
    ("time", "ms"),
    [
        ("2026-01-01T12:00:00.123456Z", 1_767_268_800_123),
        ("2026-01-01 12:00:00.123456", 1_767_268_800_123),
        ("2026-01-01T14:00:00.123+02:00", 1_767_268_800_123),
        ("1969-12-31T23:59:59.000000Z", 0),
        ("2026-01-01T12:00:00.1_3456Z", None),
        ("2026-01-01T12:00:00.٣٣٣٣٣٣Z", None),
        ("2026-13-01T12:00:00.123456Z", None),
        ("", None),
    ],
)
def test_a_time_is_read_as_milliseconds_as_it_is_read_as_text(time: str, ms: int | None) -> None:
    read = read_time(time)
    assert milliseconds(time) == (None if read is None else read[1]) == ms
