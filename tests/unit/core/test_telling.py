"""Which events are told: each thing as often as nova tells it, and each error."""

from collections import Counter
from typing import Any

import msgspec
import pytest

from streams.core.memory import ENTRY
from tests.support.nova_messages import INSTANCE, in_order, legacy, notification, versioned
from tests.support.playing import Outcome, play
from vimfed.model.records import Notification, VmEvent

GONE = {"deleted_at": "2026-01-01T12:00:09.000000"}
NOWHERE: dict[str, Any] = {"host": None, "node": None}


def told(*messages: Notification) -> list[tuple[str, str]]:
    return [(event.kind, event.phase) for event in play(in_order(*messages)).events]


def errors(outcome: Outcome) -> list[VmEvent]:
    return [event for event in outcome.events if event.new_state == "error" != event.old_state]


def detached(volume: str, at: float) -> list[Notification]:
    fields = {"volume_id": volume}
    return [
        legacy("volume.detach", fields=fields, at=at),
        versioned("volume_detach.end", fields=fields, at=at + 0.1),
    ]


def test_each_volume_of_one_request_is_told_in_whatever_order_its_formats_come() -> None:
    (first, first_twin), (second, second_twin) = detached("v1", 1), detached("v2", 2)
    orders = [
        (first, first_twin, second, second_twin),
        (first, second, first_twin, second_twin),
        (first, second, second_twin, first_twin),
    ]
    ids = [{event.id for event in play(in_order(*order)).events} for order in orders]
    assert [len(each) for each in ids] == [2, 2, 2]
    assert ids[0] == ids[1] == ids[2]


@pytest.mark.parametrize("formats", [(legacy,), (versioned,), (legacy, versioned)])
def test_the_nth_telling_in_one_format_is_the_nth_in_the_other(formats: Any) -> None:
    tellings = [
        [build("create.error", "building", at=at, message_id=f"{at}{build.__name__}")]
        for at in (1, 2, 3)
        for build in formats
    ]
    by_time = [one for each in tellings for one in each]
    by_format = sorted(by_time, key=lambda one: one.event_type)
    for order in (by_time, by_format):
        assert told(*order) == [("CREATE", "error")] * 3
        # Redeliveries are known by their ids.
        assert told(*order, *order) == [("CREATE", "error")] * 3
    ids = [[event.id for event in play(in_order(*order)).events] for order in (by_time, by_format)]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 3


def test_the_hosts_on_which_a_request_tries_an_action_are_told_apart() -> None:
    for action in ("create.start", "shutdown.end", "resize.error"):
        tries = [
            build(action, publisher=f"{service}{host}", at=number + 0.1 * (build is versioned))
            for number, host in enumerate(("h1", "h2"))
            for build, service in ((legacy, "compute."), (versioned, "nova-compute:"))
        ]
        assert len(told(*tries)) == 2
        assert len(told(*reversed(tries))) == 2


def test_a_message_that_may_be_a_forgotten_redelivery_is_no_further_telling() -> None:
    first = legacy("create.error", "building", at=0, message_id="first")
    noise = [legacy("update", old=("active", None), at=0.001 * n, request=None) for n in range(99)]
    outcome = play(in_order(first, *noise, first))
    assert [event.kind for event in outcome.events] == ["CREATE"]


def test_a_row_counts_repetitions_in_the_place_of_one() -> None:
    once = play(in_order(legacy("pause.start", at=1, message_id="1"))).rows[INSTANCE]
    often = [legacy("pause.start", at=at, message_id=f"{at}") for at in range(300)]
    outcome = play(in_order(*often))
    assert len(outcome.rows[INSTANCE].told) == len(once.told) == ENTRY
    # Every one is told; beyond 255 of one identity they share an id.
    assert len(outcome.events) == 300
    assert len({event.id for event in outcome.events}) == 256


