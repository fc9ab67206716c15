"""A consumer of a Kafka output in plain aiokafka.

    python consume.py BOOTSTRAP TOPIC [--group GROUP]

Events come at least once, and those of a VM in their order, as it is the key. What has been handled
is committed, so nothing is lost where this program ends; what comes once more has the same id.
"""

import argparse
import asyncio
import json
from collections import OrderedDict

from aiokafka import AIOKafkaConsumer

REMEMBERED = 100_000
"""Ids of events that were handled: repetitions come within minutes of the first."""


async def consume(bootstrap: str, topic: str, group: str) -> None:
    """Handle events until the program is ended."""
    handled: OrderedDict[str, None] = OrderedDict()
    async with AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    ) as consumer:
        while True:
            for records in (await consumer.getmany(timeout_ms=1000)).values():
                for record in records:
                    attributes = {name: value.decode() for name, value in record.headers}
                    if attributes["ce_id"] in handled:
                        continue
                    handle(attributes, json.loads(record.value))
                    handled[attributes["ce_id"]] = None
                    if len(handled) > REMEMBERED:
                        handled.popitem(last=False)
            await consumer.commit()


def handle(attributes: dict[str, str], payload: dict[str, object]) -> None:
    """Print an event."""
    print(
        attributes["ce_time"],
        attributes["ce_kind"],
        attributes["ce_phase"],
        payload["instance_id"],
        payload["state"],
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bootstrap")
    parser.add_argument("topic")
    parser.add_argument("--group", default="example")
    given = parser.parse_args()
    asyncio.run(consume(given.bootstrap, given.topic, given.group))
