"""What a server and its actions say in the words of notifications."""

import json
from typing import Any

import msgspec
import pytest

from bridge.poller.findings import (
    CONDUCTOR,
    GIVEN_UP,
    INSTANT,
    ActionEvent,
    Server,
    ServerAction,
    bare_state,
    findings,
    found_phases,
    is_settled,
)
from bridge.poller.findings import KINDS as KINDS_OF_EVENTS
from streams.core.kinds import EVENT_TYPES, KINDS
from tests.support.nova_messages import spec_example
from vimfed.nova.bare_state import EVENT_PREFIX

SEEN = "2026-01-01T12:00:30.000000Z"


def server(vm_state: str = "active", task: str | None = None, **more: Any) -> Server:
    shown = {
        "id": "4f398943-7d39-4119-8058-74768d6dfa52",
        "name": "VM1",
        "tenant_id": "tenant",
        "updated": "2026-01-01T12:00:10Z",
        "created": "2026-01-01T11:00:00Z",
        "metadata": {"a": "b"},
        "image": {"id": "image"},
        "flavor": {
            "original_name": "m1.small",
            "ram": 2048,
            "vcpus": 1,
            "disk": 20,
            "ephemeral": 10,
        },
        "OS-EXT-STS:vm_state": vm_state,
        "OS-EXT-STS:task_state": task,
        "OS-EXT-STS:power_state": 4,
        "OS-EXT-SRV-ATTR:host": "compute01",
        **more,
    }
    return msgspec.json.decode(json.dumps(shown).encode(), type=Server)


def action(name: str, *events: ActionEvent, at: str = "00:00", request: str = "r") -> ServerAction:
    return ServerAction(name, request, f"2026-01-01T12:{at}.000000", events=list(events))


def event(
    name: str, start: str, finish: str | None = None, result: str = "Success", host: str = "c1"
) -> ActionEvent:
    def time(of: str | None) -> str | None:
        return None if of is None else f"2026-01-01T12:{of}"

    return ActionEvent(name, time(start), time(finish), result if finish else None, host)


def said(server: Server, *actions: ServerAction) -> list[tuple[str, str, str]]:
    return [(one.kind, one.phase, one.host) for one in found_phases(server, actions)]


def test_every_kind_that_is_found_is_one_of_the_table() -> None:
    found = {kind for kinds in KINDS_OF_EVENTS.values() for kind in kinds}
    found |= {*INSTANT.values(), *GIVEN_UP.values()}
    assert found <= KINDS.keys()
    for kind in found:
        for phase in ("start", "end", "error"):
            assert f"{EVENT_PREFIX}{kind.lower()}.{phase}" in EVENT_TYPES


def test_the_last_phase_comes_with_the_state() -> None:
    stop = action("stop", event("compute_stop_instance", "00:01.250000", "00:02.500000"))
    first, second = findings(server("stopped"), [stop], SEEN)
    assert first.action is not None
    assert second.action is not None
    assert (first.action.phase, first.action.at) == ("start", "2026-01-01T12:00:01.250000Z")
    assert first.state.state == ""
    assert (second.action.phase, second.action.at) == ("end", "2026-01-01T12:00:02.500000Z")
    assert (second.state.state, second.state.timestamp) == ("stopped", SEEN)
    assert second.action.request_id == "r"


def test_without_an_action_the_state_stands_alone() -> None:
    (only,) = findings(server("error"), [], SEEN)
    assert only.action is None
    assert only.state.changed_at == "2026-01-01T12:00:10.000000Z"


def test_a_bare_state_has_the_fields_of_the_flat_payload() -> None:
    state = bare_state(server("shelved_offloaded", **{"OS-EXT-SRV-ATTR:host": None}), SEEN)
    assert state.known.keys() <= spec_example().keys()
    known = {name: json.loads(bytes(value)) for name, value in state.known.items()}
    assert (known["memory_mb"], known["disk_gb"], known["host"]) == (2048, 30, None)
    assert "hostname" not in known, "what the API does not show stays as it was"
    assert state.power_state == "shutdown"


@pytest.mark.parametrize("image", ["", None])
def test_a_server_may_have_no_image_and_a_flavor_by_its_id_alone(image: Any) -> None:
    known = bare_state(server(image=image, flavor={"id": "5"}), SEEN).known
    assert json.loads(bytes(known["image_ref_url"])) == ""
    assert json.loads(bytes(known["instance_flavor_id"])) == "5"
    assert "memory_mb" not in known


