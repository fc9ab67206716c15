"""``vimfed output``: pause, resume and replay one output."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime

from streams.subscriptions.switches import Paused, encode_paused, switch_key
from vimfed.cli.audit import CommandAudit, audit_of_command
from vimfed.errors import OperatorError, UsageError
from vimfed.kafka.aio import KafkaError, TopicPartition
from vimfed.kafka.appending import append_all
from vimfed.kafka.clients import OutgoingRecord, idempotent_producer, new_consumer, refusal_of
from vimfed.kafka.replay_mark import replay_mark
from vimfed.kafka.topic_checks import check_topic
from vimfed.kafka.topics import TopicNames
from vimfed.model.times import utc_text
from vimfed.process.escaping import echo
from vimfed.settings import DmaapOutput, KafkaSettings, Settings


class OutputCommandError(OperatorError):
    """Kafka does not do what was asked for."""


def pause(settings: Settings, output: DmaapOutput) -> None:
    """Let what comes for an output wait in Kafka. Raises OutputCommandError."""
    now = utc_text(datetime.now(UTC), "seconds")
    _switch(settings, output, encode_paused(Paused(paused_at=now)))
    days = settings.kafka.retention.of(output.carries) / 86400
    echo(
        f"output {output.name} is paused: what comes for it waits in Kafka, which keeps it for "
        f"{days:g} days"
    )


def resume(settings: Settings, output: DmaapOutput) -> None:
    """Let a paused output go on. Raises OutputCommandError."""
    _switch(settings, output, None)
    echo(f"output {output.name} goes on")


def replay(settings: Settings, output: DmaapOutput, since: datetime, *, is_tried: bool) -> None:
    """Let an output get again what Kafka took from ``since`` on; say how many records these are.

    ``is_tried``: say it, and do nothing. Raises OutputCommandError, and UsageError.
    """
    if since > datetime.now(UTC):
        raise UsageError("--from is in the future")

    async def work(audit: CommandAudit | None) -> None:
        ranges = await _ranges(settings.kafka, output, since)
        count = sum(end - begin for begin, end in ranges.values())
        told = f"{count} {output.carries} since {utc_text(since, 'seconds')}"
        if audit is None:
            echo(f"output {output.name} would get those that it wants of {told}")
            return
        marks = [
            replay_mark(source.topic, source.partition, output.name, begin, audit.who.header())
            for source, (begin, end) in ranges.items()
            if begin < end
        ]
        with audit.recorded("output.replayed", object=output.name, reason=told):
            await _write(settings.kafka, marks)
        echo(f"output {output.name} gets those that it wants of {told} again, then goes on")

    with contextlib.ExitStack() as stack:
        audit = None if is_tried else stack.enter_context(audit_of_command(settings, "output"))
        asyncio.run(work(audit))


def _switch(settings: Settings, output: DmaapOutput, value: bytes | None) -> None:
    topic = TopicNames(settings.kafka.topic_prefix).subscriptions

    async def work(audit: CommandAudit) -> None:
        header = audit.who.header()
        record = OutgoingRecord(topic, 0, switch_key(output.name), value, (header,))
        how = "resumed" if value is None else "paused"
        with audit.recorded("output.switched", object=output.name, reason=how):
            await _write(settings.kafka, [record])

    with audit_of_command(settings, "output") as audit:
        asyncio.run(work(audit))


async def _ranges(
    kafka: KafkaSettings, output: DmaapOutput, since: datetime
) -> Mapping[TopicPartition, tuple[int, int]]:
    """Return by partition from where to where lies what Kafka took from ``since`` on."""
    topic = TopicNames(kafka.topic_prefix).carried(output.carries)
    moment = int(since.timestamp() * 1000)
    async with _told_by(kafka, "Read"):
        await check_topic(kafka, topic)
        async with new_consumer(kafka) as consumer:
            partitions = [TopicPartition(topic, number) for number in range(kafka.partitions)]
            ends = await consumer.end_offsets(partitions)
            found = await consumer.offsets_for_times(dict.fromkeys(partitions, moment))
    return {
        source: (end if found[source] is None else found[source].offset, end)
        for source, end in ends.items()
    }


async def _write(kafka: KafkaSettings, records: Sequence[OutgoingRecord]) -> None:
    async with _told_by(kafka, "Write"):
        producer = idempotent_producer(kafka)
        try:
            await producer.start()
            await append_all(producer, records)
        finally:
            await producer.stop()


@contextlib.asynccontextmanager
async def _told_by(kafka: KafkaSettings, operation: str) -> AsyncIterator[None]:
    """Raise OutputCommandError for what Kafka refuses, or where it does not answer."""
    try:
        yield
    except KafkaError as error:
        said = refusal_of(kafka, error, operation) or f"{kafka.bootstrap}: {error!r}"
        raise OutputCommandError(f"Kafka does not do it: {said}") from None
