"""This worker as its HTTP views see it: what it may answer for, and who answers for the rest."""

import asyncio
import math
import time
from typing import NamedTuple

import msgspec

from streams.engine.apps import owners_of
from streams.engine.row_table import RowTable
from streams.worker.host_index import CloudNews
from streams.worker.instance_index import Selection
from streams.worker.worker import StreamWorker
from vimfed.kafka.partitions import partition_of
from vimfed.model.keys import instance_key, kind_of_key
from vimfed.model.records import InstanceState, decode_row
from web.http.errors import UnavailableError
from web.queries.instance_search import (
    FoundInstances,
    InstanceSearch,
    InstanceSummary,
    decode_listed_row,
    is_available,
    is_wanted,
    selection,
    summary,
)
from web.queries.peer_query import PeerQuery
from web.queries.tenants import Tenants, is_shown
from web.queries.vims import FoundTroubles, FoundVims, TroublesQuery, VimsQuery

PATIENCE = 2.0
"""Seconds for which a query waits for partitions that are being assigned.

A worker is called ready as long, since who asks it is answered after a moment: all workers are
assigned partitions at once, and a proxy would find none to ask.
"""
LOOK_EVERY = 0.5
"""Seconds between two looks whether this worker answers."""


class RowQuery(PeerQuery, frozen=True):
    """What a worker asks the owner of an instance."""

    vim_id: str
    instance_id: str
    tenants: Tenants = None
    """Of whose the instance must be."""


class FoundRow(msgspec.Struct, frozen=True):
    """The owner's answer; None where there is no such instance."""

    row: InstanceState | None
    available: bool | None = None
    """Whether its host is up; None where that is not known."""


class StaleRow(NamedTuple):
    """What a standby knows of an instance."""

    row: InstanceState
    lag: int
    """By so many changes the copy is behind, as far as it knows."""
    age: float
    """Seconds since which the copy may have missed changes."""


