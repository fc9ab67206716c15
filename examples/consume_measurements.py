"""A consumer of measurements on Kafka that tells of busy VMs, as a closed loop that scales would.

    python consume_measurements.py BOOTSTRAP TOPIC [--busy PERCENT] [--group GROUP]

Of an output with ``carries = "measurements"`` and ``format = "payload"``. A repetition has the same
``id`` and the same content: what follows from the newest measurement alone, as here, is none the
worse for it.
"""

import argparse
import asyncio
import json

from aiokafka import AIOKafkaConsumer


async def consume(bootstrap: str, topic: str, group: str, busy: float) -> None:
    """Print busy VMs until the program is ended."""
    async with AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    ) as consumer:
        async for record in consumer:
            told = json.loads(record.value)
            for value in told["values"]:
                if value["meter"] == "cpu_util" and value["volume"] >= busy:
                    print(
                        told["end"], told.get("instance_id"), f"{value['volume']:.0f} %", flush=True
                    )
            await consumer.commit()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bootstrap")
    parser.add_argument("topic")
    parser.add_argument("--busy", type=float, default=80.0)
    parser.add_argument("--group", default="example")
    given = parser.parse_args()
    asyncio.run(consume(given.bootstrap, given.topic, given.group, given.busy))
