"""``vimfed dead-letter``: list, show, replay and drop what could not be handled."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import click

from bridge.forwarding import (
    Arrival,
    UnusableBodyError,
    UnusedNotificationError,
    forwarded,
)
from bridge.sampling import samples_of
from streams.core.metering import UnreadableRecordError, check_record
from vimfed.cli.audit import CommandAudit, audit_of_command
from vimfed.kafka.clients import OutgoingRecord
from vimfed.kafka.dead_letter import ONLY_OUTPUT, Origin, dead_letter_record
from vimfed.kafka.notification_writer import arrival_time
from vimfed.kafka.partitions import partition_of
from vimfed.kafka.settling_dead_letters import (
    DeadLetter,
    DeadLetterError,
    Wanted,
    find,
    settle,
    unsettled,
)
from vimfed.kafka.topics import TopicNames
from vimfed.model.decoding import decoded
from vimfed.model.keys import home_key, instance_key, kind_of_key, split_instance_key
from vimfed.model.records import (
    NewerSchemaError,
    Notification,
    VmEvent,
    decode_event,
    decode_notification,
    schema_headers,
)
from vimfed.model.samples import (
    Measurement,
    SampleRecord,
    decode_measurement,
    decode_samples,
)
from vimfed.model.times import utc_text
from vimfed.nova.host_report import OWN_PREFIX
from vimfed.nova.oslo import instance_id_of
from vimfed.process.escaping import echo, echo_bytes
from vimfed.settings import KafkaSettings, Settings

OwnRecord = VmEvent | Notification | SampleRecord | Measurement
Decode = Callable[[bytes], OwnRecord]


def list_all(settings: Settings, wanted: Wanted) -> None:
    """Print a line for each: id, time, cloud, source, bytes, error."""

    async def work() -> None:
        async for letter in unsettled(settings.kafka, wanted):
            at = utc_text(letter.at, "seconds")
            source, error = (letter.headers.get(name, "-") for name in ("source", "error"))
            size = letter.headers.get("size", str(len(letter.value)))
            echo(letter.id, at, letter.vim_id or "-", source, size, error)

    asyncio.run(work())


def show(settings: Settings, letter_id: str) -> None:
    """Print one: its headers, its key and its bytes. Raises DeadLetterError."""
    letter = asyncio.run(find(settings.kafka, letter_id))
    for name, value in letter.headers.items():
        echo(f"{name}: {value}")
    echo(f"key: {(letter.key or b'').decode(errors='replace')}")
    click.echo("")
    echo_bytes(letter.value)


def replay(settings: Settings, wanted: Wanted, letter_ids: tuple[str, ...]) -> int:
    """Give the chosen ones back to where they came from; return 1 where one cannot be, else 0."""
    kafka = settings.kafka

    async def work(audit: CommandAudit) -> int:
        failures = 0
        async for letter in _chosen(kafka, wanted, letter_ids):
            try:
                with audit.recorded("dead_letter.replayed", **_told(letter)):
                    records = replayed(settings, letter)
                    await settle(kafka, letter, "replayed", records, caller=audit.who.header())
            except UnusableLetterError as error:
                echo(f"{letter.id}: {error}", err=True)
                failures = 1
            else:
                topics = dict.fromkeys(record.topic for record in records)
                echo(f"{letter.id}: replayed to {' and '.join(topics)}")
        return failures

    with audit_of_command(settings, "dead-letter") as audit:
        return asyncio.run(work(audit))


def drop(settings: Settings, wanted: Wanted, letter_ids: tuple[str, ...]) -> None:
    """Settle the chosen ones without replaying them. Raises DeadLetterError."""

    async def work(audit: CommandAudit) -> None:
        async for letter in _chosen(settings.kafka, wanted, letter_ids):
            with audit.recorded("dead_letter.dropped", **_told(letter)):
                await settle(settings.kafka, letter, "dropped", caller=audit.who.header())
            echo(f"{letter.id}: dropped")

    with audit_of_command(settings, "dead-letter") as audit:
        asyncio.run(work(audit))


class UnusableLetterError(DeadLetterError):
    """A dead letter cannot be replayed; others may."""


def _told(letter: DeadLetter) -> dict[str, str]:
    return {"object": letter.id, "cloud": letter.vim_id}


async def _chosen(
    kafka: KafkaSettings, wanted: Wanted, letter_ids: tuple[str, ...]
) -> AsyncIterator[DeadLetter]:
    if not letter_ids and wanted == Wanted():
        raise DeadLetterError("say which: name ids, or give --since, --until, --error or --vim")
    missing = set(letter_ids)
    async for letter in unsettled(kafka, wanted):
        if not letter_ids or letter.id in letter_ids:
            missing.discard(letter.id)
            yield letter
    if missing:
        raise DeadLetterError(
            f"no such dead letter, or it is settled: {', '.join(sorted(missing))}"
        )


def replayed(settings: Settings, letter: DeadLetter) -> Sequence[OutgoingRecord]:
    """Return the records that try a dead letter again. Raises UnusableLetterError.

    Where it goes follows from whose bytes it holds, and not from what it says. A record of our own
    goes under the key of what it is about, whichever it had. Of a cloud's message of samples that
    cannot be used as a whole, what still cannot is the last record, a new dead letter.
    """
    if "size" in letter.headers:
        raise UnusableLetterError("it was too large for a record and is cut: it cannot be replayed")
    names = TopicNames(settings.kafka.topic_prefix)
    origin = letter.origin(names)
    if origin == "cloud" or origin == "telemetry":
        try:
            return _converted(settings, letter, origin)
        except UnusableBodyError as error:
            raise UnusableLetterError(f"still unusable: {error}") from None
        except UnusedNotificationError as unused:
            raise UnusableLetterError(f"no worker uses it: {unused}") from None
    own: Mapping[Origin, tuple[str, Decode]] = {
        "notifications": (names.notifications, decode_notification),
        "events": (names.events, decode_event),
        "samples": (names.samples, decode_samples),
        "measurements": (names.measurements, decode_measurement),
    }
    topic, decode = own[origin]
    record = _own(letter, decode)
    key = _key_of(record, letter.key or b"")
    if isinstance(record, SampleRecord):
        try:
            check_record(record, key)
        except UnreadableRecordError as error:
            raise UnusableLetterError(f"still unusable: {error}") from None
    output = letter.headers.get(ONLY_OUTPUT)
    only = () if output is None else ((ONLY_OUTPUT, output.encode()),)
    headers = (*schema_headers(record.schema_version), *only)
    partition = partition_of(key, settings.kafka.partitions)
    return [OutgoingRecord(topic, partition, key, letter.value, headers)]


def _converted(settings: Settings, letter: DeadLetter, origin: Origin) -> Sequence[OutgoingRecord]:
    """Return the records of a cloud's bytes. Raises as a converter, or UnusableBodyError."""
    kafka = settings.kafka
    arrival = Arrival(letter.vim_id, f"dead-letter/{letter.id}", 1, arrival_time())
    vim = next((vim for vim in settings.vims if vim.vim_id == letter.vim_id), None)
    if origin == "cloud":
        usage = vim is not None and vim.samples.usage
        made = forwarded(kafka, letter.value, arrival, usage=usage)
    elif vim is None:
        raise UnusableBodyError(f"the settings do not name cloud {letter.vim_id}")
    else:
        made = samples_of(kafka, vim).convert(letter.value, arrival)
    if made.unread is None:
        return made.records
    if not made.records or made.unread.message == letter.value:
        raise UnusableBodyError(made.unread.error)
    rest = dead_letter_record(
        kafka,
        *made.unread,
        source=letter.headers.get("source", ""),
        key=letter.key,
        vim_id=letter.vim_id,
        origin=origin,
    )
    return [*made.records, rest]


def _own(letter: DeadLetter, decode: Decode) -> OwnRecord:
    """Return a record of ours.

    Raises UnusableLetterError where it cannot be read, or is another cloud's.
    """
    try:
        record = decoded(decode, letter.value)
        vim_id, _instance_id = split_instance_key(letter.key or b"")
    except NewerSchemaError as error:
        raise UnusableLetterError(f"replay it with the version that wrote it: {error}") from None
    except ValueError as error:
        raise UnusableLetterError(f"still unusable: {error}") from None
    if {record.vim_id, letter.vim_id} != {vim_id}:
        raise UnusableLetterError(
            f"it says that it is of cloud {record.vim_id}, and was kept for {letter.vim_id}, "
            f"under the key of {vim_id}: it is not replayed"
        )
    return record


def _key_of(record: OwnRecord, key: bytes) -> bytes:
    """Return the key of what a record is about; ``key``: the one that it had."""
    if not isinstance(record, Notification):
        return home_key(record.vim_id, record.instance_id, record.host or "")
    if kind_of_key(key) != "instance" or record.event_type.startswith(OWN_PREFIX):
        return key
    return instance_key(record.vim_id, instance_id_of(record.payload))
