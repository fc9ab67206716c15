"""Every story of a server ends in nova's own state, with every event once, and each error told."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from tests.stories import BOOKS
from tests.stories.telling import UPDATES, Expected, Format, Story, Updates, expected, messages
from tests.support.nova_messages import BEGIN, INSTANCE, VIM, sent_at
from tests.support.paths import DATA
from tests.support.playing import Outcome, each_twice, on_two_paths, play, with_skewed_clocks
from tests.support.traces import PLAIN, ROUGH, notifications
from vimfed.model.records import Notification, VmEvent
from vimfed.nova import oslo
from vimfed.nova.states import DELETED

CASES = sorted((DATA / "stories").glob("*.json"))


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
    errors = changes_to_error(outcome.events)
    in_time = [one for one in errors if not one.late]
    if len(errors) < told.fewest_errors or len(in_time) > told.errors:
        yield f"{len(errors)} events say error, not {told.fewest_errors}..{told.errors}"
    recoveries = len(changes_from_error(outcome.events))
    if not told.fewest_recoveries <= recoveries <= told.recoveries:
        least, most = told.fewest_recoveries, told.recoveries
        yield f"{recoveries} events say that the error is over, not {least}..{most}"


def reconnected(told: Sequence[Notification], seed: str, *, every: int) -> list[Notification]:
    """Return what one queue delivers in sessions of ``every`` messages, with clocks 5 s apart."""
    skewed = with_skewed_clocks(told, Random(seed))
    delivered = []
    for second, one in enumerate(skewed, start=100):
        begun = second - (second - 100) % every
        delivered.append(
            msgspec.structs.replace(
                one,
                sequence=second - begun,
                session=arrival(begun - 0.5),
                received_at=arrival(second),
            )
        )
    return delivered


def errors_apart(told: Sequence[Notification], seed: str) -> list[Notification]:
    """Return what comes of a queue for each priority, of which that of the errors lags up to 9 s.

    So does a cloud's Kafka deliver, in which each priority is a topic.
    """
    random = Random(seed)
    arrivals, last = [], 0.0
    for one in told:
        at = (datetime.fromisoformat(one.timestamp) - BEGIN).total_seconds()
        if one.priority == "ERROR":
            at = last = max(last, at + random.uniform(0, 9))
        arrivals.append((at, msgspec.structs.replace(one, path=one.priority)))
    return [
        msgspec.structs.replace(one, sequence=sequence, received_at=arrival(at))
        for sequence, (at, one) in enumerate(sorted(arrivals, key=lambda pair: pair[0]))
    ]


def arrival(second: float) -> str:
    """Return a normalised time."""
    return sent_at(second).replace(" ", "T") + "Z"


def received(delivered: Sequence[Notification]) -> list[Notification]:
    """Return what one queue delivers, each message a second after the one before."""
    return [
        msgspec.structs.replace(one, sequence=second, received_at=arrival(second))
        for second, one in enumerate(delivered, start=100)
    ]


def deliveries(
    story: Story, told_format: Format, updates: Updates
) -> Iterator[tuple[str, list[Notification]]]:
    """Yield the ways in which a story may come, with a name for each."""
    told = messages(story, told_format, updates)
    yield "once", told
    if updates != "vm_and_task_state":
        return
    yield "all twice", received([*told, *told])
    if told_format != "both":
        yield "tersely", messages(story, told_format, updates, tersely=True)
        return
    yield "late again", each_twice(told, Random(story.name))
    yield "reconnected", reconnected(told, story.name, every=5)
    yield "errors lag", errors_apart(told, story.name)
    for lagging in (False, True):
        name = "versioned lags" if lagging else "legacy lags"
        yield name, on_two_paths(told, Random(story.name), lagging_versioned=lagging)


def all_faults(story: Story, told_format: Format) -> list[str]:
    """Return what comes out otherwise than nova told, with what was sent, and how it came."""
    found = []
    for updates in UPDATES:
        expectation = expected(story, told_format, updates)
        for way, delivered in deliveries(story, told_format, updates):
            if delivered:  # else nova says nothing of it
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


@pytest.mark.parametrize("updates", UPDATES)
def test_an_event_has_one_id_whichever_format_tells_it(updates: Updates) -> None:
    for story in (story for stories in BOOKS.values() for story in stories):
        if "both" not in story.formats:
            continue
        ids = {
            told_format: {event.id for event in play(messages(story, told_format, updates)).events}
            for told_format in story.formats
        }
        assert ids["legacy"] | ids["versioned"] == ids["both"], story.name


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
    told = case_messages(case)
    for way, delivered in {
        "once": told,
        "each twice": received([copy for one in told for copy in (one, one)]),
        "all twice": received([*told, *told]),
        "late again": each_twice(told, Random(path.stem)),
    }.items():
        outcome = play(delivered)
        (instance,) = outcome.rows
        ids = [event.id for event in outcome.events]
        assert len(ids) == len(set(ids)), way
        assert outcome.state(instance) == tuple(case["expect"]["state"]), way
        events = Counter((kind, phase) for kind, phase in case["expect"]["events"])
        assert outcome.told()[instance] == events, way
        assert len(changes_to_error(outcome.events)) == ("also" in case["expect"]), way


Steps = tuple[tuple[str, str, str, str, str], ...]

RECORDED = {
    "builds: over quota at the second look": ("delete",),
    "deletions: deleted": ("create", "delete"),
    "deletions: soft deleted and restored": ("soft", "restore"),
    "power: started": ("stop", "start"),
    "power: unpaused": ("pause", "unpause"),
    "power: resumed": ("suspend", "resume"),
    "power: unrescued": ("rescue", "unrescue"),
    "power: reset to error and back": ("reset", "back"),
    "moves: resized, and the source speaks last": ("resize",),
    "moves: confirmed": ("confirm",),
    "moves: reverted": ("revert",),
    "moves: migrated live": ("migrate",),
    "moves: migration reset, server paused, migration fails at last": ("migrate",),
    "moves: rebuilt": ("rebuild",),
    "moves: unshelved": ("unshelve",),
}
"""Requests of stories that a real nova told in the very same way, in one of the recorded runs."""


def steps(told: Sequence[Notification]) -> dict[tuple[str, str], Steps]:
    """Return what the legacy notifications of each request tell, by instance and request."""
    found: dict[tuple[str, str], list[tuple[str, str, str, str, str]]] = defaultdict(list)
    for one in told:
        name = one.event_type.removeprefix("compute.instance.")
        if name not in (one.event_type, "exists"):
            payload = json.loads(bytes(one.payload))
            fields = ("state", "state_description", "old_state", "old_task_state")
            vm, task, old_vm, old_task = (payload.get(field) or "" for field in fields)
            key = (payload["instance_id"], one.request_id or "")
            found[key].append((name, vm, task, old_vm, old_task))
    return {key: tuple(request) for key, request in found.items()}


def test_real_nova_told_what_the_stories_tell() -> None:
    recorded = {request for run in (PLAIN, ROUGH) for request in steps(notifications(run)).values()}
    stories = {f"{book}: {story.name}": story for book in BOOKS for story in BOOKS[book]}
    for name, requests in RECORDED.items():
        told = steps(messages(stories[name], "legacy", "vm_and_task_state"))
        for request in requests:
            assert told[INSTANCE, f"req-{request}"] in recorded, (name, request)


def test_every_book_has_stories_and_no_name_twice() -> None:
    assert len(CASES) == 12
    for stories in BOOKS.values():
        names = [story.name for story in stories]
        assert len(names) == len(set(names)) > 3
