"""This worker as its HTTP views see it: what it may answer for, and who answers for the rest."""

from faust.assignor.partition_assignor import PartitionAssignor

from streams.instance_index import StateGroup
from streams.transition import decode_row
from streams.worker import StreamWorker
from vimfed.keys import instance_key, partition_of
from vimfed.records import InstanceState
from web.errors import UnavailableError
from web.state_names import matcher
from web.status_query import StatusPart, StatusQuery, summary


class Replica:
    """Answers from the partitions that this worker owns, and from no others."""

    def __init__(self, worker: StreamWorker) -> None:
        self._worker = worker
        self._partitions = worker.settings.kafka.partitions
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

    def not_ready(self) -> dict[str, str]:
        """Return which part keeps this worker from answering, and why; empty while it answers."""
        wrong = self._wrong()
        if not wrong:
            try:
                self.owners()
            except UnavailableError as error:
                wrong["partitions"] = f"{error.reason}: {error.partitions}"
        return wrong

    def _wrong(self) -> dict[str, str]:
        app = self._worker.app
        if not app.started or app.rebalancing:
            return {"partitions": "partitions are being assigned"}
        if app.in_recovery or not app.tables.actives_ready:
            return {"table": "the table is being recovered"}
        age = self._worker.consumer.membership.age
        if age > self._worker.settings.worker.session_timeout / 2:
            return {"kafka": f"Kafka has not confirmed our membership for {age:.0f} s"}
        return {}

    def owners(self) -> dict[str, set[int]]:
        """Return which worker, by its URL, owns which partitions. Raises UnavailableError."""
        assignor = self._worker.app.assignor
        assert isinstance(assignor, PartitionAssignor)  # noqa: S101 - for the type checker
        changelog = self._worker.table.changelog_topic_name
        owners = {
            url.rstrip("/"): set(topics[changelog])
            for url, topics in assignor.changelog_distribution.items()
            if topics.get(changelog)
        }
        missing = set(range(self._partitions)).difference(*owners.values())
        if missing:
            raise UnavailableError("some partitions have no owner", sorted(missing))
        return owners

    def partition_of(self, vim_id: str, instance_id: str) -> int:
        """Return the partition in which an instance's row lies."""
        return partition_of(instance_key(vim_id, instance_id), self._partitions)

    def read(self, vim_id: str, instance_id: str) -> InstanceState | None:
        """Return an instance's row. Raises UnavailableError where we do not own its partition."""
        self.check_ready()
        partition = self.partition_of(vim_id, instance_id)
        if partition not in self._worker.table.active:
            raise UnavailableError("the partition has another owner", [partition])
        return self._row(partition, vim_id, instance_id)

    def read_stale(self, vim_id: str, instance_id: str) -> tuple[InstanceState, int] | None:
        """Return an instance's row as a standby of ours knows it, and how far that is behind.

        None where we hold no copy of its partition, or the copy has no such row.
        """
        partition = self.partition_of(vim_id, instance_id)
        lag = self._worker.copy_lag(partition)
        if lag is None:
            return None
        row = self._row(partition, vim_id, instance_id)
        return None if row is None else (row, lag)

    def status_part(self, query: StatusQuery) -> StatusPart:
        """Answer a status query for the partitions that we own. Raises UnavailableError."""
        self.check_ready()
        matches = matcher(query.names)
        if query.instance_id is not None:
            rows = self._own_row(query.vim_id, query.instance_id)
            rows = [
                row
                for row in rows
                if matches(StateGroup(row.vm_state, row.task_state, row.kind))
                and query.tenant_id in (None, summary(row).tenant_id)
            ]
            count = len(rows)
        else:
            count, entries = self._worker.index.query(
                query.vim_id,
                matches,
                tenant_id=query.tenant_id,
                before=query.before,
                limit=query.limit,
            )
            rows = [
                row for entry in entries for row in self._own_row(query.vim_id, entry.instance_id)
            ]
        return StatusPart(
            generation=self.generation,
            partitions=tuple(sorted(self._worker.table.active)),
            known=query.vim_id in self._worker.index.vim_ids(),
            count=count,
            instances=[summary(row) for row in rows],
        )

    def _own_row(self, vim_id: str, instance_id: str) -> list[InstanceState]:
        """Return the row of an instance, or none where it is not there or not ours."""
        partition = self.partition_of(vim_id, instance_id)
        if partition not in self._worker.table.active:
            return []
        row = self._row(partition, vim_id, instance_id)
        return [] if row is None else [row]

    def _row(self, partition: int, vim_id: str, instance_id: str) -> InstanceState | None:
        row = self._worker.table.partition(partition).get(instance_key(vim_id, instance_id))
        return None if row is None else decode_row(row)
