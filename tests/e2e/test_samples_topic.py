"""Samples that cannot be read, rows that outlive their time, and workers that do not have both."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.e2e.stack import Stack, eventually
from tests.e2e.test_measurements import CLOUD, PATH, VIM_ID, assert_measured, cloud_of, told
from tests.support.core_truth import newest_values, records_on
from tests.support.sample_load import SampleLoad
from vimfed.local.kafka import LocalKafka
from vimfed.model.keys import instance_key


@pytest.fixture
async def stack(tmp_path: Path, kafka: LocalKafka) -> AsyncIterator[Stack]:
    async with Stack(tmp_path, kafka.bootstrap, [CLOUD]) as stack:
        yield stack


async def test_a_record_that_cannot_be_read_is_a_dead_letter_and_what_follows_is_measured(
    stack: Stack,
) -> None:
    stack.start_worker()
    await stack.ready()
    producer = Producer({"bootstrap.servers": stack.bootstrap, "log_level": 0})
    for partition in range(8):
        producer.produce(stack.names.samples, b"no samples", b"x", partition)
    assert producer.flush(30) == 0
    load = SampleLoad(stack.bootstrap, stack.names, VIM_ID, ["a", "b", "c"])
    await asyncio.to_thread(load.write_minutes, 1)
    await asyncio.to_thread(load.close_all)

    async def are_measured() -> bool:
        return len(await asyncio.to_thread(told, stack)) == 3

    await eventually(are_measured, within=60)
    letters = await asyncio.to_thread(records_on, stack.bootstrap, stack.names.dead_letter)
    assert {(each.value, each.headers["origin"]) for each in letters} == {
        (b"no samples", "samples")
    }
    assert len(letters) == 8
    config = ("--config", str(stack.folder / "vimfed.toml"))
    run = partial(subprocess.run, capture_output=True, text=True, check=False, timeout=60)
    replayed = await asyncio.to_thread(
        run,
        [sys.executable, "-m", "vimfed", *config, "dead-letter", "replay", "--error", "samples"],
    )
    assert replayed.returncode == 1
    assert "still unusable" in replayed.stderr


async def test_rows_of_instances_that_nobody_knows_are_deleted_an_hour_after_their_last_sample(
    stack: Stack,
) -> None:
    stack.start_worker()
    await stack.ready()
    known = await cloud_of(stack, 2)
    load = SampleLoad(stack.bootstrap, stack.names, VIM_ID, [*known, "unknown"])
    await asyncio.to_thread(load.write_minutes, 1)
    await asyncio.to_thread(load.close_all)
    await assert_measured(stack)

    async def only_known_ones() -> bool:
        rows = await asyncio.to_thread(newest_values, stack.bootstrap, stack.names.meters_changelog)
        kept = {key for key, row in rows.items() if row}
        return rows.keys() > kept == {instance_key(VIM_ID, each) for each in known}

    await asyncio.to_thread(load.close_all)
    await eventually(only_known_ones, within=60, every=0.5)


async def test_a_worker_that_owns_nothing_waits_and_stops_in_order(stack: Stack) -> None:
    settings = stack.folder / "vimfed.toml"
    settings.write_text(settings.read_text().replace("[kafka]", "[kafka]\npartitions = 1", 1))
    for name in ("one", "two"):
        stack.start_worker(name)
        await stack.ready(name)
    load = SampleLoad(stack.bootstrap, stack.names, VIM_ID, ["a", "b"], partitions=1)
    await asyncio.to_thread(load.write_minutes, 1)
    await asyncio.to_thread(load.close_all)
    await assert_measured(stack)
    for name in ("two", "one"):
        stack.children[name].stop()
        assert stack.children[name].returncode == 0


async def test_samples_wait_until_all_workers_take_some_and_queries_go_on(stack: Stack) -> None:
    """Samples are switched on worker by worker, as in a rolling restart."""
    settings = stack.folder / "vimfed.toml"
    with_samples = settings.read_text()
    settings.write_text(with_samples.replace("pushed = true", "pushed = false"))
    names = ("one", "two", "three")
    for name in names:
        stack.start_worker(name)
        await stack.ready(name)  # the first one assigns for all
    await stack.serving(*names)
    ids = await cloud_of(stack, 20, "one")
    assert (await stack.get(f"{PATH}/measurements", "one"))[1]["entries"] == []
    settings.write_text(with_samples)
    for name in ("two", "three"):
        stack.children[name].stop()
        stack.start_worker(name)
        await stack.serving(*names)
    load = SampleLoad(stack.bootstrap, stack.names, VIM_ID, ids)
    await asyncio.to_thread(load.write_minutes, 2)
    await asyncio.to_thread(load.close_all)
    for worker in names:
        for instance_id in ids:
            assert (await stack.get(f"{PATH}/instances/{instance_id}", worker))[0] == 200
    assert (await stack.get(f"{PATH}/measurements", "two"))[0] == 503
    stack.children["one"].stop()
    stack.start_worker("one")
    await stack.serving(*names)
    assert len(await assert_measured(stack)) == 20 * 2
    assert (await stack.get(f"{PATH}/measurements?limit=1", "two"))[1]["count"] == 20
