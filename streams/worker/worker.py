"""The stream worker: notifications in, events and the instances table out."""

import math
import socket
import time
from collections.abc import Mapping, Sequence, Set

from streams.core.metering import Rules
from streams.core.quota import quota_of_partition
from streams.engine.apps import consume, consumer_of, new_app, recovery_seconds, run_app
from streams.engine.batched_transport import TP, BatchedConsumer, RecordBatch
from streams.engine.foreign_data import set_foreign_data_aside
from streams.engine.lanes import BatchHandler
from streams.engine.loop_delays import LoopDelays
from streams.engine.row_table import PartitionIndex, RowTable
from streams.engine.table_upkeep import TableUpkeep
from streams.engine.tombstones import tombstones_kept
from streams.subscriptions.filters import SubscriptionHistory, default_subscription
from streams.subscriptions.log import SubscriptionLog
from streams.subscriptions.snapshots import SnapshotBook
from streams.subscriptions.switches import OutputSwitches
from streams.worker.alert_clock import AlertClock
from streams.worker.batch_writer import BatchWriter, Steps
from streams.worker.cloud_metrics import CloudMetrics
from streams.worker.health import WorkerCounters, WorkerHealth
from streams.worker.newest_values import NewestValues
from streams.worker.row_indexes import RowIndexes
from streams.worker.samples_follower import SamplesFollower
from streams.worker.samples_metrics import SampleCounters, SamplesLag
from streams.worker.snapshot_writer import SnapshotWriter
from streams.worker.table_writer import TableWriter
from vimfed.kafka.aio import AIOKafkaProducer
from vimfed.kafka.before_kafka import Port, Probes
from vimfed.kafka.group_progress import group_progress
from vimfed.kafka.rights import worker_needs
from vimfed.kafka.topics import TopicNames
from vimfed.process.metrics import new_registry
from vimfed.process.tls import server_context
from vimfed.process.trace_carriers import no_exemplar
from vimfed.process.tracing import started_tracing
from vimfed.settings import Settings, WebSettings

BEHIND_SECONDS, BEHIND_RECORDS = 0.5, 1000
"""What waits in a partition of a worker that does not keep up."""


