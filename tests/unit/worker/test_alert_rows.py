"""When rows of alerts are due, and how a partition learns what time it is."""

from typing import Any

import pytest

from streams.worker import alert_clock
from streams.worker.alert_clock import AlertClock
from streams.worker.alert_rows import AlertRows
from vimfed.kafka.aio import KafkaError
from vimfed.kafka.clients import OutgoingRecord
from vimfed.model.keys import alerts_key
from vimfed.model.records import SourceAlerts, decode_notification, encode_row
from vimfed.settings import KafkaSettings

VIM = "Owner_Region"


def at(second: int) -> str:
    return f"2026-01-01T12:{second // 60:02}:{second % 60:02}.000000Z"


def put(rows: AlertRows, instance_id: str, *expires: int) -> bytes:
    key = alerts_key(VIM, instance_id)
    due = {f"alert/{number}": at(second) for number, second in enumerate(expires)}
    row = SourceAlerts(vim_id=VIM, instance_id=instance_id, expires=due)
    rows.put(0, key, encode_row(row))
    return key


@pytest.fixture
def rows() -> AlertRows:
    rows = AlertRows()
    rows.add_partition(0)
    return rows


def test_rows_are_due_from_the_first_of_their_times_on(rows: AlertRows) -> None:
    a, b = put(rows, "a", 30, 10), put(rows, "b", 20)
    put(rows, "c")
    assert rows.expiring(0, at(9)) == []
    assert rows.expiring(0, at(10)) == [a]
    assert rows.expiring(0, at(20)) == [a, b]
    assert rows.expiring(0, at(20)) == [a, b], "as long as nothing else is written"
    put(rows, "a", 30)
    assert rows.expiring(0, at(20)) == [b]
    rows.remove(0, b)
    assert rows.expiring(0, at(30)) == [a]


def test_a_row_that_is_renewed_without_end_takes_one_place(rows: AlertRows) -> None:
    for second in range(1000):
        key = put(rows, "a", second + 10)
        assert rows.expiring(0, at(second)) == []
    assert len(rows._partitions[0].heap) == 1
    assert rows.expiring(0, at(1009)) == [key]


def test_a_row_that_is_due_earlier_than_before_is_found(rows: AlertRows) -> None:
    put(rows, "a", 100)
    key = put(rows, "a", 50)
    assert rows.expiring(0, at(50)) == [key]


class Told:
    """What the clock writes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.records: list[OutgoingRecord] = []
        self.error: Exception | None = None
        monkeypatch.setattr(alert_clock, "append_all", self._append)

    async def _append(self, _producer: Any, records: list[OutgoingRecord]) -> None:
        if self.error is not None:
            raise self.error
        self.records += records


async def test_a_partition_in_which_something_is_due_is_told_the_time(
    rows: AlertRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, now = Told(monkeypatch), [at(9)]
    producer: Any = None
    clock = AlertClock(KafkaSettings(), rows, producer, now=lambda: now[0])
    put(rows, "a", 10)
    await clock.look(0)
    assert told.records == []
    now[0] = at(11)
    await clock.look(0)
    await clock.look(0)
    (record,) = told.records
    assert (record.topic, record.partition) == ("vimfed.notifications", 0)
    notification = decode_notification(record.value or b"")
    assert notification.event_type == "vimfed.clock"
    assert notification.received_at == at(11)


async def test_a_kafka_that_is_away_does_not_end_the_worker(
    rows: AlertRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(monkeypatch)
    told.error = KafkaError("away")
    producer: Any = None
    put(rows, "a", 10)
    await AlertClock(KafkaSettings(), rows, producer, now=lambda: at(11)).look(0)
    assert told.records == []
