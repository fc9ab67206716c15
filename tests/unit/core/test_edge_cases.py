"""The edge cases of nova's notifications, each by its number in docs/notifications.md."""

import json
from typing import Any

import msgspec
import pytest
from aiokafka.structs import ConsumerRecord

from streams.core.fold import MAX_NOTIFICATION_BYTES, fold
from streams.core.news import InstanceNews, Passed
from streams.core.normalise import normalise
from tests.support.nova_messages import (
    INSTANCE,
    VIM,
    in_order,
    legacy,
    notification,
    spec_example,
    versioned,
    versioned_data,
    versioned_object,
)
from tests.support.playing import Outcome, play
from vimfed.kafka.notification_writer import RecordTooLargeError, notification_record
from vimfed.model.records import MAX_RECORD_BYTES, InstanceState, Notification, VmEvent
from vimfed.nova import oslo
from vimfed.settings import KafkaSettings

GONE = {"deleted_at": "2026-01-01T12:00:09.000000", "terminated_at": "2026-01-01T12:00:09.000000"}


def row_of(outcome: Outcome) -> InstanceState:
    return outcome.rows[INSTANCE]


def state_after(*notifications: Notification) -> tuple[str, str]:
    row = row_of(play(in_order(*notifications)))
    return row.vm_state, row.task_state


def told(outcome: Outcome) -> list[tuple[str, str]]:
    return [(event.kind, event.phase) for event in outcome.events]


def told_after(*notifications: Notification) -> list[tuple[str, str]]:
    return told(play(in_order(*notifications)))


def news(one: Notification) -> InstanceNews:
    said = normalise(one)
    assert isinstance(said, InstanceNews)
    return said


def passed(one: Notification) -> Passed:
    said = normalise(one)
    assert isinstance(said, Passed)
    return said


def flat(event: VmEvent) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads(bytes(event.payload))
    return payload


def elsewhere(path: str, *notifications: Notification) -> list[Notification]:
    return [msgspec.structs.replace(one, path=path) for one in in_order(*notifications)]


@pytest.mark.parametrize("task", ["", None])
def test_edge_case_01_no_task_may_be_an_empty_string_or_null(task: str | None) -> None:
    assert state_after(legacy("pause.end", "paused", task)) == ("paused", "")


def test_edge_case_01_no_task_may_be_absent() -> None:
    payload = spec_example() | {"state": "paused"}
    del payload["state_description"]
    outcome = play([notification("compute.instance.pause.end", payload)])
    assert (row_of(outcome).vm_state, row_of(outcome).task_state) == ("paused", "")
    assert flat(outcome.events[0])["state_description"] == ""


def test_edge_case_02_an_old_task_state_that_was_null_reads_like_the_new_one() -> None:
    update = legacy("update", "active", "powering-off", old=("active", "powering-off"))
    assert state_after(update) == ("active", "powering-off")
    assert told_after(update) == []
    # Only with no new task can be seen that there was none before.
    at_rest = [
        build("update", "error", None, old=("active", None)) for build in (legacy, versioned)
    ]
    assert told_after(*at_rest) == [("STATE", "end")]
    # An error is news whatever was running; any other change is left to the action to tell.
    for state, told_then in (("error", [("STATE", "end")]), ("stopped", [])):
        running = [
            build("update", state, None, old=("active", "x")) for build in (legacy, versioned)
        ]
        assert told_after(*running) == told_then


def test_edge_case_03_updates_without_a_change_of_state_tell_nothing() -> None:
    outcome = play(
        in_order(
            legacy("power_off.end", "stopped", at=1),
            *(legacy("update", "stopped", None, old=("stopped", None), at=at) for at in (2, 3)),
            versioned("update", "stopped", None, old=("stopped", None), at=4),
        )
    )
    assert told(outcome) == [("POWER_OFF", "end")]
    assert row_of(outcome).changed_at == "2026-01-01T12:00:01.123456Z"
    assert row_of(outcome).kind == "POWER_OFF"


def test_edge_case_03_a_rename_is_seen_though_the_state_stays() -> None:
    rename = legacy("update", old=("active", None), at=2, fields={"display_name": "VM2"})
    row = row_of(play(in_order(legacy("create.end", at=1), rename)))
    assert json.loads(bytes(row.payload))["display_name"] == "VM2"


def test_edge_case_04_an_end_of_a_deletion_that_failed_deletes_nothing() -> None:
    assert state_after(legacy("delete.end", "error", "deleting")) == ("error", "deleting")
    assert state_after(versioned("soft_delete.end", "active")) == ("active", "")