@pytest.mark.parametrize(("action", "kind"), [("volume_attach", "VOLUME"), ("create", "CREATE")])
def test_what_was_found_without_what_tells_it_apart_is_the_same_action(
    action: str, kind: str
) -> None:
    found = notification(
        f"vimfed.instance.{action}.end",
        {"instance_id": INSTANCE, "changed_at": "2026-01-01T12:00:01Z"},
        at=1,
        publisher="poller:",
    )
    legacy_name = {"volume_attach": "volume.attach"}.get(action, f"{action}.end")
    own = [
        legacy(legacy_name, fields={"volume_id": "v1"}, at=1.1),
        versioned(f"{action}.end", fields={"volume_id": "v1"}, at=1.2),
    ]
    for order in ([found, *own], [*own, found], [own[0], found, own[1]]):
        assert len(told(*order)) == 1
    assert told(found, *own)[0][0].startswith(kind)


def failing(build: Any, *, at: float = 2, task: str | None = "suspending") -> Notification:
    return build("update", "error", task, old=("active", "suspending"), at=at)  # type: ignore[no-any-return]


def test_an_error_that_only_an_update_tells_is_told_once_in_both_formats() -> None:
    outcome = play(
        in_order(
            legacy("suspend.start", "active", "suspending", at=1),
            *(failing(build) for build in (legacy, versioned)),
            *(
                build("update", "error", None, old=("error", "suspending"), at=3)
                for build in (legacy, versioned)
            ),
        )
    )
    (event,) = errors(outcome)
    assert (event.kind, event.phase, event.old_state) == ("STATE", "end", "active")


def test_an_error_event_that_carries_the_error_tells_it_and_the_update_does_not() -> None:
    error = [build("reboot.error", "error", at=1) for build in (legacy, versioned)]
    updates = [
        build("update", "error", None, old=("active", "rebooting"), at=2)
        for build in (legacy, versioned)
    ]
    begun = legacy("reboot.start", "active", "rebooting", at=0)
    outcome = play(in_order(begun, *error, *updates))
    assert [(event.kind, event.phase) for event in errors(outcome)] == [("REBOOT", "error")]
    assert Counter(event.kind for event in outcome.events) == {"REBOOT": 2}


TASK_PAYLOAD = {"instance_id": INSTANCE, "state": "error", "method": "x", "request_spec": None}


@pytest.mark.parametrize(
    ("states", "method", "kind"),
    [
        (("building", "scheduling"), "build_instances", "CREATE"),
        (("active", "rebuilding"), "rebuild_server", "REBUILD"),
        (("paused", "migrating"), "migrate_server", "MIGRATE"),
    ],
)
def test_the_update_before_the_conductors_word_is_the_same_news(
    states: tuple[str, str], method: str, kind: str
) -> None:
    begun = legacy("update", *states, old=states, at=1, fields=NOWHERE)
    update, twin = (
        build("update", "error", None, old=states, at=2, fields=NOWHERE)
        for build in (legacy, versioned)
    )
    given_up = notification(f"compute_task.{method}", TASK_PAYLOAD, at=2.1)
    for order in ([update, given_up], [update, twin, given_up], [update, given_up, twin]):
        outcome = play(in_order(begun, *order))
        assert [(event.kind, event.phase) for event in outcome.events] == [(kind, "error")]
        assert len(errors(outcome)) == 1


@pytest.mark.parametrize(
    ("started", "states"),
    [
        ("live_migration.pre.start", ("active", "migrating")),
        ("rebuild.start", ("active", "rebuilding")),
        ("create.start", ("building", "spawning")),
    ],
)
def test_a_host_that_has_begun_fails_by_the_update_alone(
    started: str, states: tuple[str, str]
) -> None:
    outcome = play(
        in_order(
            legacy("update", *states, old=states, at=0),
            legacy(started, *states, at=1),
            legacy("update", "error", None, old=states, at=2),
        )
    )
    assert [event.kind for event in errors(outcome)] == ["STATE"]


def test_a_reset_in_the_middle_of_another_requests_task_is_a_state_change() -> None:
    outcome = play(
        in_order(
            legacy("update", "active", "rebuilding", old=("active", "rebuilding"), at=1),
            legacy("update", "error", None, old=("active", "rebuilding"), at=2, request="reset"),
        )
    )
    assert [event.kind for event in errors(outcome)] == ["STATE"]


