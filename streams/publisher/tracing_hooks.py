"""Where a publisher's parts can be traced; as they stand here nothing is."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from streams.publisher.delivery import Delivers, GiveUp, Output
from vimfed.process.trace_carriers import Carrier, Exemplar, no_exemplar


class TracingHooks(NamedTuple):
    """Each takes a part of a publisher and returns the one that is used."""

    output: Callable[[Output], Output] = lambda output: output
    delivery: Callable[[Delivers], Delivers] = lambda delivery: delivery
    give_up: Callable[[GiveUp], GiveUp] = lambda give_up: give_up
    exemplar: Callable[[Sequence[Carrier]], Exemplar | None] = no_exemplar
    """Of the records of a batch, the trace that is shown with its times."""
