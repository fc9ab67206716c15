"""Samples as Prometheus answers queries: an instant vector of values, and of their times.

Prometheus stamps an answer with the time of the question. When a value was scraped tells
``timestamp(...)``; ``promql`` asks for both in one query, so that no scrape comes in between, and
the times bear the label TIME. The answer is JSON as of ``/api/v1/query``::

    {"status": "success", "data": {"resultType": "vector", "result": [
        {"metric": {"domain": "instance-00000001", ...}, "value": [<time of the question>, "42.5"]},
        ...]}}

A value is a sample where it was scraped within the window. What is older is the last word of a
series that has ended, or of a target that no longer answers: Prometheus shows it for five minutes.
"""

import math
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal, NamedTuple, Protocol, TypeAlias

import msgspec
from msgspec import Raw, Struct

from vimfed.alerts.subject import CLOUD, Subject, SubjectLabels, subject_of
from vimfed.model.decoding import UNREADABLE
from vimfed.model.samples import MeterKind, Sample
from vimfed.model.times import utc_text
from vimfed.telemetry.reading import BadSampleError, finite, word

PassedOver = Literal["stale", "unnamed", "unreadable", "ambiguous"]
"""Why a series is no sample: it was not scraped within the window; it lacks the label that names
the instance, host or device; its value is no finite number; another one of the same meter and
device of the same instance is newer."""
Labels: TypeAlias = frozenset[tuple[str, str]]
"""Of a series, without the metric's name."""
TIME = "vimfed_time"
"""Label of a series whose value is a time."""
_NAME = "__name__"


class NoAnswerError(Exception):
    """It is no answer of Prometheus's; the text says why."""


class QueryError(Exception):
    """Prometheus does not answer one query, or answers what is none; the text says why."""


class Query(Protocol):
    """What is asked for, and how it is read."""

    @property
    def query(self) -> str:
        """PromQL of the values."""

    @property
    def time_of(self) -> str:
        """PromQL of a selector whose scrapes are the values' times; empty: ``query`` is one."""

    @property
    def join(self) -> str:
        """PromQL that is put behind values and times."""

    @property
    def meter(self) -> str:
        """Name of the meter."""

    @property
    def type(self) -> MeterKind:
        """What a value is."""

    @property
    def factor(self) -> float:
        """By which values are multiplied."""

    @property
    def unit(self) -> str:
        """Of the product."""

    @property
    def instance_label(self) -> str:
        """Label that holds the instance's id; empty: ``host_label`` holds the host's name."""

    @property
    def host_label(self) -> str:
        """Label that holds the host's name."""

    @property
    def device_label(self) -> str:
        """Label that names the device; empty: none does."""


class Window(NamedTuple):
    """The time from which samples are wanted, in seconds since 1970: from ``begin`` to ``end``."""

    begin: float
    end: float
    """Not in it."""


class Answer(NamedTuple):
    """What a query is answered: each value, and when it was scraped, by the same labels.

    Of a query that calculates, and has no ``time_of``, the time is that of the question.
    """

    values: dict[Labels, str]
    """Empty: a histogram."""
    times: dict[Labels, str]


class Found(NamedTuple):
    """What an answer says."""

    samples: Mapping[Subject, list[Sample]]
    passed_over: Counter[PassedOver]


class _Series(Struct, gc=False):
    metric: dict[str, str]
    value: tuple[float, str] | None = None
    """None: a native histogram."""


class _Data(Struct):
    kind: str = msgspec.field(name="resultType")
    result: Raw


class _Answer(Struct):
    status: str
    data: _Data | None = None
    error_type: str = msgspec.field(name="errorType", default="")
    error: str = ""


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_series = msgspec.json.Decoder(list[_Series]).decode
_OF_THE_QUERY = frozenset({"bad_data", "execution", "timeout"})
"""Error types that say nothing of other queries."""


def promql(query: Query) -> str:
    """Return what Prometheus is asked; ``read_answer`` reads the answer."""
    # A comment that ends a query ends with its line.
    times = f"timestamp(({query.time_of or query.query}\n)) {query.join}"
    values = f"({query.query}\n) {query.join}"
    return f'label_replace({times}, "{TIME}", "1", "", "") or ({values})'


def read_answer(body: bytes) -> Answer:
    """Return what an answer says. Raises NoAnswerError and QueryError."""
    try:
        answer = _decode_answer(body)
        if answer.status != "success":
            text = f"{answer.error_type}: {answer.error}"
            if answer.error_type in _OF_THE_QUERY:
                raise QueryError(text)
            raise NoAnswerError(text)
        if answer.data is None:
            raise NoAnswerError("a success without data")
        if answer.data.kind != "vector":
            raise NoAnswerError(f"a {answer.data.kind}, where an instant vector was asked for")
        series = _decode_series(answer.data.result)
    except UNREADABLE as error:
        raise NoAnswerError(f"not what Prometheus answers: {error}") from None
    read = Answer({}, {})
    for each in series:
        is_time = each.metric.pop(TIME, "")
        each.metric.pop(_NAME, "")
        vector = read.times if is_time else read.values
        vector[frozenset(each.metric.items())] = each.value[1] if each.value else ""
    return read


def read_samples(answer: Answer, query: Query, window: Window) -> Found:
    """Return the samples of a query that were scraped within the window."""
    passed_over: Counter[PassedOver] = Counter()
    newest: dict[tuple[Subject, str], Sample] = {}
    names = SubjectLabels(
        instance=(query.instance_label,) if query.instance_label else (),
        host=(query.host_label,) if query.host_label else (),
    )
    for labels, value in answer.values.items():
        at = _number(answer.times.get(labels, ""))
        if at is None or not window.begin <= at < window.end:
            passed_over["stale"] += 1
            continue
        told = dict(labels)
        subject = subject_of(told, names)
        device = told.get(query.device_label, "")
        if subject == CLOUD or (query.device_label and not device):
            passed_over["unnamed"] += 1
            continue
        try:
            sample = _sample(query, value, _time_text(at), device)
        except BadSampleError:
            passed_over["unreadable"] += 1
            continue
        about = subject, device
        other = newest.get(about)
        if other is not None:
            passed_over["ambiguous"] += 1
            sample = max(other, sample, key=lambda each: (each.at, each.volume))
        newest[about] = sample
    samples: dict[Subject, list[Sample]] = {}
    for (subject, _device), sample in newest.items():
        samples.setdefault(subject, []).append(sample)
    return Found(samples, passed_over)


def _sample(query: Query, value: str, at: str, device: str) -> Sample:
    number = _number(value)
    if number is None:
        raise BadSampleError(f"{value[:50]!a} is no finite number")
    return Sample(
        meter=query.meter,
        volume=finite("the value", number * query.factor),
        at=at,
        kind=query.type,
        unit=query.unit,
        device=word("the device", device),
    )


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


@lru_cache(maxsize=4096)
def _time_text(seconds: float) -> str:
    """Return a time since 1970 as samples carry it; all that a target tells has the same."""
    return utc_text(_EPOCH + timedelta(seconds=seconds))


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
