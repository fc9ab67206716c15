"""A long run: mixed load, a disturbance every minute, and at the end nothing lost.

    python -m tests.soak [--minutes 20] [--seed 1]        (make soak; SOAK_MINUTES=20)

Three clouds, two on RabbitMQ and one on Kafka, tell the lives of their servers in both formats.
Bridge, worker and the publishers of both outputs run twice each: the first of each is killed,
stopped or frozen at random, the second is left alone. None may grow. Clients ask all the time, and
a subscription of the Message Router output changes. Prints the figures of docs/soak.md; ends with 1
where something is wrong, and says what.
"""

import argparse
import asyncio
import logging
import random
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.chaos.instance_load import Client
from tests.e2e.stack import Stack, eventually
from tests.soak.chaos import PROCESSES, SURVIVORS, Soak
from tests.soak.nova_load import STATES, KafkaCloud, NovaLoad
from tests.soak.processes import Sampler
from tests.soak.verdict import Verdict
from tests.support.brokers import RabbitMQ, new_kafka
from tests.support.message_router import MessageRouter
from tests.support.notifications import RabbitSender
from tests.support.sections import kafka_cloud, rabbit_cloud
from vimfed.local.kafka import LocalKafka
from vimfed.process.ports import free_ports

RATE = 80.0
"""Notifications a second of each cloud."""
INSTANCES = 40
OWNER = "CloudOwner"


def settings_of(router: MessageRouter) -> str:
    """Return the settings beside Stack's own."""
    output = f'[[dmaap.outputs]]\nname = "mr"\nurl = "{router.url}"\ntimeout = 5\n'
    return output + '[filter]\noutput = "dmaap"\n'


def clouds_of(rabbitmq: RabbitMQ, kafka: LocalKafka, prefix: str) -> list[dict[str, Any]]:
    """Return the settings of the three clouds."""
    return [
        rabbit_cloud(
            rabbitmq.url,
            cloud_owner=OWNER,
            cloud_region_id=f"Rabbit{number}",
            exchange=f"{prefix}-{number}",
            pool=f"{prefix}-{number}",
            durable_exchange=True,
            heartbeat=10,
        )
        for number in (1, 2)
    ] + [
        kafka_cloud(
            kafka.bootstrap,
            cloud_owner=OWNER,
            cloud_region_id="Kafka",
            topics=[f"{prefix}.cloud"],
            group=prefix,
        )
    ]


def loads_of(rabbitmq: RabbitMQ, kafka: LocalKafka, prefix: str, seed: int) -> dict[str, NovaLoad]:
    """Return by region the load of each cloud, not started."""
    senders: dict[str, Any] = {}
    for number in (1, 2):
        sender = RabbitSender(rabbitmq.url, exchange=f"{prefix}-{number}", durable=True)
        sender.declare_pool(f"{prefix}-{number}")
        senders[f"Rabbit{number}"] = sender
    topic = f"{prefix}.cloud.info"
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
    senders["Kafka"] = KafkaCloud(kafka.bootstrap, f"{prefix}.cloud")
    return {
        region: NovaLoad(sender, instances=INSTANCES, rate=RATE, seed=1000 * seed + number)
        for number, (region, sender) in enumerate(senders.items())
    }


async def run(folder: Path, minutes: float, seed: int) -> bool:
    """Run everything; return whether all is well."""
    chance = random.Random(seed)
    prefix = f"soak{uuid.uuid4().hex[:8]}"
    with ExitStack() as brokers:
        kafka = brokers.enter_context(new_kafka(folder / "kafka"))
        rabbitmq = brokers.enter_context(RabbitMQ(folder / "rabbitmq"))
        loads = loads_of(rabbitmq, kafka, prefix, seed)
        async with (
            MessageRouter() as router,
            Stack(
                folder, kafka.bootstrap, clouds_of(rabbitmq, kafka, prefix), settings_of(router)
            ) as stack,
        ):
            soak = Soak(stack, rabbitmq, router, chance)
            names = [*PROCESSES, *SURVIVORS]
            stack.ports.update(zip(names, free_ports(len(names)), strict=True))
            for name in names:
                soak.start(name)
            await stack.serving("worker", "worker-2", within=120)
            supervision = asyncio.create_task(soak.supervise())
            for load in loads.values():
                load.start()
            clients = await clients_of(soak, loads, stack)
            with (
                Sampler({name: stack.children[name] for name in names}) as sampler,
                ExitStack() as asking,
            ):
                for client in clients:
                    asking.enter_context(client)
                await under_chaos(soak, minutes)
            for load in loads.values():
                await asyncio.to_thread(load.stop)
            verdict = Verdict(soak, stack, router, loads, clients, sampler, minutes)
            await verdict.everything_has_arrived()
            supervision.cancel()
            verdict.growth()
            verdict.print(seed)
            return not verdict.wrong


async def clients_of(soak: Soak, loads: dict[str, NovaLoad], stack: Stack) -> list[Client]:
    """Return a client for each cloud, once all of its servers are known."""
    clients = []
    for number, (region, load) in enumerate(loads.items()):

        async def all_known(region: str = region) -> bool:
            body = {"states": STATES, "limit": 1}
            path = f"/{OWNER}_{region}/check_vim_status"
            _, answer = await stack.post(path, body, "worker")
            return isinstance(answer, dict) and answer.get("count") == INSTANCES

        await eventually(all_known, within=120)
        client = Client(load, soak.answering, number, region=region, states=STATES, pause=0.2)
        clients.append(client)
    soak.answering.update({name: stack.ports[name] for name in ("worker", "worker-2")})
    return clients


async def under_chaos(soak: Soak, minutes: float) -> None:
    """Disturb every minute, or six times in a short run, and change the subscription beside it."""
    every = min(60.0, minutes * 60 / 6)
    ends_at = time.monotonic() + minutes * 60
    await soak.change_subscription()
    while time.monotonic() + every < ends_at:
        await asyncio.sleep(every / 2)
        await soak.disturb()
        await asyncio.sleep(every / 2)
        await soak.change_subscription()
    await asyncio.sleep(max(0.0, ends_at - time.monotonic()))


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1000))
    parser.add_argument("--folder", type=Path, help="keep everything here, logs included")
    chosen = parser.parse_args()
    logging.disable(logging.ERROR)
    print(f"seed {chosen.seed}, {chosen.minutes:g} minutes", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = chosen.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        sys.exit(not asyncio.run(run(folder, chosen.minutes, chosen.seed)))


if __name__ == "__main__":
    main()
