"""What a snapshot tells of an instance, and around all of them."""

import json

import msgspec

from streams.core.snapshots import boundary_event, state_event
from vimfed.model.records import InstanceState, Outage


def row(**fields: object) -> InstanceState:
    state = InstanceState(
        vim_id="Owner_a",
        instance_id="vm-1",
        vm_state="error",
        task_state="",
        kind="PAUSE",
        phase="error",
        changed_at="2026-01-01T12:00:00.000000Z",
        payload=msgspec.Raw(b'{"instance_id": "vm-1"}'),
        revision=3,
    )
    return msgspec.structs.replace(state, **fields)


def test_an_instance_is_told_as_its_row_is_and_nothing_happens_to_it() -> None:
    told = state_event(row(), "for-b", "1")
    assert (told.kind, told.phase, told.snapshot) == ("STATE_SNAPSHOT", "end", "for-b")
    assert told.old_state == told.new_state == "error"
    assert told.changed_at == "2026-01-01T12:00:00.000000Z"
    assert [told.alarm, told.host, told.reason] == [msgspec.UNSET] * 3
    out = Outage(since="2026-01-01T12:00:00Z", reason="host_down", host="compute-1")
    unavailable = state_event(row(outage=out), "for-b", "1")
    assert (unavailable.host, unavailable.reason) == ("compute-1", "host_down")


def test_the_same_row_has_one_id_in_one_snapshot() -> None:
    first = state_event(row(), "for-b", "1").id
    assert state_event(row(), "for-b", "1").id == first
    others = [
        state_event(row(), "for-b", "2").id,
        state_event(row(revision=4), "for-b", "1").id,
        state_event(row(instance_id="vm-2"), "for-b", "1").id,
    ]
    assert len({first, *others}) == 4


def test_a_boundary_is_the_clouds_and_its_end_says_of_how_many_was_told() -> None:
    begin = boundary_event("Owner_a", "start", "for-b", "1", "2026-01-01T12:00:00Z")
    end = boundary_event("Owner_a", "end", "for-b", "1", "2026-01-01T12:01:00Z", 5)
    assert (begin.instance_id, begin.phase, end.phase) == ("", "start", "end")
    assert json.loads(bytes(end.payload)) == {"snapshot": "for-b", "told": 5}
    again = boundary_event("Owner_a", "end", "for-b", "1", "2026-01-01T12:02:00Z", 5)
    assert end.id == again.id
    assert len({begin.id, end.id, boundary_event("Owner_b", "end", "for-b", "1", "").id}) == 3