def test_edge_case_05_a_soft_deleted_instance_can_be_restored() -> None:
    deleted = {"deleted_at": "2026-01-01T12:00:01.000000"}
    soft_delete = legacy("soft_delete.end", "soft-delete", at=1, fields=deleted)
    assert state_after(soft_delete) == ("soft-delete", "")
    restore = legacy("restore.end", "active", at=2, request="req-2")
    assert state_after(soft_delete, restore) == ("active", "")


def test_edge_case_06_a_repeated_end_of_a_deletion_is_told_as_often_as_nova_told_it() -> None:
    once = legacy("delete.end", "deleted", fields=GONE, at=1, message_id="m1")
    again = legacy("delete.end", "deleted", fields=GONE, at=2, message_id="m2")
    twin = versioned("delete.end", "deleted", fields=GONE, at=2, message_id="m3")
    assert told_after(once, once, twin) == [("DELETE", "end")]
    assert told_after(once, again, twin) == [("DELETE", "end")] * 2
    assert state_after(once, again) == ("deleted", "")


def test_edge_case_07_an_instance_that_never_had_a_host_can_be_deleted() -> None:
    nowhere = {"host": None, "node": None}
    outcome = play(
        in_order(
            legacy("delete.start", "error", "deleting", fields=nowhere, at=1),
            versioned("delete.start", "error", "deleting", fields=nowhere, at=1.1),
            legacy("delete.end", "deleted", fields=nowhere | GONE, at=2),
            versioned("delete.end", "deleted", fields=nowhere, at=2.1, publisher="nova-api:api1"),
        )
    )
    assert told(outcome) == [("DELETE", "start"), ("DELETE", "end")]
    assert row_of(outcome).vm_state == "deleted"


@pytest.mark.parametrize("build", [legacy, versioned])
def test_edge_case_08_a_soft_delete_on_a_host_that_is_down_is_final(build: Any) -> None:
    destroyed = build("delete.end", "soft-delete", at=1, fields=GONE)
    assert state_after(destroyed) == ("deleted", "")
    restored = build("restore.end", "active", at=2, request="req-2")
    assert state_after(destroyed, restored) == ("deleted", "")


def test_edge_case_09_a_late_event_never_resurrects_an_instance() -> None:
    deletion = legacy("delete.end", "deleted", at=5, fields=GONE)
    late = versioned("live_migration_post_dest.start", "active", "migrating", at=6, request="r-2")
    same_path = play(in_order(deletion, late))
    other_path = play([*elsewhere("a", deletion), *elsewhere("b", late)])
    other_order = play([*elsewhere("b", late), *elsewhere("a", deletion)])
    for outcome in (same_path, other_path, other_order):
        assert row_of(outcome).vm_state == "deleted"
        assert row_of(outcome).kind == "DELETE"
        assert sorted(told(outcome)) == [
            ("DELETE", "end"),
            ("LIVE_MIGRATION_POST_DEST", "start"),
        ]
    assert [event.late for event in same_path.events] == [False, True]


def test_edge_case_10_start_and_end_may_come_in_either_order() -> None:
    start = legacy("pause.start", "active", "pausing", at=1)
    end = legacy("pause.end", "paused", at=2)
    outcome = play([*elsewhere("a", end), *elsewhere("b", start)])
    assert told(outcome) == [("PAUSE", "end"), ("PAUSE", "start")]
    assert [event.late for event in outcome.events] == [False, True]
    row = row_of(outcome)
    assert (row.vm_state, row.task_state, row.kind, row.phase) == ("paused", "", "PAUSE", "end")


def test_edge_case_10_an_end_without_a_start_is_told() -> None:
    assert told_after(legacy("pause.end", "paused")) == [("PAUSE", "end")]


def test_edge_case_11_on_one_path_arrival_decides_whatever_the_clocks_say() -> None:
    start = legacy("power_off.start", "active", "powering-off", at=100, publisher="compute.fast")
    end = legacy("power_off.end", "stopped", at=1, publisher="compute.slow")
    assert state_after(start, end) == ("stopped", "")


def test_edge_case_11_between_paths_the_clocks_decide() -> None:
    older = legacy("power_off.start", "active", "powering-off", at=1)
    newer = versioned("power_off.end", "stopped", at=2)
    for first, second in ((older, newer), (newer, older)):
        row = row_of(play([*elsewhere(first.message_id, first), *elsewhere("b", second)]))
        assert (row.vm_state, row.task_state) == ("stopped", "")


