"""Fixtures that every kind of test shares."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import Phase, settings
from xdist.scheduler import LoadFileScheduling

from tests.support.brokers import RabbitMQ, new_kafka
from vimfed.local.kafka import LocalKafka

# For who only wants to know whether something fails.
settings.register_profile("unshrunk", phases=[Phase.explicit, Phase.reuse, Phase.generate])


PATIENT_TESTS = ("tests/unit/alerts/", "tests/unit/core/", "tests/unit/project/")
"""Folders whose tests work, and neither wait nor measure time."""
LEAST_PRIORITY = 19


def is_background(process: str, processes: int) -> bool:
    """Return whether a process of xdist (``gw0``, ``gw1``, ...) runs patient tests alone.

    The last of three or more does so, with the power that the others leave: their tests wait for
    brokers much of the time, and may measure time.
    """
    return processes > 2 and process == f"gw{processes - 1}"


def pytest_configure(config: pytest.Config) -> None:
    """Let a background process run when no other wants to."""
    ours: dict[str, Any] = getattr(config, "workerinput", {})
    if ours and is_background(ours["workerid"], ours["workercount"]):
        os.nice(LEAST_PRIORITY)


class InLanes(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """Keeps the tests of a file together, and those that break things in one lane.

    Tests of chaos take all the power of a small machine: two of them at a time would measure each
    other. Marks of xdist's own cannot say so: xdist 3.8 does not put them into the ids of pytest
    9.2, and then shares single tests out.
    """

    def _split_scope(self, nodeid: str) -> str:
        path: str = super()._split_scope(nodeid)
        return "tests/chaos" if path.startswith("tests/chaos/") else path

    def _assign_work_unit(self, node: Any) -> None:
        """Give a process the next file: a patient one, or none, where it is in the background."""
        if is_background(node.gateway.id, self.numnodes):
            left = next((file for file in self.workqueue if file.startswith(PATIENT_TESTS)), None)
            if left is None:
                node.shutdown()
                return
            self.workqueue.move_to_end(left, last=False)
        super()._assign_work_unit(node)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> InLanes:
    """Share the tests between the processes (Makefile) in lanes."""
    return InLanes(config, log)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """A Kafka that all tests of the session share: use topic names of your own."""
    with new_kafka(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """A RabbitMQ that all tests of the session share: use exchanges and pools of your own."""
    with RabbitMQ(tmp_path_factory.mktemp("rabbitmq")) as broker:
        yield broker
