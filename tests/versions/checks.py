"""What `make versions` runs, row by row."""

import os
import sys
from pathlib import Path
from typing import NamedTuple

from tests.support.paths import PROJECT
from tests.versions.table import Row

TRIXIE = Path(os.environ.get("BARE_FOLDER", PROJECT / ".cache" / "bare")) / "trixie"
"""Where `deploy/bare trixie broker` has made a Debian with RabbitMQ."""

_PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
_NOVA = ("tests/unit/core/test_nova_traces.py", "tests/unit/bridge/test_nova_versions.py")
_TRACE = "tests/e2e/test_whole_path.py"
_BRIDGE = "tests/integration/test_bridge.py"
_QUEUES = "recorded_trace and rabbit or queue or exchange or every_priority or several_rabbitmq"
_CLUSTER = "tests/versions/rabbitmq_cluster.py"
_TOPICS = "recorded_trace or kafka or topic"


class Check(NamedTuple):
    """One row and how it comes about."""

    row: Row
    command: tuple[str, ...]
    environment: dict[str, str] = {}  # noqa: RUF012 - nobody changes it
    needs: Path = PROJECT
    """What must be there, else the row is not run."""


def _nova(version: str, run: str) -> Check:
    told = "traces through the core" if run == "nova-34" else "trace through the core, API"
    return Check(Row("nova", version, told), (*_PYTEST, *_NOVA, "-k", run))


def _rabbitmq(version: str, root: Path | None = None) -> Check:
    row = Row("RabbitMQ", version, "recorded trace; durable, transient and quorum queues")
    return _with_rabbitmq(row, (*_PYTEST, _TRACE, _BRIDGE, "-k", _QUEUES), root)


def _cluster(version: str, root: Path | None = None) -> Check:
    row = Row("RabbitMQ cluster", version, "a node is lost: durable, transient and quorum queues")
    return _with_rabbitmq(row, (*_PYTEST, _CLUSTER), root)


def _with_rabbitmq(row: Row, command: tuple[str, ...], root: Path | None) -> Check:
    """Return the check, run with the RabbitMQ of another Debian where there is a ``root``."""
    if root is None:
        return Check(row, command)
    server = root / "usr" / "lib" / "rabbitmq"
    return Check(row, command, {"TEST_RABBITMQ_ROOT": str(root)}, server)


def _kafka(version: str, **environment: str) -> Check:
    told = "recorded trace; the bridge's topics"
    return Check(
        Row("Kafka", version, told), (*_PYTEST, _TRACE, _BRIDGE, "-k", _TOPICS), environment
    )


def _bare(what: str, version: str, told: str, *arguments: str) -> Check:
    return Check(Row(what, version, told), ("deploy/bare", *arguments))


CHECKS: tuple[Check, ...] = (
    _nova("34.0.0", "nova-34"),
    _nova("31.0.0", "nova-31"),
    _nova("26.2.0", "nova-26"),
    _rabbitmq("3.10"),
    _rabbitmq("4.0", TRIXIE),
    _cluster("3.10"),
    _cluster("4.0", TRIXIE),
    _kafka("4.1"),
    _kafka("3.9.1", TEST_KAFKA="3.9.1"),
    _bare("Python", "3.11", "lint and unit tests", "bookworm", "unit"),
    _bare("Python", "3.13", "lint and unit tests", "trixie", "unit"),
    _bare("Debian", "bookworm", "`make run` on a bare machine", "bookworm", "run"),
    _bare("Debian", "trixie", "`make run` on a bare machine", "trixie", "run"),
)
