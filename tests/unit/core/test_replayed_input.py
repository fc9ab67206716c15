"""A worker that reads again what its table knows already: it tells nothing new, and keeps its rows.

That is what follows from a crash: offsets are committed after the rows, and may lie far behind.
"""

from collections.abc import Sequence

import pytest

from streams.core.telling import MAX_TOLD
from streams.core.transition import MAX_MESSAGES
from tests.support.nova_messages import in_order, legacy, versioned
from tests.support.playing import play
from tests.support.traces import NEWEST, notifications
from vimfed.model.records import Notification

LONG = 2 * MAX_TOLD + MAX_MESSAGES


def actions_of_one_clock() -> list[Notification]:
    return [
        legacy(
            *(("pause.end", "paused"), ("unpause.end", "active"))[number % 2],
            at=number,
            request=f"req-{number}",
            message_id=f"m{number}",
        )
        for number in range(LONG)
    ]


def both_formats_of_many_clocks() -> list[Notification]:
    return [
        build(
            "pause.end",
            "paused",
            at=number,
            request=f"req-{number // 2}",
            message_id=f"m{number}",
            publisher=f"{service}h{number % 40}",
        )
        for number in range(LONG)
        for build, service in [((legacy, "compute."), (versioned, "nova-compute:"))[number % 2]]
    ]


def repetitions_of_one_identity() -> list[Notification]:
    return [legacy("pause.start", at=number, message_id=f"m{number}") for number in range(LONG)]


def changes_that_updates_tell() -> list[Notification]:
    return [
        legacy(
            "update",
            ("active", "paused")[number % 2],
            old=(("paused", "active")[number % 2], None),
            at=number,
            request=f"req-{number}",
            message_id=f"m{number}",
        )
        for number in range(LONG)
    ]


@pytest.mark.parametrize(
    "story",
    [
        actions_of_one_clock,
        both_formats_of_many_clocks,
        repetitions_of_one_identity,
        changes_that_updates_tell,
    ],
)
@pytest.mark.parametrize(
    "begin", [0, LONG - MAX_TOLD - MAX_MESSAGES, LONG - MAX_TOLD, LONG - MAX_MESSAGES - 1]
)
def test_of_more_than_a_row_remembers(story: object, begin: int) -> None:
    assert callable(story)
    played = in_order(*story())
    assert_nothing_follows(played, played[begin:])


@pytest.mark.parametrize("run", NEWEST)
@pytest.mark.parametrize("share", [0, 3])
def test_of_a_recorded_run(run: str, share: int) -> None:
    played = notifications(run)
    assert_nothing_follows(played, played[len(played) * share // 4 :])


def assert_nothing_follows(played: Sequence[Notification], again: Sequence[Notification]) -> None:
    once, replayed = play(played), play([*played, *again])
    assert {event.id for event in replayed.events} == {event.id for event in once.events}
    assert replayed.rows == once.rows
