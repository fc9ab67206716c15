"""When a listener hands on what came, and how one is noticed that hangs.

One that waits for a cloud or for Kafka is not blamed.
"""

import concurrent.futures
import threading
import uuid
from collections.abc import AsyncIterator, Sequence

import pytest
from prometheus_client import CollectorRegistry

from bridge.progress import Counters, Progress
from bridge.rabbit import RabbitListener
from tests.bridge_process import eventually
from tests.brokers import RabbitMQ
from tests.notifications import body, rabbit_sender
from vimfed.kafka import OutgoingRecord
from vimfed.settings import KafkaSettings, VimSettings

STUCK_AFTER = 6.0
"""More than the 5 s that oslo's polling thread sleeps while nothing comes."""
BATCH_TIMEOUT = 2.0


class Listening:
    """A listener in this process whose writing the test decides on."""

    def __init__(self, url: str) -> None:
        self.name = f"t{uuid.uuid4().hex[:10]}"
        self.progress = Progress("Owner_Region", Counters(CollectorRegistry()))
        self.write_hangs = threading.Event()
        self.go_on = threading.Event()
        self.written = concurrent.futures.Future[None]()
        self.batches: list[int] = []
        """How many records each write had."""
        vim = VimSettings(
            cloud_owner="Owner",
            cloud_region_id="Region",
            transport_url=url,
            exchange=self.name,
            pool=self.name,
            batch_timeout=BATCH_TIMEOUT,
        )
        self.listener = RabbitListener(vim, KafkaSettings(), self._write, self.progress)
        self.url = url

    def _write(
        self, records: Sequence[OutgoingRecord], _progress: Progress
    ) -> concurrent.futures.Future[None]:
        self.batches.append(len(records))
        if self.write_hangs.is_set():
            self.go_on.wait(60)
        return self.written

    def send_one(self) -> None:
        with rabbit_sender(self.url, exchange=self.name) as sender:
            sender.send(body())

    def wrong(self) -> str:
        return self.progress.wrong(STUCK_AFTER)


@pytest.fixture
async def listening(rabbitmq: RabbitMQ) -> AsyncIterator[Listening]:
    made = Listening(rabbitmq.url)
    made.listener.start()
    eventually(lambda: made.progress.connected, "connected")
    yield made
    made.go_on.set()
    if not made.written.done():
        made.written.set_result(None)
    assert await made.listener.stop()


async def test_a_message_that_comes_alone_goes_on_at_once_and_those_after_it_share_a_batch(
    listening: Listening,
) -> None:
    listening.send_one()
    eventually(lambda: listening.batches, "handed on without waiting", BATCH_TIMEOUT * 0.75)
    for _message in range(3):
        listening.send_one()
    session = listening.listener.session
    assert session is not None
    incoming = session.listener._poll_style_listener.incoming
    eventually(lambda: len(incoming) == 3, "they wait for the batch before")
    listening.written.set_result(None)
    eventually(lambda: listening.batches == [1, 3], "together")


async def test_a_polling_thread_that_hangs_is_noticed(listening: Listening) -> None:
    assert listening.wrong() == ""
    session = listening.listener.session
    assert session is not None
    operations = session.listener._poll_style_listener._message_operations_handler
    operations.do(lambda: listening.go_on.wait(60))
    eventually(lambda: "has not looked for messages" in listening.wrong(), "noticed")
    listening.go_on.set()
    eventually(lambda: listening.wrong() == "", "well again")


async def test_a_handler_that_hangs_is_noticed(listening: Listening) -> None:
    listening.write_hangs.set()
    listening.send_one()
    eventually(lambda: "nobody has taken care" in listening.wrong(), "noticed")
    listening.go_on.set()
    eventually(lambda: listening.wrong() == "", "well again")


async def test_waiting_for_kafka_is_not_being_stuck(listening: Listening) -> None:
    listening.send_one()
    eventually(lambda: listening.progress.waiting_seconds > STUCK_AFTER + 1, "it waits")
    assert listening.wrong() == ""
    listening.written.set_result(None)
    eventually(lambda: listening.progress.in_flight == 0, "acknowledged")


async def test_after_a_write_that_was_cut_off_no_later_one_acknowledges_its_messages(
    listening: Listening,
) -> None:
    listening.written.cancel()
    listening.send_one()
    eventually(lambda: listening.batches == [1], "handed on")
    listening.written = concurrent.futures.Future()
    listening.written.set_result(None)
    listening.send_one()
    eventually(lambda: sum(listening.batches) == 3, "the first comes once more")