def test_edge_case_12_at_equal_times_start_comes_before_update_before_end() -> None:
    start = legacy("power_off.start", "active", "powering-off", at=1)
    update = legacy("update", "stopped", "", old=("active", "powering-off"), at=1)
    end = legacy("power_off.end", "stopped", at=1)
    for order in ((start, update, end), (end, update, start), (update, end, start)):
        played = [one for number, m in enumerate(order) for one in elsewhere(f"p{number}", m)]
        row = row_of(play(played))
        assert (row.vm_state, row.task_state, row.phase) == ("stopped", "", "end")


def test_edge_case_12_at_equal_times_and_phases_the_order_does_not_matter() -> None:
    one = legacy("update", "active", "pausing", old=("active", "pausing"), at=1, message_id="1")
    two = legacy("update", "paused", "", old=("active", "pausing"), at=1, message_id="2")
    ends = {
        (row.vm_state, row.task_state)
        for first, second in ((one, two), (two, one))
        for row in [row_of(play([*elsewhere("a", first), *elsewhere("b", second)]))]
    }
    assert len(ends) == 1


def test_edge_case_13_a_redelivered_message_changes_nothing() -> None:
    start = legacy("power_off.start", "active", "powering-off", at=1)
    update = legacy("update", "active", "powering-off", old=("active", "powering-off"), at=0.5)
    end = legacy("power_off.end", "stopped", at=2)
    outcome = play(in_order(update, start, end, start, update))
    assert outcome.results["duplicate"] == 2
    assert (row_of(outcome).vm_state, row_of(outcome).task_state) == ("stopped", "")
    assert told(outcome) == [("POWER_OFF", "start"), ("POWER_OFF", "end")]


def test_edge_case_13_the_same_message_on_two_topics_is_told_once() -> None:
    message = legacy("pause.end", "paused")
    outcome = play([*elsewhere("notifications", message), *elsewhere("billing", message)])
    assert told(outcome) == [("PAUSE", "end")]


def test_edge_case_14_both_formats_tell_the_same_transition_once() -> None:
    both = [
        legacy("pause.start", "active", "pausing", at=1),
        versioned("pause.start", "active", "pausing", at=1.001),
        legacy("pause.end", "paused", at=2),
        versioned("pause.end", "paused", at=2.001),
    ]
    assert told_after(*both) == [("PAUSE", "start"), ("PAUSE", "end")]
    halves = [{event.id for event in play(in_order(*both[half::2])).events} for half in (0, 1)]
    assert halves[0] == halves[1]
    # The next operation is another one, with another request.
    again = legacy("pause.end", "paused", at=3, request="req-2")
    assert len(told_after(*both, again)) == 3


def through_oslo(body: Any, sequence: int = 0) -> Notification:
    """Return an AMQP or Kafka body as the bridge forwards it."""
    return oslo.stamp(
        oslo.decode(json.dumps(body).encode()),
        vim_id=VIM,
        path="queue",
        sequence=sequence,
        received_at="2026-01-01T12:00:00.000000Z",
    )


def oslo_message(one: Notification, **context: Any) -> dict[str, Any]:
    return {
        "message_id": one.message_id,
        "publisher_id": one.publisher_id,
        "event_type": one.event_type,
        "priority": "INFO",
        "payload": json.loads(bytes(one.payload)),
        "timestamp": one.timestamp,
    } | context


def enveloped(message: dict[str, Any]) -> dict[str, Any]:
    return {"oslo.version": "2.0", "oslo.message": json.dumps(message)}


def test_edge_case_15_envelopes_v1_v2_and_kafkas_may_be_mixed() -> None:
    start = legacy("pause.start", "active", "pausing", at=1)
    end = legacy("pause.end", "paused", at=2)
    twin = versioned("pause.end", "paused", at=2.001)
    outcome = play(
        [
            through_oslo(oslo_message(start, _context_request_id="req-1"), 0),
            through_oslo(enveloped(oslo_message(end, _context_request_id="req-1")), 1),
            through_oslo(enveloped(oslo_message(twin, _context={"request_id": "req-1"})), 2),
        ]
    )
    assert told(outcome) == [("PAUSE", "start"), ("PAUSE", "end")]
    assert row_of(outcome).vm_state == "paused"


