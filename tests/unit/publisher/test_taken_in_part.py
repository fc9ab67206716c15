"""What follows from what an output has taken of an attempt."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from aiokafka.structs import ConsumerRecord

from streams.publisher.delivery import (
    Delivery,
    DeliveryError,
    Message,
    PartlyTakenError,
    RefusedError,
)

GATE: Any = SimpleNamespace(paused_at="", opened_at=0)


def message(number: int) -> Message:
    record: ConsumerRecord[bytes, bytes] = ConsumerRecord(
        "events", 0, number, 0, 1, b"", b"", None, 0, 0, ()
    )
    return Message(b"vm-%d" % number, b"", (), record)


class Place:
    """An output that answers each attempt as told, and takes what is left."""

    request_bytes = 10_000

    def __init__(self, *answers: Callable[[Sequence[Message]], PartlyTakenError]) -> None:
        self.answers = list(answers)
        self.attempts: list[list[int]] = []

    async def deliver(self, messages: Sequence[Message]) -> None:
        self.attempts.append([each.source.offset for each in messages])
        if self.answers:
            raise self.answers.pop(0)(messages)

    async def close(self) -> None:
        pass


class Figures:
    def __init__(self) -> None:
        self.count = 0

    def delivered(self, count: int) -> None:
        self.count += count

    def retried(self) -> None:
        pass


async def deliver(place: Place) -> tuple[Delivery, Figures, list[int]]:
    """Deliver six messages; return what is known then, and what was given up."""
    given_up: list[int] = []
    figures = Figures()

    async def give_up(messages: Sequence[Message], _reason: str) -> None:
        given_up.extend(each.source.offset for each in messages)

    async def go_on() -> bool:
        return True

    delivery = Delivery("o", place, give_up=give_up, give_up_after=1e12, figures=figures, gate=GATE)
    await delivery.deliver([message(number) for number in range(6)], go_on)
    return delivery, figures, given_up


async def test_what_an_output_has_taken_before_it_failed_is_not_sent_again() -> None:
    place = Place(lambda all_: DeliveryError("away", taken=[all_[0], all_[3]]))
    delivery, figures, given_up = await deliver(place)
    assert place.attempts == [[0, 1, 2, 3, 4, 5], [1, 2, 4, 5]]
    assert (figures.count, given_up, delivery.failing_since) == (6, [], None)


async def test_what_is_left_of_an_attempt_is_sent_at_once() -> None:
    place = Place(lambda all_: PartlyTakenError("time", all_[:4]))
    delivery, figures, _given_up = await deliver(place)
    assert place.attempts == [[0, 1, 2, 3, 4, 5], [4, 5]]
    assert (figures.count, delivery.reached) == (6, {0: 5})


async def test_what_is_refused_beside_what_is_taken_is_given_up_alone() -> None:
    place = Place(lambda all_: RefusedError("bad", [all_[0], *all_[2:]]))
    delivery, figures, given_up = await deliver(place)
    assert place.attempts == [[0, 1, 2, 3, 4, 5]]
    assert (figures.count, given_up) == (5, [1])
    assert (delivery.handled, delivery.reached) == (6, {0: 1})  # giving up is moving on, too


async def test_an_output_that_refuses_what_it_could_not_take_before_has_answered() -> None:
    place = Place(
        lambda _all: DeliveryError("open", 0.0, is_circuit_open=True),
        lambda all_: RefusedError("bad", all_[1:]),
    )
    delivery, figures, given_up = await deliver(place)
    assert (figures.count, given_up) == (5, [0])
    assert (delivery.failing_since, delivery.failure, delivery.is_circuit_open) == (None, "", False)


async def test_an_output_whose_circuit_is_open_is_known_as_one_until_it_takes_something() -> None:
    seen: list[object] = []

    class Watched(Place):
        async def deliver(self, messages: Sequence[Message]) -> None:
            if self.attempts:
                seen.append((delivery.is_circuit_open, set(delivery.under_way)))
            await super().deliver(messages)

    place = Watched(lambda _all: DeliveryError("open", 0.0, is_circuit_open=True))
    figures = Figures()

    async def nothing(*_args: object) -> None:
        pass

    async def go_on() -> bool:
        return True

    delivery = Delivery("o", place, give_up=nothing, give_up_after=1e12, figures=figures, gate=GATE)
    await delivery.deliver([message(0)], go_on)
    assert seen == [(True, {0})]
    assert (delivery.is_circuit_open, delivery.under_way) == (False, set())
