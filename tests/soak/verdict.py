"""What came out of a run, and what is wrong with it."""

import asyncio
import json
from collections import Counter
from typing import Any

from tests.chaos.instance_load import Client, outages
from tests.e2e.stack import Stack, eventually
from tests.soak.chaos import Soak
from tests.soak.nova_load import NovaLoad
from tests.soak.processes import Sampler, slope_per_minute
from tests.support.core_truth import CoreTruth, core_truth, newest_values, records_on
from tests.support.message_router import MessageRouter
from tests.support.topics import read_topic
from vimfed.model.records import decode_event, decode_row

MEMORY_BOUND = 1.0
"""MB by which a process may grow in a minute, in the second half of its longest life."""
TAKEOVER = 15.0
"""MB by which a process may grow once besides, as a worker does when it takes partitions over."""
HANDLES_BOUND = 1.0
"""The same for open files."""
JUDGED_FROM = 12.0
"""Minutes of such a life from which growth is judged: RocksDB's buffers fill for six minutes."""
MAX_REFUSAL = 30.0


class Verdict:
    """What came out, and what is wrong with it."""

    def __init__(
        self,
        soak: Soak,
        stack: Stack,
        router: MessageRouter,
        loads: dict[str, NovaLoad],
        clients: list[Client],
        sampler: Sampler,
        minutes: float,
    ) -> None:
        self.wrong: list[str] = [wrong for client in clients for wrong in client.wrong[:10]]
        self.figures: dict[str, object] = {}
        self.rows: list[str] = []
        self._soak, self._stack, self._router = soak, stack, router
        self._loads, self._clients, self._sampler = loads, clients, sampler
        self._minutes = minutes

    async def everything_has_arrived(self) -> None:
        """Compare each topic with what must be on it, once it is quiet."""
        stack = self._stack
        sent = set().union(*(load.message_ids for load in self._loads.values()))

        async def on_kafka() -> bool:
            records = await asyncio.to_thread(
                records_on, stack.bootstrap, stack.names.notifications
            )
            came = Counter(json.loads(record.value)["message_id"] for record in records)
            self.figures["notifications repeated"] = len(records) - len(came)
            return sent <= came.keys()

        await eventually(on_kafka, within=120, every=2.0)
        self.figures["notifications sent"] = len(sent)
        truth = await asyncio.to_thread(core_truth, stack.bootstrap, stack.names)

        async def table_is_right() -> bool:
            table = await asyncio.to_thread(newest_values, stack.bootstrap, stack.names.changelog)
            return table == truth.rows

        await eventually(table_is_right, within=120, every=2.0)
        told = await asyncio.to_thread(told_on, stack.bootstrap, stack.names.events)
        self._check("events topic", {event_id for event_id, *_ in told}, truth.events.keys())
        self.figures["events"] = len(truth.events)
        self.figures["events repeated"] = len(told) - len(truth.events)
        self._states(truth)
        await self._kafka_output(truth, [event_id for event_id, *_ in told])
        await self._router_output(
            {event_id for event_id, kind, at in told if self._soak.wanted(kind, at)}
        )
        answers = [answer for client in self._clients for answer in client.answers]
        refusals = [outage for client in self._clients for outage in outages(client.answers)]
        longest = max((outage.end - outage.begin for outage in refusals), default=0.0)
        self.figures["queries"] = len(answers)
        self.figures["queries refused"] = sum(bool(answer.refusal) for answer in answers)
        self.figures["longest refusal"] = f"{longest:.1f} s"
        if longest > MAX_REFUSAL:
            self.wrong.append(f"a worker refused to answer for {longest:.0f} s")

    def _check(self, where: str, found: set[str], wanted: Any) -> None:
        for what, ids in (("missing", set(wanted) - found), ("not expected", found - set(wanted))):
            if ids:
                self.wrong.append(f"{where}: {len(ids)} {what}, for example {min(ids)}")

    def _states(self, truth: CoreTruth) -> None:
        """Compare the rows with the states in which the servers are."""
        rows = [decode_row(value) for value in truth.rows.values() if value is not None]
        known = {row.instance_id: (row.vm_state, row.task_state) for row in rows}
        for load in self._loads.values():
            for instance_id, state in load.states.items():
                if known.get(instance_id) != state:
                    self.wrong.append(f"{instance_id}: {known.get(instance_id)}, in truth {state}")

    async def _kafka_output(self, truth: CoreTruth, told: list[str]) -> None:
        stack = self._stack

        async def published() -> list[str]:
            records = await asyncio.to_thread(records_on, stack.bootstrap, stack.dmaap_topic)
            return [json.loads(record.value)["vim_event"]["id"] for record in records]

        async def all_there() -> bool:
            return truth.events.keys() <= set(await published())

        await eventually(all_there, within=180, every=2.0)
        ids = await published()
        self._check("DMaaP's Kafka", set(ids), truth.events.keys())
        self._order("DMaaP's Kafka", ids, told, truth)
        self.figures["DMaaP's Kafka: repeated"] = len(ids) - len(truth.events)

    async def _router_output(self, wanted: set[str]) -> None:
        def ids() -> list[str]:
            return [json.loads(value)["vim_event"]["id"] for _, value in self._router.messages]

        async def all_there() -> bool:
            return wanted <= set(ids())

        await eventually(all_there, within=180, every=2.0)
        self._check("Message Router", set(ids()), wanted)
        self.figures["Message Router: events wanted"] = len(wanted)
        self.figures["Message Router: repeated"] = len(ids()) - len(wanted)

    def _order(self, where: str, ids: list[str], told: list[str], truth: CoreTruth) -> None:
        """Check that each instance's first occurrences come in the order in which they were told.

        ``told`` are the events topic's ids in its order.
        """
        place = {event_id: number for number, event_id in enumerate(dict.fromkeys(ids))}
        latest: dict[str, int] = {}
        for event_id in dict.fromkeys(told):
            instance_id = truth.events[event_id].instance_id
            if place[event_id] < latest.get(instance_id, -1):
                self.wrong.append(f"{where}: events of {instance_id} in another order than told")
            latest[instance_id] = place[event_id]

    def growth(self) -> None:
        """Measure how each process has grown in the second half of its longest life."""
        for name, samples in self._sampler.samples.items():
            lives = Counter(sample.pid for sample in samples)
            (longest, _), *_ = lives.most_common(1)
            life = [sample for sample in samples if sample.pid == longest]
            minutes = (life[-1].at - life[0].at) / 60
            late = life[len(life) // 2 :]
            memory = slope_per_minute(late, [sample.resident for sample in late])
            handles = slope_per_minute(late, [sample.handles for sample in late])
            self.rows.append(
                f"| {name} | {len(lives)} | {minutes:.1f} | "
                f"{late[0].resident:.0f} | {late[-1].resident:.0f} | {memory:+.2f} | "
                f"{late[0].handles} | {late[-1].handles} | {handles:+.2f} |"
            )
            if minutes >= JUDGED_FROM and memory > MEMORY_BOUND + TAKEOVER / (minutes / 2):
                self.wrong.append(f"{name} grows by {memory:.2f} MB a minute")
            if minutes >= JUDGED_FROM and handles > HANDLES_BOUND:
                self.wrong.append(f"{name} opens {handles:.2f} files a minute")

    def print(self, seed: int) -> None:
        """Print the figures, and what is wrong."""
        print(f"\n{self._minutes:g} minutes, seed {seed}\n\n| | |\n|---|---|")
        for name, value in self.figures.items():
            print(f"| {name} | {f'{value:,}' if isinstance(value, int) else value} |")
        for what, count in sorted(self._soak.done.items()):
            print(f"| {what} | {count} |")
        for name, count in sorted(self._soak.ended.items()):
            print(f"| {name} ended by itself | {count} |")
        print(
            "\n| process | lives | minutes of the longest | MB after half of it | at its end | "
            "MB a minute | open files after half of it | at its end | files a minute |"
        )
        print("|" + "---|" * 9)
        print("\n".join(self.rows))
        print("\n" + ("\n".join(["WRONG:", *self.wrong]) if self.wrong else "All is well."))


def told_on(bootstrap: str, topic: str) -> list[tuple[str, str, int]]:
    """Return (id, kind, when Kafka took it in ms) of each event on the events topic."""
    told = []
    for record in read_topic(bootstrap, topic):
        event = decode_event(record.value() or b"")
        told.append((event.id, event.kind, record.timestamp()[1]))
    return told
