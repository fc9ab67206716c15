"""The whole path on real input: from nova's notifications to DMaaP and to check_vim_status."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.e2e.stack import Stack, eventually
from tests.support.brokers import RabbitMQ
from tests.support.core_truth import Record, core_truth, records_on
from tests.support.nova_messages import spec_example
from tests.support.paths import DATA
from tests.support.sections import kafka_cloud, rabbit_cloud
from vimfed.cli.replay import RecordedMessage, read_trace, replay
from vimfed.local.kafka import LocalKafka

TRACE = DATA / "nova-34-trace.jsonl.gz"
TRUTH: dict[str, Any] = json.loads((DATA / "nova-34-truth.json").read_text())["servers"]
EVENTS = 1227
"""So many does the whole trace tell; every server is as at its end before the last of them."""
SPEC_EXAMPLE = spec_example()

VIM_ID = "CloudOwner_RegionOne"
INSTANCES = "/api/multicloud/v1/CloudOwner/RegionOne/instances"
STATUS = f"/{VIM_ID}/check_vim_status"


class Cloud:
    """A cloud that notifies over one of the shared brokers, by names of its own there."""

    def __init__(self, name: str, url: str) -> None:
        self.url = url
        self.exchange = f"nova-{name}"
        self._topic = f"{name}-"

    def settings(self) -> dict[str, Any]:
        names = {"cloud_owner": "CloudOwner", "cloud_region_id": "RegionOne"}
        topics = [f"{self._topic}notifications", f"{self._topic}versioned_notifications"]
        if self.url.startswith("kafka://"):
            bootstrap = self.url.removeprefix("kafka://")
            return kafka_cloud(bootstrap, **names, topics=topics, group=self.exchange)
        return rabbit_cloud(
            self.url, **names, exchange=self.exchange, topics=topics, pool=self.exchange
        )

    async def send(self, messages: Iterator[RecordedMessage], rate: float | None = None) -> None:
        renamed = (
            replace(message, routing_key=self._topic + message.routing_key) for message in messages
        )
        await asyncio.to_thread(replay, renamed, self.url, rate=rate, exchange=self.exchange)


@pytest.fixture
def transport() -> str:
    """The kind of transport over which the cloud notifies."""
    return "rabbit"


@pytest.fixture
def cloud(transport: str, kafka: LocalKafka, rabbitmq: RabbitMQ) -> Cloud:
    url = rabbitmq.url if transport == "rabbit" else f"kafka://{kafka.bootstrap}"
    return Cloud(f"whole-{random.randrange(10**6)}", url)


@pytest.fixture
async def stack(tmp_path: Path, kafka: LocalKafka, cloud: Cloud) -> AsyncIterator[Stack]:
    async with Stack(tmp_path, kafka.bootstrap, [cloud.settings()]) as stack:
        yield stack


async def wrong_states(stack: Stack) -> dict[str, Any]:
    """Ask for every server of the trace; return the answers that are not nova's truth."""
    wrong: dict[str, Any] = {}
    for instance_id, truth in TRUTH.items():
        status, answer = await stack.get(f"{INSTANCES}/{instance_id}")
        told = (answer["vm_state"], answer["task_state"]) if status == 200 else status
        if told != (truth["vm_state"], truth["task_state"]):
            wrong[instance_id] = told
    return wrong


async def assert_truth(stack: Stack, within: float = 60) -> None:
    async def told() -> bool:
        return not await wrong_states(stack)

    try:
        await eventually(told, within=within, every=0.5)
    except AssertionError:
        assert await wrong_states(stack) == {}


def published(stack: Stack) -> list[Record]:
    return records_on(stack.bootstrap, stack.dmaap_topic)


async def published_ids(stack: Stack) -> Counter[str]:
    return Counter(record.headers["ce_id"] for record in await asyncio.to_thread(published, stack))


async def assert_every_event_is_published(stack: Stack) -> Counter[str]:
    """Wait until DMaaP has every event that the core tells, and no other; count them by id."""

    async def all_there() -> bool:
        return len(await published_ids(stack)) >= EVENTS

    await eventually(all_there, within=30, every=0.5)
    ids = await published_ids(stack)
    expected = (await asyncio.to_thread(core_truth, stack.bootstrap, stack.names)).events
    assert ids.keys() == expected.keys()
    assert len(ids) == EVENTS
    return ids


async def start(stack: Stack) -> None:
    stack.start("bridge")
    stack.start_worker()
    stack.start("publisher")
    await stack.bridge_connected()
    await stack.ready()


@pytest.mark.parametrize("transport", ["rabbit", "kafka"])
async def test_the_recorded_trace_ends_in_novas_truth_and_every_event_on_dmaap(
    stack: Stack, cloud: Cloud
) -> None:
    await start(stack)
    await cloud.send(read_trace(TRACE))
    await assert_truth(stack)
    ids = await assert_every_event_is_published(stack)
    assert set(ids.values()) == {1}
    assert len(SPEC_EXAMPLE) == 34
    for record in published(stack):
        payload = json.loads(record.value)
        assert payload.keys() >= SPEC_EXAMPLE.keys()
        about = payload["vim_event"]
        assert record.key.decode() == f"{VIM_ID}/{payload['instance_id']}"
        assert record.headers["ce_specversion"] == "1.0"
        assert record.headers["ce_id"] == about["id"]
        assert record.headers["ce_subject"] == payload["instance_id"]
        assert record.headers["ce_kind"] == about["kind"]
        assert record.headers["ce_phase"] == about["phase"]


