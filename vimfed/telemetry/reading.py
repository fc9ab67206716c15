"""What every reader of samples returns, and the bounds of what it takes.

What becomes of a message's samples:

=====================================  ===================================================
a sample                               becomes
=====================================  ===================================================
of an instance, or one of its devices  a sample under the instance's key
of a host                              a sample under the host's key
of anything else, e.g. an image        nothing: nobody measures it
that is wrong                          part of the message's one dead letter (``Unread``)
=====================================  ===================================================

A message that holds no samples where it should is a dead letter as a whole.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from vimfed.alerts.subject import Subject
from vimfed.model.samples import Sample
from vimfed.model.times import read_time

MAX_WORD = 255
"""Characters of a meter's, a unit's or a device's name."""


class NoSamplesError(Exception):
    """A message holds no samples; the text says why."""


class BadSampleError(Exception):
    """One sample cannot be used; the text says why."""


class Unread(NamedTuple):
    """Those samples of a message that cannot be used."""

    message: bytes
    """They alone, as a bare JSON list, which is read like a message; of what nova notifies of
    usage the whole notification."""
    error: str
    """How many, and why the first of them."""


class Reading(NamedTuple):
    """What a message says."""

    samples: Mapping[Subject, Sequence[Sample]]
    """In their order."""
    unread: Unread | None = None


def word(name: str, value: str | None) -> str:
    """Return a name of a meter, unit or device. Raises BadSampleError; empty is none."""
    text = value or ""
    if len(text) > MAX_WORD or not text.isprintable():
        raise BadSampleError(f"{name} is no name: {text[:50]!a}")
    return text


def moment(name: str, value: str | None) -> str:
    """Return a time as samples carry it. Raises BadSampleError where there is none since 1970."""
    read = read_time(value or "")
    if read is None or read[1] <= 0:
        raise BadSampleError(f"{name} is no ISO 8601 time: {(value or '')[:50]!a}")
    return read[0]


def finite(name: str, value: float) -> float:
    """Return a volume. Raises BadSampleError where it is no finite number."""
    if not math.isfinite(value):
        raise BadSampleError(f"{name} is not finite")
    return value
