"""A cloud that is polled: a thread of its own asks its API, and writes what it finds to Kafka.

The first cycle after a start lists all servers, and the deleted ones of the retention; every other
one those that changed since the last, with an overlap for what was being saved meanwhile. Of a
server that changed, the actions are read first and then the state, so that the state is at least as
new as they are. A cycle's mark advances when Kafka has acknowledged all that was found.

What is known and no longer there, and no list shows how it went, the comparison finds.

Where the cloud also notifies, the same at a slow interval finds what nova's senders lost: what was
told already leaves no trace in the worker.
"""

import itertools
import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from bridge.poller.api_error import CloudApiError
from bridge.poller.comparison import Comparison
from bridge.poller.findings import (
    Finding,
    Server,
    ServerAction,
    bare_state,
    findings,
    found_phases,
    is_deletion,
    is_settled,
)
from bridge.poller.known_instances import KnownInstances
from bridge.poller.nova_api import NovaApi, Page
from bridge.poller.polling import Polling, Write
from bridge.poller.progress import PollerProgress
from vimfed.kafka.notification_writer import (
    RecordTooLargeError,
    arrival_time,
    notification_record,
)
from vimfed.model.times import as_utc_text, utc_text
from vimfed.nova.bare_state import bare_state_notification
from vimfed.nova.states import DELETED
from vimfed.settings import KafkaSettings, VimSettings

LOG = logging.getLogger(__name__)

OVERLAP = timedelta(seconds=60)
"""By so much the time of a change may be older than when it can be read."""
LOOKBACK = timedelta(hours=1)
"""How far back the first cycle reads actions: what is older is history, whoever asks."""
HEAD_START = timedelta(seconds=10)
"""A cloud's own notifications of a change have so long before polling looks for it."""
MAX_PAGES = 10_000
"""Pages of a list after which it counts as one without an end."""
ROUNDS = 3
"""So often a server is read at most whose state changes while its actions are read."""


class _Seen(NamedTuple):
    """What is known of a server that changed lately."""

    server: Server
    seen_at: str
    """By the cloud's clock: the state is that of this time or later."""
    actions: dict[str, ServerAction]
    """With their events, by request id."""

    @property
    def is_settled(self) -> bool:
        """Whether nothing more can come of it."""
        return is_settled(self.server, list(self.actions.values()), self.seen_at)


