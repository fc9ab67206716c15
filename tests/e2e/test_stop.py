"""How long a stop takes while somebody follows: SIGTERM to the end of each process."""

import asyncio
import time
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.stack import Stack
from tests.support.brokers import RabbitMQ
from tests.support.sections import rabbit_cloud
from tests.support.server_sent import event_stream
from vimfed.local.kafka import LocalKafka

pytestmark = pytest.mark.asyncio(loop_scope="package")

STOP_WITHIN = 3.0
"""Seconds from SIGTERM to the end of a process."""
EVENTS = "/api/multicloud/v1/events"


async def test_open_streams_do_not_hold_up_a_stop(
    tmp_path: Path, kafka: LocalKafka, rabbitmq: RabbitMQ
) -> None:
    cloud = rabbit_cloud(rabbitmq.url, exchange="stop", pool="stop")
    async with Stack(tmp_path, kafka.bootstrap, [cloud]) as stack:
        stack.start("bridge")
        stack.start("publisher")
        stack.start_worker()
        await stack.ready()
        await stack.bridge_connected()
        url = f"http://127.0.0.1:{stack.ports['worker']}"
        async with aiohttp.ClientSession() as session:
            async with event_stream(session, url + EVENTS):
                began = time.monotonic()
                for child in stack.children.values():
                    child.terminate()
                took = {}
                while len(took) < len(stack.children):
                    for name, child in stack.children.items():
                        if not child.running:
                            took.setdefault(name, time.monotonic() - began)
                    await asyncio.sleep(0.02)
                print(took)
        assert {name: child.returncode for name, child in stack.children.items()} == dict.fromkeys(
            stack.children, 0
        )
        assert max(took.values()) < STOP_WITHIN, took
