"""Workers and publishers that are started while Kafka is away."""

import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stack import Stack, eventually
from tests.support.slow_link import SlowLink
from vimfed.local.kafka import LocalKafka
from vimfed.process.ports import free_ports


def asked(port: int, path: str) -> tuple[int, Any]:
    """Return status and JSON; (0, the error) where nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except OSError as error:
        return 0, repr(error)


@contextmanager
def silent_broker() -> Iterator[str]:
    """A machine that takes connections and never answers, as a frozen Kafka does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


async def comes_up(port: int) -> None:
    async def answers() -> bool:
        return asked(port, "/healthz")[0] == 200

    await eventually(answers, within=30)


@pytest.mark.parametrize("process", ["worker", "publisher", "gateway"])
async def test_who_is_started_without_kafka_waits_and_says_so(tmp_path: Path, process: str) -> None:
    with silent_broker() as bootstrap:
        (port,) = free_ports(1)
        async with Stack(tmp_path, bootstrap, [], f"[gateway]\nport = {port}\n") as stack:
            stack.ports["gateway"] = port
            child = stack.start_worker() if process == "worker" else stack.start(process)
            port = stack.ports[process]
            await comes_up(port)
            status, body = asked(port, "/readyz")
            assert (status, body["status"]) == (503, "failing")
            assert "has not answered" in body["wrong"]["kafka"]
            status, body = asked(port, "/api/multicloud/v1/vims")
            assert (status, body["error"]) == (503, "not ready yet: kafka has not answered yet")
            begun = time.monotonic()
            child.stop()
            assert child.returncode == 0
            assert time.monotonic() - begun < 3


async def test_a_worker_that_waits_begins_once_kafka_is_there(
    tmp_path: Path, kafka: LocalKafka
) -> None:
    (port,) = free_ports(1)
    async with Stack(tmp_path, f"127.0.0.1:{port}", []) as stack:
        worker = stack.start_worker()
        own = stack.ports["worker"]
        await comes_up(own)

        async def says_why() -> bool:
            return "no broker answers" in asked(own, "/readyz")[1]["wrong"]["kafka"]

        async def is_ready() -> bool:
            assert worker.running, worker.last_log_line()
            return asked(own, "/readyz")[0] == 200

        await eventually(says_why, within=10)
        target = int(kafka.bootstrap.rpartition(":")[2])
        with SlowLink(target, 10**9, listen=port):  # the brokers name their own port then
            await eventually(is_ready, within=60)
            worker.stop()
        log = (tmp_path / "worker.log").read_text()
        assert log.count("waiting for Kafka") == 1
        assert "Traceback" not in log
