"""A partition's rows and events, folded batch by batch as a worker does, without Kafka."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TypeAlias, TypeVar

import msgspec
from aiokafka.structs import ConsumerRecord

from streams.core.fold import FoldedBatch, fold
from streams.core.outside_alerts import EXPIRE_AFTER
from streams.core.vm_alarms import AlarmedActions
from streams.worker.row_indexes import RowIndexes
from tests.support.nova_messages import VIM
from vimfed.kafka.notification_writer import alert_record, heartbeat_record, report_records
from vimfed.model.keys import cloud_key, host_key, instance_key
from vimfed.model.records import (
    CloudState,
    HostState,
    InstanceState,
    Notification,
    VmEvent,
    decode_event,
)
from vimfed.model.rows import Row, decode_row_of
from vimfed.nova.host_report import CloudReport, Heartbeat, HostReport
from vimfed.settings import KafkaSettings

R = TypeVar("R")

KAFKA = KafkaSettings()
Record: TypeAlias = "ConsumerRecord[bytes, bytes]"


LATER = 1 << 48
"""A timestamp in ms, later than all times of tests."""


def record(key: bytes, value: bytes, offset: int = 0, timestamp: int = LATER) -> Record:
    """Return a record of the notifications topic, as it is fetched."""
    return ConsumerRecord("source", 0, offset, timestamp, 1, key, value, None, 0, len(value), ())


def numbered(records: Iterable[Record]) -> list[Record]:
    """Return the records with the offsets at which they lie one behind the other."""
    return [
        record(each.key or b"", each.value or b"", offset, each.timestamp)
        for offset, each in enumerate(records)
    ]


def nova_record(notification: Notification, instance_id: str) -> Record:
    """Return the record of what nova tells of an instance."""
    return record(instance_key(VIM, instance_id), msgspec.json.encode(notification))


def at(seconds: float) -> str:
    """Return a time as reports have it."""
    minutes, second = divmod(seconds, 60)
    return f"2026-01-01T12:{int(minutes):02}:{second:09.6f}Z"


def report_record(
    report: HostReport | CloudReport, seconds: float, *, home: bool = True, received: float = -1.0
) -> Record:
    """Return a report's record in the partition of its key, or in another one."""
    made = report_records(
        KAFKA,
        VIM,
        report,
        source="poller",
        timestamp=at(seconds),
        received_at=at(seconds if received < 0 else received),
    )
    chosen = next(each for each in made if (b'"is_home":true' in (each.value or b"")) == home)
    return record(chosen.key or b"", chosen.value or b"")


def heartbeat(seconds: float) -> Record:
    """Return a heartbeat's record."""
    told = Heartbeat(interval=30.0, lag=0.5, sources={"rabbit": True})
    made = heartbeat_record(KAFKA, VIM, told, received_at=at(seconds))
    return record(made.key or b"", made.value or b"")


def alert(notification: Notification, home: bytes) -> Record:
    """Return an alert's record."""
    made = alert_record(KAFKA, notification, home)
    return record(made.key or b"", made.value or b"")


class FoldedTable:
    """The rows of one partition, and all that was told of them."""

    def __init__(
        self,
        action_failures: Sequence[str] = (),
        alerts_expire_after: float = EXPIRE_AFTER,
        *,
        action_ends: Sequence[str] = (),
    ) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.events: list[VmEvent] = []
        self.rejected: list[str] = []
        self.indexes = RowIndexes(1)
        self.indexes.add_partition(0)
        self.alarmed: tuple[bytes, ...] = ()
        """Keys of deleted instances whose alarms are to be cleared with the next batch."""
        self._actions = AlarmedActions(frozenset(action_failures), frozenset(action_ends))
        self._alerts_expire_after = alerts_expire_after

    def fold(self, records: Sequence[Record], most_rows: float = float("inf")) -> list[VmEvent]:
        """Fold a batch, in several steps where it changes more rows; return what it tells."""
        told = len(self.events)
        while records:
            folded = self._fold(records, most_rows)
            records = records[folded.taken :]
        return self.events[told:]

    def _fold(self, records: Sequence[Record], most_rows: float) -> FoldedBatch:
        around = dataclasses.replace(
            self.indexes.surroundings(0),
            actions=self._actions,
            alerts_expire_after=self._alerts_expire_after,
            alarmed=self.alarmed,
            most_rows=most_rows,
        )
        folded = fold(records, self.row, surroundings=around)
        for key, row in folded.rows.items():
            if row is None:
                self.rows.pop(key, None)
                self.indexes.remove(0, key)
            else:
                self.rows[key] = row
                self.indexes.put(0, key, row)
        self.events += [decode_event(event) for _key, event in folded.events]
        self.rejected += [error for _record, error in folded.rejected]
        return folded

    def row(self, key: bytes) -> Row | None:
        """Return a row by its key."""
        row = self.rows.get(key)
        return None if row is None else decode_row_of(key, row)

    def instances(self) -> list[InstanceState]:
        """Return the rows of all instances."""
        rows = map(self.row, self.rows)
        return [row for row in rows if isinstance(row, InstanceState)]

    def instance(self, instance_id: str) -> InstanceState:
        """Return the row of an instance, which must be there."""
        return self._typed(instance_key(VIM, instance_id), InstanceState)

    def host(self, host: str) -> HostState:
        """Return the row of a host, which must be there."""
        return self._typed(host_key(VIM, host), HostState)

    def cloud(self) -> CloudState:
        """Return the row of the cloud, which must be there."""
        return self._typed(cloud_key(VIM), CloudState)

    def _typed(self, key: bytes, kind: type[R]) -> R:
        row = self.row(key)
        assert isinstance(row, kind)
        return row


def told(events: Iterable[VmEvent]) -> list[tuple[str, str, str, str | None]]:
    """Return (source, kind, phase, reason) of events; the source is the instance or the host."""
    return [
        (
            event.instance_id or (event.host if isinstance(event.host, str) else ""),
            event.kind,
            event.phase,
            event.reason if isinstance(event.reason, str) else None,
        )
        for event in events
    ]
