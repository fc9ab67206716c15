"""The whole way of metrics: samples of a cloud's instances in, measurements at outputs out."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

from tests.e2e.notifications_topic import NotificationsTopic
from tests.e2e.stack import Stack, eventually
from tests.support.message_router import MessageRouter
from tests.support.sample_load import SampleLoad
from tests.support.ves_collector import VesCollector
from vimfed.local.kafka import LocalKafka

CLOUD = {
    "cloud_owner": "CloudOwner",
    "cloud_region_id": "RegionOne",
    "samples": {"pushed": True},
}
VIM_ID = "CloudOwner_RegionOne"
API = "/api/multicloud/v1"
MINUTES = 4


def sections(router: MessageRouter, collector: VesCollector) -> str:
    """Return outputs of measurements: to the collector by [filter], to the router by nobody."""
    return "\n".join(
        [
            *("[[dmaap.outputs]]", 'name = "ves"', f'url = "{collector.url}"'),
            'carries = "measurements"',
            *("[[dmaap.outputs]]", 'name = "mr"', f'url = "{router.url}"'),
            'carries = "measurements"',
            *("[filter]", 'output = "ves"'),
        ]
    )


async def test_samples_come_as_measurements_of_named_vms_to_who_wants_them_of_what_they_want(
    tmp_path: Path, kafka: LocalKafka
) -> None:
    async with (
        MessageRouter() as router,
        VesCollector() as collector,
        Stack(tmp_path, kafka.bootstrap, [CLOUD], sections(router, collector)) as stack,
    ):
        worker = stack.start_worker()
        await stack.ready()
        wanted = {"meters": ["cpu_util"], "tenants": ["even"], "output": "mr"}
        status, subscribed = await stack.put(f"{API}/subscriptions/scaling", wanted)
        assert (status, subscribed["meters"]) == (201, ["cpu_util"])
        ids = [f"vm-{number}" for number in range(10)]
        even = set(ids[::2])
        topic = NotificationsTopic(stack, VIM_ID)
        for instance_id in ids:
            tenant = "even" if instance_id in even else "odd"
            topic.tell(instance_id, state="active", display_name=instance_id, tenant_id=tenant)

        async def all_known_and_subscribed() -> bool:
            _, answer = await stack.get(f"{API}/CloudOwner/RegionOne/instances?limit=1")
            holds = datetime.now(UTC) > datetime.fromisoformat(subscribed["holds_from"])
            return bool(answer["count"] == len(ids)) and holds

        await eventually(all_known_and_subscribed, within=30)
        for name in ("ves", "mr"):
            stack.start(name, "publisher", "--output", name, "--port", "0")
        load = SampleLoad(stack.bootstrap, stack.names, VIM_ID, ids)
        await asyncio.to_thread(load.write_minutes, MINUTES // 2)
        worker.kill()
        stack.children["mr"].kill()
        stack.start_worker()
        stack.start("mr")
        await asyncio.to_thread(load.write_minutes, MINUTES // 2)
        await asyncio.to_thread(load.close_all)

        def taken() -> tuple[dict[str, str], dict[str, str]]:
            """Return by id of each measurement whose it is, at the collector and at the router."""
            headers = [each["commonEventHeader"] for each in collector.events]
            routed = [json.loads(value) for _key, value in router.messages]
            return (
                {each["eventId"]: each["sourceId"] for each in headers},
                {each["id"]: each["instance_id"] for each in routed},
            )

        async def all_there() -> bool:
            # Of the first minute nobody knows how busy the processors were: nothing is left.
            counts = [len(ids) * MINUTES, len(even) * (MINUTES - 1)]
            return [len(each) for each in taken()] == counts

        await eventually(all_there, within=60)
        at_collector, at_router = taken()
        assert set(at_collector.values()) == set(ids)
        assert set(at_router.values()) == even
        assert at_router.items() <= at_collector.items()
        for event in collector.events:
            assert event["commonEventHeader"]["sourceName"] in ids
            fields = event["measurementFields"]
            assert fields["measurementInterval"] == 60
            assert fields["additionalFields"]["vmState"] == "active"
        for _key, value in router.messages:
            assert [each["meter"] for each in json.loads(value)["values"]] == ["cpu_util"]
