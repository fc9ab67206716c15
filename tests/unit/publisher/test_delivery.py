"""How messages are brought into requests."""

import itertools
import random

from aiokafka.structs import ConsumerRecord

from streams.publisher.delivery import Message, _by_domain


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
