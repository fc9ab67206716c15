"""How far a consumer group is that we are no member of."""

from collections.abc import Mapping

from vimfed.kafka.aio import TopicPartition
from vimfed.kafka.clients import new_consumer
from vimfed.kafka.expiry import committed_of
from vimfed.settings import KafkaSettings


async def group_progress(kafka: KafkaSettings, group: str, topic: str) -> Mapping[int, int]:
    """Return by partition the offset that a group has committed of one of the job's topics.

    Partitions of which it has committed nothing are left out. Raises KafkaError.
    """
    async with new_consumer(kafka, group_id=group) as consumer:
        found = {
            partition: await committed_of(consumer, TopicPartition(topic, partition))
            for partition in range(kafka.partitions)
        }
    return {partition: at.offset for partition, at in found.items() if at is not None}
