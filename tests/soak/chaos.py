"""What is done to the running job."""

import asyncio
import os
import random
import time
from collections import Counter
from datetime import datetime
from typing import Any

from tests.e2e.stack import Stack, eventually
from tests.support.brokers import RabbitMQ
from tests.support.message_router import MessageRouter

PROCESSES = {
    "bridge": ("bridge",),
    "worker": ("worker",),
    "publisher": ("publisher", "--output", "dmaap"),
    "mr-publisher": ("publisher", "--output", "mr"),
}
"""By name the arguments of ``vimfed``; the second of each has ``-2`` behind its name."""
SURVIVORS = tuple(f"{name}-2" for name in PROCESSES)
KINDS = ("PAUSE", "UNPAUSE", "POWER_OFF", "POWER_ON", "SUSPEND", "RESUME", "SNAPSHOT")
SUBSCRIPTION = "/api/multicloud/v1/subscriptions/soak"
FAULTS = ("500", "503", "429", "cut before", "cut in the answer", "short")


class Soak:
    """The running job, and what is done to it."""

    def __init__(
        self, stack: Stack, rabbitmq: RabbitMQ, router: MessageRouter, chance: random.Random
    ) -> None:
        self.done: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        """Processes that have ended by themselves, such as one that was frozen in a write."""
        self.answering: dict[str, int] = {}
        """The workers that clients ask, with their ports."""
        self.wanted_of_router: list[tuple[int, list[str]]] = []
        """From when on, in ms since 1970, which kinds the Message Router is to get."""
        self._stack, self._rabbitmq, self._router = stack, rabbitmq, router
        self._chance = chance
        self._left_alone: set[str] = set()

    def start(self, name: str) -> None:
        """Start a process at its port."""
        command, *options = PROCESSES[name.removesuffix("-2")]
        port = str(self._stack.ports[name])
        if command == "bridge":
            # It has no option for that: the environment is kept when the child is made.
            os.environ["VIMFED_BRIDGE__PORT"] = port
            self._stack.start(name, command)
            del os.environ["VIMFED_BRIDGE__PORT"]
        else:
            self._stack.start(name, command, "--port", port, *options)

    async def supervise(self) -> None:
        """Start again what has ended by itself, as ``vimfed run`` does."""
        while True:
            for name, child in self._stack.children.items():
                if not child.running and name not in self._left_alone:
                    self.ended[name] += 1
                    self._stack.start(name)
            await asyncio.sleep(0.5)

    async def disturb(self) -> None:
        """Do one thing at random."""
        name = self._chance.choice(tuple(PROCESSES))
        deeds = {
            "killed": self._kill,
            "stopped": self._terminate,
            "frozen": self._freeze,
            "RabbitMQ's connections closed": self._close_connections,
            "Message Router faults": self._faults,
        }
        what = self._chance.choice(tuple(deeds))
        concerned = f"{name} {what}" if what in ("killed", "stopped", "frozen") else what
        print(f"{time.strftime('%H:%M:%S')} {concerned}", flush=True)
        self.done[concerned] += 1
        await deeds[what](name)

    async def _kill(self, name: str) -> None:
        self.answering.pop(name, None)
        self._stack.children[name].kill()
        self._stack.start(name)
        await self._back(name)

    async def _terminate(self, name: str) -> None:
        self.answering.pop(name, None)
        child = self._stack.children[name]
        self._left_alone.add(name)
        child.terminate()
        if not await asyncio.to_thread(child.wait, 15):
            raise AssertionError(f"{name} has not ended 15 s after SIGTERM")
        assert child.returncode == 0, f"{name} ended with {child.returncode}"
        self._stack.start(name)
        self._left_alone.discard(name)
        await self._back(name)

    async def _freeze(self, name: str) -> None:
        self.answering.pop(name, None)
        child = self._stack.children[name]
        child.freeze()
        await asyncio.sleep(self._chance.uniform(1, 15))  # a session is 6 s
        child.thaw()
        await self._back(name)

    async def _back(self, name: str) -> None:
        if name == "worker":
            await eventually(lambda: self._is_ready(name), within=60)
            self.answering[name] = self._stack.ports[name]

    async def _is_ready(self, name: str) -> bool:
        return (await self._stack.get("/readyz", name))[0] == 200

    async def _close_connections(self, _name: str) -> None:
        await asyncio.to_thread(self._rabbitmq.ctl, "close_all_connections", "soak")

    async def _faults(self, _name: str) -> None:
        self._router.faults.extend(self._chance.choices(FAULTS, k=10))

    async def change_subscription(self) -> None:
        """Let the Message Router get other kinds."""
        kinds = self._chance.sample(KINDS, self._chance.randint(1, len(KINDS)))
        worker = "worker-2"

        async def changed() -> Any:
            status, answer = await self._stack.put(
                SUBSCRIPTION, {"kinds": kinds, "output": "mr"}, worker
            )
            return answer if status in (200, 201) else None

        answer = await eventually(changed, within=60, every=1.0)
        holds_from = datetime.fromisoformat(answer["holds_from"]).timestamp()
        self.wanted_of_router.append((round(holds_from * 1000), kinds))
        self.done["subscription changed"] += 1

    def wanted(self, kind: str, moment: int) -> bool:
        """Return whether the Message Router is to get an event that Kafka took at ``moment``."""
        held: list[str] = []
        for holds_from, kinds in self.wanted_of_router:
            held = kinds if holds_from <= moment else held
        return kind in held
