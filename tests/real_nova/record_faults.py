"""Records nova on its bad days: ``python -m tests.real_nova.record_faults``.

Writes tests/data/nova-34-faults-trace.jsonl.gz and tests/data/nova-34-faults-truth.json anew, in
some six minutes. What nova logs, and what each story took, lies in .cache/recording afterwards.
"""

import gzip
import io
import json
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import amqp

from tests.real_nova.environment import nova_python
from tests.support.brokers import RabbitMQ
from tests.support.paths import DATA, PROJECT
from tests.support.traces import FAULTS
from vimfed.local.child import Child

FOLDER = PROJECT / ".cache" / "recording"
PARTS = 4
"""How many novas run side by side, with servers of their own."""
QUEUE = "recording"
EXCHANGE = "nova"
"""nova's own default of ``control_exchange``."""
ENDS_OF_DELETIONS = (
    "compute.instance.delete.end",
    "compute.instance.force_delete.end",
    "instance.delete.end",
)
"""What says that a server is gone even where its copy of the server has another state."""


def record() -> None:
    """Let nova run its stories and write what it said."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    with RabbitMQ(FOLDER / "rabbitmq") as broker:
        declare(broker)
        parts = [FOLDER / f"nova-{part}" for part in range(PARTS)]
        run_novas(parts, broker.url)
        lines = list(captured(broker))
    told: dict[str, Any] = {"servers": {}, "problems": []}
    for part in parts:
        said = json.loads((part / "truth.json").read_text())
        told["servers"] |= said["servers"]
        told["problems"] += said["problems"]
    write_run(FAULTS, lines, split(lines, told), nova_python(print))


def run_novas(folders: Sequence[Path], transport_url: str) -> None:
    """Run a nova for each part of the stories, side by side, until all are through."""
    script = Path(__file__).with_name("faulty_nova.py")
    python = str(nova_python(print))
    environment = {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "OS_TEST_TIMEOUT": "0",
        "PYTHONPATH": str(PROJECT),
    }
    novas = []
    try:
        for part, folder in enumerate(folders):
            folder.mkdir()
            arguments = [str(folder), transport_url, str(part), str(len(folders))]
            log = folder / "nova.log"
            nova = Child([python, str(script), *arguments], env=environment, log=log, cwd=folder)
            nova.spawn()
            novas.append(nova)
        while any(nova.running for nova in novas):
            time.sleep(0.5)
    finally:
        for nova in novas:
            nova.stop()


def connect(broker: RabbitMQ) -> amqp.Connection:
    """Return a connection that was not opened yet."""
    return amqp.Connection(host=f"127.0.0.1:{broker.port}")


def declare(broker: RabbitMQ) -> None:
    """Make one queue for every notification: it keeps the order in which the broker takes them."""
    with connect(broker) as connection:
        channel = connection.channel()
        channel.exchange_declare(EXCHANGE, "topic", durable=False, auto_delete=False)
        channel.queue_declare(QUEUE, durable=False, auto_delete=False, exclusive=False)
        for topic in ("notifications", "versioned_notifications"):
            channel.queue_bind(QUEUE, EXCHANGE, f"{topic}.*")


def captured(broker: RabbitMQ) -> Iterator[dict[str, str]]:
    """Yield what lies in the queue, as it lies there."""
    with connect(broker) as connection:
        channel = connection.channel()
        while (message := channel.basic_get(QUEUE, no_ack=True)) is not None:
            body = message.body
            yield {
                "routing_key": message.delivery_info["routing_key"],
                "content_type": message.properties["content_type"],
                "body": body if isinstance(body, str) else bytes(body).decode(),
            }


def named(lines: Sequence[dict[str, str]]) -> dict[str, set[tuple[str, str]]]:
    """Return the (vm_state, task_state) that any message carries, by server."""
    states: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for line in lines:
        message = json.loads(json.loads(line["body"])["oslo.message"])
        payload = message["payload"]
        data = payload.get("nova_object.data", payload)
        server = data.get("instance_id") or data.get("uuid") or data.get("instance_uuid")
        state, task = data.get("state"), data.get("new_task_state") or data.get("task_state")
        if not server or not state:
            continue
        states[server].add((state, task or ""))
        if state == "deleted" or message["event_type"] in ENDS_OF_DELETIONS:
            states[server].add(("deleted", ""))
    return states


def split(lines: Sequence[dict[str, str]], told: dict[str, Any]) -> dict[str, Any]:
    """Set aside the servers of which no message carries the last state."""
    states = named(lines)
    truth: dict[str, Any] = {"servers": {}, "problems": told["problems"], "unreachable": {}}
    for server, word in told["servers"].items():
        if server not in states:
            print(f"nova told nothing at all of {server}: {word}")
            continue
        is_told = (word["vm_state"], word["task_state"] or "") in states[server]
        truth["servers" if is_told else "unreachable"][server] = word
    return truth


def write_run(
    run: str, lines: Sequence[dict[str, str]], truth: dict[str, Any], python: Path
) -> None:
    """Write trace and truth of a run where the tests find them; ``python`` is nova's own."""
    text = installed_for_all("".join(json.dumps(line) + "\n" for line in lines), python)
    size = write_packed(DATA / f"{run}-trace.jsonl.gz", text)
    (DATA / f"{run}-truth.json").write_text(json.dumps(truth, indent=1) + "\n")
    print(f"{run}: {len(lines)} messages of {len(truth['servers'])} servers, {size} bytes")


def installed_for_all(text: str, python: Path) -> str:
    """Let the files that tracebacks name look as on a host where nova is installed for all."""
    environment = python.parents[1]
    for folder in (environment, environment.resolve(), Path(sys.base_prefix)):
        text = text.replace(f"{folder}/", "/usr/")
    return text.replace(str(PROJECT), "/usr/src")


def write_packed(path: Path, text: str) -> int:
    """Write a text so that equal texts make equal files; return how many bytes it takes."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as file:
        file.write(text.encode())
    return path.write_bytes(packed.getvalue())


if __name__ == "__main__":
    record()
