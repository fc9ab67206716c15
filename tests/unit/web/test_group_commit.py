"""Small writes share a large one, in the order in which they come."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from vimfed.kafka.clients import OutgoingRecord
from web import group_commit
from web.group_commit import GroupCommit
from web.http.errors import UnavailableError


def record(number: int, size: int = 1) -> OutgoingRecord:
    return OutgoingRecord("topic", 0, b"%d" % number, b"x" * size)


class Kafka:
    """Acknowledges when it is let to."""

    def __init__(self) -> None:
        self.writes: list[list[bytes | None]] = []
        self.may_acknowledge = asyncio.Event()

    async def write(self, records: Sequence[OutgoingRecord]) -> None:
        self.writes.append([record.key for record in records])
        await self.may_acknowledge.wait()


@pytest.fixture
def kafka() -> Kafka:
    return Kafka()


@pytest.fixture
async def commits(kafka: Kafka) -> AsyncIterator[GroupCommit]:
    commits = GroupCommit(kafka.write)
    yield commits
    await commits.close()


async def test_what_comes_during_a_write_shares_the_next(
    kafka: Kafka, commits: GroupCommit
) -> None:
    callers = []
    for number in range(4):
        callers.append(asyncio.create_task(commits.commit([record(number)])))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert kafka.writes == [[b"0"]]
    assert not any(caller.done() for caller in callers)
    kafka.may_acknowledge.set()
    await asyncio.gather(*callers)
    assert kafka.writes == [[b"0"], [b"1", b"2", b"3"]]
    await commits.commit([record(4)])
    assert kafka.writes[-1] == [b"4"]


async def test_nothing_is_written_at_once(kafka: Kafka, commits: GroupCommit) -> None:
    await commits.commit([])
    assert kafka.writes == []


async def test_who_waits_too_long_is_told_and_the_records_are_written_later(
    kafka: Kafka, commits: GroupCommit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "TIMEOUT", 0.01)
    for number in range(2):
        with pytest.raises(UnavailableError, match="not acknowledged"):
            await commits.commit([record(number)])
    kafka.may_acknowledge.set()
    await commits.commit([record(2)])
    assert kafka.writes == [[b"0"], [b"1", b"2"]]


async def test_what_waits_for_kafka_is_bounded(
    kafka: Kafka, commits: GroupCommit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "MAX_BYTES", 10)
    first = asyncio.create_task(commits.commit([record(0, size=11)]))
    await asyncio.sleep(0)
    with pytest.raises(UnavailableError, match="waits for Kafka already"):
        await commits.commit([record(1)])
    kafka.may_acknowledge.set()
    await first
    await commits.commit([record(2)])
    assert kafka.writes == [[b"0"], [b"2"]]
