"""Webhooks at others' receivers: CloudEvents' SDKs, Standard Webhooks, Event-Driven Ansible."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stack import Stack, eventually
from tests.ecosystem.needs import node_modules
from tests.support.paths import PROJECT
from tests.support.separate_environment import python_with
from tests.support.vm_events import alarm_step, create_topics, vm_event, write_events
from vimfed.local.kafka import LocalKafka
from vimfed.model.records import VmEvent
from vimfed.process.ports import free_ports

FOLDER = Path(__file__).with_name("webhooks")
NEW, OLD, FOREIGN = (f"whsec_{letter * 32}" for letter in "ABC")
TOKEN = "a-token-of-the-test"


@pytest.fixture(scope="module")
def python() -> Path:
    return python_with("webhooks", FOLDER / "requirements.lock", print)


@asynccontextmanager
async def running(
    command: Sequence[str | Path], log: Path, **options: Any
) -> AsyncIterator[Callable[[], str]]:
    """Run a program; give what tells its output so far."""
    with log.open("w") as output:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=output, stderr=asyncio.subprocess.STDOUT, **options
        )
        try:
            yield log.read_text
        finally:
            process.terminate()
            await asyncio.wait_for(process.wait(), 20)


async def listens(port: int) -> bool:
    try:
        _reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def output(port: int, name: str, lines: str) -> str:
    return (
        f'[[dmaap.outputs]]\nname = "{name}"\nurl = "webhook+http://127.0.0.1:{port}/{name}"\n'
        f'[dmaap.outputs.webhook]\nallowed_networks = ["127.0.0.1"]\n{lines}\n'
    )


async def publish(
    stack: Stack, kafka: LocalKafka, names: Sequence[str], sent: Sequence[VmEvent]
) -> None:
    await create_topics(kafka.bootstrap, stack.prefix)
    for name in names:
        stack.start(name, "publisher", "--output", name, "--port", "0")
    await asyncio.to_thread(write_events, kafka.bootstrap, stack.prefix, sent)


def has(told: Callable[[], str], marks: Sequence[str]) -> Callable[[], Awaitable[bool]]:
    async def looked() -> bool:
        return all(mark in told() for mark in marks)

    return looked


@pytest.mark.parametrize("language", ["Python", "JavaScript"])
async def test_the_sdks_read_every_event_in_each_mode_and_verify_it_by_either_secret(
    tmp_path: Path, kafka: LocalKafka, python: Path, language: str
) -> None:
    (port,) = free_ports(1)
    command: list[str | Path] = [python, FOLDER / "receiver.py"]
    if language == "JavaScript":
        command = ["node", FOLDER / "receiver.mjs"]
    command += [str(port), NEW, OLD, FOREIGN]
    modes = ("structured", "binary", "batch")
    sections = "".join(
        output(port, mode, f'mode = "{mode}"\nsecret = "{NEW}"\nsecret_previous = "{OLD}"')
        for mode in modes
    )
    sent = [vm_event(f"vm-{number % 3}", reason='läuft "100 %" voll') for number in range(9)]
    wanted = {event.id: event.instance_id for event in sent}
    received: dict[str, dict[str, str]] = {mode: {} for mode in modes}
    async with (
        Stack(tmp_path, kafka.bootstrap, [], sections) as stack,
        running(command, tmp_path / "told", cwd=node_modules("webhooks")) as told,
    ):
        await eventually(lambda: listens(port), within=60)
        await publish(stack, kafka, modes, sent)

        async def all_there() -> bool:
            for line in told().splitlines(keepends=True):
                if line.endswith("\n"):
                    note(json.loads(line))
            return all(each.keys() == wanted.keys() for each in received.values())

        def note(request: dict[str, Any]) -> None:
            assert request["verified"] == [True, True, False]
            for event in request["events"]:
                assert event["type"] == "org.onap.multicloud.vm.pause.end"
                received[request["path"].strip("/")][event["id"]] = event["instance"]

        await eventually(all_there, within=90)
    assert received == dict.fromkeys(modes, wanted)


async def test_event_driven_ansible_acts_on_what_happens_to_vms(
    tmp_path: Path, kafka: LocalKafka, python: Path
) -> None:
    (port,) = free_ports(1)
    alarm = alarm_step("vm_error")
    sent = [
        vm_event("vm-1", kind="PAUSE"),
        vm_event("vm-2", kind="REBOOT", phase="error", new_state="error", alarm=alarm),
        vm_event("vm-3", kind="DELETE", new_state="deleted"),
    ]
    names = {"VIMFED_EDA_PORT": str(port), "VIMFED_EDA_TOKEN": TOKEN}
    command: list[str | Path] = [python.with_name("ansible-rulebook")]
    command += ["--rulebook", PROJECT / "examples" / "eda_rulebook.yml"]
    command += ["--env-vars", ",".join(names)]
    path = f"{python.parent}:{os.environ['PATH']}"
    environ = {**os.environ, **names, "PATH": path, "HOME": str(tmp_path)}
    logs_in = f'token = "{TOKEN}"\nhandshake = false'
    async with (
        Stack(tmp_path, kafka.bootstrap, [], output(port, "eda", logs_in)) as stack,
        running(command, tmp_path / "told", env=environ, cwd=tmp_path) as told,
    ):
        await eventually(lambda: listens(port), within=120)
        await publish(stack, kafka, ["eda"], sent)
        wanted = [f"alarm {alarm.id} of VM vm-2", "VM vm-3 is deleted"]
        await eventually(has(told, wanted), within=60)
        assert "vm-1" not in told()