@pytest.mark.parametrize(
    ("spelled", "normalised"),
    [
        ("2026-01-01 12:00:00.123456", "2026-01-01T12:00:00.123456Z"),
        ("2026-01-01 12:00:00", "2026-01-01T12:00:00.000000Z"),
        ("2026-01-01T12:00:00Z", "2026-01-01T12:00:00.000000Z"),
        ("2026-01-01 14:00:00.5+02:00", "2026-01-01T12:00:00.500000Z"),
        ("None", "2026-01-01T12:00:30.123456Z"),
        ("", "2026-01-01T12:00:30.123456Z"),
        ("yesterday", "2026-01-01T12:00:30.123456Z"),
    ],
)
def test_edge_case_16_times_are_read_in_every_spelling(spelled: str, normalised: str) -> None:
    """Where a message tells none, it is the time of its arrival."""
    one = legacy("pause.end", "paused", timestamp=spelled, received=30)
    assert news(one).timestamp == normalised
    assert play([one]).events[0].changed_at == normalised


def test_edge_case_16_none_is_no_time_of_deletion() -> None:
    no_times = {"deleted_at": "None", "terminated_at": "None", "created_at": "None"}
    outcome = play([legacy("pause.end", "paused", fields=no_times)])
    assert row_of(outcome).vm_state == "paused"
    assert flat(outcome.events[0])["created_at"] == "None"


def test_edge_case_17_the_source_of_a_live_migration_tells_an_old_copy() -> None:
    messages = [
        legacy("live_migration._post.start", "active", "migrating", at=1),
        legacy("live_migration.post.dest.end", "active", at=2, fields={"host": "compute02"}),
        legacy("live_migration._post.end", "active", "migrating", at=3),
    ]
    outcome = play(in_order(*messages))
    assert (row_of(outcome).vm_state, row_of(outcome).task_state) == ("active", "")
    assert json.loads(bytes(row_of(outcome).payload))["host"] == "compute02"
    assert told(outcome)[-1] == ("LIVE_MIGRATION_POST", "end")
    assert outcome.results["stale"] == 2


def test_edge_case_17_a_resize_is_told_by_two_hosts() -> None:
    outcome = play(
        in_order(
            legacy("resize.start", "active", "resize_migrating", at=1),
            legacy("finish_resize.start", "active", "resize_finish", at=2),
            legacy("resize.end", "active", "resize_migrated", at=3),
        )
    )
    assert row_of(outcome).task_state == "resize_finish"
    assert told(outcome) == [("RESIZE", "start"), ("RESIZE_FINISH", "start"), ("RESIZE", "end")]


@pytest.mark.parametrize("action", ["confirm", "revert"])
def test_edge_case_18_a_conductor_may_tell_the_end_of_a_resize(action: str) -> None:
    outcome = play(
        in_order(
            legacy(f"resize.{action}.end", "active", at=1, publisher="compute.conductor1"),
            versioned(f"resize_{action}.end", at=1.1, publisher="nova-conductor:conductor1"),
        )
    )
    assert told(outcome) == [(f"RESIZE_{action.upper()}", "end")]


def test_edge_case_19_an_offloaded_instance_has_no_host() -> None:
    outcome = play(
        in_order(
            legacy("shelve_offload.end", "shelved_offloaded", fields={"host": None}, at=1),
            versioned("shelve_offload.end", "shelved_offloaded", fields={"host": None}, at=1.1),
        )
    )
    assert told(outcome) == [("SHELVE_OFFLOAD", "end")]
    assert flat(outcome.events[0])["host"] is None


def test_edge_case_20_a_power_off_may_be_nested_in_a_rebuild() -> None:
    outcome = play(
        in_order(
            legacy("rebuild.start", "stopped", "rebuilding", at=1),
            legacy("power_off.start", "active", "powering-off", at=2),
            legacy("power_off.end", "stopped", at=3),
            legacy("rebuild.end", "stopped", at=4),
        )
    )
    assert told(outcome) == [
        ("REBUILD", "start"),
        ("POWER_OFF", "start"),
        ("POWER_OFF", "end"),
        ("REBUILD", "end"),
    ]
    assert (row_of(outcome).vm_state, row_of(outcome).kind) == ("stopped", "REBUILD")


@pytest.mark.parametrize("build", [legacy, versioned])
def test_edge_case_21_audits_are_no_transitions(build: Any) -> None:
    audits = [build("exists", "deleted", at=at, fields=GONE) for at in range(100)]
    assert play(in_order(*audits)).rows == {}
    assert passed(audits[0]).reason == "audit"


