"""A cloud's Prometheus is asked once an interval, by a thread of its own, for what it has scraped.

Some seconds after an interval of measurements has ended it is asked, by one query for each meter,
what was so at the interval's last millisecond: the newest scrape within the interval is a sample,
at the time at which it was scraped. So each interval has a sample of each series that was scraped
in it. What was not is no sample: a VM that is gone, a target that does not answer. While Prometheus
is away the newest interval is asked for again and again; what has passed by then is a gap, over
which counters go on.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bridge.poller.api_error import CloudApiError
from bridge.poller.polling import Polling, Write
from bridge.prometheus.api import PrometheusApi
from bridge.prometheus.built_in import queries_of
from bridge.prometheus.progress import PrometheusProgress
from vimfed.alerts.subject import Subject
from vimfed.kafka.notification_writer import arrival_time
from vimfed.kafka.sample_records import sample_records
from vimfed.model.samples import Sample
from vimfed.settings import KafkaSettings, PrometheusQuery, VimSettings
from vimfed.telemetry.prometheus import Found, QueryError, Window, read_samples

LOG = logging.getLogger(__name__)

WRITE_AT_ONCE = 1000
"""Records that are written together: others have the event loop in between."""
_MILLISECOND = 0.001
_MARGIN = 0.01
"""Seconds that are waited longer: a clock may be read a little too early."""


class _Answers(NamedTuple):
    """What the queries of a cycle say."""

    samples: dict[Subject, list[Sample]]
    faults: dict[str, str]
    """Why queries were not answered, by meter."""
    failure: CloudApiError | None
    """Why the last ones were not asked."""


class PrometheusPoller(Polling):
    """Asks a cloud's Prometheus until it is stopped."""

    progress: PrometheusProgress
    longest_pause = 1

    def __init__(
        self,
        vim: VimSettings,
        kafka: KafkaSettings,
        interval: int,
        write: Write,
        progress: PrometheusProgress,
    ) -> None:
        """``interval``: of measurements, in seconds."""
        self._api = PrometheusApi(vim.samples.prometheus)
        super().__init__(vim, interval, write, progress, "Prometheus", self._api)
        self._kafka = kafka
        self._delay = vim.samples.prometheus.delay
        self._queries = queries_of(vim.samples.prometheus)

    def cycle(self) -> None:
        """Ask for the newest interval, and write its samples. Raises CloudApiError."""
        told = self._ask_all(window_of(time.time() - self._delay, self._interval))
        self._note(told.faults)
        self._tell(told.samples)
        if told.failure is not None:
            raise told.failure
        if len(told.faults) == len(self._queries):
            meter, why = next(iter(told.faults.items()))
            raise CloudApiError("refused", f"no query is answered, the first, {meter}: {why}")

    def rest(self, took: float) -> float:
        """Return the seconds until the next interval has ended, and the delay after it is over."""
        return self._interval - (time.time() - self._delay) % self._interval + _MARGIN

    def _ask_all(self, window: Window) -> _Answers:
        """Ask query after query; one that is not answered keeps no other from it."""
        told = _Answers({}, {}, None)
        for query in self._queries:
            try:
                found = self._ask(query, window)
            except QueryError as error:
                told.faults[query.meter] = str(error)
            except CloudApiError as error:
                return told._replace(failure=error)
            else:
                self.progress.passed_over(found.passed_over)
                for subject, samples in found.samples.items():
                    told.samples.setdefault(subject, []).extend(samples)
        return told

    def _ask(self, query: PrometheusQuery, window: Window) -> Found:
        at = window.end - _MILLISECOND
        return read_samples(self._asked(lambda: self._api.ask(query, at)), query, window)

    def _tell(self, samples: Mapping[Subject, Sequence[Sample]]) -> None:
        """Write samples; return when Kafka has acknowledged them. Raises StoppedError."""
        records = sample_records(
            self._kafka,
            self._vim.vim_id,
            samples,
            source="poller",
            received_at=arrival_time(),
        )
        for start in range(0, len(records), WRITE_AT_ONCE):
            self._written(records[start : start + WRITE_AT_ONCE])

    def _note(self, faults: Mapping[str, str]) -> None:
        """Tell which queries are not answered, and which are again, once each."""
        before, self.progress.faults = self.progress.faults, faults
        extra = {"vim_id": self._vim.vim_id}
        for meter, why in faults.items():
            if before.get(meter) != why:
                LOG.warning(
                    "cloud %s: Prometheus does not answer the query of meter %s, the others go on; "
                    "mend it in its [vims.samples.prometheus]: %s",
                    self._vim.vim_id,
                    meter,
                    why,
                    extra=extra,
                )
        for meter in before.keys() - faults.keys():
            LOG.info(
                "cloud %s: Prometheus answers the query of meter %s",
                self._vim.vim_id,
                meter,
                extra=extra,
            )


def window_of(now: float, interval: float) -> Window:
    """Return the newest interval that has ended; ``now``: seconds since 1970."""
    end = now // interval * interval
    return Window(end - interval, end)
