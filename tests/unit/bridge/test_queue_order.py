"""Which redelivered messages can come after what is newer."""

import pytest

from bridge.rabbit.queue_order import UNSEEN_LIMIT, QueueOrder


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Queue:
    """A queue's order as a listener sees it over its sessions."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.order = QueueOrder(self.clock)
        self.session()

    def session(self, *, others: int = 0) -> None:
        self.order.begin(others)

    def fresh(self) -> bool:
        return self.order.can_be_late(redelivered=False)

    def again(self) -> bool:
        return self.order.can_be_late(redelivered=True)

    def write_something_fresh(self) -> None:
        assert not self.fresh()
        self.order.written()


@pytest.fixture
def queue() -> Queue:
    return Queue()


def test_what_was_never_delivered_before_is_in_order(queue: Queue) -> None:
    assert not queue.fresh()


def test_of_what_was_before_the_process_nothing_is_known(queue: Queue) -> None:
    assert queue.again()


def test_what_a_lone_listener_gets_back_first_is_in_order(queue: Queue) -> None:
    queue.write_something_fresh()
    queue.session()
    assert [queue.again(), queue.again(), queue.fresh()] == [False, False, False]


def test_it_stays_so_over_sessions_in_which_nothing_is_written(queue: Queue) -> None:
    queue.write_something_fresh()
    for _session in range(3):
        queue.session()
        assert not queue.again()


def test_what_comes_back_behind_something_fresh_can_be_late(queue: Queue) -> None:
    queue.write_something_fresh()
    queue.session()
    assert [queue.fresh(), queue.again()] == [False, True]
    queue.order.written()
    queue.session()
    assert queue.again(), "somebody else has had some of the queue meanwhile"


def test_what_was_given_back_before_the_process_stays_late_until_it_is_passed(queue: Queue) -> None:
    assert queue.again()
    queue.order.written()
    queue.session()
    assert queue.again()
    queue.write_something_fresh()
    queue.session()
    assert not queue.again()


@pytest.mark.parametrize("consumers", [2, 0, None])
def test_another_consumer_that_was_seen_makes_it_late(queue: Queue, consumers: int | None) -> None:
    queue.write_something_fresh()
    queue.order.look(consumers)
    queue.session()
    assert queue.again()


def test_another_consumer_at_the_beginning_makes_it_late(queue: Queue) -> None:
    queue.write_something_fresh()
    queue.session(others=1)
    assert queue.again()
    queue.write_something_fresh()
    queue.session()
    assert queue.again(), "it may still have had something that was older"
    queue.write_something_fresh()
    queue.session()
    assert not queue.again()


def test_a_while_without_a_look_makes_it_late(queue: Queue) -> None:
    queue.write_something_fresh()
    for _look in range(3):
        queue.clock.now += UNSEEN_LIMIT - 1
        queue.order.look(1)
    queue.clock.now += UNSEEN_LIMIT
    queue.session()
    assert queue.again()


def test_a_while_without_a_look_within_a_session_makes_it_late(queue: Queue) -> None:
    queue.write_something_fresh()
    queue.clock.now += UNSEEN_LIMIT
    queue.order.look(1)
    queue.session()
    assert queue.again()
