"""An output of one's own: it POSTs what lies on a Kafka output to a server of yours.

    python forward.py BOOTSTRAP TOPIC URL [--group GROUP]

The server gets each message at least once, with its attributes as headers, and those of a VM in
their order. What it answers with 2xx is done and committed; all else is sent again until it is.
"""

import argparse
import asyncio

import aiohttp
from aiokafka import AIOKafkaConsumer

PAUSE = 1.0
"""Seconds before a message is sent again."""


async def forward(bootstrap: str, topic: str, url: str, group: str) -> None:
    """Forward messages until the program is ended."""
    async with (
        aiohttp.ClientSession() as session,
        AIOKafkaConsumer(
            topic,
            bootstrap_servers=bootstrap,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        ) as consumer,
    ):
        async for record in consumer:
            headers = {name: value.decode() for name, value in record.headers}
            await deliver(session, url, record.value, headers)
            await consumer.commit()


async def deliver(
    session: aiohttp.ClientSession, url: str, body: bytes, headers: dict[str, str]
) -> None:
    """Return when the server has taken a message."""
    while True:
        try:
            async with session.post(url, data=body, headers=headers) as response:
                if response.ok:
                    return
                problem = f"the answer is {response.status}"
        except (aiohttp.ClientError, TimeoutError) as error:
            problem = repr(error)
        print(f"{url}: {problem}; once more in {PAUSE} s", flush=True)
        await asyncio.sleep(PAUSE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bootstrap")
    parser.add_argument("topic")
    parser.add_argument("url")
    parser.add_argument("--group", default="forward")
    given = parser.parse_args()
    asyncio.run(forward(given.bootstrap, given.topic, given.url, given.group))