def test_leaving_an_error_is_told_by_the_action_or_else_by_the_update() -> None:
    stuck = legacy("update", "error", "deleting", old=("error", "deleting"), at=1)
    reset = legacy("update", "active", None, old=("error", "deleting"), at=2, request="reset")
    assert told(stuck, reset) == [("STATE", "end")]

    stuck = legacy("update", "error", "rebuilding", old=("error", "rebuilding"), at=1)
    reset = legacy("update", "active", None, old=("error", "rebuilding"), at=2, request="reset")
    assert told(stuck, reset) == [("STATE", "end")]

    rebuilt = [
        legacy("rebuild.start", "error", "rebuilding", at=1),
        legacy("update", "active", None, old=("error", "rebuild_spawning"), at=2),
        legacy("rebuild.end", "active", at=3),
    ]
    assert told(*rebuilt) == [("REBUILD", "start"), ("REBUILD", "end")]


@pytest.mark.parametrize("build", [legacy, versioned])
@pytest.mark.parametrize("state", ["building", "error"])
def test_a_server_deleted_before_it_had_a_host_is_deleted(build: Any, state: str) -> None:
    outcome = play([build("delete.end", state, "deleting", fields=GONE | NOWHERE)])
    row = outcome.rows[INSTANCE]
    assert (row.vm_state, row.task_state) == ("deleted", "")
    (event,) = outcome.events
    assert event.new_state == "deleted"
    assert msgspec.json.decode(event.payload)["state"] == "deleted"


@pytest.mark.parametrize(
    ("name", "state", "task", "fields"),
    [
        ("delete.start", "building", "", GONE | NOWHERE),
        ("delete.end", "soft-delete", "", GONE | NOWHERE),
        ("delete.end", "active", "soft-deleting", GONE | NOWHERE),
        ("delete.end", "active", "deleting", GONE),
        ("delete.end", "building", "", NOWHERE),
        ("soft_delete.end", "active", "soft-deleting", GONE | NOWHERE),
    ],
)
def test_what_only_looks_like_a_deletion_is_none(
    name: str, state: str, task: str, fields: dict[str, Any]
) -> None:
    row = play([legacy(name, state, task, fields=fields)]).rows[INSTANCE]
    assert (row.vm_state, row.task_state) == (state, task)


@pytest.mark.parametrize(
    ("event_type", "expected"),
    [
        ("compute.instance.force_delete.start", ("DELETE", "start")),
        ("compute.instance.force_delete.end", ("DELETE", "end")),
        ("compute.instance.live_snapshot.start", ("SNAPSHOT", "start")),
        ("compute.instance.instance.create.error", ("CREATE", "error")),
    ],
)
def test_names_that_other_releases_and_roads_use_are_known(
    event_type: str, expected: tuple[str, str]
) -> None:
    message = legacy(event_type.removeprefix("compute.instance."))
    assert told(message) == [expected]


def test_a_builds_end_with_an_exception_is_its_error() -> None:
    # Up to Mitaka: nova/compute/manager.py, _build_and_run_instance; LP 1578500.
    failed = {"exception": "Build of instance aborted", "code": 500, "message": "aborted"}
    assert told(legacy("create.end", "error", fields=failed)) == [("CREATE", "error")]
    assert told(legacy("create.end", fields={"message": "Success"})) == [("CREATE", "end")]


def test_the_hidden_copy_of_a_resize_between_cells_tells_nothing() -> None:
    resized = [
        legacy("finish_resize.end", "resized", at=1),
        legacy("update", "active", "resize_migrated", old=("active", "resize_migrated"), at=2),
        legacy("resize.confirm.start", "active", "resize_migrated", at=3, request="req-2"),
        legacy("update", "error", "resize_migrated", old=("active", "resize_migrated"), at=4),
    ]
    outcome = play(in_order(*resized))
    assert outcome.state(INSTANCE) == ("resized", "")
    assert [event.kind for event in outcome.events] == ["RESIZE_FINISH", "RESIZE_CONFIRM"]
