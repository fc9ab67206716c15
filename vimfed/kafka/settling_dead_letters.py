"""What lies on the dead-letter topic, and what became of it.

A dead letter is settled by a further record in its partition, without a value, whose headers
``settles`` (the letter's offset) and ``how`` (``replayed`` or ``dropped``) say so: it outlives the
letter. The bytes themselves stay until the topic's retention removes them.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, get_args

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from vimfed.errors import OperatorError
from vimfed.kafka.appending import append_all
from vimfed.kafka.clients import OutgoingRecord, idempotent_producer, new_consumer
from vimfed.kafka.dead_letter import ORIGIN, Origin
from vimfed.kafka.topic_checks import check_topic
from vimfed.kafka.topics import TopicNames
from vimfed.settings import KafkaSettings

SETTLES = "settles"
HOW = "how"
_ORIGINS: dict[str, Origin] = {origin: origin for origin in get_args(Origin)}


class DeadLetterError(OperatorError):
    """A dead letter is not there, or cannot be used as asked."""


class DeadLetter(NamedTuple):
    """One record of the dead-letter topic."""

    partition: int
    offset: int
    at: datetime
    """When Kafka took it."""
    key: bytes | None
    value: bytes
    headers: Mapping[str, str]

    @property
    def id(self) -> str:
        """Its place, ``partition@offset``."""
        return f"{self.partition}@{self.offset}"

    @property
    def vim_id(self) -> str:
        """The cloud, where it is known."""
        told = self.headers.get("vim_id", "")
        return told or (self.key or b"").decode(errors="replace").partition("/")[0]

    def origin(self, names: TopicNames) -> Origin:
        """Whose bytes they are.

        Letters of before the header ``origin``: those of a topic have an offset. What a cloud's
        RabbitMQ brought has none, and the name of its source is the cloud's own word.
        """
        if ORIGIN in self.headers:
            return _ORIGINS.get(self.headers[ORIGIN], "cloud")
        if "offset" not in self.headers:
            return "cloud"
        own: dict[str, Origin] = {names.notifications: "notifications", names.events: "events"}
        return own.get(self.headers.get("source", ""), "cloud")


class Wanted(NamedTuple):
    """Which dead letters are meant."""

    since: datetime | None = None
    until: datetime | None = None
    error: str = ""
    """A part of the error's text, in any case."""
    vim_id: str = ""

    def wants(self, letter: DeadLetter) -> bool:
        """Return whether ``letter`` is one of them."""
        return (
            (self.since is None or letter.at >= self.since)
            and (self.until is None or letter.at < self.until)
            and self.error.lower() in letter.headers.get("error", "").lower()
            and self.vim_id in ("", letter.vim_id)
        )


async def unsettled(kafka: KafkaSettings, wanted: Wanted) -> AsyncIterator[DeadLetter]:
    """Yield the wanted dead letters that are neither replayed nor dropped, by partition."""
    settled = set()
    async for record in _records(kafka):
        settles = _letter(record).headers.get(SETTLES, "")
        if settles.isdecimal():  # else somebody else's record
            settled.add((record.partition, int(settles)))
    async for record in _records(kafka):
        letter = _letter(record)
        is_letter = SETTLES not in letter.headers
        if is_letter and (letter.partition, letter.offset) not in settled and wanted.wants(letter):
            yield letter


async def find(kafka: KafkaSettings, letter_id: str) -> DeadLetter:
    """Return one dead letter, settled or not. Raises DeadLetterError where it is not there."""
    async for record in _records(kafka):
        letter = _letter(record)
        if letter.id == letter_id and SETTLES not in letter.headers:
            return letter
    raise DeadLetterError(f"there is no dead letter {letter_id}")


async def settle(
    kafka: KafkaSettings,
    letter: DeadLetter,
    how: str,
    replayed: Sequence[OutgoingRecord] = (),
    *,
    caller: tuple[str, bytes],
) -> None:
    """Write ``replayed``, then that the letter is settled, all with the header ``caller``.

    Ended in between, the letter is still there: replayed twice, it is recognised by its ids. Raises
    DeadLetterError where Kafka does not take it.
    """
    topic = TopicNames(kafka.topic_prefix).dead_letter
    headers = ((SETTLES, str(letter.offset).encode()), (HOW, how.encode()), caller)
    producer = idempotent_producer(kafka)
    try:
        await producer.start()
        if replayed:
            replace = msgspec.structs.replace
            known = [replace(each, headers=(*each.headers, caller)) for each in replayed]
            await append_all(producer, known)
        await append_all(
            producer, [OutgoingRecord(topic, letter.partition, letter.key, b"", headers)]
        )
    except KafkaError as error:
        raise DeadLetterError(f"{letter.id}: Kafka does not take it: {error}") from None
    finally:
        await producer.stop()


def _letter(record: ConsumerRecord) -> DeadLetter:
    return DeadLetter(
        record.partition,
        record.offset,
        datetime.fromtimestamp(record.timestamp / 1000, UTC),
        record.key,
        record.value or b"",
        {name: (value or b"").decode(errors="replace") for name, value in record.headers},
    )


async def _records(kafka: KafkaSettings) -> AsyncIterator[ConsumerRecord]:
    """Yield everything that lies on the dead-letter topic now, partition after partition."""
    topic = TopicNames(kafka.topic_prefix).dead_letter
    await check_topic(kafka, topic)
    partitions = [TopicPartition(topic, number) for number in range(kafka.partitions)]
    consumer = new_consumer(kafka)
    try:
        await consumer.start()
        consumer.assign(partitions)
        for partition, end in sorted((await consumer.end_offsets(partitions)).items()):
            while await consumer.position(partition) < end:
                fetched = await consumer.getmany(partition, timeout_ms=1000)
                for record in fetched.get(partition, ()):
                    if record.offset < end:
                        yield record
    finally:
        await consumer.stop()
