"""Replays: what a batch says is to be sent again, and the reading of it."""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from streams.engine.changelog_reader import read_range
from streams.publisher.reading import outputs_of
from vimfed.kafka.aio import ConsumerRecord, TopicPartition
from vimfed.kafka.clients import new_consumer
from vimfed.kafka.replay_mark import is_replay_mark, replay_begin
from vimfed.settings import KafkaSettings

STEP = 500
"""Offsets that are read at a time."""


class Replay(NamedTuple):
    """What is sent again: from an offset to the mark that asks for it."""

    begin: int
    mark: ConsumerRecord


class Part(NamedTuple):
    """Records of a batch, and the replay that goes before them."""

    replay: Replay | None
    records: Sequence[ConsumerRecord]


def parts_of(records: Sequence[ConsumerRecord], output: str) -> list[Part]:
    """Split records at the marks for ``output``; marks are left out, those for others, too."""
    replay: Replay | None = None
    rest: list[ConsumerRecord] = []
    parts: list[Part] = []
    for record in records:
        if not is_replay_mark(record.headers):
            rest.append(record)
            continue
        found = _replay_of(record, output)
        if found is not None:
            parts.append(Part(replay, rest))
            replay, rest = found, []
    return [*parts, Part(replay, rest)]


def _replay_of(mark: ConsumerRecord, output: str) -> Replay | None:
    """Return the replay that a mark asks of ``output``; None where it asks for none."""
    try:
        begin = replay_begin(mark.headers)
        is_meant = output in outputs_of(mark)
    except ValueError:  # somebody else's record
        return None
    return Replay(begin, mark) if is_meant and begin is not None and begin >= 0 else None


async def replayed(kafka: KafkaSettings, replay: Replay) -> AsyncIterator[list[ConsumerRecord]]:
    """Yield what lies before the mark of ``replay``, in order and by steps, without any marks.

    Raises KafkaError, and UnreadableChangelogError.
    """
    mark = replay.mark
    source = TopicPartition(mark.topic, mark.partition)
    async with new_consumer(kafka) as consumer:
        begin = max(replay.begin, (await consumer.beginning_offsets([source]))[source])
        while begin < mark.offset:
            end = min(begin + STEP, mark.offset)
            found = await read_range(consumer, source, begin, end)
            yield [record for record in found if not is_replay_mark(record.headers)]
            begin = end
