"""How far a consumer group is that we are no member of."""

from collections.abc import Mapping

from vimfed.kafka.aio import TopicPartition
from vimfed.kafka.clients import new_consumer
from vimfed.kafka.expiry import committed_of
from vimfed.settings import KafkaSettings


async def has_done(kafka: KafkaSettings, group: str, topic: str, ends: Mapping[int, int]) -> bool:
    """Return whether a group has committed all of a topic before these offsets, by partition.

    Raises KafkaError.
    """
    async with new_consumer(kafka, group_id=group) as consumer:
        for partition, end in ends.items():
            committed = await committed_of(consumer, TopicPartition(topic, partition))
            if committed is None or committed.offset < end:
                return False
    return True
