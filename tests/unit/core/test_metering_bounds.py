"""When intervals are closed, what is refused, and which rows outlive their time."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest

from streams.core.measurement import Facts
from streams.core.metering import (
    FORGET_AFTER,
    MAX_MEASUREMENTS,
    REASONS,
    Metered,
    Metering,
    Resume,
    Rules,
    empty_record,
    read_resume,
)
from streams.core.sample_bounds import MAX_NAMES, MAX_VOLUME
from tests.support.folded_table import Record, numbered, record
from tests.support.metered_table import MeteredTable
from tests.support.nova_messages import VIM
from tests.support.sample_log import sample, sample_record, tick, time_text
from vimfed.model.keys import host_key, instance_key
from vimfed.model.records import MAX_RECORD_BYTES, SCHEMA, NewerSchemaError
from vimfed.model.samples import MAX_SERIES, decode_samples, encode_samples
from vimfed.model.times import milliseconds

VM, OTHER = instance_key(VIM, "vm-1"), instance_key(VIM, "vm-2")
DAY = 86400.0
KNOWN = Facts(vm_state="active")


def of_vm(at: float, received: float, vm: str = "vm-1", volume: float = 1) -> Record:
    return sample_record([sample("m", volume, at)], received, instance_id=vm)


def of_host(at: float, received: float) -> Record:
    return sample_record([sample("m", 1, at)], received, host="compute-1")


def followed(*records: Record, rules: Rules | None = None) -> MeteredTable:
    table = MeteredTable(rules or Rules())
    table.follow(numbered(records))
    return table


def metering(rules: Rules | None = None, resume: Resume | None = None) -> Metering:
    return Metering(rules or Rules(), lambda _key: None, lambda _key: None, resume or Resume(0))


def begins(table: MeteredTable) -> list[tuple[str, str]]:
    return [(each.begin, each.instance_id or each.host) for each in table.measurements()]


# -- when intervals are closed


def test_a_clock_that_is_far_ahead_of_kafkas_is_not_believed() -> None:
    # Else one machine with a wrong clock would make all samples late, of all clouds, for as long.
    year = 366 * DAY
    fast = replace(tick(year), timestamp=milliseconds(time_text(30)) or 0)
    table = followed(of_vm(1, 2), fast, of_vm(31, 32), of_vm(61, 62), tick(240))
    assert sum((batch.late for batch in table.batches), Counter()) == {}
    assert begins(table) == [(time_text(0), "vm-1"), (time_text(60), "vm-1")]


def test_a_sample_is_not_taken_for_what_such_a_clock_says() -> None:
    ahead = replace(of_vm(600, 600), timestamp=milliseconds(time_text(30)) or 0)
    assert followed(ahead).batches[0].refused == {(VIM, "future"): 1}


@pytest.mark.parametrize(("received", "clock"), [(89.5, 89.5), (90, 90), (91, 90), (DAY, 90)])
def test_a_clock_may_be_a_minute_ahead_of_kafkas(received: float, clock: float) -> None:
    folding = metering()
    told = replace(tick(received), timestamp=milliseconds(time_text(30.9)) or 0)
    folding.fold([told], Metered())
    assert folding.clock == time_text(clock)


def test_an_interval_is_closed_when_its_end_and_the_grace_have_passed() -> None:
    assert followed(of_vm(10, 11), tick(119.999)).topic == []
    table = followed(of_vm(10, 11), tick(120))
    assert begins(table) == [(time_text(0), "vm-1")]
    assert table.row(VM).closed_by == 1


def test_an_interval_holds_its_begin_and_not_its_end() -> None:
    table = followed(of_vm(60, 61), of_vm(59.999999, 61), of_vm(119.999999, 120), tick(300))
    assert begins(table) == [(time_text(0), "vm-1"), (time_text(60), "vm-1")]


def test_a_sample_that_is_ahead_of_the_clock_does_not_move_it() -> None:
    table = followed(of_vm(10, 11), of_vm(130, 75), of_vm(50, 76))
    assert table.topic == []
    assert table.batches[0].late.total() == 0


def test_what_comes_within_the_grace_is_measured_and_later_is_late() -> None:
    table = followed(of_vm(10, 11), of_vm(30, 119, volume=5), of_vm(40, 120, volume=9))
    (measurement,) = table.measurements()
    assert measurement.values[0].volume == 5
    assert table.batches[0].late == {VIM: 1}


def test_intervals_are_closed_by_their_end_and_then_by_key() -> None:
    records = [of_host(70, 71), of_vm(70, 72, "vm-2"), of_vm(70, 73), of_vm(20, 74, "vm-2")]
    assert begins(followed(*records, tick(500))) == [
        (time_text(0), "vm-2"),
        (time_text(60), "compute-1"),
        (time_text(60), "vm-1"),
        (time_text(60), "vm-2"),
    ]


def test_intervals_of_other_lengths_begin_at_full_multiples() -> None:
    table = followed(of_vm(10, 11), of_vm(899, 899), tick(1000), rules=Rules(900, 0))
    (measurement,) = table.measurements()
    assert (measurement.begin, measurement.end) == (time_text(0), time_text(900))


def test_what_was_measured_in_intervals_of_another_length_is_not_measured_again() -> None:
    table = followed(of_vm(10, 11), tick(120))
    table.rules = Rules(interval=300)
    records = [of_vm(10, 11), tick(120), of_vm(50, 121), of_vm(70, 122), tick(400)]
    table.follow(numbered(records))
    assert [each.values[0].at for each in table.measurements()] == [time_text(10), time_text(70)]
    assert table.batches[-1].repeated == {VIM: 1}


# -- after a takeover


def test_the_clock_is_that_of_the_log_also_after_a_takeover() -> None:
    # A bridge's clock is behind: by the log, the interval of its samples has long been closed.
    late = [of_vm(490, 500), of_vm(491, 500)]
    records = numbered([tick(1000), late[0], late[1], tick(1100)])
    table = MeteredTable()
    table.follow(records[:2])
    table.follow(records)
    assert table.topic == []
    assert [batch.late.total() for batch in table.batches] == [1, 1]


def test_reading_begins_with_the_oldest_interval_that_is_open() -> None:
    table = MeteredTable()
    begun = [of_vm(70, 71), of_vm(20, 72, "vm-2"), tick(100)]
    assert table.follow(numbered(begun)).resume == Resume(0, time_text(71), 3)
    assert table.follow(numbered([*begun, tick(130)])).resume == Resume(0, time_text(71), 4)
    assert table.follow(numbered([*begun, tick(130), tick(180)])).resume.offset == 5


def test_what_begins_with_the_next_interval_is_not_measured_yet() -> None:
    begun = [of_vm(10, 11), tick(120)]
    table = followed(*begun)
    table.follow(numbered([*begun, of_vm(60, 121), tick(180)]))
    assert begins(table) == [(time_text(0), "vm-1"), (time_text(60), "vm-1")]


def test_who_has_folded_nothing_would_begin_where_it_began() -> None:
    resume = Resume(5, time_text(3), 9)
    assert metering(resume=resume).resume == resume


def test_what_is_committed_is_read_again() -> None:
    resume = Resume(5, time_text(3), 9)
    assert read_resume(5, resume.metadata()) == resume
    for metadata in ("", "moved by hand", "{}", '{"clock": 1}', "[1, 2"):
        assert read_resume(5, metadata) == Resume(5, "", 5)


def test_a_row_whose_measurements_may_not_be_told_gives_them_again() -> None:
    table = followed(of_vm(10, 11), tick(120))
    (told,) = table.contents()
    for committed, again in ((0, [told]), (1, [told]), (2, [])):
        taking_over = metering(resume=Resume(2, "", committed))
        assert taking_over.adopt(VM, table.rows[VM]) == again


# -- what is rejected and refused


def test_times_before_1970_are_none() -> None:
    before = msgspec.structs.replace(sample("m", 1, 1), at="1969-12-31T23:59:59.000000Z")
    table = followed(sample_record([before], 1, instance_id="vm-1"))
    assert table.batches[0].refused == {(VIM, "time"): 1}


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (record(VM, b"no JSON"), "no samples: JSON is malformed"),
        (record(VM, b""), "no samples: Input data was truncated"),
        (record(VM, b"{}"), "no samples: Object missing required field `received_at`"),
        (record(VM, b'{"received_at": "soon"}'), "not a time: received_at 'soon'"),
        (record(VM, b'{"received_at": "9999-12-31T23:59:59.000000Z"}'), "not a time"),
        (record(OTHER, of_vm(1, 1).value or b""), f"the record's key is not {VIM}/vm-1"),
        (sample_record([sample("m", 1, 1)], 1), "neither an instance nor a host"),
        (sample_record([sample("m", 1, 1)], 1, instance_id="host/compute-1"), "has a slash"),
        (sample_record([sample("m" * 256, 1, 1)], 1, instance_id="vm-1"), "length <= 255"),
        (sample_record([sample("m", float("nan"), 1)], 1, instance_id="vm-1"), "got `null`"),
        (
            record(VM, (of_vm(1, 1).value or b"").replace(b'"volume":1.0', b'"volume":1e999')),
            "Number out of range",
        ),
        (record(VM, b"[" * 100_000), "no samples"),
        (
            record(b"", (of_vm(1, 1).value or b"").replace(VIM.encode(), b"")),
            "neither an instance nor a host",
        ),
    ],
)
def test_records_that_cannot_be_read_are_rejected_with_a_reason(broken: Record, why: str) -> None:
    table = followed(broken, tick(500))
    ((rejected, reason),) = table.batches[0].rejected
    assert rejected.value == broken.value
    assert why in reason
    assert table.topic == []
    assert table.offset == 2


def test_who_meets_a_record_of_a_newer_version_ends() -> None:
    value = msgspec.json.encode({"schema_version": 99, "received_at": time_text(1)})
    newer = replace(record(VM, value), headers=((SCHEMA, b"99"),))
    with pytest.raises(NewerSchemaError):
        metering().fold([newer], Metered())
    assert "99" in followed(record(VM, value)).batches[0].rejected[0][1]


def test_samples_beyond_what_an_interval_keeps_of_their_cloud_are_refused() -> None:
    records = [
        sample_record(
            [sample("m", 1, 1), sample("n", 1, 1), sample("o", 1, 1)], 2, instance_id="vm-1"
        ),
        of_vm(3, 4, "vm-2"),  # of a subject that is not measured, then
        of_vm(3, 4, volume=7),  # of a gauge that is kept
        of_vm(61, 62, "vm-2"),  # of the next interval
        sample_record([sample("m", 1, 5)], 63, instance_id="vm-1", vim_id="other_cloud"),
        tick(180),
    ]
    table = followed(*records, rules=Rules(most_samples=2))
    assert sum((batch.refused for batch in table.batches), Counter()) == {(VIM, "too_many"): 2}
    assert [
        (
            each.vim_id,
            each.instance_id,
            each.begin,
            [(value.meter, value.volume) for value in each.values],
        )
        for each in table.measurements()
    ] == [
        (VIM, "vm-1", time_text(0), [("m", 7), ("n", 1)]),
        ("other_cloud", "vm-1", time_text(0), [("m", 1)]),
        (VIM, "vm-2", time_text(60), [("m", 1)]),
    ]


def test_a_subject_of_which_nothing_is_kept_takes_no_place_in_the_quota() -> None:
    table = followed(
        of_vm(1, 2),
        of_vm(1, 2, "vm-2"),
        of_vm(61, 62, "vm-3"),
        tick(180),
        rules=Rules(most_samples=1, most_subjects=2),
    )
    assert [batch.refused for batch in table.batches] == [{(VIM, "too_many"): 1}]
    assert begins(table) == [(time_text(0), "vm-1"), (time_text(60), "vm-3")]


def test_each_reason_is_counted_and_the_other_samples_of_the_record_are_taken() -> None:
    refused = [
        sample("m", 1, 71.1),
        sample("", 1, 1),
        sample("m", MAX_VOLUME * 2, 1),
        msgspec.structs.replace(sample("m", 1, 1), at="then"),
    ]
    both = sample_record([*refused, sample("m", 3, 5), *refused], 11, instance_id="vm-1")
    table = followed(both, tick(120))
    assert table.batches[0].refused == {
        (VIM, reason): 2 for reason in ("future", "name", "volume", "time")
    }
    assert {reason for _vim_id, reason in table.batches[0].refused} <= set(REASONS)
    assert table.batches[0].samples == {VIM: 9}
    (measurement,) = table.measurements()
    assert measurement.values[0].volume == 3


def test_subjects_beyond_the_quota_of_their_cloud_are_refused_and_known_ones_are_not() -> None:
    rules = Rules(most_subjects=2)
    table = MeteredTable(rules)
    records = [of_vm(1, 2), of_host(1, 2), of_vm(1, 2, "vm-2"), of_vm(1, 3), tick(120)]
    records += [of_vm(70, 121, "vm-2"), of_vm(70, 121)]
    table.follow(numbered(records))
    table.follow(numbered([*records, of_vm(80, 122, "vm-3"), tick(500)]))
    assert [begin for begin, name in begins(table) if name == "vm-1"] == [
        time_text(0),
        time_text(60),
    ]
    assert {name for _begin, name in begins(table)} == {"vm-1", "compute-1"}
    assert table.batches[0].refused == {(VIM, "over_quota"): 2}
    # It is read again.
    assert table.batches[1].refused == {(VIM, "over_quota"): 1}


def test_the_largest_row_and_the_largest_measurement_fit_into_a_record() -> None:
    def of_all(name: str, at: float, volume: float) -> Record:
        series = ('"' * (MAX_NAMES - 6) + f"{name}{each:03}" for each in range(MAX_SERIES))
        fields = {"kind": "cumulative", "unit": "un"}
        return sample_record(
            [sample(each, volume, at + 1e-6, **fields) for each in series], at, instance_id="vm-1"
        )

    # The last one has no room in the row that the first ones have made.
    few = [
        sample("m" * 50, 1, at, f"{each:0150}", kind="cumulative")
        for at in (1, 61)
        for each in range(100)
    ]
    table = MeteredTable(Rules(grace=600), lambda _key: Facts(*["\U0001f4c8" * 255] * 4))
    records = [
        sample_record(few, 70, instance_id="vm-1"),
        of_all("a", 121, -MAX_VOLUME),
        of_all("a", 181, MAX_VOLUME / 3),
        tick(5000),
    ]
    table.follow(numbered(records))
    assert [len(batch.measurements) for batch in table.batches] == [3, 1]
    assert table.measurements()[-1].values[0].rate is not None
    rows = [row for batch in table.batches for row in batch.rows.values()]
    assert all(len(each) < MAX_RECORD_BYTES for each in (*table.contents(), *rows))


# -- how much a batch takes


def test_a_batch_that_has_made_many_measurements_is_full() -> None:
    count = MAX_MEASUREMENTS + 10
    records = [*(of_vm(1, 2, f"vm-{each:04}") for each in range(count)), of_vm(70, 120)]
    table = MeteredTable()
    table.follow(numbered(records), size=2 * count)
    assert [len(batch.measurements) for batch in table.batches] == [MAX_MEASUREMENTS, 10]
    assert len(table.rows) == count
    assert [name for _begin, name in begins(table)] == sorted(
        key.decode().partition("/")[2] for key in table.rows
    )
    # The record that closed the interval was done once.
    assert sum(batch.samples.total() for batch in table.batches) == count + 1


def test_a_row_keeps_the_measurements_of_a_batch_as_far_as_there_is_room() -> None:
    many = [sample("m" * 50, 1, 1, f"d{each:0150}") for each in range(MAX_SERIES // 2)]
    records = [
        sample_record(
            [msgspec.structs.replace(each, at=time_text(at)) for each in many],
            at,
            instance_id="vm-1",
        )
        for at in (1, 61, 121)
    ]
    table = followed(*records, tick(1000), rules=Rules(grace=600))
    assert [len(batch.measurements) for batch in table.batches] == [2, 1]
    assert len(table.measurements()) == 3
    assert len(table.row(VM).measurements) == 1


def test_whoever_pauses_goes_on_where_it_was() -> None:
    records = numbered([of_vm(1, 2), of_vm(1, 2, "vm-2"), of_vm(70, 120), tick(180)])
    folding, metered, left = metering(), Metered(), list(records)
    done = []
    while left:
        done.append(folding.fold(left, metered, lambda: True))
        left = left[done[-1] :]
    assert done == [1, 1, 0, 0, 1, 0, 1]
    assert len(metered.measurements) == 3
    assert metered.samples == {VIM: 3}


# -- the time


def test_somebody_must_tell_the_time_where_something_is_due() -> None:
    folding = metering()
    assert not folding.is_due(time_text(DAY))
    folding.fold(numbered([of_vm(10, 11)]), Metered())
    assert not folding.is_due(time_text(119.9))
    assert folding.is_due(time_text(120))
    now = decode_samples(empty_record(time_text(120)))
    folding.fold([record(b"", encode_samples(now), 1)], Metered())
    assert folding.clock == time_text(120)
    assert not folding.is_due(time_text(FORGET_AFTER - 1))
    # The age of its row is to be looked at.
    assert folding.is_due(time_text(2 * FORGET_AFTER))


# -- rows that have outlived their time


def aged(
    passed: float,
    facts_of: Callable[[bytes], Facts | None] = lambda _key: None,
    of: Callable[[float, float], Record] = of_vm,
    retention: float = DAY,
) -> MeteredTable:
    """Return the table so long after the end of the last interval that was measured."""
    table = MeteredTable(Rules(retention=retention), facts_of)
    table.follow(numbered([of(1, 2), tick(120), tick(60 + passed)]), size=1)
    return table


def test_the_row_of_an_instance_that_is_gone_is_deleted_an_hour_later() -> None:
    # Rows are looked at every ten minutes.
    assert len(aged(FORGET_AFTER - 1).rows) == 1
    assert len(aged(FORGET_AFTER + 600).rows) == 0


def test_the_row_of_an_instance_that_is_known_and_of_a_host_is_kept_for_the_retention() -> None:
    for table in (
        aged(DAY - 1, lambda _key: KNOWN),
        aged(DAY - 1, of=of_host),
        aged(FORGET_AFTER - 1, retention=0),
    ):
        assert len(table.rows) == 1
    for table in (
        aged(DAY + 600, lambda _key: KNOWN),
        aged(DAY + 600, of=of_host),
        aged(FORGET_AFTER + 600, lambda _key: KNOWN, retention=0),
    ):
        assert len(table.rows) == 0


def test_a_row_is_looked_at_again_when_it_is_older() -> None:
    table = MeteredTable(facts_of=lambda key: KNOWN if key == VM else None)
    records = [of_vm(1, 2), of_vm(1, 2, "vm-2"), tick(120)]
    hours = [tick(120 + FORGET_AFTER * hour) for hour in range(1, 26)]
    table.follow(numbered([*records, *hours[:2]]), size=1)
    assert list(table.rows) == [VM]
    table.follow(numbered([*records, *hours[:23]]), size=1)
    assert list(table.rows) == [VM]
    table.follow(numbered([*records, *hours]), size=1)
    assert list(table.rows) == []


def test_the_row_of_a_subject_that_is_measured_stays() -> None:
    table = MeteredTable()
    minutes = range(0, 3 * FORGET_AFTER, 60)
    table.follow(numbered([of_vm(at, at) for at in minutes]), size=1)
    assert list(table.rows) == [VM]
    assert len(table.measurements()) == len(minutes) - 2


def test_the_row_of_a_subject_with_an_open_interval_stays() -> None:
    table = MeteredTable()
    later = 120 + 2 * FORGET_AFTER
    table.follow(numbered([of_vm(1, 2), tick(120), tick(119), of_vm(later, later)]), size=4)
    assert list(table.rows) == [VM]


def test_a_row_stays_as_long_as_its_samples_are_read_again_after_a_crash() -> None:
    rows: dict[bytes, bytes] = {}
    folding = Metering(Rules(), rows.get, lambda _key: None, Resume(0))
    metered = Metered()
    folding.fold(numbered([of_vm(1, 2), tick(120), tick(3 * FORGET_AFTER)]), metered)
    rows |= metered.rows
    assert folding.outlived(committed=1) == []
    folding.fold([record(b"", empty_record(time_text(5 * FORGET_AFTER)), 3)], metered)
    assert folding.outlived(committed=2) == [VM]
    assert folding.outlived(committed=2) == []


def test_rows_are_looked_at_step_by_step() -> None:
    # There are as many as instances, and most are as old as the others: all of them at once would
    # hold up the event loop.
    rows: dict[bytes, bytes] = {}
    folding = Metering(Rules(), rows.get, lambda _key: None, Resume(0))
    metered = Metered()
    records = [of_vm(1, 2, f"vm-{number}") for number in range(3)]
    folding.fold(numbered([*records, tick(120), tick(3 * FORGET_AFTER)]), metered)
    rows |= metered.rows
    outlived = [folding.outlived(5, must_pause=lambda: True) for _step in range(4)]
    assert [len(each) for each in outlived] == [1, 1, 1, 0]
    assert {key for each in outlived for key in each} == set(rows)


def test_a_subject_whose_row_was_deleted_begins_anew() -> None:
    table = MeteredTable(Rules(most_subjects=1))
    later = 4 * FORGET_AFTER
    records = [of_vm(1, 2), tick(120), tick(later), of_vm(later, later), tick(later + 600)]
    table.follow(numbered(records), size=1)
    assert begins(table) == [(time_text(0), "vm-1"), (time_text(later), "vm-1")]
    assert list(table.rows) == [VM]
    # Its place in the quota was free, and is taken.
    assert not any(batch.refused for batch in table.batches)
    table.follow(numbered([*records, of_host(later + 590, later + 601)]))
    assert table.batches[-1].refused == {(VIM, "over_quota"): 1}


def test_a_row_that_is_deleted_frees_one_place_of_the_quota() -> None:
    table = MeteredTable(Rules(most_subjects=2), lambda key: KNOWN if key == OTHER else None)
    later = 2 * FORGET_AFTER
    new = [of_vm(later, later, name) for name in ("vm-3", "vm-4")]
    records = [of_vm(1, 2), of_vm(1, 2, "vm-2"), tick(120), tick(later), *new]
    table.follow(numbered(records), size=1)
    assert [batch.refused for batch in table.batches[-2:]] == [{}, {(VIM, "over_quota"): 1}]


def test_each_instance_is_told_with_its_own_facts() -> None:
    facts = {VM: Facts(tenant_id="a", vm_state="active"), OTHER: Facts(tenant_id="b")}
    table = MeteredTable(facts_of=facts.get)
    table.follow(numbered([of_vm(1, 2), of_vm(1, 2, "vm-2"), tick(120)]))
    told = {each.instance_id: (each.tenant_id, each.vm_state) for each in table.measurements()}
    assert told == {"vm-1": ("a", "active"), "vm-2": ("b", "")}


def test_a_sample_may_be_a_minute_ahead_and_no_more() -> None:
    table = followed(of_vm(62, 2), of_vm(62.001, 2))
    assert table.batches[0].samples == {VIM: 2}
    assert table.batches[0].refused == {(VIM, "future"): 1}


def test_hosts_are_not_asked_for_in_the_instances_table() -> None:
    def facts_of(key: bytes) -> Facts:
        assert key != host_key(VIM, "compute-1")
        return KNOWN

    table = MeteredTable(facts_of=facts_of)
    table.follow(numbered([of_host(1, 2), of_vm(1, 2), tick(120)]))
    assert [each.vm_state for each in table.measurements()] == ["", "active"]
