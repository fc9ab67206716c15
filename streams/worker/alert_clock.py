"""Tells partitions what time it is, so that alarms age out where nothing else comes.

What ages out is decided by the log: by the times at which its records were received. A partition
in which no record comes would keep an alarm for ever. Here a record is written that says nothing
but the time; what the log held before it is folded first.
"""

import logging
import time
from collections.abc import Callable

from streams.worker.alert_rows import AlertRows
from vimfed.kafka.aio import AIOKafkaProducer, KafkaError
from vimfed.kafka.appending import append_all
from vimfed.kafka.notification_writer import arrival_time, clock_record
from vimfed.model.keys import split_instance_key
from vimfed.settings import KafkaSettings

LOG = logging.getLogger(__name__)

EVERY = 10.0
"""Seconds until a partition is told the time again, where something is still due."""


class AlertClock:
    """Looks whether alarms of a partition are due."""

    def __init__(
        self,
        kafka: KafkaSettings,
        rows: AlertRows,
        producer: AIOKafkaProducer,
        now: Callable[[], str] = arrival_time,
    ) -> None:
        """``now`` returns the time as notifications carry it."""
        self._kafka = kafka
        self._rows = rows
        self._producer = producer
        self._now = now
        self._told: dict[int, float] = {}
        """By partition, when (monotonic) it was told the time."""

    async def look(self, partition: int) -> None:
        """Tell a partition the time if something is due there. It must be ours."""
        if time.monotonic() < self._told.get(partition, -EVERY) + EVERY:
            return
        now = self._now()
        due = self._rows.expiring(partition, now)
        if not due:
            return
        self._told[partition] = time.monotonic()
        vim_id, _about = split_instance_key(due[0])
        try:
            await append_all(self._producer, [clock_record(self._kafka, vim_id, now, partition)])
        except KafkaError as error:
            LOG.warning("partition %s is not told the time: %r", partition, error)
