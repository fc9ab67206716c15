"""Kafka goes away under a worker that writes, for longer than one request may take."""

import asyncio
import time
from pathlib import Path

from tests.chaos.instance_load import INSTANCES, Load
from tests.chaos.test_workers import assert_nothing_was_lost
from tests.e2e.notifications_topic import PARTITIONS
from tests.e2e.stack import Stack, eventually
from tests.support.brokers import new_kafka

CLOUD = {"cloud_owner": "CloudOwner", "cloud_region_id": "RegionOne"}
REQUEST_TIMEOUT = 20.0
"""Seconds after which aiokafka gives up what has no leader (streams/engine/apps.py)."""


async def test_a_worker_waits_for_kafka_and_loses_nothing(tmp_path: Path) -> None:
    with new_kafka(tmp_path / "kafka") as kafka:
        async with Stack(tmp_path, kafka.bootstrap, [CLOUD]) as stack:
            worker = stack.start_worker()
            await stack.ready()
            load = Load(
                kafka.bootstrap, stack.names.notifications, PARTITIONS, instances=100, rate=2000
            )
            load.start()
            instance = f"{INSTANCES}/{load.instance_ids[0]}"

            async def is_known() -> bool:
                return (await stack.get(instance))[0] == 200

            await eventually(is_known, within=20)
            await asyncio.to_thread(kafka.stop)
            gone = time.monotonic()
            load.end()

            async def says_so() -> bool:
                status, answer = await stack.get("/readyz")
                return status == 503 and "confirmed" in answer["wrong"].get("kafka", "")

            await eventually(says_so, within=10)
            await asyncio.sleep(gone + REQUEST_TIMEOUT + 4 - time.monotonic())
            assert worker.running, worker.last_log_line()
            assert (await stack.get(f"{instance}?stale=ok"))[0] == 200
            assert (await stack.get(instance))[0] == 503
            kafka.start()
            await stack.ready(within=10)
            await asyncio.to_thread(load.stop)
            await assert_nothing_was_lost(stack)
            assert "Traceback" not in (tmp_path / "worker.log").read_text()

            kafka.kill()
            await eventually(says_so, within=20)
            begun = time.monotonic()
            worker.terminate()
            await asyncio.to_thread(worker.wait, 20)
            assert worker.returncode == 0
            assert time.monotonic() - begun < 10
