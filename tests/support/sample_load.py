"""Samples of a cloud's instances, minute after minute of a time of their own, on the samples topic.

That time is ahead of the clock, so that no worker finds that anything is due: what is measured when
follows from what is written here alone, however fast a machine is.
"""

import random
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from confluent_kafka import Producer

from streams.core.measurement import Facts
from streams.core.metering import Metered, Metering, Resume, Rules, empty_record
from tests.support.core_truth import newest_values, records_on
from tests.support.topic_changes import change_topic
from vimfed.kafka.partitions import partition_of
from vimfed.kafka.topics import TopicNames
from vimfed.model.keys import host_key, instance_key, kind_of_key
from vimfed.model.records import decode_row
from vimfed.model.samples import (
    Measurement,
    Sample,
    SampleRecord,
    decode_measurement,
    encode_samples,
)
from vimfed.model.times import milliseconds, utc_text

STEPS = 4
"""Records of an instance in a minute."""


class SampleLoad:
    """Writes what the instances of a cloud use: shuffled within a minute, and some of it twice."""

    def __init__(
        self,
        bootstrap: str,
        names: TopicNames,
        vim_id: str,
        instance_ids: Sequence[str],
        *,
        partitions: int = 8,
        seed: int = 1,
    ) -> None:
        self.minutes = 0
        """How many were written."""
        self._topic = names.samples
        self._vim_id = vim_id
        self._instance_ids = instance_ids
        self._partitions = partitions
        self._chance = random.Random(seed)
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        self._begin = tomorrow.replace(second=0, microsecond=0)
        let_records_have_times(bootstrap, names)
        self._producer = Producer(
            {"bootstrap.servers": bootstrap, "enable.idempotence": True, "log_level": 0}
        )
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._pace = 0.0

    def write_minutes(self, count: int) -> None:
        """Write some minutes, and return once they are on the topic."""
        for _each in range(count):
            self._write_minute()
        assert self._producer.flush(60) == 0

    def start(self, seconds: float) -> None:
        """Write a minute in so many seconds, again and again until ``stop``."""
        self._pace = seconds
        self._thread.start()

    def stop(self) -> None:
        """End the load; all of it is on the topic then."""
        self._stopping.set()
        self._thread.join()
        assert self._producer.flush(60) == 0

    def close_all(self) -> None:
        """Tell every partition that it is an hour later: what was written is measured."""
        self.minutes += 60
        for partition in range(self._partitions):
            now = self._text(self.minutes * 60)
            self._producer.produce(
                self._topic, empty_record(now), b"", partition, timestamp=milliseconds(now) or 0
            )
        assert self._producer.flush(60) == 0

    def _run(self) -> None:
        while not self._stopping.wait(self._pace):
            self._write_minute()
            self._producer.poll(0)

    def _write_minute(self) -> None:
        begin = self.minutes * 60
        records = [
            (instance_id, begin + step * 60 / STEPS)
            for instance_id in self._instance_ids
            for step in range(STEPS)
        ]
        records += self._chance.sample(records, len(records) // 10)
        self._chance.shuffle(records)
        self.minutes += 1
        for instance_id, at in records:
            self._write(instance_id, at)

    def _write(self, instance_id: str, at: float) -> None:
        key = instance_key(self._vim_id, instance_id)
        # What is used follows from who uses it: a repetition says the same.
        speed = 1 + hash_of(instance_id) % 9
        when, received_at = self._text(at), self._text(at + self._chance.uniform(0, 45))
        record = SampleRecord(
            vim_id=self._vim_id,
            instance_id=instance_id,
            samples=(
                Sample(
                    meter="cpu",
                    volume=at * speed * 1e8,
                    at=when,
                    kind="cumulative",
                    unit="ns",
                    vcpus=2,
                ),
                Sample(meter="memory", volume=2048.0, at=when, unit="MB"),
                Sample(meter="memory.usage", volume=64.0 * speed, at=when, unit="MB"),
                Sample(
                    meter="disk.device.read.bytes",
                    volume=at * speed * 1000,
                    at=when,
                    kind="cumulative",
                    unit="B",
                    device="vda",
                ),
            ),
            received_at=received_at,
        )
        self._produce(key, record)

    def write_host(self, host: str, meter: str, volume: float) -> None:
        """Write a sample of a host's meter in the minute that is written next."""
        when = self._text(self.minutes * 60)
        record = SampleRecord(
            vim_id=self._vim_id,
            host=host,
            samples=(Sample(meter=meter, volume=volume, at=when),),
            received_at=when,
        )
        self._produce(host_key(self._vim_id, host), record)

    def _produce(self, key: bytes, record: SampleRecord) -> None:
        self._producer.produce(
            self._topic,
            encode_samples(record),
            key,
            partition_of(key, self._partitions),
            timestamp=milliseconds(record.received_at) or 0,
        )
        self._producer.poll(0)

    def _text(self, seconds: float) -> str:
        return utc_text(self._begin + timedelta(seconds=seconds))


def let_records_have_times(bootstrap: str, names: TopicNames) -> None:
    """Let records of samples have times of their own, which no broker's clock bears out."""
    ever = str((1 << 63) - 1)
    own = {"message.timestamp.type": "CreateTime", "message.timestamp.after.max.ms": ever}
    change_topic(bootstrap, names.samples, own)


def hash_of(text: str) -> int:
    """Return a number that a text has in every process."""
    return sum(text.encode())


def measured_truth(
    bootstrap: str, names: TopicNames, rules: Rules, facts_of: Callable[[bytes], Facts | None]
) -> dict[str, Measurement]:
    """Return by id what the core makes of all that lies on the samples topic, in one go."""
    truth: dict[str, Measurement] = {}
    by_partition: dict[int, list[Any]] = {}
    for record in records_on(bootstrap, names.samples):
        by_partition.setdefault(record.partition, []).append(record)
    for records in by_partition.values():
        rows: dict[bytes, bytes] = {}
        metering = Metering(rules, rows.get, facts_of, Resume(0))
        left = records
        while left:
            metered = Metered()
            left = left[metering.fold(left, metered) :]
            assert not metered.rejected
            assert not metered.refused
            rows.update(metered.rows)
            for _key, value in metered.measurements:
                measurement = decode_measurement(value)
                truth[measurement.id] = measurement
    return truth


def facts_on_changelog(bootstrap: str, names: TopicNames) -> Callable[[bytes], Facts | None]:
    """Return what says of each instance what the instances table says now."""
    rows = {
        key: decode_row(row)
        for key, row in newest_values(bootstrap, names.changelog).items()
        if kind_of_key(key) == "instance"
    }

    def facts_of(key: bytes) -> Facts | None:
        row = rows.get(key)
        if row is None:
            return None
        told = msgspec.json.decode(row.payload)
        return Facts(told["tenant_id"], told["display_name"], told["host"], row.vm_state)

    return facts_of
