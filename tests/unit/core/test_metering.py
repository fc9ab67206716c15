"""Properties of measurements over generated logs of samples, against a naive computation."""

import contextlib
import itertools
import random
from collections import Counter
from functools import partial

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.measurement import Facts
from streams.core.metering import Metered, Rules
from tests.support.folded_table import Record, numbered
from tests.support.metered_table import NOWHERE, CrashError, MeteredTable
from tests.support.sample_log import (
    INTERVAL,
    expected,
    sample_log,
    sample_record,
    seconds_of,
    tick,
)
from vimfed.model.keys import home_key
from vimfed.model.samples import Measurement, decode_samples

few = partial(settings, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def metered(records: list[Record], size: int = 1000) -> MeteredTable:
    table = MeteredTable()
    table.follow(records, size)
    return table


def live(table: MeteredTable, records: list[Record], size: int, lives: list[int]) -> None:
    """Follow a log to its end, dying after so many durable steps of each life but the last."""
    for steps in [*lives, NOWHERE]:
        table.lives = steps
        with contextlib.suppress(CrashError):
            table.follow(records, size)


def totals(batches: list[Metered]) -> dict[str, int | Counter[str]]:
    refused: Counter[str] = Counter()
    for batch in batches:
        for (_vim_id, reason), count in batch.refused.items():
            refused[reason] += count
    return {
        "samples": sum(batch.samples.total() for batch in batches),
        "late": sum(batch.late.total() for batch in batches),
        "repeated": sum(batch.repeated.total() for batch in batches),
        "rejected": sum(len(batch.rejected) for batch in batches),
        "measured": sum(batch.measured.total() for batch in batches),
        "refused": refused,
    }


def place(measurement: Measurement) -> tuple[bytes, float]:
    key = home_key(measurement.vim_id, measurement.instance_id, measurement.host)
    return key, seconds_of(measurement.begin)


def assert_as_computed(table: MeteredTable, records: list[Record]) -> None:
    """Assert that a table's measurements are those of the naive computation, in their order."""
    told, computed = table.measurements(), expected(records).measurements
    assert [place(each) for each in told] == list(computed)
    for each in told:
        assert seconds_of(each.end) - seconds_of(each.begin) == INTERVAL
        values = computed[place(each)]
        assert [(value.meter, value.device) for value in each.values] == sorted(values)
        for value in each.values:
            right = values[value.meter, value.device]
            assert value.at == right["at"]
            assert value.volume == pytest.approx(right["volume"])
            assert value.rate == (pytest.approx(right["rate"]) if "rate" in right else None)
            assert value.delta == right.get("delta")
            assert value.rate is None or value.rate >= 0


@given(seeds)
@few(max_examples=80)
def test_measurements_and_counts_are_those_of_the_naive_computation(seed: int) -> None:
    records = sample_log(seed)
    table, right = metered(records), expected(records)
    assert_as_computed(table, records)
    assert totals(table.batches) == {
        "samples": right.samples,
        "late": right.late,
        "repeated": 0,
        "rejected": right.rejected,
        "measured": len(right.measurements),
        "refused": right.refused,
    }


@given(seeds, st.integers(1, 30), st.booleans())
@few(max_examples=60)
def test_batches_of_any_size_give_the_same_bytes(seed: int, size: int, pausing: bool) -> None:
    records = sample_log(seed)
    whole, batches = metered(records), MeteredTable()
    batches.follow(records, size, lambda: pausing)
    assert batches.topic == whole.topic
    without = {"measurements": ()}
    for key in whole.rows:
        one, other = (
            msgspec.structs.replace(each.row(key), **without) for each in (whole, batches)
        )
        assert one == other
    assert batches.rows.keys() == whole.rows.keys()
    assert totals(batches.batches) == totals(whole.batches)
    assert (batches.offset, batches.metadata) == (whole.offset, whole.metadata)


@given(seeds, st.integers(1, 20), st.lists(st.integers(0, 30), max_size=6))
@few(max_examples=150)
def test_after_crashes_the_same_is_told_and_nothing_with_other_content(
    seed: int, size: int, lives: list[int]
) -> None:
    records = sample_log(seed)
    # What is known of instances changes all the time: a repetition must not show it.
    numbers = itertools.count()
    table = MeteredTable(facts_of=lambda _key: Facts(vm_state=f"{next(numbers)}"))
    live(table, records, size, lives)
    told = table.measurements()
    assert len({each.id for each in told}) == len(told)
    right = metered(records).measurements()
    plain = [msgspec.structs.replace(each, vm_state="") for each in told]
    assert sorted(plain, key=place) == sorted(right, key=place)


@given(seeds, st.integers(1, 20), st.lists(st.integers(0, 30), max_size=6))
@few(max_examples=60)
def test_rows_that_are_swept_make_no_repetition_with_other_content(
    seed: int, size: int, lives: list[int]
) -> None:
    records = sample_log(seed, 60, longest=2000.0)
    table = MeteredTable(Rules(retention=0.0))
    live(table, records, size, lives)
    told = table.measurements()
    assert len({each.id for each in told}) == len(told)
    assert {each.id for each in told} == {each.id for each in metered(records).measurements()}


@given(seeds)
@few(max_examples=60)
def test_duplicates_and_shuffles_within_the_grace_give_the_same_bytes(seed: int) -> None:
    draw = random.Random(seed)
    records = [each for each in sample_log(seed) if b'"samples"' in (each.value or b"")]
    doubled = [_shuffled(each, draw) for each in draw.sample(records * 2, len(records) * 2)]
    # All of it comes before the first interval is closed.
    plain, mixed = (MeteredTable(Rules(grace=3 * 3600)) for _ in range(2))
    end = tick(12 * 3600)
    plain.follow(numbered([*records, end]))
    mixed.follow(numbered([*doubled, end]))
    assert plain.topic
    assert mixed.topic == plain.topic


def _shuffled(each: Record, draw: random.Random) -> Record:
    read = decode_samples(each.value or b"")
    samples = draw.sample(read.samples, len(read.samples))
    received = seconds_of(read.received_at)
    return sample_record(samples, received, instance_id=read.instance_id, host=read.host)


def test_the_logs_hold_all_that_can_happen() -> None:
    found: Counter[str] = Counter()
    for seed in range(20):
        right = expected(sample_log(seed))
        found.update(right.refused)
        found["late"] += right.late
        found["rejected"] += right.rejected
        for values in right.measurements.values():
            for (meter, _device), value in values.items():
                found[meter] += 1
                found["rate"] += "rate" in value
                found["no rate"] += meter == "cpu" and "rate" not in value
    names = ("time", "future", "name", "volume", "late", "rejected", "rate", "no rate")
    for name in (*names, "cpu_util", "memory_util", "network.incoming.bytes.delta"):
        assert found[name] >= 5, name
