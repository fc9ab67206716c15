"""The job's topics: names, settings, creation, and the check that they are what we need."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from vimfed.settings import Carries, KafkaSettings

DAY_MS = 24 * 3600 * 1000
TOMBSTONES_KEPT_MS = 7 * DAY_MS
"""A worker's database that has not followed the changelog for half of this is read anew: see
streams/engine/partition_stores.py."""


@dataclass(frozen=True)
class TopicNames:
    """The names of all topics under one prefix."""

    prefix: str

    @property
    def notifications(self) -> str:
        """Oslo notifications, as the bridge forwards them."""
        return f"{self.prefix}.notifications"

    @property
    def changelog(self) -> str:
        """The instances table's changelog, compacted."""
        return f"{self.prefix}-instances-changelog"

    @property
    def events(self) -> str:
        """VmEvents, before subscriptions are applied."""
        return f"{self.prefix}.events"

    @property
    def samples(self) -> str:
        """Samples of meters, as bridges and pushes write them."""
        return f"{self.prefix}.samples"

    @property
    def meters_changelog(self) -> str:
        """The meters table's changelog, compacted."""
        return f"{self.prefix}-meters-changelog"

    @property
    def measurements(self) -> str:
        """Measurements, before subscriptions are applied."""
        return f"{self.prefix}.measurements"

    @property
    def subscriptions(self) -> str:
        """Subscriptions by name, compacted; one partition, for their order."""
        return f"{self.prefix}.subscriptions"

    @property
    def dead_letter(self) -> str:
        """What could not be handled, as it came, with the reason in its headers."""
        return f"{self.prefix}.dead-letter"

    @property
    def worker_group(self) -> str:
        """The consumer group of the workers.

        Not the prefix alone: it may be the name of a bridge's pool on the same cluster.
        """
        return f"{self.prefix}-worker"

    @property
    def samples_group(self) -> str:
        """The group in which workers keep how far they have followed the samples.

        Nobody is its member: who owns a partition of the meters table follows that of the samples.
        """
        return f"{self.prefix}-samples"

    def carried(self, carries: Carries) -> str:
        """Return the topic that the publishers of an output read."""
        return self.events if carries == "events" else self.measurements

    def publisher_group(self, output: str) -> str:
        """Return the consumer group of an output's publishers."""
        return f"{self.prefix}-publisher-{output}"


@dataclass(frozen=True)
class TopicSpec:
    """What one topic must be like."""

    name: str
    partitions: int
    replication: int
    configs: dict[str, str] = field(default_factory=dict)
    strict: frozenset[str] = frozenset({"cleanup.policy"})
    """The settings without which no process starts. Of another difference it is warned."""


def topic_specs(kafka: KafkaSettings) -> Sequence[TopicSpec]:
    """Return what each of the job's topics must be like, whether it is needed or not.

    Which ones a process needs, and makes, ``vimfed/kafka/rights.py`` says.
    """
    names = TopicNames(kafka.topic_prefix)
    kept = kafka.retention
    durable = {
        "min.insync.replicas": str(kafka.min_insync_replicas),
        "max.message.bytes": "1048588",  # Kafka's default, whatever the broker's: we count on it
        "unclean.leader.election.enable": "false",
    }
    # The segment that is written to is not compacted: one of Kafka's default size and age, 1 GiB
    # and a week, lets a changelog of 100 instances grow to gigabytes, and a recovery reads them.
    changelog = {
        "cleanup_policy": "compact",
        "delete_retention_ms": str(TOMBSTONES_KEPT_MS),
        "segment_bytes": str(4 * 1024 * 1024),
        "segment_ms": str(3600 * 1000),
        "min_cleanable_dirty_ratio": "0.3",
    }

    def spec(name: str, **configs: str) -> TopicSpec:
        dotted = {key.replace("_", "."): value for key, value in configs.items()}
        return TopicSpec(name, kafka.partitions, kafka.replication, {**durable, **dotted})

    def written_whole(spec: TopicSpec) -> TopicSpec:
        """Return the spec of a topic whose records cannot be left out, nor made smaller."""
        return replace(spec, strict=spec.strict | {"max.message.bytes"})

    # By arrival: a cloud's wrong clock, or a replayed trace of last year, must not expire records.
    by_arrival = {"message_timestamp_type": "LogAppendTime"}
    return (
        spec(names.notifications, **_expiring(kept.notifications), **by_arrival),
        written_whole(spec(names.changelog, **changelog, **by_arrival)),
        written_whole(spec(names.events, **_expiring(kept.events), **by_arrival)),
        replace(
            spec(
                names.subscriptions,
                cleanup_policy="compact",
                # As long as an event may be read again, so must be what held at its time.
                min_compaction_lag_ms=str(kept.longest_matched * 1000),
                delete_retention_ms=str(kept.longest_matched * 1000),
                **by_arrival,
            ),
            partitions=1,
        ),
        written_whole(spec(names.dead_letter, **_expiring(kept.dead_letters), **by_arrival)),
        spec(names.samples, **_expiring(kept.samples), **by_arrival),
        written_whole(spec(names.meters_changelog, **changelog, **by_arrival)),
        written_whole(spec(names.measurements, **_expiring(kept.measurements), **by_arrival)),
    )


def _expiring(seconds: int) -> dict[str, str]:
    """Return the settings of a topic whose records are removed after so many seconds.

    Kafka removes whole segments, and writes to one for a week (its default): as much longer its
    oldest record is there. A topic that is to be rid of them sooner has shorter segments.
    """
    settings = {
        "cleanup_policy": "delete",
        "retention_bytes": "-1",
        "retention_ms": str(seconds * 1000),
    }
    shorter = {"segment_ms": str(seconds * 1000 // 4)} if seconds * 1000 < 7 * DAY_MS else {}
    return settings | shorter
