"""Samples in, measurements out: the same as the core makes of the log, whoever dies meanwhile."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from streams.core.metering import Rules
from tests.e2e.notifications_topic import PARTITIONS, NotificationsTopic
from tests.e2e.stack import Stack, eventually
from tests.support.core_truth import newest_values, records_on
from tests.support.sample_load import SampleLoad, facts_on_changelog, measured_truth
from tests.support.topic_changes import change_topic
from vimfed.kafka.notification_writer import arrival_time
from vimfed.kafka.partitions import partition_of
from vimfed.local.kafka import LocalKafka
from vimfed.model.keys import instance_key
from vimfed.model.samples import (
    Measurement,
    Sample,
    SampleRecord,
    decode_measurement,
    decode_meters,
    encode_samples,
)

CLOUD = {
    "cloud_owner": "CloudOwner",
    "cloud_region_id": "RegionOne",
    "samples": {"pushed": True},
}
VIM_ID = "CloudOwner_RegionOne"
PATH = "/api/multicloud/v1/CloudOwner/RegionOne"
RULES = Rules(interval=60, grace=60)


@pytest.fixture
async def stack(tmp_path: Path, kafka: LocalKafka) -> AsyncIterator[Stack]:
    async with Stack(tmp_path, kafka.bootstrap, [CLOUD]) as stack:
        yield stack


async def cloud_of(stack: Stack, count: int, worker: str = "worker") -> list[str]:
    """Let a cloud have so many instances, which a worker knows; return their ids."""
    ids = [str(uuid.uuid5(uuid.NAMESPACE_OID, f"vm-{number}")) for number in range(count)]
    topic = NotificationsTopic(stack, VIM_ID)
    for number, instance_id in enumerate(ids):
        tenant = "even" if number % 2 == 0 else "odd"
        topic.tell(instance_id, state="active", display_name=f"vm {number}", tenant_id=tenant)

    async def all_known() -> bool:
        _, answer = await stack.get(f"{PATH}/instances?limit=1", worker)
        return bool(answer["count"] == count)

    await eventually(all_known, within=30)
    return ids


def told(stack: Stack) -> dict[str, set[bytes]]:
    """Return by id with which contents each measurement lies on its topic."""
    contents: dict[str, set[bytes]] = {}
    for record in records_on(stack.bootstrap, stack.names.measurements):
        contents.setdefault(decode_measurement(record.value).id, set()).add(record.value)
    return contents


async def assert_measured(stack: Stack) -> dict[str, Measurement]:
    """Check that what was measured is what the core makes of the log, each with one content."""
    facts_of = await asyncio.to_thread(facts_on_changelog, stack.bootstrap, stack.names)
    truth = await asyncio.to_thread(measured_truth, stack.bootstrap, stack.names, RULES, facts_of)

    async def all_told() -> bool:
        return (await asyncio.to_thread(told, stack)).keys() >= truth.keys()

    await eventually(all_told, within=60, every=0.5)
    measured = await asyncio.to_thread(told, stack)
    assert measured.keys() == truth.keys()
    assert [contents for contents in measured.values() if len(contents) > 1] == []
    found = {each: decode_measurement(min(contents)) for each, contents in measured.items()}
    assert found == truth
    return truth


async def test_what_is_measured_is_what_the_core_makes_of_the_log(stack: Stack) -> None:
    worker = stack.start_worker()
    await stack.ready()
    ids = await cloud_of(stack, 20)
    load = SampleLoad(stack.bootstrap, stack.names, VIM_ID, ids)
    await asyncio.to_thread(load.write_minutes, 5)
    await asyncio.to_thread(load.close_all)
    truth = await assert_measured(stack)
    assert len(truth) == 20 * 5
    assert {each.display_name for each in truth.values()} == {f"vm {n}" for n in range(20)}

    worker.stop()
    await asyncio.to_thread(load.write_minutes, 3)
    stack.start_worker()
    await stack.ready()
    await asyncio.to_thread(load.write_minutes, 2)
    worker.kill()  # intervals are open: they are read again
    stack.start_worker()
    await stack.ready()
    await asyncio.to_thread(load.close_all)
    assert len(await assert_measured(stack)) == 20 * 10
    rows = await asyncio.to_thread(newest_values, stack.bootstrap, stack.names.meters_changelog)
    assert rows.keys() == {instance_key(VIM_ID, each) for each in ids}


async def test_both_tables_of_a_partition_lie_at_the_same_worker(stack: Stack) -> None:
    names: list[str] = []
    ids: list[str] = []
    for name in ("one", "two", "three"):
        names.append(name)
        stack.start_worker(name)
        await stack.ready(name)
        await stack.serving(*names)
        if not ids:
            ids = await cloud_of(stack, 40, "one")
            load = SampleLoad(stack.bootstrap, stack.names, VIM_ID, ids)
        await asyncio.to_thread(load.write_minutes, 2)
        await asyncio.to_thread(load.close_all)
        assert len(await assert_measured(stack)) == 40 * 2 * len(names)
        for worker in names:
            for instance_id in ids[:10]:
                # 503 where the meters lie elsewhere than the instance.
                status, answer = await stack.get(
                    f"{PATH}/instances/{instance_id}/measurements", worker
                )
                assert status == 200, answer
                assert len(answer["recent"]) >= 2
    for leaving in ("one", "three"):
        stack.children[leaving].stop()
        names.remove(leaving)
        await stack.serving(*names)
        await asyncio.to_thread(load.write_minutes, 1)
        await asyncio.to_thread(load.close_all)
        await assert_measured(stack)


async def test_workers_that_are_killed_and_come_and_go_under_load_measure_each_interval_once(
    stack: Stack,
) -> None:
    for name in ("one", "two"):
        stack.start_worker(name)
    await stack.serving("one", "two")
    ids = await cloud_of(stack, 60, "one")
    load = SampleLoad(stack.bootstrap, stack.names, VIM_ID, ids)

    async def measures_on() -> None:
        before = len(await asyncio.to_thread(told, stack))

        async def more() -> bool:
            return len(await asyncio.to_thread(told, stack)) > before + len(ids)

        await eventually(more, within=60, every=0.5)

    load.start(seconds=0.2)
    await measures_on()
    for victim in ("one", "two"):
        stack.children[victim].kill()
        await measures_on()
        stack.start_worker(victim)
        await measures_on()
    stack.start_worker("three")
    await stack.serving("one", "two", "three")
    await measures_on()
    stack.children["two"].freeze()
    await measures_on()
    stack.children["two"].thaw()
    await measures_on()
    stack.children["three"].stop()
    await measures_on()
    await asyncio.to_thread(load.stop)
    await asyncio.to_thread(load.close_all)
    await assert_measured(stack)


async def test_what_a_row_has_measured_and_told_nobody_is_told_as_the_row_has_it(
    stack: Stack,
) -> None:
    """The worker ends between the rows and their measurements, which Kafka does not take."""
    worker = stack.start_worker()
    await stack.ready()
    ids = await cloud_of(stack, 20)
    load = SampleLoad(stack.bootstrap, stack.names, VIM_ID, ids)
    change_topic(stack.bootstrap, stack.names.measurements, {"max.message.bytes": "100"})
    await asyncio.to_thread(load.write_minutes, 1)
    await asyncio.to_thread(load.close_all)

    async def has_ended() -> bool:
        return not worker.running

    await eventually(has_ended, within=60)
    rows = await asyncio.to_thread(newest_values, stack.bootstrap, stack.names.meters_changelog)
    untold = {
        measurement.id: measurement
        for row in rows.values()
        for measurement in decode_meters(row).measurements
    }
    assert untold
    assert await asyncio.to_thread(told, stack) == {}
    # Whoever measured anew would find another name by now.
    topic = NotificationsTopic(stack, VIM_ID)
    for instance_id in ids:
        topic.tell(instance_id, second=1, state="active", display_name="renamed")
    change_topic(stack.bootstrap, stack.names.measurements, {"max.message.bytes": "1048588"})
    stack.start_worker()
    await stack.ready()

    async def all_told() -> bool:
        return len(await asyncio.to_thread(told, stack)) == len(ids)

    await eventually(all_told, within=60, every=0.5)
    measured = await asyncio.to_thread(told, stack)
    for measurement_id, measurement in untold.items():
        assert [decode_measurement(each) for each in measured[measurement_id]] == [measurement]


async def test_who_asks_is_told_what_was_measured_and_of_which_a_meter_shows_most(
    stack: Stack,
) -> None:
    for name in ("one", "two"):
        stack.start_worker(name)
    await stack.serving("one", "two")
    ids = await cloud_of(stack, 12, "one")
    load = SampleLoad(stack.bootstrap, stack.names, VIM_ID, ids)
    load.write_host("compute-1", "compute.node.cpu.percent", 37.5)
    await asyncio.to_thread(load.write_minutes, 3)
    await asyncio.to_thread(load.close_all)
    truth = (await assert_measured(stack)).values()
    newest = {
        each.instance_id: {(value.meter, value.device): value for value in each.values}
        for each in sorted(truth, key=lambda each: each.end)
        if each.instance_id
    }
    (of_host,) = [each for each in truth if not each.instance_id]
    answers = {}
    for worker in ("one", "two"):
        _, answers[worker] = await stack.get(
            f"{PATH}/measurements?meter=disk.device.read.bytes&sort=rate&limit=5", worker
        )
    assert answers["one"] == answers["two"]
    answer = answers["one"]
    rates = {name: values["disk.device.read.bytes", "vda"].rate for name, values in newest.items()}
    assert answer["count"] == len(ids)
    assert [each["rate"] for each in answer["entries"]] == sorted(
        (rate for rate in rates.values() if rate is not None), reverse=True
    )[:5]
    assert all(rates[each["instance_id"]] == each["rate"] for each in answer["entries"])
    _, idle = await stack.get(f"{PATH}/measurements?meter=cpu_util&order=asc&limit=1", "two")
    assert idle["entries"][0]["volume"] == min(
        values["cpu_util", ""].volume for values in newest.values()
    )
    for tenant in ("even", "odd"):
        _, theirs = await stack.get(f"{PATH}/measurements?tenant_id={tenant}&limit=1000", "one")
        assert {each["tenant_id"] for each in theirs["entries"]} == {tenant}
        assert theirs["count"] == len(ids) // 2
    status, one = await stack.get(f"{PATH}/instances/{ids[0]}/measurements", "two")
    assert status == 200
    assert {
        (value["meter"], value["device"] or ""): value["volume"]
        for value in one["measurements"][-1]["values"]
    } == {name: value.volume for name, value in newest[ids[0]].items()}
    for worker in ("one", "two"):
        status, told_of_host = await stack.get(f"{PATH}/hosts/compute-1/measurements", worker)
        assert (status, told_of_host["host"]) == (200, "compute-1")
        (interval,) = told_of_host["measurements"]
        assert (interval["id"], interval["end"]) == (of_host.id, of_host.end)
        (value,) = interval["values"]
        assert (value["meter"], value["volume"]) == ("compute.node.cpu.percent", 37.5)
    assert (await stack.get(f"{PATH}/hosts/nobody/measurements", "one"))[0] == 404
    assert (await stack.get(f"{PATH}/instances/nobody/measurements", "one"))[0] == 404
    assert (await stack.get(f"{PATH}/measurements?sort=size", "one"))[0] == 400

    stack.children["two"].kill()
    status, _ = await stack.get(f"{PATH}/measurements", "one")
    assert status == 503
    await stack.serving("one")
    assert (await stack.get(f"{PATH}/measurements?limit=1", "one"))[1]["count"] == len(ids)


async def test_time_passes_where_nothing_more_comes(tmp_path: Path, kafka: LocalKafka) -> None:
    sections = "[metrics]\ninterval = 10\ngrace = 0"
    async with Stack(tmp_path, kafka.bootstrap, [CLOUD], sections) as stack:
        stack.start_worker()
        await stack.ready()
        write_now(stack, "vm-1", 3)

        async def is_measured() -> bool:
            return len(await asyncio.to_thread(told, stack)) == 1

        await eventually(is_measured, within=60)


def write_now(stack: Stack, instance_id: str, volume: float, meter: str = "power") -> None:
    """Write a sample that was taken and received now."""
    now, key = arrival_time(), instance_key(VIM_ID, instance_id)
    record = SampleRecord(
        vim_id=VIM_ID,
        instance_id=instance_id,
        samples=(Sample(meter=meter, volume=volume, at=now),),
        received_at=now,
    )
    producer = Producer({"bootstrap.servers": stack.bootstrap, "log_level": 0})
    producer.produce(
        stack.names.samples, encode_samples(record), key, partition_of(key, PARTITIONS)
    )
    assert producer.flush(30) == 0
