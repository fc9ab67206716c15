"""Properties over simulated lives of instances and hosts: episodes and alarms are told once."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.alarm_life import assert_alarms_live, assert_episodes_alternate
from tests.support.folded_table import (
    FoldedTable,
    Record,
    heartbeat,
    nova_record,
    numbered,
    record,
    report_record,
)
from tests.support.nova_messages import VIM, legacy
from vimfed.model.records import VmEvent
from vimfed.nova.host_report import CloudReport, HostReport

HOSTS = ("h1", "h2", "h3")
FAILURES = ("LIVE_MIGRATION", "RESIZE")
OPERATIONS = (
    "report", "report", "report", "snapshot", "gone", "unknown", "heartbeat",
    "build", "move", "fail", "reset", "delete", "offload", "action_fails", "action",
)  # fmt: skip


@dataclass
class _Vm:
    host: str | None
    state: str = "active"


@dataclass
class World:
    """A cloud: what is true of it, and the records that tell of it."""

    with_gone: bool = True
    records: list[Record] = field(default_factory=list)
    outages: list[set[str]] = field(default_factory=list)
    """After each record, the instances that are unavailable."""
    now: float = 0.0
    hosts: dict[str, dict[str, bool]] = field(default_factory=dict)
    vms: dict[str, _Vm] = field(default_factory=dict)

    def live(self, draw: random.Random) -> None:
        """Do one operation."""
        self.now += draw.choice((0.25, 1.0, 3.0))
        operation = draw.choice(OPERATIONS)
        host, vm = draw.choice(HOSTS), f"vm-{draw.randrange(4)}"
        if operation == "report":
            self.report(host, draw)
        elif operation == "snapshot":
            for name in self.hosts:
                self._tell(self._report(name, self.hosts[name]))
        elif operation == "gone" and self.with_gone and host in self.hosts:
            del self.hosts[host]
            self._tell(report_record(HostReport(host=host, is_gone=True), self.now))
        elif operation == "unknown":
            answers = CloudReport(is_known=draw.random() < 0.5)
            self._tell(report_record(answers, self.now))
        elif operation == "heartbeat":
            self._tell(heartbeat(self.now))
        elif operation == "build" and vm not in self.vms:
            self.vms[vm] = _Vm(host)
            self._nova(vm, "create.end")
        elif vm in self.vms and self.vms[vm].state != "deleted":
            self.change(vm, operation, host)

    def report(self, host: str, draw: random.Random) -> None:
        """Tell something of a host."""
        field_name = draw.choice(("is_up", "is_up", "forced_down", "disabled"))
        value = draw.random() < 0.5
        self.hosts.setdefault(host, {})[field_name] = value
        self._tell(self._report(host, {field_name: value}))

    def _report(self, host: str, fields: dict[str, bool]) -> Record:
        report = msgspec.convert({"host": host, **fields}, HostReport)
        return report_record(report, self.now)

    def change(self, name: str, operation: str, host: str) -> None:
        """Tell something of an instance that is not deleted."""
        vm = self.vms[name]
        if operation == "move" and vm.host:
            vm.host = host
            self._nova(name, "update", (vm.state, None))
        elif operation == "fail" and vm.state == "active":
            vm.state = "error"
            self._nova(name, "update", ("active", None))
        elif operation == "reset" and vm.state == "error":
            vm.state = "active"
            self._nova(name, "update", ("error", None))
        elif operation == "delete":
            vm.state = "deleted"
            self._nova(name, "delete.end")
        elif operation == "offload" and vm.state == "active":
            vm.state, vm.host = "shelved_offloaded", None
            self._nova(name, "shelve_offload.end")
        elif operation == "action_fails":
            self._nova(name, "resize.error")
        elif operation == "action" and vm.state == "active":
            self._nova(name, "resize.end")

    def _nova(self, name: str, event: str, old: tuple[str, str | None] | None = None) -> None:
        vm, number = self.vms[name], len(self.records)
        one = legacy(
            event,
            vm.state,
            old=old,
            fields={"instance_id": name, "host": vm.host},
            at=self.now,
            request=f"req-{number}",
            message_id=f"m{number}",
            sequence=number,
        )
        self._tell(nova_record(one, name))

    def _tell(self, told: Record) -> None:
        self.records.append(record(told.key or b"", told.value or b"", len(self.records)))
        self.outages.append(set(self._unavailable()))

    def _unavailable(self) -> Iterator[str]:
        for name, vm in self.vms.items():
            known = self.hosts.get(vm.host or "", {})
            is_down = known.get("forced_down", False) or not known.get("is_up", True)
            if is_down and vm.state not in ("deleted", "shelved_offloaded"):
                yield name


def world(seed: int, steps: int = 60, *, with_gone: bool = True) -> World:
    """Return a cloud that has lived."""
    draw, lived = random.Random(seed), World(with_gone)
    for _step in range(steps):
        lived.live(draw)
    return lived


def table() -> FoldedTable:
    return FoldedTable(FAILURES)


def played(records: list[Record]) -> FoldedTable:
    done = table()
    done.fold(records)
    return done


def ids(events: list[VmEvent]) -> list[str]:
    """Return the ids of events in the order in which each comes first."""
    return list(dict.fromkeys(event.id for event in events))


def encoded(events: list[VmEvent]) -> list[bytes]:
    """Return events as they are written, each once, in their order."""
    return list(dict.fromkeys(map(msgspec.json.encode, events)))


def unavailable(done: FoldedTable) -> set[str]:
    known = {each.instance_id for each in done.instances()}
    return {name for name in known if done.instance(name).outage is not None}


few = partial(settings, deadline=None)
seeds = st.integers(0, 2**32 - 1)


@given(seeds)
@few(max_examples=60)
def test_at_every_moment_those_are_unavailable_whose_host_is_down(seed: int) -> None:
    lived, done = world(seed), table()
    for told, expected in zip(lived.records, lived.outages, strict=True):
        done.fold([told])
        assert unavailable(done) == expected
    assert done.rejected == []
    assert len(ids(done.events)) == len(done.events)
    assert_episodes_alternate(done.events)
    active = assert_alarms_live(done.events)
    # What the events leave active is what the rows say is.
    rows = {
        (f"{VIM}/{row.instance_id}", alarm.condition)
        for row in done.instances()
        for alarm in row.alarms
        if not alarm.cleared_at
    }
    assert {key for key in active if key[1] != "host_down"} == rows
    out = {source.removeprefix(f"{VIM}/") for source, name in active if name == "vm_unavailable"}
    assert out == unavailable(done)
    in_error = {row.instance_id for row in done.instances() if row.vm_state == "error"}
    raised = {source.removeprefix(f"{VIM}/") for source, name in active if name == "vm_error"}
    assert raised == in_error


@given(seeds, st.integers(1, 40))
@few(max_examples=40)
def test_batches_of_any_size_give_the_same_bytes(seed: int, size: int) -> None:
    records = world(seed).records
    whole, batches, steps = played(records), table(), table()
    for begin in range(0, len(records), size):
        batches.fold(records[begin : begin + size])
    steps.fold(records, most_rows=1)
    for other in (batches, steps):
        assert other.rows == whole.rows
        assert encoded(other.events) == encoded(whole.events)


@given(seeds, st.floats(0, 1), st.floats(0, 1))
@few(max_examples=60)
def test_what_a_crash_repeats_gives_the_same_bytes(seed: int, end: float, begin: float) -> None:
    records = world(seed, with_gone=False).records
    whole, again = played(records), table()
    reached = round(end * len(records))
    again.fold(records[:reached])
    again.fold(records[round(begin * reached) :])
    assert again.rows == whole.rows
    assert encoded(again.events) == encoded(whole.events)


@given(seeds, st.floats(0, 1))
@few(max_examples=40)
def test_all_ends_right_when_what_was_told_of_a_host_that_is_gone_is_read_again(
    seed: int, begin: float
) -> None:
    lived = world(seed)
    done = played(lived.records)
    done.fold(lived.records[round(begin * len(lived.records)) :])
    assert unavailable(done) == lived.outages[-1]
    assert_episodes_alternate(done.events)
    assert_alarms_live(done.events)


@given(seeds)
@few(max_examples=40)
def test_duplicates_change_nothing(seed: int) -> None:
    records = world(seed, with_gone=False).records
    draw, twice = random.Random(seed), []
    for number, each in enumerate(records):
        twice += [each, records[draw.randint(max(0, number - 10), number)]]
    once, doubled = played(records), played(twice)
    assert doubled.rows == once.rows
    assert ids(doubled.events) == ids(once.events)


@given(st.permutations(range(8)), seeds)
@few(max_examples=60)
def test_reports_that_overtake_each_other_begin_and_end_in_turn(
    order: list[int], seed: int
) -> None:
    draw, lived = random.Random(seed), World()
    while len(lived.records) < len(order):
        lived.now += draw.choice((0.0, 1.0))
        lived.report("h1", draw)
    mixed = numbered(lived.records[each] for each in order)
    done = played(mixed)
    assert_episodes_alternate(done.events)
    active = assert_alarms_live(done.events)
    assert bool(active) == (done.host("h1").down_since != "")
    assert len(ids(done.events)) == len(done.events)
