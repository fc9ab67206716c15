"""A RabbitMQ listener in the test's own process, whose writing into Kafka the test decides on."""

import concurrent.futures
import threading
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry

from bridge.forwarding import notifications_of
from bridge.kafka.listener import KafkaListener
from bridge.kafka.listener import Write as WriteInLoop
from bridge.progress import Counters, Progress
from bridge.rabbit.bus import buses_of
from bridge.rabbit.listener import RabbitListener
from tests.support.bridge_process import eventually
from tests.support.notifications import body, rabbit_sender
from tests.support.sections import rabbit_cloud, vim_of
from vimfed.kafka.clients import OutgoingRecord
from vimfed.model.records import Notification
from vimfed.settings import KafkaSettings, VimSettings


def kafka_listener(
    vim: VimSettings, kafka: KafkaSettings, write: WriteInLoop, progress: Progress
) -> KafkaListener:
    """Return a listener to the notifications of a cloud's Kafka."""
    converter = notifications_of(kafka, vim)
    return KafkaListener(vim.vim_id, vim.kafka, kafka, converter, write, progress)


class Listening:
    """A listener on a queue of its own; ``options`` are those of its cloud."""

    def __init__(self, url: str, *, name: str = "", **options: Any) -> None:
        self.name = name or f"t{uuid.uuid4().hex[:10]}"
        self.progress = Progress("Owner_Region", Counters(CollectorRegistry()))
        self.write_hangs = threading.Event()
        self.go_on = threading.Event()
        self.written = concurrent.futures.Future[None]()
        """What each write returns: done once Kafka has taken the records."""
        self.batches: list[int] = []
        """How many records each write had."""
        self.records: list[Notification] = []
        """What was to be written, in its order."""
        self.vim = vim_of(rabbit_cloud(url, exchange=self.name, pool=self.name, **options))
        (bus,) = buses_of(self.vim).values()
        kafka = KafkaSettings()
        self.listener = RabbitListener(
            bus, kafka, notifications_of(kafka, self.vim), self._write, self.progress
        )
        self.url = url

    def _write(
        self, records: Sequence[OutgoingRecord], _progress: Progress
    ) -> concurrent.futures.Future[None]:
        self.records += [
            msgspec.json.decode(record.value or b"", type=Notification) for record in records
        ]
        self.batches.append(len(records))
        if self.write_hangs.is_set():
            self.go_on.wait(60)
        return self.written

    def start(self) -> None:
        """Start it and wait until it is connected."""
        self.listener.start()
        eventually(lambda: self.progress.connected, "connected")

    async def stop(self) -> None:
        """Stop it; what hangs goes on, and what is not written yet is, unless it was given up."""
        self.go_on.set()
        if not self.written.done():
            self.written.set_result(None)
        assert await self.listener.stop()

    def kafka_takes_records(self) -> None:
        """Let every write from now on, and those that wait, succeed."""
        pending, self.written = self.written, concurrent.futures.Future()
        self.written.set_result(None)
        if not pending.done():
            pending.set_result(None)

    def kafka_is_away(self) -> None:
        """Let no write from now on succeed, until ``kafka_takes_records``."""
        self.written = concurrent.futures.Future()

    def send(self, *message_ids: str) -> None:
        """Send a notification for each message id, or one without any."""
        with rabbit_sender(self.url, exchange=self.name) as sender:
            for message_id in message_ids or (None,):
                sender.send(body(message_id=message_id))

    def ids(self) -> list[str]:
        """Return the message ids of what was to be written."""
        return [record.message_id for record in self.records]

    @property
    def poller(self) -> Any:
        """oslo's poller of the session that is there."""
        session = self.listener.session
        assert session is not None
        return session.listener._poll_style_listener

    def in_polling_thread(self, action: Callable[[], object]) -> None:
        """Let the thread that talks to RabbitMQ do something; returns at once."""
        self.poller._message_operations_handler.do(action)

    def break_connection(self) -> None:
        """Break the session's connection, and wait until the listener has another."""
        broken = self.listener.session
        self.poller.conn.connection.connection.connection.transport.sock.shutdown(2)
        eventually(
            lambda: self.progress.connected and self.listener.session not in (broken, None),
            "another session",
        )