class Poller(Polling):
    """Polls a cloud's servers until it is stopped."""

    progress: PollerProgress

    def __init__(
        self,
        vim: VimSettings,
        kafka: KafkaSettings,
        deleted_retention: float,
        write: Write,
        progress: PollerProgress,
        *,
        known: KnownInstances,
    ) -> None:
        self._api = NovaApi(vim.poll)
        super().__init__(vim, vim.seconds_between_polls, write, progress, "", self._api)
        self._kafka = kafka
        self._retention = timedelta(seconds=deleted_retention)
        self._path = f"{vim.vim_id}/poller/{uuid.uuid4().hex[:12]}"
        self._sequence = 0
        self._mark: datetime | None = None
        """Up to when the cloud's changes are known, by its own clock."""
        self._seen: dict[str, _Seen] = {}
        """Servers that changed within the overlap: the next cycle is shown them again."""
        self._comparison = Comparison(
            vim, self._api, partial(known.take, vim.vim_id, self._stop.is_set), progress
        )

    def cycle(self) -> None:
        """List what changed, write what follows, and advance the mark. Raises CloudApiError."""
        self._comparison.prepare(self._asked)
        since = None if self._mark is None else self._mark - OVERLAP
        pages = self._pages(since)
        first = next(pages)
        mark = first.asked_at
        if since is None:
            pages = itertools.chain(pages, self._pages(mark - self._retention, deleted=True))
        count = 0
        for page in itertools.chain([first], pages):
            count += len(page.servers)
            self._heed(page, since or mark - LOOKBACK, is_first=since is None)
        self._mark = mark
        self.progress.listed = count
        self._forget(mark - 2 * OVERLAP)
        self._compare(is_listed=since is None)

    def _compare(self, *, is_listed: bool) -> None:
        """Go on with the comparison; ``is_listed``: the cycle has listed all servers by itself."""
        if self._comparison.wants_list:
            for page in () if is_listed else self._pages(None):
                self._comparison.heed(page.servers)
            self._comparison.listed()
        else:  # with a list of changes since the whole one
            self._comparison.ask(self._asked, self._tell)

    def _pages(self, since: datetime | None, *, deleted: bool = False) -> Iterator[Page]:
        marker = ""
        markers: set[str] = set()
        while True:
            ask = partial(self._api.page, since=since, deleted=deleted, marker=marker)
            page = self._asked(ask)
            if deleted:  # whoever is no admin is shown the others, too
                gone = [one for one in page.servers if one.vm_state in (DELETED, "soft-delete")]
                page = page._replace(servers=gone)
            yield page
            marker = page.next_marker
            if not marker:
                return
            if marker in markers or len(markers) == MAX_PAGES:
                raise CloudApiError("garbage", f"a list of servers without an end, at {marker}")
            markers.add(marker)

    def _heed(self, page: Page, since: datetime, *, is_first: bool) -> None:
        """Write what follows from a page, and keep it in mind when it is written."""
        self._comparison.heed(page.servers)
        found: list[Finding] = []
        seen: dict[str, _Seen] = {}
        for server in page.servers:
            if not server.is_known:  # it lies in a cell that is down
                continue
            updated = as_utc_text(server.updated)
            if self._vim.notifies and updated > utc_text(page.asked_at - HEAD_START):
                continue  # the next cycle is shown it again
            before = self._seen.get(server.id)
            if before is not None and before.is_settled and _same(before.server, server):
                continue
            if is_first and updated < utc_text(since):
                found.append(Finding(bare_state(server, utc_text(page.asked_at))))
                continue
            now = seen[server.id] = self._look(server, utc_text(page.asked_at), since, before)
            told = found_phases(before.server, list(before.actions.values())) if before else []
            new = findings(now.server, list(now.actions.values()), now.seen_at)
            found += [each for each in new if each.action not in told or each.state.state]
        self._tell(found)
        self._seen |= seen

    def _look(self, listed: Server, listed_at: str, since: datetime, before: _Seen | None) -> _Seen:
        """Read a server's actions, and its state until it stays the same meanwhile."""
        oldest = f"{since:%Y-%m-%dT%H:%M:%S}"
        actions = dict(before.actions) if before else {}
        actions = {key: each for key, each in actions.items() if each.changed_at >= oldest}
        server, seen_at = listed, listed_at
        for _round in range(ROUNDS):
            for action in self._asked(partial(self._api.actions, listed.id, since)):
                read = actions.get(action.request_id)
                if (
                    read is None
                    or action.updated_at is None
                    or read.updated_at != action.updated_at
                ):
                    read = self._asked(partial(self._api.with_events, listed.id, action))
                actions[action.request_id] = read
            last = server
            if last.vm_state == DELETED:
                break
            now, asked_at = self._asked(partial(self._api.server, listed.id))
            if now is None:  # it is gone, and its state is of before: the next list has both
                actions = {key: each for key, each in actions.items() if not is_deletion(each)}
                break
            server, seen_at = now, utc_text(asked_at)
            if _same(server, last) and (server.task_state or not _is_running(actions)):
                break
        return _Seen(server, seen_at, actions)

    def _tell(self, found: Sequence[Finding]) -> None:
        """Write findings; return when Kafka has acknowledged them. Raises StoppedError."""
        records = []
        received_at = arrival_time()
        for state, action in found:
            self._sequence += 1
            notification = bare_state_notification(
                self._vim.vim_id,
                state,
                source="poller",
                path=self._path,
                sequence=self._sequence,
                received_at=received_at,
                action=action,
            )
            try:
                records.append(notification_record(self._kafka, notification, state.instance_id))
            except RecordTooLargeError as error:
                LOG.warning("cloud %s: %s: %s", self._vim.vim_id, state.instance_id, error)
        self._written(records)

    def _forget(self, before: datetime) -> None:
        """Forget the servers that the next cycle is not shown again."""
        oldest = utc_text(before)
        self._seen = {
            server_id: seen
            for server_id, seen in self._seen.items()
            if as_utc_text(seen.server.updated) >= oldest
        }


def _is_running(actions: Mapping[str, ServerAction]) -> bool:
    return any(not event.finish_time for each in actions.values() for event in each.events)


def _same(one: Server, other: Server) -> bool:
    return (one.updated, one.state) == (other.updated, other.state)
