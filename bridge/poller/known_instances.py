"""What the table knows of the polled clouds, read from its changelog: here their instances.

The bridge has no table. A scan reads the whole changelog once, keeps ids, and serves every cloud.
"""

import asyncio
import contextlib
import logging
import re
import threading
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from vimfed.errors import OperatorError
from vimfed.kafka.aio import (
    ConsumerRecord,
    KafkaError,
    TopicAuthorizationFailedError,
    TopicPartition,
)
from vimfed.kafka.clients import new_consumer
from vimfed.kafka.rights import refusal
from vimfed.kafka.topic_checks import check_topic
from vimfed.kafka.topics import TopicNames
from vimfed.model.decoding import decoded
from vimfed.model.keys import split_instance_key
from vimfed.model.records import Recorded, Source
from vimfed.nova.states import DELETED
from vimfed.settings import KafkaSettings

LOG = logging.getLogger(__name__)

Known = dict[str, str]
"""Projects by instance id; the project is empty where the row does not name it, and of a host."""

FRESH = 600.0
"""A cloud takes its part of a scan within so many seconds, or has a new one made."""
PATIENCE = 30.0
"""Seconds without any record after which a scan has failed."""
FETCH_MS = 1000
TICK = 0.5

_is_nova_id = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch
"""nova makes no other ids than UUIDs: what is named otherwise, somebody else has told."""


class KnownInstancesError(OperatorError):
    """The changelog cannot be read; the text says why."""


class _Payload(msgspec.Struct, gc=False):
    tenant_id: Any = ""


class _Row(Recorded, frozen=True, gc=False, kw_only=True):
    """What is read of an InstanceState."""

    vm_state: str
    source: Source = "oslo"
    payload: _Payload


_decode_row = msgspec.json.Decoder(_Row).decode


class Scope(NamedTuple):
    """What of the table is to be known."""

    heed: Callable[[Mapping[str, Known], ConsumerRecord], None]
    """Takes what a record of the changelog says into what is known of each cloud."""
    partitions: int | None = None
    """How many partitions tell all there is; None: all of them."""


class KnownInstances:
    """What the table knows of several clouds, each of which asks from its own thread."""

    def __init__(
        self,
        kafka: KafkaSettings,
        vim_ids: Callable[[], Collection[str]],
        is_topic_ready: Callable[[], bool],
        scope: Scope | None = None,
    ) -> None:
        """``scope``: what is to be known in place of instances."""
        self._scope = scope or Scope(_heed)
        self._kafka = kafka
        self._vim_ids = vim_ids
        self._is_topic_ready = is_topic_ready
        self._lock = threading.Lock()
        self._found: dict[str, Known] = {}
        """Of the newest scan, what no cloud has taken yet."""
        self._found_at = 0.0

    def take(self, vim_id: str, stopped: Callable[[], bool]) -> Known:
        """Return a cloud's instances that are not deleted, as the table knows them now.

        Left out is what a plug-in told last. Of another scope: what its ``heed`` keeps. Blocks
        while the changelog is read, until ``stopped``. Raises KnownInstancesError.
        """
        while not self._is_topic_ready():
            _unless(stopped())
            time.sleep(TICK)
        while not self._lock.acquire(timeout=TICK):
            _unless(stopped())
        try:
            if vim_id not in self._found or time.monotonic() - self._found_at > FRESH:
                wanted = {vim_id, *self._vim_ids()}
                self._found = asyncio.run(_scan(self._kafka, wanted, stopped, self._scope))
                self._found_at = time.monotonic()
            return self._found.pop(vim_id)
        finally:
            self._lock.release()


def _unless(is_stopped: bool) -> None:
    if is_stopped:
        raise KnownInstancesError("the poller is to stop")


async def _scan(
    kafka: KafkaSettings, vim_ids: Collection[str], stopped: Callable[[], bool], scope: Scope
) -> dict[str, Known]:
    topic = TopicNames(kafka.topic_prefix).changelog
    begun = time.monotonic()
    found: dict[str, Known] = {vim_id: {} for vim_id in vim_ids}
    count = 0
    try:
        await check_topic(kafka, topic)
        partitions = range(scope.partitions or kafka.partitions)
        numbered = [TopicPartition(topic, number) for number in partitions]
        async with contextlib.aclosing(_records(kafka, numbered, stopped)) as records:
            async for record in records:
                count += 1
                scope.heed(found, record)
    except TopicAuthorizationFailedError:
        raise KnownInstancesError(refusal(kafka, "topic", topic, "Read")) from None
    except KnownInstancesError:
        raise
    except OperatorError as error:
        raise KnownInstancesError(str(error)) from error
    except (KafkaError, OSError) as error:  # a TimeoutError is an OSError
        raise KnownInstancesError(f"topic {topic} cannot be read: {error!r}") from error
    took = time.monotonic() - begun
    LOG.info("read %d records of %s in %.1f s, for what polled clouds had", count, topic, took)
    return found


async def _records(
    kafka: KafkaSettings, partitions: Sequence[TopicPartition], stopped: Callable[[], bool]
) -> AsyncGenerator[ConsumerRecord, None]:
    """Yield what lies there now. Raises KafkaError, TimeoutError, KnownInstancesError."""
    consumer = new_consumer(kafka)
    try:
        await consumer.start()
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        for partition, end in sorted(ends.items()):
            moved_at = time.monotonic()
            while await consumer.position(partition) < end:
                fetched: Sequence[ConsumerRecord] = (
                    await consumer.getmany(partition, timeout_ms=FETCH_MS)
                ).get(partition, ())
                _unless(stopped())
                if fetched:
                    moved_at = time.monotonic()
                elif time.monotonic() - moved_at > PATIENCE:
                    raise TimeoutError(f"no record of {partition} within {PATIENCE:.0f} s")
                for record in fetched:
                    yield record
    finally:
        await consumer.stop()


def _heed(found: Mapping[str, Known], record: ConsumerRecord) -> None:
    try:
        vim_id, instance_id = split_instance_key(record.key or b"")
        cloud = found.get(vim_id)
        if cloud is None or not _is_nova_id(instance_id):
            return
        cloud.pop(instance_id, None)
        row = None if record.value is None else decoded(_decode_row, record.value)
    except ValueError as error:
        # Somebody else's record: the worker writes none that cannot be read.
        LOG.warning(
            "%s-%d@%d is no instance: %s", record.topic, record.partition, record.offset, error
        )
        return
    if row is not None and row.vm_state != DELETED and row.source != "ingest":
        project = row.payload.tenant_id
        cloud[instance_id] = project if isinstance(project, str) else ""
