"""A poller in the test's own process, and what it has written."""

import asyncio
import concurrent.futures
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Self, cast

import msgspec
from prometheus_client import CollectorRegistry

from bridge.poller.known_instances import Known, KnownInstances
from bridge.poller.poller import Poller
from bridge.poller.progress import PollerCounters, PollerProgress
from tests.support.playing import Outcome, play
from tests.support.sections import vim_of
from tests.support.waiting import eventually
from vimfed.kafka.clients import OutgoingRecord
from vimfed.model.records import Notification
from vimfed.settings import KafkaSettings

DAY = 86_400.0


class Polled:
    """One cloud's poller, and what it has written; ``known`` is what the table has of the cloud."""

    def __init__(
        self,
        login: dict[str, Any],
        region: str = "polled",
        known: Sequence[str] | Mapping[str, str] = (),
        cloud: Mapping[str, Any] = MappingProxyType({}),
        **more: Any,
    ) -> None:
        vim = vim_of(
            {
                "cloud_owner": "openstack",
                "cloud_region_id": region,
                "poll": {"interval": 0.2, "timeout": 1.0, **login, **more},
                **cloud,
            }
        )
        self.registry = CollectorRegistry()
        self.progress = PollerProgress(vim.vim_id, 0.2, PollerCounters(self.registry))
        self.written: list[OutgoingRecord] = []
        self.takes = True
        self._waiting: list[concurrent.futures.Future[None]] = []
        self._vim_id = vim.vim_id
        self.known = dict(known) if isinstance(known, Mapping) else dict.fromkeys(known, "tenant")
        self._poller = Poller(
            vim, KafkaSettings(), DAY, self._write, self.progress, known=cast(KnownInstances, self)
        )

    def __enter__(self) -> Self:
        self._poller.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        assert asyncio.run(self._poller.stop())

    def take(self, _vim_id: str, _stopped: object) -> Known:
        """Stand in for KnownInstances."""
        return dict(self.known)

    def _write(self, records: Sequence[OutgoingRecord]) -> concurrent.futures.Future[None]:
        done = concurrent.futures.Future[None]()
        if self.takes:
            self.written.extend(records)
            done.set_result(None)
        return done

    def outcome(self) -> Outcome:
        return play(self.notifications())

    def notifications(self) -> list[Notification]:
        return [msgspec.json.decode(each.value or b"", type=Notification) for each in self.written]

    def knows(self, server: str, *state: str) -> bool:
        rows = self.outcome().rows
        return server in rows and (rows[server].vm_state, rows[server].task_state) == state

    def told(self, *servers: str) -> list[str]:
        """Return the states that have been told of servers, each as it first came."""
        said = [msgspec.json.decode(bytes(each.payload)) for each in self.notifications()]
        states = [each.get("state", "") for each in said if each["instance_id"] in servers]
        return list(dict.fromkeys(filter(None, states)))

    def absences(self, outcome: str) -> float:
        """Return how many known servers that were not listed turned out to be this."""
        return self.value("absences_total", outcome=outcome)

    def value(self, name: str, **labels: str) -> float:
        value = self.registry.get_sample_value(
            f"vimfed_poller_{name}", {"vim_id": self._vim_id, **labels}
        )
        return value or 0.0

    @property
    def cycles(self) -> float:
        return self.value("cycle_seconds_count")

    def wait_for_cycles(self, count: int) -> None:
        wanted = self.cycles + count
        eventually(lambda: self.cycles >= wanted, 30)
