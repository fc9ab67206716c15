"""Which of two rows is the newer one, whatever has become of the topics."""

import json

import pytest

from streams.core.fold import fold
from streams.core.revision import is_older, is_stale_tombstone, next_revision, revision_of
from tests.support.nova_messages import legacy
from tests.unit.core.test_fold import KEY, folded

JANUARY, LATER = "2026-01-01T12:00:00.000000Z", "2026-01-02T12:00:00.000000Z"


def row(**fields: int) -> bytes:
    return json.dumps({"schema_version": 1, **fields}).encode()


def test_a_revision_is_the_time_of_arrival_and_grows_whatever_the_clock_says() -> None:
    first = next_revision(0, JANUARY)
    assert first == 1_767_268_800_000
    assert next_revision(first, LATER) == first + 86_400_000
    assert next_revision(first, JANUARY) == first + 1
    assert next_revision(first, "2020-01-01T12:00:00.000000Z") == first + 1
    assert next_revision(first, "no time") == first + 1
    assert next_revision(0, "") == 1


def test_each_row_of_an_instance_has_a_higher_revision_than_the_one_before() -> None:
    first = folded(legacy("pause.end", "paused")).rows[KEY]
    both = folded(legacy("pause.end", "paused"), legacy("unpause.end", "active", at=1)).rows[KEY]
    assert first is not None
    assert both is not None
    assert revision_of(both) > revision_of(first)
    assert fold([], lambda _key: None).rows == {}


@pytest.mark.parametrize(
    ("one", "known", "older"),
    [
        (row(revision=5, source_offset=900), row(revision=6, source_offset=0), True),
        (row(revision=6, source_offset=0), row(revision=5, source_offset=900), False),
        (row(revision=5), row(revision=5), False),
        # Those of version 0.1.0.
        (row(source_offset=3), row(source_offset=4), True),
        (row(source_offset=4), row(source_offset=3), False),
        # One that has a revision follows those that have none, also on a new topic.
        (row(revision=5, source_offset=0), row(source_offset=900), False),
        # An old worker that runs beside new ones.
        (row(source_offset=900), row(revision=5, source_offset=3), False),
        (row(source_offset=2), row(revision=5, source_offset=3), True),
    ],
)
def test_the_revision_decides_which_row_is_older(one: bytes, known: bytes, older: bool) -> None:
    assert is_older(one, known) is older


def test_a_tombstone_of_an_earlier_row_is_stale() -> None:
    assert is_stale_tombstone("4", row(revision=5))
    assert not is_stale_tombstone("5", row(revision=5))
    assert not is_stale_tombstone(None, row(revision=5))
    assert not is_stale_tombstone("", row(revision=5))
