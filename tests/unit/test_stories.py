"""Every story of a server ends in nova's own state, with every event once, and each error told."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from tests.nova_messages import INSTANCE, VIM, sent_at
from tests.playing import Outcome, each_twice, on_two_paths, play
from tests.stories import BOOKS
from tests.stories.telling import UPDATES, Expected, Format, Story, expected, messages
from vimfed import oslo
from vimfed.nova_states import DELETED
from vimfed.records import Notification, VmEvent

CASES = sorted((Path(__file__).parents[1] / "data" / "stories").glob("*.json"))


def changes_to_error(events: Sequence[VmEvent]) -> list[VmEvent]:
    return [one for one in events if one.new_state == "error" != one.old_state]


def changes_from_error(events: Sequence[VmEvent]) -> list[VmEvent]:
    after = ("error", DELETED)
    return [one for one in events if one.old_state == "error" and one.new_state not in after]


def faults(outcome: Outcome, told: Expected) -> Iterator[str]:
    """Yield what the core has made of a story otherwise than nova told it."""
    ids = Counter(event.id for event in outcome.events)
    if max(ids.values(), default=1) > 1:
        yield f"an event id {max(ids.values())} times"
    if outcome.passed:
        yield f"passed over: {dict(outcome.passed)}"
    state = outcome.state(INSTANCE)
    if state != tuple(told.end):
        yield f"state is {state}, not {tuple(told.end)}"
    events = outcome.told().get(INSTANCE, Counter())
    if events != told.events:
        yield f"events missing {dict(told.events - events)}, too many {dict(events - told.events)}"
    for _, old, new in outcome.changes():
        if (old, new) not in told.changes:
            yield f"STATE tells {old} -> {new}, which never was"
    errors = len(changes_to_error(outcome.events))
    if not told.fewest_errors <= errors <= told.errors:
        yield f"{errors} events say that it is in error, not {told.fewest_errors}..{told.errors}"
    recoveries = len(changes_from_error(outcome.events))
    if not told.fewest_recoveries <= recoveries <= told.recoveries:
        least, most = told.fewest_recoveries, told.recoveries
        yield f"{recoveries} events say that the error is over, not {least}..{most}"


def received(delivered: Sequence[Notification]) -> list[Notification]:
    """Return what one queue delivers, each message a second after the one before."""
    return [
        msgspec.structs.replace(
            one, sequence=second, received_at=sent_at(second).replace(" ", "T") + "Z"
        )
        for second, one in enumerate(delivered, start=100)
    ]


def deliveries(told: Sequence[Notification], seed: str) -> Iterator[tuple[str, list[Notification]]]:
    """Yield the ways in which a queue may deliver the messages, with a name for each."""
    yield "once", list(told)
    yield "each twice", received([copy for one in told for copy in (one, one)])
    yield "all twice", received([*told, *told])
    yield "late again", each_twice(told, Random(seed))


def two_queues(told: Sequence[Notification], seed: str) -> Iterator[tuple[str, list[Notification]]]:
    """Yield how two queues, one for each format, may deliver the messages."""
    for lagging in (False, True):
        name = "versioned lags" if lagging else "legacy lags"
        yield name, on_two_paths(told, Random(seed), lagging_versioned=lagging)


def all_faults(story: Story, told_format: Format) -> list[str]:
    """Return what comes out otherwise than nova told, with what was sent, and how it came."""
    found = []
    for updates in UPDATES:
        told = messages(story, told_format, updates)
        if not told:
            continue  # nova says nothing of it
        ways = dict(deliveries(told, story.name))
        if told_format == "both":
            ways |= dict(two_queues(told, story.name))
        for way, delivered in ways.items():
            expectation = expected(story, told_format, updates)
            found += [
                f"{updates}, {way}: {fault}" for fault in faults(play(delivered), expectation)
            ]
    return found


@pytest.mark.parametrize(
    ("story", "told_format"),
    [
        pytest.param(story, told_format, id=f"{book}: {story.name} ({told_format})")
        for book, stories in BOOKS.items()
        for story in stories
        for told_format in story.formats
    ],
)
def test_a_story_is_told_rightly(story: Story, told_format: Format) -> None:
    assert all_faults(story, told_format) == []


def case_messages(case: dict[str, Any]) -> list[Notification]:
    """Return a handed-over story's messages as the bridge makes them."""
    return [
        oslo.stamp(
            oslo.decode(json.dumps(message).encode()),
            vim_id=VIM,
            path="queue",
            sequence=sequence,
            received_at=message["timestamp"].replace(" ", "T") + "Z",
        )
        for sequence, message in enumerate(case["messages"])
    ]


@pytest.mark.parametrize("path", CASES, ids=[path.stem for path in CASES])
def test_a_handed_over_story_is_told_rightly(path: Path) -> None:
    case = json.loads(path.read_text())
    for way, delivered in deliveries(case_messages(case), path.stem):
        outcome = play(delivered)
        (instance,) = outcome.rows
        ids = [event.id for event in outcome.events]
        assert len(ids) == len(set(ids)), way
        assert outcome.state(instance) == tuple(case["expect"]["state"]), way
        events = Counter((kind, phase) for kind, phase in case["expect"]["events"])
        assert outcome.told()[instance] == events, way
        assert len(changes_to_error(outcome.events)) == ("also" in case["expect"]), way


def test_every_book_has_stories_and_no_name_twice() -> None:
    assert len(CASES) == 12
    for stories in BOOKS.values():
        names = [story.name for story in stories]
        assert len(names) == len(set(names)) > 3