def test_edge_case_22_a_build_may_fail_and_be_tried_on_another_host() -> None:
    no_host = {"host": None, "node": None}

    def both(name: str, host: str, at: float, state: str) -> list[Notification]:
        task = "spawning" if state == "building" else None
        common: dict[str, Any] = {"fields": no_host}
        return [
            legacy(name, state, task, at=at, publisher=f"compute.{host}", **common),
            versioned(name, state, task, at=at + 0.1, publisher=f"nova-compute:{host}", **common),
        ]

    outcome = play(
        in_order(
            *both("create.start", "host-a.example.org", 1, "building"),
            *both("create.error", "host-a.example.org", 2, "building"),
            *both("create.start", "host-b.example.org", 3, "building"),
            *both("create.end", "host-b.example.org", 4, "active"),
        )
    )
    assert told(outcome) == [
        ("CREATE", "start"),
        ("CREATE", "error"),
        ("CREATE", "start"),
        ("CREATE", "end"),
    ]
    assert (row_of(outcome).vm_state, row_of(outcome).phase) == ("active", "end")


@pytest.mark.parametrize("exception", ["NoValidHost", {"kwargs": {"code": 500}, "class": "X"}])
def test_edge_case_23_an_exception_may_be_a_string_or_an_object(exception: Any) -> None:
    failed = legacy(
        "create.error", "error", fields={"exception": exception, "message": "x", "code": 500}
    )
    outcome = play([failed])
    assert told(outcome) == [("CREATE", "error")]
    assert set(flat(outcome.events[0])) == set(spec_example())


def test_edge_case_24_failures_named_after_a_function_are_passed_over() -> None:
    huge = {"instance": {"uuid": INSTANCE, "x": "y" * 100_000}, "ctxt": {"auth_token": "secret"}}
    message = notification("_post_live_migration", {"exception": "{'code': 500}", "args": huge})
    forwarded = through_oslo(oslo_message(message))
    assert passed(forwarded).reason == "failure"
    assert len(msgspec.json.encode(forwarded)) < 1000
    assert passed(notification("compute.exception", versioned_object("E", {}))).reason == "failure"


def test_edge_case_25_unknown_event_types_are_counted_by_name() -> None:
    unknown = legacy("frobnicate.end")
    assert passed(unknown) == Passed("unknown_action", "compute.instance.frobnicate.end")
    assert passed(versioned("teleport")).reason == "unknown_action"


def test_edge_case_25_an_unknown_state_is_other_and_the_payload_keeps_its_name() -> None:
    outcome = play(in_order(legacy("pause.end", "hibernating", "warming-up")))
    row = row_of(outcome)
    assert (row.vm_state, row.task_state) == ("other", "other")
    assert outcome.events[0].new_state == "other"
    for payload in map(msgspec.json.decode, (row.payload, outcome.events[0].payload)):
        assert (payload["state"], payload["state_description"]) == ("hibernating", "warming-up")


def test_edge_case_25_an_unknown_major_version_is_passed_over() -> None:
    assert passed(versioned("pause.end", version="3.0")).reason == "unknown_version"
    assert news(versioned("pause.end", version="1.99")).kind == "PAUSE"


def test_edge_case_26_versioned_fields_may_be_null_at_every_level() -> None:
    for nothing in (
        {key: None for key in versioned_data() if key != "uuid"},
        {"flavor": versioned_object("FlavorPayload", {"root_gb": None, "ephemeral_gb": None})},
        {"flavor": versioned_object("FlavorPayload", {})},
        {"state_update": versioned_object("InstanceStateUpdatePayload", {"old_state": None})},
        {"launched_at": None, "created_at": None, "image_uuid": None},
    ):
        outcome = play([versioned("update", fields=nothing), versioned("lock", fields=nothing)])
        assert told(outcome) == [("LOCK", "end")]
        assert set(flat(outcome.events[0])) == set(spec_example())


def test_edge_case_27_what_is_too_large_for_a_record_is_refused_and_holds_nothing_up() -> None:
    kafka = KafkaSettings()
    huge = legacy("pause.end", "paused", fields={"metadata": {"x": "y" * MAX_RECORD_BYTES}})
    with pytest.raises(RecordTooLargeError):
        notification_record(kafka, huge, INSTANCE)
    large = legacy("pause.end", "paused", fields={"metadata": {"x": "y" * MAX_NOTIFICATION_BYTES}})
    small = legacy("pause.end", "paused", at=2)
    folded = fold(
        [consumed(kafka, one, offset) for offset, one in enumerate((large, small))],
        lambda _key: None,
    )
    assert [record.offset for record, _why in folded.rejected] == [0]
    assert len(folded.events) == 1


