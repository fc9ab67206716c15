"""The session in which a record of a cloud's Kafka topic comes: it begins anew with the topic.

Offsets decide what is newer within a partition, but a topic that is deleted and made again has them
from 0 on, as one that is restored from elsewhere can have others. Kafka forgets a group's offsets
together with the topic, so a session begins where a partition has no committed offset, and where
its offsets go back. The session's name is kept beside the committed offset, so that it lasts over
restarts, and goes with the partition to another bridge of the group.

A group whose offsets were lost otherwise reads its topics once more in a new session. That does no
harm: the core knows a message that it had before, and compares what it may have forgotten by the
senders' clocks.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from vimfed.kafka.aio import (
    AIOKafkaConsumer,
    ConsumerRebalanceListener,
    ConsumerRecord,
    TopicPartition,
)
from vimfed.kafka.expiry import committed_of
from vimfed.kafka.notification_writer import arrival_time

_SESSION = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


class Place(NamedTuple):
    """Where in a partition a group is; so it is committed."""

    next_offset: int
    session: str
    """As in ``vimfed.model.records.Notification``; empty where an older version has committed."""


class PartitionSessions(ConsumerRebalanceListener):  # type: ignore[misc]
    """The sessions of the partitions that one consumer has."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._places: dict[TopicPartition, Place] = {}

    def on_partitions_revoked(self, _revoked: object) -> None:
        """Forget everything: others may go on with the partitions meanwhile."""
        self._places.clear()

    def on_partitions_assigned(self, _assigned: object) -> None:
        """Do nothing: each partition is asked for with its first records."""

    async def after(
        self, fetched: Mapping[TopicPartition, Sequence[ConsumerRecord]]
    ) -> dict[TopicPartition, Place]:
        """Return the session of each partition's records, and the offset after them.

        The answer is what is to be committed once they are written. Raises KafkaError.
        """
        for tp, records in fetched.items():
            place = self._places.get(tp) or await self._committed(tp)
            goes_on = place is not None and records[0].offset >= place.next_offset
            session = place.session if place is not None and goes_on else arrival_time()
            self._places[tp] = Place(records[-1].offset + 1, session)
        return {tp: self._places[tp] for tp in fetched}

    async def _committed(self, tp: TopicPartition) -> Place | None:
        committed = await committed_of(self._consumer, tp)
        if committed is None:
            return None
        is_session = _SESSION.fullmatch(committed.metadata)
        return Place(committed.offset, committed.metadata if is_session else "")
