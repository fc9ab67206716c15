"""Topics as operators change them while the job runs."""

from collections.abc import Mapping

from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewTopic

QUICK_COMPACTION = {
    "segment.ms": "200",
    "min.cleanable.dirty.ratio": "0.0",
    "delete.retention.ms": "4000",
}
"""Settings of a changelog from which tombstones are gone within some seconds."""
BUSY_CLEANER = {"log.cleaner.backoff.ms": "200", "log.initial.task.delay.ms": "100"}
"""Properties of a broker that compacts all the time."""


def change_topic(bootstrap: str, topic: str, settings: Mapping[str, str]) -> None:
    """Change settings of a topic."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in settings.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(30)


def make_anew(bootstrap: str, topic: str, partitions: int) -> None:
    """Delete a topic, and create it again: its offsets begin at 0."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    for future in admin.delete_topics([topic], operation_timeout=30).values():
        future.result(30)
    for future in admin.create_topics([NewTopic(topic, partitions, 1)]).values():
        future.result(30)
