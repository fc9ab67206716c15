"""The examples, as a reader runs them."""

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from confluent_kafka import Producer

from tests.e2e.stack import Stack, eventually
from tests.support.measurements import gauge, host_measurement, key_of, measurement
from tests.support.paths import PROJECT
from vimfed.local.kafka import LocalKafka
from vimfed.model.samples import encode_measurement

CLOUD = {"cloud_owner": "CloudOwner", "cloud_region_id": "RegionOne"}


@pytest.fixture
async def stack(tmp_path: Path, kafka: LocalKafka) -> AsyncIterator[Stack]:
    async with Stack(tmp_path, kafka.bootstrap, [CLOUD], "[filter]\nenabled = false") as stack:
        stack.start_worker()
        stack.start("publisher")
        await stack.ready("worker")
        await stack.ready("publisher")
        yield stack


@asynccontextmanager
async def running(script: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        PROJECT / "examples" / script,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def pushed(stack: Stack, instance_id: str, state: str) -> tuple[int | None, str]:
    url = f"http://127.0.0.1:{stack.ports['worker']}"
    arguments = ("CloudOwner", "RegionOne", instance_id, state, "--url", url)
    async with running("push_state.py", *arguments) as process:
        output, errors = await process.communicate()
        return process.returncode, (output + errors).decode().strip()


@pytest.mark.parametrize(
    ("format_", "script", "kind"),
    [
        ("payload", "consume.py", "POWER_OFF end"),
        ("cloudevents", "consume_cloudevents.py", "org.onap.multicloud.vm.power_off.end"),
    ],
)
async def test_what_a_plug_in_pushes_comes_to_a_consumer(
    stack: Stack, format_: str, script: str, kind: str
) -> None:
    status, answer = await stack.put(
        "/api/multicloud/v1/subscriptions/example", {"kinds": ["POWER_OFF"], "format": format_}
    )
    assert status == 201, answer

    async def holds() -> bool:
        return datetime.now(UTC) > datetime.fromisoformat(answer["holds_from"])

    instance_id = str(uuid.uuid4())
    async with running(script, stack.bootstrap, stack.dmaap_topic) as consumer:
        await eventually(holds, within=30)
        for state in ("active", "stopped"):
            assert await pushed(stack, instance_id, state) == (0, '{"accepted":1}')
        assert consumer.stdout is not None
        line = (await asyncio.wait_for(consumer.stdout.readline(), 30)).decode()
    assert line.split()[1:] == [*kind.split(), instance_id, "stopped"]
    refused, problem = await pushed(stack, instance_id, "no state")
    assert refused == 1
    assert "no state" in problem


async def test_a_consumer_of_measurements_tells_which_vms_are_busy(kafka: LocalKafka) -> None:
    topic = f"measured-{uuid.uuid4().hex}"
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
    told = [
        host_measurement(gauge("cpu_util", 79.0, "%")),
        measurement("vm-1", values=(gauge("cpu_util", 79.0), gauge("memory_util", 95.0))),
        measurement("vm-2", values=(gauge("cpu_util", 95.0, "%"),)),
    ]
    for each in told:
        producer.produce(topic, encode_measurement(each), key_of(each))
    assert producer.flush(30) == 0
    async with running("consume_measurements.py", kafka.bootstrap, topic) as consumer:
        assert consumer.stdout is not None
        line = (await asyncio.wait_for(consumer.stdout.readline(), 30)).decode()
    assert line == f"{told[2].end} vm-2 95 %\n"


async def test_an_output_of_ones_own_loses_nothing_where_its_server_fails_once(
    kafka: LocalKafka,
) -> None:
    topic = f"forward-{uuid.uuid4().hex}"
    taken: list[tuple[str, str]] = []
    answers = iter([503, 204, 204])

    async def take(request: web.Request) -> web.Response:
        taken.append((request.headers["ce_id"], await request.text()))
        return web.Response(status=next(answers))

    application = web.Application()
    application.add_routes([web.post("/events", take)])
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
    for number in range(2):
        producer.produce(topic, f"{number}", b"vm", headers=[("ce_id", f"id-{number}".encode())])
    assert producer.flush(30) == 0
    async with TestServer(application) as server:
        arguments = (kafka.bootstrap, topic, str(server.make_url("/events")))
        async with running("forward.py", *arguments):

            async def has_all() -> bool:
                return len(taken) == 3

            await eventually(has_all, within=30)
    assert taken == [("id-0", "0"), ("id-0", "0"), ("id-1", "1")]