def consumed(kafka: KafkaSettings, one: Notification, offset: int) -> Any:
    """Return a record as it is fetched from the notifications topic."""
    return ConsumerRecord(
        topic="vimfed.notifications",
        partition=0,
        offset=offset,
        timestamp=0,
        timestamp_type=1,
        key=f"{VIM}/{INSTANCE}".encode(),
        value=msgspec.json.encode(one),
        checksum=None,
        serialized_key_size=-1,
        serialized_value_size=-1,
        headers=(),
    )


@pytest.mark.parametrize(
    "payload", [None, [], "text", 5, {}, {"instance_id": None}, {"instance_id": ["x"]}]
)
def test_edge_case_28_a_payload_that_names_no_instance_is_passed_over(payload: Any) -> None:
    assert passed(notification("compute.instance.pause.end", payload)).reason == "malformed_payload"
    broken = versioned_object("InstanceActionPayload", payload)
    assert passed(notification("instance.pause.end", broken)).reason == "malformed_payload"


def test_edge_case_28_a_message_without_a_payload_is_refused() -> None:
    message = oslo_message(legacy("pause.end"))
    del message["payload"]
    with pytest.raises(oslo.NotANotificationError):
        through_oslo(enveloped(message))


def test_edge_case_29_in_a_burst_of_updates_the_last_state_and_the_action_count() -> None:
    burst = [
        legacy("update", "active", "spawning", old=("building", "spawning"), at=at / 1000)
        for at in range(300)
    ]
    end = legacy("create.end", "active", at=0.15)
    outcome = play(in_order(*burst[:150], end, *burst[150:-1], legacy("update", "active", at=1)))
    assert (row_of(outcome).vm_state, row_of(outcome).task_state) == ("active", "")
    assert told(outcome) == [("CREATE", "end")]


@pytest.mark.parametrize("build", [legacy, versioned])
def test_edge_case_30_a_reset_that_only_an_update_tells_is_told(build: Any) -> None:
    outcome = play(in_order(build("update", "error", None, old=("active", None))))
    (event,) = outcome.events
    assert (event.kind, event.phase, event.old_state, event.new_state) == (
        "STATE",
        "end",
        "active",
        "error",
    )
    assert (row_of(outcome).vm_state, row_of(outcome).kind) == ("error", "STATE")


def test_edge_case_31_the_same_message_from_two_clouds_is_about_two_instances() -> None:
    message = legacy("pause.end", "paused")
    other = msgspec.structs.replace(message, vim_id="openstack_elsewhere")
    events = play([message, other]).events
    assert [event.vim_id for event in events] == [VIM, "openstack_elsewhere"]
    assert events[0].id != events[1].id


@pytest.mark.parametrize(
    "publisher", ["conductor.host", "nova-conductor:host", "nova-api:host", "api.host", ""]
)
def test_edge_case_32_updates_are_heard_whoever_publishes_them(publisher: str) -> None:
    update = versioned(
        "update", "building", "scheduling", old=("building", "scheduling"), publisher=publisher
    )
    assert state_after(update) == ("building", "scheduling")


def test_edge_case_33_a_publishers_host_may_be_a_domain_name() -> None:
    hosts = {
        news(one).apart
        for one in (
            legacy("create.start", publisher="compute.cmp1.example.org"),
            versioned("create.start", publisher="nova-compute:cmp1.example.org"),
        )
    }
    assert hosts == {"cmp1.example.org"}


def test_edge_case_34_secrets_do_not_get_through() -> None:
    token = "gAAAAABsecret"
    fields = {"image_meta": {"_context_auth_token": token}, "metadata": {"auth_token": token}}
    message = legacy("pause.end", "paused", fields=fields)
    forwarded = through_oslo(
        enveloped(oslo_message(message, _context_auth_token=token, _context_request_id="req-1"))
    )
    outcome = play([forwarded])
    assert told(outcome) == [("PAUSE", "end")]
    for record in (forwarded, outcome.events[0], row_of(outcome)):
        assert token.encode() not in msgspec.json.encode(record)


@pytest.mark.parametrize(
    "event_type",
    ["image.update", "volume.create.start", "identity.authenticate", "network.create.end"],
)
def test_edge_case_35_other_services_on_the_same_queue_are_passed_over(event_type: str) -> None:
    payload = {"instance_id": INSTANCE, "state": "deleted"}
    assert passed(notification(event_type, payload)) == Passed("not_instance", event_type)