def test_what_nova_may_leave_null_is_no_hindrance() -> None:
    nulls: dict[str, Any] = {
        "name": None,
        "progress": None,
        "OS-EXT-STS:power_state": None,
        "OS-EXT-SRV-ATTR:host": None,
        "OS-EXT-SRV-ATTR:hypervisor_hostname": None,
        "OS-EXT-SRV-ATTR:kernel_id": None,
        "OS-EXT-SRV-ATTR:ramdisk_id": None,
        "OS-EXT-SRV-ATTR:reservation_id": None,
        "OS-SRV-USG:launched_at": None,
        "OS-SRV-USG:terminated_at": None,
    }
    known = bare_state(server(**nulls), SEEN).known
    told = [bytes(known[name]) for name in ("progress", "kernel_id", "host")]
    assert told == [b'""', b"null", b"null"]
    assert bytes(bare_state(server(progress=50), SEEN).known["progress"]) == b"50"


def test_a_deletion_tells_the_tear_down_inside_it() -> None:
    delete = action("delete", event("compute_terminate_instance", "00:01", "00:02"))
    assert said(server("deleted"), delete) == [
        ("DELETE", "start", "c1"),
        ("SHUT_DOWN", "start", "c1"),
        ("SHUT_DOWN", "end", "c1"),
        ("DELETE", "end", "c1"),
    ]


def test_a_deletion_without_a_host_is_told_although_it_has_no_events() -> None:
    assert said(server("deleted"), action("delete")) == [
        ("DELETE", "start", ""),
        ("DELETE", "end", ""),
    ]
    assert said(server("active"), action("delete")) == []


def test_a_build_that_is_tried_on_two_hosts_tells_of_both() -> None:
    name = "compute__do_build_and_run_instance"
    create = action(
        "create",
        event(name, "00:01", "00:02", "Error", host="one"),
        event(name, "00:03", "00:04", host="two"),
    )
    assert said(server(), create) == [
        ("CREATE", "start", "one"),
        ("CREATE", "error", "one"),
        ("CREATE", "start", "two"),
        ("CREATE", "end", "two"),
    ]


def test_what_the_conductor_gives_up_is_known_by_its_word_for_a_host() -> None:
    name = "conductor_schedule_and_build_instances"
    create = action("create", event(name, "00:01", "00:02", "Error"))
    assert said(server("error"), create) == [("CREATE", "error", CONDUCTOR)]


def test_an_event_that_has_not_finished_tells_a_start_alone() -> None:
    rebuild = action("rebuild", event("compute_rebuild_instance", "00:01"))
    assert said(server("active", "rebuilding"), rebuild) == [("REBUILD", "start", "c1")]


@pytest.mark.parametrize(
    ("after", "vm_state", "offloaded"),
    [
        ((), "shelved_offloaded", True),
        ((), "shelved", False),
        ((action("unshelve", event("compute_unshelve_instance", "00:03"), at="00:03"),), "x", True),
        ((action("unshelve", event("compute_start_instance", "00:03"), at="00:03"),), "x", False),
        ((action("delete", at="00:03"),), "deleted", True),
    ],
)
def test_a_shelving_tells_the_offloading_at_its_end(
    after: tuple[ServerAction, ...], vm_state: str, offloaded: bool
) -> None:
    shelve = action("shelve", event("compute_shelve_instance", "00:01", "00:02"))
    told = said(server(vm_state), shelve, *after)
    assert (("SHELVE_OFFLOAD", "end", "") in told) == offloaded


def test_whole_seconds_keep_the_order_of_actions_and_ends_are_not_before_their_starts() -> None:
    stop = action(
        "stop", event("compute_stop_instance", "00:01.000000", "00:01.000000"), at="00:01"
    )
    start = action(
        "start", event("compute_start_instance", "00:01.000000", "00:01.000000"), at="00:01"
    )
    phases = found_phases(server(), [stop, start])
    assert [(one.kind, one.phase) for one in phases] == [
        ("POWER_OFF", "start"),
        ("POWER_OFF", "end"),
        ("POWER_ON", "start"),
        ("POWER_ON", "end"),
    ]
    assert phases[1].at == "2026-01-01T12:00:01.999999Z"


def test_a_server_is_settled_when_nothing_more_can_come() -> None:
    done = action("stop", event("compute_stop_instance", "00:01", "00:02"))
    running = action("stop", event("compute_stop_instance", "00:01"))
    assert is_settled(server("stopped"), [done], SEEN)
    assert not is_settled(server("stopped"), [running], SEEN)
    assert not is_settled(server("active", "powering-off"), [done], SEEN)
    assert not is_settled(server("stopped"), [done], "2026-01-01T12:00:11.000000Z")


def test_a_server_in_a_cell_that_is_down_is_not_known() -> None:
    shown = {"id": "a", "created": "2026-01-01T12:00:10Z", "status": "UNKNOWN"}
    assert not msgspec.convert(shown, Server).is_known
