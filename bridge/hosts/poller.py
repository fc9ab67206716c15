"""How a cloud's hosts are: its compute services are listed at a short interval.

What changed is told at once, and all of it every five minutes: a worker that lost its table, or
that knew no hosts yet, learns it so. Of a host of which nova has notified something the next looks
are told, too: the last of several notifications may have been lost, or have come late. A cloud that
does not answer makes no host down; after some intervals its hosts are unknown.
"""

import logging
import time
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta

from bridge.hosts.progress import HostsProgress
from bridge.hosts.sightings import Sightings
from bridge.poller.api_error import CloudApiError
from bridge.poller.known_instances import KnownInstances, KnownInstancesError
from bridge.poller.nova_api import NovaApi
from bridge.poller.polling import Polling, Write
from vimfed.kafka.notification_writer import arrival_time, report_records
from vimfed.model.times import utc_text
from vimfed.nova.host_report import CloudReport, HostReport
from vimfed.settings import KafkaSettings, VimSettings

LOG = logging.getLogger(__name__)

REPEAT_EVERY = 300.0
"""Seconds after which everything is told again."""
UNKNOWN_AFTER = 3
"""Intervals without an answer after which a cloud's hosts are unknown."""
MOST_NAMES = 10
"""Hosts that one line of the log names."""


class HostPoller(Polling):
    """Looks at a cloud's hosts until it is stopped."""

    progress: HostsProgress

    def __init__(
        self,
        vim: VimSettings,
        kafka: KafkaSettings,
        write: Write,
        progress: HostsProgress,
        *,
        known: KnownInstances,
        told: Callable[[], Collection[str]],
    ) -> None:
        """``told``: returns the hosts of which the cloud itself has lately notified something."""
        self._api = NovaApi(vim.poll)
        super().__init__(vim, vim.poll.hosts_interval, write, progress, "hosts", self._api)
        self._kafka = kafka
        self._known = known
        self._told = told
        self._sightings = Sightings()
        self._asked_at = datetime.min.replace(tzinfo=UTC)
        self._answered_at = time.monotonic()
        """When the last answer came; at first, when the poller was made."""
        self._has_answered = False
        self._is_unknown = False
        """Whether the cloud's hosts have been told to be unknown."""
        self._repeat_at = 0.0
        self._know_at = time.monotonic()
        """From when on the table is asked which hosts it knows; infinite once it has said."""
        self._unreadable: set[str] = set()

    def cycle(self) -> None:
        """List the services, and write what follows. Raises CloudApiError and StoppedError."""
        try:
            answer = self._asked(self._api.compute_services)
        except CloudApiError as error:
            self._not_answered(error)
            raise
        self._answered_at = time.monotonic()
        repeat = self._answered_at >= self._repeat_at
        is_first = not self._has_answered
        reports = self._sightings.heed(
            answer.services,
            is_whole=answer.is_whole,
            repeat=repeat and not is_first,
            again=self._told(),
        )
        self._note()
        is_known = [CloudReport(is_known=True)] if repeat or self._is_unknown else []
        self._tell([*reports, *is_known], self._true_at(answer.asked_at))
        self._has_answered, self._is_unknown = True, False
        if repeat:
            self._repeat_at = self._answered_at + REPEAT_EVERY
        if not is_first:
            self._learn()

    def _not_answered(self, error: CloudApiError) -> None:
        """Tell once that the cloud's hosts are unknown, when it has not answered for too long.

        Who may not ask has never known them.
        """
        if self._is_unknown or (error.reason == "forbidden" and not self._has_answered):
            return
        if time.monotonic() - self._answered_at >= UNKNOWN_AFTER * self._interval:
            self._tell([CloudReport(is_known=False)])
            self._is_unknown = True

    def _true_at(self, asked_at: datetime) -> datetime:
        """Return when an answer was true, by the cloud's clock: after the one before.

        What an answer took, and whole seconds, make its own word too early by as much. A clock that
        was set back further is believed.
        """
        slack = timedelta(seconds=self._vim.poll.timeout + 1)
        if asked_at <= self._asked_at <= asked_at + slack:
            asked_at = self._asked_at + timedelta(microseconds=1)
        self._asked_at = asked_at
        return asked_at

    def _tell(
        self, reports: Sequence[HostReport | CloudReport], asked_at: datetime | None = None
    ) -> None:
        """Write reports; return when Kafka has acknowledged them. Raises StoppedError.

        Whether a cloud answers is true by our own clock: it has none when it does not.
        """
        received_at = arrival_time()
        records = []
        for report in reports:
            is_host = isinstance(report, HostReport) and asked_at is not None
            records += report_records(
                self._kafka,
                self._vim.vim_id,
                report,
                source="poller",
                timestamp=utc_text(asked_at) if is_host and asked_at else received_at,
                received_at=received_at,
            )
        self._written(records)
        self._log(reports)

    def _learn(self) -> None:
        """Learn once which hosts the table knows from before; try again later where it fails."""
        if time.monotonic() < self._know_at:
            return
        self._know_at = float("inf")
        try:
            hosts = self._known.take(self._vim.vim_id, self._stop.is_set)
        except KnownInstancesError as error:
            self._know_at = time.monotonic() + REPEAT_EVERY
            LOG.info(
                "cloud %s: hosts that were removed while no bridge ran are not noticed: %s",
                self._vim.vim_id,
                error,
            )
        else:
            self._sightings.know(hosts)

    def _note(self) -> None:
        """Keep the figures of the last answer; warn of names that no host can have."""
        sightings = self._sightings
        self.progress.by_state = sightings.count()
        new = sightings.unreadable - self._unreadable
        self._unreadable = sightings.unreadable
        if new:
            LOG.warning(
                "cloud %s: names that no host can have, passed over: %s",
                self._vim.vim_id,
                ", ".join(ascii(name[:50]) for name in sorted(new)[:MOST_NAMES]),
            )

    def _log(self, reports: Sequence[HostReport | CloudReport]) -> None:
        """Tell of what is not as it is to be, a line for each state."""
        named: dict[str, list[str]] = {}
        for report in reports:
            if isinstance(report, CloudReport):
                if not report.is_known:
                    LOG.warning("cloud %s: its hosts are unknown", self._vim.vim_id)
                continue
            state = "gone" if report.is_gone else "forced down" if report.forced_down else "down"
            if state != "down" or report.is_up is False:
                named.setdefault(state, []).append(report.host)
        for state, hosts in named.items():
            more = f" and {len(hosts) - MOST_NAMES} more" if len(hosts) > MOST_NAMES else ""
            LOG.warning(
                "cloud %s: hosts %s: %s%s",
                self._vim.vim_id,
                state,
                ", ".join(hosts[:MOST_NAMES]),
                more,
                extra={"vim_id": self._vim.vim_id},
            )