class OwnPartitions:
    """Answers from the partitions that this worker owns, and from no others."""

    def __init__(self, worker: StreamWorker) -> None:
        self._worker = worker
        self._partitions = worker.settings.kafka.partitions
        self._answered_at = -math.inf
        """When the last look, by the monotonic clock, found that we answer."""
        self.url = str(worker.app.conf.canonical_url).rstrip("/")

    @property
    def generation(self) -> int:
        """The consumer group's generation."""
        generation: int = self._worker.app.consumer_generation_id
        return generation

    def check_ready(self) -> None:
        """Raise UnavailableError unless our rows are all there, and nobody else can own them."""
        for reason in self._wrong().values():
            raise UnavailableError(reason)

    async def keep_looking(self) -> None:
        """Note again and again whether we answer."""
        while True:
            self.what_is_wrong()
            await asyncio.sleep(LOOK_EVERY)

    def not_ready(self) -> dict[str, str]:
        """Return what keeps us from answering a query that comes now; empty while it is answered.

        That may be after a moment: what has been wrong for less than PATIENCE is waited for.
        """
        if self._worker.app.should_stop:
            return {"worker": "it is being stopped"}
        wrong = self.what_is_wrong()
        is_passing = time.monotonic() - self._answered_at < PATIENCE
        return {} if is_passing else wrong

    def what_is_wrong(self) -> dict[str, str]:
        """Return which part keeps this worker from answering, and why; empty while it answers."""
        wrong = self._wrong()
        if not wrong:
            try:
                self.owners()
            except UnavailableError as error:
                wrong["partitions"] = f"{error.reason}: {error.partitions}"
        if not wrong:
            self._answered_at = time.monotonic()
        return wrong

    def _wrong(self) -> dict[str, str]:
        """Return why our rows are not all there, or somebody else may own them.

        While partitions are taken away, and while the stream has yet to be resumed, neither is so.
        """
        worker = self._worker
        if not worker.app.started or worker.consumer.is_joining:
            return {"partitions": "partitions are being assigned"}
        if any(table.generation != self.generation for table in worker.tables):
            return {"table": "the table is being recovered"}
        age = worker.consumer.membership.age
        if age > worker.settings.worker.session_timeout / 2:
            return {"kafka": f"Kafka has not confirmed our membership for {age:.0f} s"}
        return {}

    def owners(self) -> dict[str, set[int]]:
        """Return which worker, by its URL, owns which partitions. Raises UnavailableError."""
        missing = self.unowned()
        if missing:
            raise UnavailableError("some partitions have no owner", missing)
        return self.known_owners()

    def known_owners(self) -> dict[str, set[int]]:
        """Return the owners as of the last assignment, complete or not."""
        return owners_of(self._worker.app, self._worker.table.changelog_topic_name)

    def largest_share(self) -> float:
        """Return which share of the partitions one worker owns at most."""
        return max(map(len, self.known_owners().values()), default=0) / self._partitions

    def unowned(self) -> list[int]:
        """Return the partitions that have no owner."""
        owned = self.known_owners().values()
        return sorted(set(range(self._partitions)).difference(*owned))

    def partition_of(self, vim_id: str, instance_id: str) -> int:
        """Return the partition in which an instance's row lies."""
        return self.partition_of_key(instance_key(vim_id, instance_id))

    def partition_of_key(self, key: bytes) -> int:
        """Return the partition in which the row of an instance, host or cloud lies."""
        return partition_of(key, self._partitions)

    def partitions(self) -> list[int]:
        """Return the partitions that we own."""
        return sorted(self._worker.table.active)

    def meters(self, partitions: list[int]) -> RowTable:
        """Return the table of meters, if these partitions of it are ours. Raises UnavailableError.

        They are not while workers with and without samples run side by side.
        """
        meters = self._worker.meters
        missing = sorted(set(partitions).difference(() if meters is None else meters.active))
        if meters is None or missing:
            raise UnavailableError("meters lie at another worker", missing)
        return meters

    def read_stale(self, query: RowQuery) -> StaleRow | None:
        """Return an instance's row as a standby of ours knows it, and how old that may be.

        None where we hold no copy of its partition, or the copy has no such row of those tenants.
        """
        partition = self.partition_of(query.vim_id, query.instance_id)
        lag = self._worker.copy_lag(partition)
        if lag is None:
            return None
        row = self._row(partition, query.vim_id, query.instance_id)
        if row is None or not is_shown(row, query.tenants):
            return None
        return StaleRow(row, lag, self._worker.copy_age(partition))

    async def find_instances(self, search: InstanceSearch) -> FoundInstances:
        """Return the instances that we own and that are searched for."""
        hosts = self._worker.indexes.hosts
        wanted = selection(search, hosts.all_news(search.vim_id))
        page = await self._worker.index.query(wanted)
        # A long search gives way to the stream, which may have changed what was found.
        listed = (
            (position, self._listed(wanted, entry.instance_id)) for position, entry in page.found
        )
        found = [(position, one) for position, one in listed if one is not None]
        return FoundInstances(
            known=await self._worker.index.knows(search.vim_id, search.tenants),
            count=page.total,
            instances=found,
            until=page.found[-1][0] if page.more else None,
        )

    def _listed(self, wanted: Selection, instance_id: str) -> InstanceSummary | None:
        """Return what a list says of an instance; None where it is no longer asked for."""
        partition = self._worker.index.partition_of(wanted.vim_id, instance_id)
        if partition is None or partition not in self._worker.table.active:
            return None
        encoded = self._worker.table.partition(partition).get(
            instance_key(wanted.vim_id, instance_id)
        )
        row = None if encoded is None else decode_listed_row(encoded)
        if row is None or not is_wanted(row, wanted):
            return None
        return summary(row, self._worker.indexes.hosts.news(partition, wanted.vim_id))

    async def find_row(self, query: RowQuery) -> FoundRow:
        """Return the row of an instance that we own."""
        row = self._own_row(query.vim_id, query.instance_id)
        if row is None or not is_shown(row, query.tenants):
            return FoundRow(None)
        return FoundRow(row, is_available(row, self._news(query.vim_id, row)))

    async def find_vims(self, query: VimsQuery) -> FoundVims:
        """Return the VIMs of which we own instances."""
        index = self._worker.index
        if query.tenants is None:
            return FoundVims(index.counts())
        return FoundVims(await index.counts_of(query.tenants))

    async def find_troubles(self, _query: TroublesQuery) -> FoundTroubles:
        """Return how the hosts of all clouds are that count here, and our alarms."""
        indexes = self._worker.indexes
        return FoundTroubles(
            indexes.hosts.counts(),
            indexes.instances.unavailable(),
            indexes.alarms.counts(),
        )

    def _news(self, vim_id: str, row: InstanceState) -> CloudNews:
        """Return what is known of a cloud's hosts where an instance's row lies."""
        partition = self.partition_of(vim_id, row.instance_id)
        return self._worker.indexes.hosts.news(partition, vim_id)

    def _own_row(self, vim_id: str, instance_id: str) -> InstanceState | None:
        """Return the row of an instance; None where it is not there or not ours."""
        partition = self.partition_of(vim_id, instance_id)
        if partition not in self._worker.table.active:
            return None
        return self._row(partition, vim_id, instance_id)

    def _row(self, partition: int, vim_id: str, instance_id: str) -> InstanceState | None:
        key = instance_key(vim_id, instance_id)
        # A path can spell a slash: what it names then is no instance.
        row = (
            self._worker.table.partition(partition).get(key)
            if kind_of_key(key) == "instance"
            else None
        )
        return None if row is None else decode_row(row)
