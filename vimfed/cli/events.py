"""``vimfed events``: what is on the events topic, as lines for people or as JSON for programs."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

import click
import msgspec

from streams.core.kinds import EVENT_KINDS
from vimfed.errors import UsageError
from vimfed.kafka.aio import ConsumerRecord, TopicPartition
from vimfed.kafka.clients import new_consumer
from vimfed.kafka.partitions import partition_of
from vimfed.kafka.replay_mark import is_replay_mark
from vimfed.kafka.topic_checks import check_topic
from vimfed.kafka.topics import TopicNames
from vimfed.model.decoding import decoded
from vimfed.model.keys import instance_key, split_instance_key
from vimfed.model.records import AlarmStep, NewerSchemaError, VmEvent, stray_schema
from vimfed.process.escaping import echo, echo_bytes, escaped
from vimfed.settings import KafkaSettings, Settings

POLL_MS = 200
COLOURS = {"start": "yellow", "end": "green", "error": "red"}


class WantedEvents(NamedTuple):
    """Which events are meant; what is empty means all."""

    vim_ids: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    instance_ids: frozenset[str] = frozenset()

    def wants_key(self, key: bytes) -> bool:
        """Return whether the events of a record's key are meant."""
        vim_id, instance_id = split_instance_key(key)
        return (not self.vim_ids or vim_id in self.vim_ids) and (
            not self.instance_ids or instance_id in self.instance_ids
        )

    def partitions(self, count: int) -> list[int]:
        """Return in which of ``count`` partitions they lie."""
        keys = [
            instance_key(vim, instance) for vim in self.vim_ids for instance in self.instance_ids
        ]
        return sorted({partition_of(key, count) for key in keys}) or list(range(count))


class _Payload(msgspec.Struct, gc=False):
    display_name: str | None = None
    host: str | None = None


_decode_event = msgspec.json.Decoder(VmEvent).decode
_decode_payload = msgspec.json.Decoder(_Payload).decode


def check_kinds(kinds: frozenset[str]) -> None:
    """Raise UsageError where one is no kind."""
    for unknown in sorted(kinds - EVENT_KINDS):
        raise UsageError(
            f"--kind: {unknown} is no kind; there are {', '.join(sorted(EVENT_KINDS))}"
        )


def run(
    settings: Settings, wanted: WantedEvents, *, beginning: bool, follow: bool, as_json: bool
) -> None:
    """Print events until the topic's end, or with ``follow`` until SIGINT or SIGTERM.

    ``beginning``: from the oldest that Kafka keeps, else from now on. Raises OperatorError.
    """
    check_kinds(wanted.kinds)

    async def work() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        show = _show_json if as_json else _show_line
        records = _records(settings.kafka, wanted, beginning, follow, stop.is_set)
        async for record in records:
            try:
                if is_replay_mark(record.headers) or not wanted.wants_key(record.key or b""):
                    continue
                event = decoded(_decode_event, record.value or b"")
                payload = decoded(_decode_payload, event.payload)
            except NewerSchemaError as error:
                stray = stray_schema(error, record.headers)
                if not stray:
                    raise
                echo(f"{record.topic}-{record.partition}@{record.offset}: {stray}", err=True)
                continue
            except ValueError as error:
                # Somebody else's record: the worker writes none that cannot be read.
                place = f"{record.topic}-{record.partition}@{record.offset}"
                echo(f"{place} is no event: {error}", err=True)
                continue
            if not wanted.kinds or event.kind in wanted.kinds:
                show(record.value, event, payload)

    asyncio.run(work())


async def _records(
    kafka: KafkaSettings,
    wanted: WantedEvents,
    beginning: bool,
    follow: bool,
    stopped: Callable[[], bool],
) -> AsyncIterator[ConsumerRecord]:
    """Yield records of the events topic, without a consumer group: nobody notices us."""
    topic = TopicNames(kafka.topic_prefix).events
    numbers = wanted.partitions(kafka.partitions)
    partitions = [TopicPartition(topic, number) for number in numbers]
    await check_topic(kafka, topic)
    consumer = new_consumer(kafka)
    try:
        await consumer.start()
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        for partition, end in ends.items():
            if not beginning:
                consumer.seek(partition, end)

        async def at_the_end() -> bool:
            for partition, end in ends.items():
                if await consumer.position(partition) < end:
                    return False
            return True

        while not stopped() and (follow or not await at_the_end()):
            fetched = await consumer.getmany(timeout_ms=POLL_MS)
            records = [record for batch in fetched.values() for record in batch]
            for record in sorted(records, key=lambda record: record.timestamp):
                yield record
    finally:
        await consumer.stop()


def _show_json(value: bytes, _event: VmEvent, _payload: _Payload) -> None:
    echo_bytes(value)
    sys.stdout.flush()


def _show_line(_value: bytes, event: VmEvent, payload: _Payload) -> None:
    words = [
        event.changed_at.replace("T", " ")[:23],
        event.vim_id,
        f"{event.kind:<12} {event.phase:<5}",
        *(_about_instance(event, payload) if event.instance_id else [_about_other(event)]),
    ]
    if event.late:
        words.append("(late)")
    if event.reason:
        words.append(f"({event.reason})")
    if event.alarm:
        words.append(_alarm(event.alarm))
    words = [escaped(word) for word in words]
    words[2] = click.style(words[2], fg=COLOURS[event.phase])
    click.echo("  ".join(words))
    sys.stdout.flush()


def _about_instance(event: VmEvent, payload: _Payload) -> list[str]:
    old = _state(event.old_state, event.old_task_state)
    new = _state(event.new_state, event.new_task_state)
    host = event.host or payload.host
    return [
        f"{payload.display_name or '-'} {event.instance_id}",
        new if old == new else f"{old} -> {new}",
        *([f"on {host}"] if host else []),
    ]


def _about_other(event: VmEvent) -> str:
    return f"host {event.host}" if event.host else "the cloud"


def _alarm(alarm: AlarmStep) -> str:
    """Return what is done to an alarm; its own words, where it comes from outside."""
    said = ": ".join(filter(None, (alarm.severity, alarm.name, alarm.summary)))
    done = f"alarm {alarm.condition} {alarm.step} #{alarm.sequence}"
    return f"{done} {said}" if said else done


def _state(vm_state: str, task_state: str) -> str:
    return f"{vm_state or '?'}/{task_state}" if task_state else vm_state or "?"