class StreamWorker:
    """The Faust app with its table, and what its HTTP views need to answer."""

    def __init__(self, settings: Settings) -> None:
        names = TopicNames(settings.kafka.topic_prefix)
        # Replicas on one machine differ by their ports, and find their data again by them.
        data_dir = settings.state_dir / f"worker-{settings.web.port}"
        self.settings = settings
        self.vim_ids = settings.vim_ids
        """The clouds that the settings name, as of the last SIGHUP."""
        self._folder = data_dir if settings.worker.store == "rocksdb" else None
        self.registry = new_registry()
        self._counters = WorkerCounters(self.registry)
        self._tracing = started_tracing(settings.tracing, "vimfed-worker")
        self.health = WorkerHealth(self, settings.worker.stuck_after)
        self.registry.register(self.health)
        self._loop_delays = LoopDelays(
            self.registry,
            "vimfed_worker_event_loop_delay_seconds",
            "by how much the event loop came late to a timer: for so long others waited",
        )
        self._source = names.notifications
        self.indexes = RowIndexes(settings.kafka.partitions)
        self.index = self.indexes.instances
        self.registry.register(CloudMetrics(self.indexes))
        self.switches = OutputSwitches()
        """Which outputs are paused."""
        self.snapshots = SnapshotBook()
        history = SubscriptionHistory(default_subscription(settings.filter), kept=0)
        self.changes = SubscriptionLog(settings.kafka, history, (self.switches, self.snapshots))
        """What is changed at run time; who serves HTTP follows it."""
        self.app = new_app(
            settings,
            names.worker_group,
            names.notifications,
            data_dir,
            table_standby_replicas=settings.worker.standby_replicas,
            web_bind=settings.web.host,
            web_port=settings.web.port,
            canonical_url=_own_url(settings.web),
            web_ssl_context=server_context("web", settings.web),
        )
        self.table = self._new_table("instances", names.changelog, self.indexes)
        self.newest_values = NewestValues()
        self.meters = (
            self._new_table("meters", names.meters_changelog) if settings.takes_samples else None
        )
        """None where no cloud has samples: then there are no topics for them."""
        consume(self.app, names.notifications, settings.kafka, self._new_writer)

    def run(self) -> int:
        """Run until SIGTERM or SIGINT; return the exit code."""
        kafka = self.settings.kafka
        needs = worker_needs(
            kafka, samples=self.settings.takes_samples, outputs=self.settings.outputs()
        )
        try:
            return run_app(self.app, kafka, needs, _probes(self.settings.web), self._prepare)
        finally:
            if self._tracing is not None:
                self._tracing.close()

    def _new_table(
        self, name: str, changelog: str, index: PartitionIndex | None = None
    ) -> RowTable:
        """Add a table to the app."""
        table = RowTable(
            self.app,
            name=name,
            changelog_topic=self.app.topic(changelog, key_type=bytes, value_type=bytes),
            partitions=self.settings.kafka.partitions,
            folder=self._folder,
            standby_buffer_size=1,  # a standby must not sit on rows that it has received
            index=index,
        )
        self.app.tables.add(table)
        return table

    async def _prepare(self) -> None:
        kafka = self.settings.kafka
        for table in self.tables:
            changelog, stores = table.changelog_topic_name, table.stores
            stores.tombstones_kept = await tombstones_kept(kafka, changelog)
            if self._folder is not None:
                await set_foreign_data_aside(kafka, changelog, stores)

    @property
    def tables(self) -> Sequence[RowTable]:
        """The tables whose partitions are assigned to the workers."""
        return [self.table] if self.meters is None else [self.table, self.meters]

    @property
    def consumer(self) -> BatchedConsumer:
        """The consumer; it exists once the app has started."""
        return consumer_of(self.app)

    async def _new_writer(self, producer: AIOKafkaProducer) -> BatchHandler:
        rows = TableWriter(
            kafka=self.settings.kafka,
            table=self.table,
            consumer=self.consumer,
            producer=producer,
            on_written=self.indexes.write,
        )
        writer = BatchWriter(
            kafka=self.settings.kafka,
            limits=self.settings.worker,
            table=self.table,
            writer=rows,
            indexes=self.indexes,
            consumer=self.consumer,
            producer=producer,
            on_done=self._counters.processed,
            steps=self._steps(),
        )
        exemplar = self._tracing.exemplar if self._tracing else no_exemplar
        if self.meters is not None:
            self._follow_samples(self.meters, producer)
        self._write_snapshots(rows, producer)
        clock = AlertClock(self.settings.kafka, self.indexes.alert_rows, producer)
        upkeep = TableUpkeep(self.app, self.table, rows.mend, clock.look)
        self.app.add_future(upkeep.run(self.consumer))
        self.app.add_future(self._loop_delays.watch())

        async def process(batch: RecordBatch, partition: int) -> None:
            begun = time.monotonic()
            await writer.process(batch, partition)
            if batch.done:
                took = time.monotonic() - begun
                delay = time.time() - batch.records[0].timestamp / 1000
                self._counters.took(took, delay, exemplar(batch.records))

        return process

    def _write_snapshots(self, rows: TableWriter, producer: AIOKafkaProducer) -> None:
        kafka = self.settings.kafka
        names = TopicNames(kafka.topic_prefix)

        async def progress(output: str) -> Mapping[int, int]:
            return await group_progress(kafka, names.publisher_group(output), names.events)

        snapshots = SnapshotWriter(
            kafka=kafka,
            table=self.table,
            index=self.index,
            writer=rows,
            consumer=self.consumer,
            producer=producer,
            log=self.changes,
            book=self.snapshots,
            progress=progress,
            is_behind=lambda: self.is_behind,
        )
        self.app.add_future(snapshots.run())

    def _steps(self) -> Steps:
        if self._tracing is None:
            return Steps()
        from streams.worker.tracing import WorkerTracing
        from vimfed.kafka.traced_appending import TracedAppend

        group = TopicNames(self.settings.kafka.topic_prefix).worker_group
        return Steps(TracedAppend(self._tracing), WorkerTracing(self._tracing, group))

    def _follow_samples(self, meters: RowTable, producer: AIOKafkaProducer) -> None:
        settings = self.settings
        rows = TableWriter(
            kafka=settings.kafka,
            table=meters,
            consumer=self.consumer,
            producer=producer,
            on_written=self.newest_values.write,
        )
        follower = SamplesFollower(
            kafka=settings.kafka,
            rules=Rules(
                interval=settings.metrics.interval,
                grace=settings.metrics.grace,
                retention=settings.worker.deleted_retention,
                most_subjects=self.quota_of_partition,
                most_samples=quota_of_partition(
                    settings.metrics.samples_per_cloud, settings.kafka.partitions
                ),
            ),
            meters=meters,
            instances=self.table,
            index=self.index,
            writer=rows,
            consumer=self.consumer,
            producer=producer,
            counters=SampleCounters(self.registry),
            is_behind=lambda: self.is_behind,
        )
        self.registry.register(SamplesLag(follower.lags))
        upkeep = TableUpkeep(self.app, meters, rows.mend, follower.look)
        self.app.add_future(follower.run())
        self.app.add_future(upkeep.run(self.consumer))

    # -- how it is doing

    @property
    def partitions(self) -> Set[int]:
        """The partitions that we own and have recovered."""
        return self.table.active

    @property
    def rows(self) -> int:
        """How many rows they have."""
        return len(self.index)

    @property
    def instances(self) -> Mapping[str, Sequence[int]]:
        """By cloud, how many instances each partition with some has."""
        return self.index.sizes()

    @property
    def quota(self) -> int:
        """How many instances one cloud may have; 0: any number."""
        return self.settings.worker.instances_per_cloud

    @property
    def quota_of_partition(self) -> float:
        """How many instances of one cloud a partition may have."""
        return quota_of_partition(self.quota, self.settings.kafka.partitions)

    @property
    def rebalances(self) -> int:
        """How many rebalances there were since the start."""
        return self.app.rebalancing_count

    @property
    def membership_age(self) -> float:
        """Seconds since our membership of the group was last confirmed; infinite at first."""
        return self.consumer.membership.age if self.app.started else math.inf

    @property
    def is_processing(self) -> bool:
        """Whether records flow: a member, all partitions are ours for good, with leaders."""
        return (
            self.membership_age < self.settings.worker.session_timeout
            and not self.app.rebalancing
            and not self.app.in_recovery
            and not self.consumer.leaderless()
        )

    @property
    def recovery_seconds(self) -> float:
        """What the last recovery from the changelog took; 0 where there was none."""
        return recovery_seconds(self.app)

    @property
    def is_behind(self) -> bool:
        """Whether more notifications wait, or for longer, than in a worker that keeps up."""
        return any(
            self.lag(each) > BEHIND_RECORDS or self.oldest_undone_seconds(each) > BEHIND_SECONDS
            for each in self.table.active
        )

    def copy_lag(self, partition: int) -> int | None:
        """Return how many changes our copy of a partition is behind; None where we have none."""
        changelog = TP(self.table.changelog_topic_name, partition)
        if not self.table.holds(partition) or not self.consumer.is_assigned(changelog):
            return None
        held = self.table.partition(partition).changelog_offset
        return max(
            0, (self.consumer.highwater(changelog) or 0) - 1 - (-1 if held is None else held)
        )

    def copy_age(self, partition: int) -> float:
        """Return for how many seconds our copy of a partition may have missed changes."""
        return max(0.0, time.time() - self.table.partition(partition).followed.until)

    def undone(self, partition: int) -> int | None:
        """Return the offset of the first notification of a partition that is not done."""
        return self.consumer.undone(TP(self._source, partition))

    def lag(self, partition: int) -> int:
        """Return how many notifications of a partition that we own are not done."""
        return self.consumer.lag(TP(self._source, partition))

    @property
    def expired_unread(self) -> dict[int, int]:
        """By partition, how many notifications were removed before they were read."""
        lost = self.consumer.expired
        return {**dict.fromkeys(self.table.active, 0), **{tp.partition: lost[tp] for tp in lost}}

    def oldest_undone_seconds(self, partition: int) -> float:
        """Return since when the oldest notification that we have read waits; 0 where none does."""
        return self.consumer.oldest_undone_seconds(TP(self._source, partition))


def _probes(web: WebSettings) -> Probes:
    """Return where this worker answers probes while it has no Kafka."""
    ports = [Port(web.host, web.port, "web.port", server_context("web", web))]
    if web.monitoring_port:
        ports.append(Port(web.host, web.monitoring_port, "web.monitoring_port"))
    return Probes(ports, web.allowed_hosts)


def _own_url(web: WebSettings) -> str:
    """Return the URL under which the other workers reach this one."""
    if web.canonical_url:
        return web.canonical_url
    everywhere = web.host in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
    # In a container the own name leads to the address that the others see.
    host = socket.gethostbyname(socket.gethostname()) if everywhere else web.host
    return f"{web.scheme}://{host}:{web.port}"
