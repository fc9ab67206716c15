"""When a listener hands on what came, and how one is noticed that hangs.

One that waits for a cloud or for Kafka is not blamed.
"""

import asyncio
import concurrent.futures
import time
from collections.abc import AsyncIterator

import pytest

from bridge.rabbit.listener import IDLE_WAIT
from tests.support.bridge_process import eventually
from tests.support.brokers import RabbitMQ
from tests.support.listening import Listening
from tests.support.notifications import body, rabbit_sender

STUCK_AFTER = 6.0
"""More than the 5 s that oslo's polling thread sleeps while nothing comes."""
BATCH_TIMEOUT = 2.0
HEARTBEAT = 2


@pytest.fixture
async def listening(rabbitmq: RabbitMQ) -> AsyncIterator[Listening]:
    made = Listening(rabbitmq.url, batch_interval=BATCH_TIMEOUT)
    made.start()
    yield made
    await made.stop()


def wrong(listening: Listening) -> str:
    return listening.progress.wrong(STUCK_AFTER)


async def test_a_message_that_comes_alone_goes_on_at_once_and_those_after_it_share_a_batch(
    listening: Listening,
) -> None:
    listening.send()
    eventually(lambda: listening.batches, "handed on without waiting", BATCH_TIMEOUT * 0.75)
    for _message in range(3):
        listening.send()
    incoming = listening.poller.incoming
    eventually(lambda: len(incoming) == 3, "they wait for the batch before")
    listening.written.set_result(None)
    eventually(lambda: listening.batches == [1, 3], "together")


async def test_a_polling_thread_that_hangs_is_noticed(listening: Listening) -> None:
    assert wrong(listening) == ""
    listening.in_polling_thread(lambda: listening.go_on.wait(60))
    eventually(lambda: "has not looked for messages" in wrong(listening), "noticed")
    listening.go_on.set()
    eventually(lambda: wrong(listening) == "", "well again")


async def test_a_handler_that_hangs_is_noticed(listening: Listening) -> None:
    listening.write_hangs.set()
    listening.send()
    eventually(lambda: "nobody has taken care" in wrong(listening), "noticed")
    listening.go_on.set()
    eventually(lambda: wrong(listening) == "", "well again")


async def test_heartbeats_go_on_while_messages_come_without_a_pause_and_kafka_is_away(
    rabbitmq: RabbitMQ,
) -> None:
    listening = Listening(rabbitmq.url, heartbeat=HEARTBEAT)
    listening.start()
    session = listening.listener.session
    end = time.monotonic() + 4 * HEARTBEAT
    with rabbit_sender(listening.url, exchange=listening.name) as sender:
        while time.monotonic() < end:
            sender.send(body())
            await asyncio.sleep(IDLE_WAIT / 5)
    assert listening.listener.session is session
    assert session is not None
    await listening.stop()


async def test_waiting_for_kafka_is_not_being_stuck(listening: Listening) -> None:
    listening.send()
    eventually(lambda: listening.progress.waiting_seconds > STUCK_AFTER + 1, "it waits")
    assert wrong(listening) == ""
    listening.written.set_result(None)
    eventually(lambda: listening.progress.in_flight == 0, "acknowledged")


async def test_after_a_write_that_was_cut_off_no_later_one_acknowledges_its_messages(
    listening: Listening,
) -> None:
    listening.written.cancel()
    listening.send()
    eventually(lambda: listening.batches == [1], "handed on")
    listening.written = concurrent.futures.Future()
    listening.written.set_result(None)
    listening.send()
    eventually(lambda: sum(listening.batches) == 3, "the first comes once more")
