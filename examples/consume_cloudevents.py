"""A consumer of a Kafka output with ``format = "cloudevents"``, with the CloudEvents SDK.

    python consume_cloudevents.py BOOTSTRAP TOPIC [--group GROUP]

Needs the distribution cloudevents, version 1. What consume.py says of repetitions holds here, too:
an event that comes once more has the same ``id``.
"""

import argparse
import asyncio

from aiokafka import AIOKafkaConsumer
from cloudevents.kafka import KafkaMessage, from_structured


async def consume(bootstrap: str, topic: str, group: str) -> None:
    """Print events until the program is ended."""
    async with AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    ) as consumer:
        async for record in consumer:
            event = from_structured(KafkaMessage(dict(record.headers), record.key, record.value))
            print(event["time"], event["type"], event["subject"], event.data["state"], flush=True)
            await consumer.commit()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bootstrap")
    parser.add_argument("topic")
    parser.add_argument("--group", default="example")
    given = parser.parse_args()
    asyncio.run(consume(given.bootstrap, given.topic, given.group))
