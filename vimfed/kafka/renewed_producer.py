"""A producer that is replaced by a new one whenever it has failed."""

import asyncio
import contextlib
import itertools
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerClosed

from vimfed.kafka.clients import CLOSE_TIMEOUT, close_undelivered, idempotent_producer
from vimfed.settings import KafkaConnection


class RenewedProducer:
    """Holds the producer in use; one event loop, any number of concurrent users.

    An idempotent producer cannot go on after a gap in its sequence: who sees it fail abandons it,
    and writes what was not acknowledged again by the next one. Around failures records come twice,
    but the first occurrences keep their order, and none is missing.
    """

    def __init__(self, kafka: KafkaConnection, timeout: float, **options: Any) -> None:
        """``timeout``, in seconds, is that of a start and of a request.

        The options are further ones of aiokafka's producer.
        """
        self._kafka = kafka
        self._timeout = timeout
        self._options = options
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    async def started(self) -> AIOKafkaProducer:
        """Return the producer in use. Raises KafkaError, OSError or TimeoutError."""
        async with self._starting:
            if self._producer is None:
                producer = idempotent_producer(
                    self._kafka, request_timeout_ms=int(self._timeout * 1000), **self._options
                )
                try:
                    async with asyncio.timeout(self._timeout):
                        await producer.start()
                except BaseException:
                    self._close_later(producer)
                    raise
                self._producer = producer
            return self._producer

    def abandon(self, producer: AIOKafkaProducer | None) -> None:
        """Close a failed producer in the background, without delivering what it still holds.

        Whoever else awaits one of its acknowledgements is told that none will come: ProducerClosed.
        """
        if producer is not None and producer is self._producer:
            self._producer = None
            self._close_later(producer)

    async def close(self) -> None:
        """Close the connections within some seconds; writes must have ended or been cancelled."""
        producer = self._producer
        if producer is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await producer.stop()
            self.abandon(producer)
        if self._closing:
            await asyncio.wait(self._closing, timeout=CLOSE_TIMEOUT)
        for task in self._closing:
            task.cancel()

    def _close_later(self, producer: AIOKafkaProducer) -> None:
        task = asyncio.create_task(_close(producer))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


async def _close(producer: AIOKafkaProducer) -> None:
    await close_undelivered(producer)
    accumulator = producer._message_accumulator
    undelivered = accumulator._pending_batches  # aiokafka takes from there what has failed
    undelivered.update(itertools.chain.from_iterable(accumulator._batches.values()))
    for batch in list(undelivered):
        if not batch.future.done():
            batch.future.set_exception(ProducerClosed())
            batch.future.exception()  # who gave up awaiting it need not know
