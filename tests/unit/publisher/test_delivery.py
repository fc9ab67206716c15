"""How messages are brought into requests, and what holds them back."""

import asyncio
import itertools
import random
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.structs import ConsumerRecord

from streams.publisher.delivery import (
    AbandonedError,
    Delivery,
    DeliveryError,
    Message,
    _by_domain,
)


def message(key: str, domain: str, number: int) -> Message:
    record: ConsumerRecord[bytes, bytes] = ConsumerRecord(
        "events", 0, number, 0, 1, b"", b"", None, 0, 0, ()
    )
    return Message(key.encode(), b"", (), record, domain)


def test_messages_without_a_domain_are_one_batch() -> None:
    messages = [message(f"vm-{number % 3}", "", number) for number in range(9)]
    assert _by_domain(messages) == [messages]
    assert _by_domain([]) == []


def test_a_batch_has_one_domain_and_what_is_of_one_source_stays_in_order() -> None:
    chance = random.Random(7)
    for _ in range(200):
        messages = [
            message(chance.choice("abc"), chance.choice(("fault", "notification")), number)
            for number in range(chance.randint(0, 20))
        ]
        batches = _by_domain(messages)
        assert all(len({each.domain for each in batch}) == 1 for batch in batches)
        sent = list(itertools.chain.from_iterable(batches))
        assert len(sent) == len(messages)
        for key in (b"a", b"b", b"c"):
            offsets = [each.source.offset for each in sent if each.key == key]
            assert offsets == sorted(offsets)


def test_sources_that_alternate_between_domains_share_few_requests() -> None:
    messages = [
        message(f"vm-{number}", ("fault", "notification")[number % 2], number)
        for number in range(100)
    ]
    assert len(_by_domain(messages)) == 2


class Gate:
    """Is closed for so many looks."""

    def __init__(self, looks: int) -> None:
        self.looks = looks
        self.opened_at = 0

    @property
    def paused_at(self) -> str:
        return "2026-01-01T12:00:00Z" if self.looks else ""

    async def look(self) -> None:
        self.looks -= 1
        self.opened_at = int(time.time() * 1000)


class Output:
    """Takes messages, after so many failures."""

    request_bytes = 1000

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.taken: list[int] = []

    async def deliver(self, messages: Sequence[Message]) -> None:
        if self.failures:
            self.failures -= 1
            raise DeliveryError("away")
        self.taken += [each.source.offset for each in messages]

    async def close(self) -> None:
        pass


async def delivered(output: Output, gate: Gate, messages: Sequence[Message], **answers: Any) -> int:
    """Deliver messages; return how many were given up."""
    given_up: list[Message] = []

    async def give_up(messages: Sequence[Message], _error: str) -> None:
        given_up.extend(messages)

    async def may_go_on() -> bool:
        return bool(answers.get("may_go_on", True))

    figures: Any = SimpleNamespace(delivered=lambda _count: None, retried=lambda: None)
    delivery = Delivery("mr", output, give_up=give_up, give_up_after=60, figures=figures, gate=gate)
    await delivery.deliver(messages, may_go_on)
    return len(given_up)


def test_a_paused_output_gets_nothing_until_it_is_resumed_and_then_all() -> None:
    output, gate = Output(), Gate(3)
    messages = [message("vm", "", number) for number in range(5)]
    assert asyncio.run(delivered(output, gate, messages)) == 0
    assert (output.taken, gate.looks) == ([0, 1, 2, 3, 4], 0)


def test_a_partition_of_a_paused_output_can_be_left() -> None:
    with pytest.raises(AbandonedError):
        asyncio.run(delivered(Output(), Gate(3), [message("vm", "", 0)], may_go_on=False))


def test_what_has_waited_because_of_a_pause_or_is_replayed_is_not_given_up_for_its_age() -> None:
    old = message("vm", "", 0)  # of 1970
    assert asyncio.run(delivered(Output(failures=1), Gate(0), [old])) == 1
    assert asyncio.run(delivered(Output(failures=1), Gate(1), [old])) == 0
    resumed = Gate(0)
    resumed.opened_at = int(time.time() * 1000)  # before this process began
    assert asyncio.run(delivered(Output(failures=1), resumed, [old])) == 0
    again = Message(b"", b"", (), old.source, replayed_at=int(time.time() * 1000))
    assert asyncio.run(delivered(Output(failures=1), Gate(0), [again])) == 0
