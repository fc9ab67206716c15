"""A listener's sessions on its queue: how records name them, and what ends one."""

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Any
from urllib.parse import urlsplit

import amqp
import pytest

from tests.support.bridge_process import eventually
from tests.support.brokers import RabbitMQ
from tests.support.listening import Listening
from tests.support.notifications import rabbit_sender


@pytest.fixture
async def listening(rabbitmq: RabbitMQ) -> AsyncIterator[Listening]:
    made = Listening(rabbitmq.url)
    made.start()
    yield made
    await made.stop()


@contextmanager
def channel_of(listening: Listening) -> Iterator[amqp.Channel]:
    """Yield a channel of another client of the same broker."""
    parts = urlsplit(listening.url)
    with amqp.Connection(host=f"{parts.hostname}:{parts.port}") as connection:
        yield connection.channel()


def depth(listening: Listening) -> int:
    with rabbit_sender(listening.url, exchange=listening.name) as sender:
        return sender.depth(listening.name)


async def test_what_comes_is_stamped_with_a_session_that_began_before(listening: Listening) -> None:
    listening.kafka_takes_records()
    listening.send("a", "b")
    eventually(lambda: listening.ids() == ["a", "b"], "both")
    first, second = listening.records
    assert {first.path, second.path} == {f"Owner_Region/{listening.name}"}
    assert first.session == second.session < first.received_at <= second.received_at
    assert (first.sequence, second.sequence) == (1, 2)
    assert [first.redelivered, second.redelivered] == [False, False]