async def test_the_specifications_example_arrives_with_every_field_unchanged(
    stack: Stack, cloud: Cloud
) -> None:
    await start(stack)
    message = {
        "message_id": "c0ffee00-0000-4000-8000-000000000000",
        "publisher_id": "compute.compute01",
        "event_type": "compute.instance.power_off.start",
        "priority": "INFO",
        "payload": SPEC_EXAMPLE,
        "timestamp": "2018-03-07 06:11:12.123456",
    }
    body = json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(message)})
    await cloud.send(iter([RecordedMessage("notifications.info", body)]))
    await eventually(lambda: asyncio.to_thread(published, stack), within=30)
    (arrived,) = published(stack)
    payload = json.loads(arrived.value)
    about = payload.pop("vim_event")
    assert payload == SPEC_EXAMPLE
    assert (about["kind"], about["phase"]) == ("POWER_OFF", "start")
    assert about["changed_at"] == "2018-03-07T06:11:12.123456Z"

    status, answer = await stack.post(STATUS, {"states": ["POWER_OFF"]})
    assert status == 200
    assert answer["state_description"] == "powering-off"
    assert answer["launched_at"] == "2018-03-07T06:11:12.123456Z"
    assert [one["instance_id"] for one in answer["instances"]] == [SPEC_EXAMPLE["instance_id"]]


@pytest.mark.parametrize("transport", ["kafka"])  # it costs less, and the worker sees no difference
async def test_a_worker_killed_in_the_middle_of_the_replay_loses_nothing(
    stack: Stack, cloud: Cloud
) -> None:
    await start(stack)
    sending = asyncio.create_task(cloud.send(read_trace(TRACE), rate=150))
    chance = random.Random(7)
    for _ in range(3):
        await stack.ready()
        told = await events_told(stack)

        async def goes_on(before: int = told) -> bool:
            return await events_told(stack) > before

        await eventually(goes_on, within=30)
        await asyncio.sleep(chance.uniform(0, 0.3))  # so that it hits any moment of a batch
        stack.children["worker"].kill()
        assert not sending.done(), "the kills must hit the replay in its middle"
        stack.start_worker()
    await sending
    await stack.ready()
    await assert_truth(stack)
    await assert_every_event_is_published(stack)


async def events_told(stack: Stack) -> int:
    return len(await asyncio.to_thread(records_on, stack.bootstrap, stack.names.events))


async def test_bad_requests_get_a_4xx_that_says_how_to_mend_them(stack: Stack) -> None:
    stack.start_worker()
    await stack.ready()
    for body, status, complaint in [
        (b"no json", 400, "not JSON"),
        (b"[]", 400, "Expected `object`"),
        (b"{}", 400, "missing required field `states`"),
        (b'{"states": []}', 400, "array"),
        (b'{"states": "PAUSE"}', 400, "Expected `array`"),
        (b'{"states": ["PAUSE", "FLYING"]}', 400, "unknown ['FLYING']"),
        (b'{"states": ["PAUSE"], "limit": 0}', 400, "limit"),
        (b'{"states": ["PAUSE"], "marker": "x"}', 400, "marker"),
        (b'{"states": ["PAUSE"], "tennant": "x"}', 400, "unknown field `tennant`"),
        (b'{"states": ["' + b"x" * 2_000_000 + b'"]}', 413, "larger than 1 MiB"),
    ]:
        assert (await stack.post(STATUS, body))[0] == status, body[:50]
        assert complaint in (await stack.post(STATUS, body))[1]["error"]
    status, answer = await stack.post("/Nobody_Nowhere/check_vim_status", {"states": ["PAUSE"]})
    assert (status, "unknown VIM" in answer["error"]) == (404, True)
    status, answer = await stack.get(f"{INSTANCES}/no-such-instance")
    assert (status, "unknown instance" in answer["error"]) == (404, True)
    assert (await stack.get(STATUS))[0] == 405
    assert (await stack.get("/nothing/here"))[0] == 404


async def test_every_route_of_check_vim_status_answers_alike(stack: Stack) -> None:
    stack.start_worker()
    await stack.ready()
    expected = (
        200,
        {
            "state_description": "",
            "launched_at": "",
            "vim_id": VIM_ID,
            "count": 0,
            "next_marker": None,
            "instances": [],
        },
    )
    for path in (
        f"/{VIM_ID}/check_vim_status",
        f"/api/multicloud/v0/{VIM_ID}/check_vim_status",
        "/api/multicloud/v1/CloudOwner/RegionOne/check_vim_status",
    ):
        assert await stack.post(path, {"states": ["POWER_OFF", "shutdown", "Paused"]}) == expected
        assert await stack.post(path + "/", {"states": ["active"]}) == expected