async def test_while_rabbitmq_does_not_let_it_consume_a_listener_is_not_connected(
    rabbitmq: RabbitMQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a quorum queue without a majority: tests/versions/rabbitmq_cluster.py."""
    let = threading.Event()
    consume = amqp.Channel.basic_consume

    def answered_late(channel: amqp.Channel, *arguments: Any, **options: Any) -> Any:
        let.wait(60)
        return consume(channel, *arguments, **options)

    monkeypatch.setattr(amqp.Channel, "basic_consume", answered_late)
    listening = Listening(rabbitmq.url)
    listening.listener.start()
    progress = listening.progress
    try:
        eventually(lambda: "majority" in str(progress.troubles), "it says why")
        assert not progress.connected
        assert progress.wrong(0.0) == ""  # a restart would not help
        let.set()
        eventually(lambda: progress.connected, "connected")
        assert progress.troubles == {}
    finally:
        let.set()
        await listening.stop()


async def test_a_session_begins_after_all_that_came_in_those_before(listening: Listening) -> None:
    listening.kafka_takes_records()
    for number in range(3):
        listening.send(f"m-{number}")
        eventually(lambda: f"m-{number}" in listening.ids(), "it arrives")  # noqa: B023
        listening.break_connection()
    listening.send("m-3")
    eventually(lambda: "m-3" in listening.ids(), "all arrive")
    assert len({record.path for record in listening.records}) == 1
    sessions = [
        [record.received_at for record in records]
        for _session, records in groupby(listening.records, lambda record: record.session)
    ]
    begins = [begin for begin, _ in groupby(listening.records, lambda record: record.session)]
    assert len(sessions) == 4
    times = [time for begin, came in zip(begins, sessions, strict=True) for time in (begin, *came)]
    assert times == sorted(times)
    assert not set(begins) & {time for came in sessions for time in came}


async def test_what_a_lone_listener_gets_back_is_in_the_queues_order(listening: Listening) -> None:
    listening.kafka_takes_records()
    listening.send("written")
    eventually(lambda: listening.progress.in_flight == 0 and listening.records, "written")
    listening.kafka_is_away()
    listening.send("a", "b", "c")
    eventually(lambda: listening.progress.in_flight, "on the way")
    listening.break_connection()
    listening.kafka_takes_records()
    listening.send("d")
    eventually(lambda: "d" in listening.ids(), "the last one arrives")
    last = max(record.session for record in listening.records)
    assert [
        (record.message_id, record.redelivered)
        for record in listening.records
        if record.session == last
    ] == [("a", False), ("b", False), ("c", False), ("d", False)]


async def test_what_another_consumer_gives_back_can_be_late(listening: Listening) -> None:
    listening.kafka_takes_records()
    with channel_of(listening) as other:
        other.basic_qos(0, 1, False)
        held = threading.Event()
        other.basic_consume(listening.name, callback=lambda _message: held.set())
        numbers = iter(range(100))
        while not held.is_set():
            listening.send(f"m-{next(numbers)}")
            with pytest.MonkeyPatch.context():
                try:
                    other.connection.drain_events(timeout=0.2)
                except TimeoutError:
                    continue
        count = next(numbers)
        listening.send("newer")
        eventually(lambda: "newer" in listening.ids(), "the newer one passes")
    eventually(lambda: len(listening.records) == count + 1, "given back")
    [late] = [record for record in listening.records if record.redelivered]
    assert listening.records[-1] == late
    assert late.sequence > listening.records[-2].sequence


async def test_what_an_earlier_process_gave_back_can_be_late(listening: Listening) -> None:
    listening.send("a")
    eventually(lambda: listening.progress.in_flight == 1, "on the way")
    listening.listener._stop.set()
    successor = Listening(listening.url, name=listening.name)
    eventually(listening.listener._left.done, "it has left")
    successor.kafka_takes_records()
    successor.start()
    eventually(lambda: successor.ids() == ["a"], "it arrives once more")
    assert successor.records[0].redelivered
    await successor.stop()


async def test_a_queue_that_vanishes_while_it_is_looked_at_is_made_anew(
    listening: Listening,
) -> None:
    listening.kafka_takes_records()
    looked = threading.Event()

    def delete_and_look() -> None:
        with channel_of(listening) as other:
            other.queue_delete(listening.name)
        session = listening.listener.session
        assert session is not None
        session._look_at_queue()
        looked.set()

    before = listening.listener.session
    listening.in_polling_thread(delete_and_look)
    assert looked.wait(10)
    eventually(
        lambda: listening.progress.connected and listening.listener.session not in (before, None),
        "another session",
    )
    listening.send("heard")
    eventually(lambda: listening.ids() == ["heard"], "it is not deaf")


@pytest.mark.parametrize("why", ["cancelled", "refused"])
async def test_whatever_ends_the_consumer_ends_the_session(listening: Listening, why: str) -> None:
    listening.kafka_takes_records()
    before = listening.listener.session
    assert before is not None
    if why == "cancelled":
        with channel_of(listening) as other:
            other.queue_delete(listening.name)
    else:
        channel = listening.poller.conn.connection.channel
        listening.in_polling_thread(lambda: channel.basic_ack(10**6))
    eventually(
        lambda: listening.progress.connected and listening.listener.session not in (before, None),
        "another session",
    )
    listening.send("heard")
    eventually(lambda: listening.ids() == ["heard"], "it is not deaf")


async def test_a_late_acknowledgement_takes_nothing_that_was_not_written(
    listening: Listening,
) -> None:
    listening.send("a", "b", "c")
    eventually(lambda: listening.batches and depth(listening) == 0, "they came")
    first = listening.written
    listening.kafka_is_away()
    channel = listening.poller.conn.connection.channel
    gone = threading.Event()

    def lose_the_channel() -> None:
        # What RabbitMQ does to a consumer that does not acknowledge within its consumer_timeout.
        channel.basic_ack(10**6)
        gone.wait(30)

    listening.in_polling_thread(lose_the_channel)
    with channel_of(listening) as other:
        taken: list[amqp.Message] = []
        while len(taken) < 3:
            message = other.basic_get(listening.name)
            if message is not None:
                other.basic_ack(message.delivery_tag)
                taken.append(message)
    listening.send("d", "e", "f")
    gone.set()
    eventually(lambda: depth(listening) == 0, "the next three are delivered")
    first.set_result(None)
    eventually(lambda: "d" in listening.ids(), "they are on the way")
    listening.listener._stop.set()
    eventually(listening.listener._left.done, "it has left")
    assert depth(listening) == 3
