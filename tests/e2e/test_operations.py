"""What operators see: the command line's views, metrics and readiness of every process.

The tests share a running system; the last one freezes Kafka under it.
"""

import asyncio
import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from confluent_kafka import Producer
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.notifications_topic import NotificationsTopic
from tests.e2e.stack import Stack, eventually
from tests.support.paths import PROJECT
from tests.support.topics import headers_of, read_topic
from vimfed.local.kafka import LocalKafka
from vimfed.process.ports import free_ports

DASHBOARD: dict[str, Any] = json.loads(
    (PROJECT / "deploy" / "grafana" / "vim-event-federation.json").read_text()
)
VIM_ID = "CloudOwner_RegionOne"
pytestmark = pytest.mark.asyncio(loop_scope="module")
PROCESSES = ("bridge", "worker", "publisher", "gateway")
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(
    tmp_path_factory: pytest.TempPathFactory, kafka: LocalKafka
) -> AsyncIterator[Stack]:
    (port,) = free_ports(1)
    cloud = {
        "cloud_owner": "CloudOwner",
        "cloud_region_id": "RegionOne",
        "kafka": {"bootstrap": kafka.bootstrap, "group": f"pool-{port}"},
        "samples": {"pushed": True},
    }
    away = {
        "cloud_owner": "CloudOwner",
        "cloud_region_id": "Polled",
        "poll": {
            "auth_url": "http://127.0.0.1:1/v3",
            "username": "vimfed",
            "password": "secret",
            "project_name": "admin",
        },
    }
    folder = tmp_path_factory.mktemp("operations")
    async with Stack(folder, kafka.bootstrap, [cloud, away], f"[gateway]\nport = {port}") as stack:
        stack.ports["gateway"] = port
        stack.start_worker()
        for name in ("bridge", "publisher", "gateway"):
            stack.start(name)
        for name in PROCESSES:
            await stack.ready(name)
        topic = NotificationsTopic(stack, VIM_ID)
        topic.tell("vm-1", "compute.instance.pause.end", second=1)
        topic.tell("vm-1", "compute.instance.unpause.end", second=2, state="active")
        topic.tell("vm-2", "compute.instance.pause.end", second=3)
        await eventually(partial(knows, stack, "vm-2", "paused"), within=30)
        yield stack


async def knows(stack: Stack, instance_id: str, state: str) -> bool:
    path = f"/api/multicloud/v1/CloudOwner/RegionOne/instances/{instance_id}"
    status, answer = await stack.get(path)
    return status == 200 and answer["vm_state"] == state


def command(stack: Stack, *arguments: str) -> list[str]:
    config = str(stack.folder / "vimfed.toml")
    return [sys.executable, "-m", "vimfed", "--config", config, *arguments]


async def vimfed(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    run = partial(subprocess.run, capture_output=True, text=True, check=False, timeout=60)
    return await asyncio.to_thread(run, command(stack, *arguments))


def at_worker(stack: Stack) -> tuple[str, ...]:
    return ("--url", f"http://127.0.0.1:{stack.ports['worker']}")


async def test_status_tells_programs_of_clouds_workers_bridge_and_outputs(stack: Stack) -> None:
    told = await eventually(partial(status_without_lag, stack), within=30)
    polled, vim = told["vims"]
    assert polled["bridge"] == {"polling_fails": True}
    assert (vim["vim_id"], vim["configured"], vim["instances"]) == (VIM_ID, True, 2)
    assert vim["states"] == {"active": 1, "paused": 1}
    assert vim["bridge"]["connected"] is True
    (worker,) = told["workers"]
    assert (worker["wrong"], worker["partitions"]) == ({}, list(range(8)))
    assert worker["figures"]["rows"] == 2
    bridge, publisher = told["processes"]
    assert (bridge["name"], bridge["wrong"]) == ("bridge", {})
    assert (publisher["name"], publisher["wrong"]) == ("publisher dmaap", {})


async def status_without_lag(stack: Stack) -> Any:
    done = await vimfed(stack, "status", "--json", *at_worker(stack))
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    return told if told["processes"][-1]["lag"] == 0 else None


async def test_status_tells_people_in_tables_and_what_is_wrong_in_a_sentence(stack: Stack) -> None:
    once = await vimfed(stack, "status", VIM_ID, *at_worker(stack))
    assert once.returncode == 0, once.stderr
    for word in (VIM_ID, "active", "paused", "publisher dmaap", "ready"):
        assert word in once.stdout
    assert "CloudOwner_Polled" not in once.stdout
    everything = await vimfed(stack, "status", "--once", *at_worker(stack))
    assert re.search(r"CloudOwner_Polled .* fails, -", everything.stdout)
    unknown = await vimfed(stack, "status", "CloudOwner_None", *at_worker(stack))
    assert unknown.returncode == 1
    known = f"CloudOwner_Polled, {VIM_ID}"
    assert unknown.stderr == f"vimfed: there is no cloud CloudOwner_None, only {known}\n"
    nobody = await vimfed(stack, "status", "--url", "http://127.0.0.1:1")
    assert nobody.returncode == 1
    assert nobody.stderr.startswith("vimfed: no worker answers at http://127.0.0.1:1/")
    assert nobody.stderr.count("\n") == 1


async def test_on_a_terminal_the_status_is_kept_up_to_date_until_it_is_interrupted(
    stack: Stack,
) -> None:
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "160", "LINES": "50"}
    process = await asyncio.create_subprocess_exec(
        *command(stack, "status", *at_worker(stack)),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment,
    )
    os.close(slave)
    os.set_blocking(master, False)
    shown = bytearray()

    async def shows(text: bytes) -> bool:
        with contextlib.suppress(BlockingIOError):
            shown.extend(os.read(master, 65536))
        return text in shown

    try:
        await eventually(partial(shows, VIM_ID.encode()), within=30)
        NotificationsTopic(stack, VIM_ID).tell(
            "vm-3", "compute.instance.shelve.end", state="shelved"
        )
        await eventually(partial(shows, b"shelved"), within=30)
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 10) == 0
        await shows(b"")
        assert b"Traceback" not in shown
    finally:
        if process.returncode is None:
            process.kill()
        os.close(master)


async def test_events_are_lines_for_people_and_json_for_programs_as_chosen(stack: Stack) -> None:
    lines = await vimfed(stack, "events", "--instance", "vm-1")
    assert lines.returncode == 0, lines.stderr
    first, second = lines.stdout.splitlines()
    assert re.match(rf"2026-01-01 12:00:01.000  {VIM_ID}  PAUSE +end +VM1 vm-1  .*paused", first)
    assert "UNPAUSE" in second
    assert "paused -> active" in second
    as_json = await vimfed(stack, "events", "--json", "--kind", "pause", "--vim", VIM_ID)
    events = [json.loads(line) for line in as_json.stdout.splitlines()]
    # One instance's events come in order, those of two partitions as they are read.
    assert sorted((event["kind"], event["instance_id"]) for event in events) == [
        ("PAUSE", "vm-1"),
        ("PAUSE", "vm-2"),
    ]
    assert (await vimfed(stack, "events", "--from", "now")).stdout == ""
    wrong = await vimfed(stack, "events", "--kind", "PAUS")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert wrong.stderr.startswith("vimfed: --kind: PAUS is no kind; there are ")


async def test_followed_events_come_as_they_are_told_until_it_is_interrupted(
    stack: Stack,
) -> None:
    process = await asyncio.create_subprocess_exec(
        *command(stack, "events", "--follow", "--from", "beginning", "--instance", "vm-4"),
        "--json",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    topic = NotificationsTopic(stack, VIM_ID)
    for second, kind in enumerate(("pause", "unpause")):
        topic.tell("vm-4", f"compute.instance.{kind}.end", second=second)
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        assert json.loads(line)["kind"] == kind.upper()
    process.send_signal(signal.SIGINT)
    _, complaints = await asyncio.wait_for(process.communicate(), 10)
    assert (process.returncode, complaints) == (0, b"")


async def test_events_without_a_broker_or_a_topic_end_with_a_sentence(
    stack: Stack, tmp_path: Path
) -> None:
    config = tmp_path / "vimfed.toml"
    for bootstrap, said in (
        ("127.0.0.1:1", "vimfed: no broker answers at 127.0.0.1:1: is kafka.bootstrap right?"),
        (stack.bootstrap, "vimfed: there is no topic none.events: "),
    ):
        config.write_text(f'[kafka]\nbootstrap = "{bootstrap}"\ntopic_prefix = "none"\n')
        done = await vimfed(stack, "--config", str(config), "events")
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith(said)
        assert "Traceback" not in done.stderr


def queries() -> list[str]:
    """Return every expression of the dashboard and of the alert rules."""
    rules = yaml.safe_load((PROJECT / "deploy" / "prometheus" / "alerts.yml").read_text())
    return [
        *(target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())),
        *(rule["expr"] for group in rules["groups"] for rule in group["rules"]),
    ]


def series(family: Metric) -> set[str]:
    return {family.name + suffix for suffix in SUFFIXES.get(family.type, ("",))}


async def test_an_output_is_paused_resumed_and_replayed(stack: Stack) -> None:
    topic = NotificationsTopic(stack, VIM_ID)

    async def published(*kinds: str, at_least: int = 1) -> list[str]:
        records = await asyncio.to_thread(read_topic, stack.bootstrap, stack.dmaap_topic)
        of_vm = [each for each in records if (each.key() or b"").endswith(b"/vm-p")]
        told = [dict(headers_of(each))["ce_kind"].decode() for each in of_vm]
        return told if all(told.count(kind) >= at_least for kind in kinds) else []

    async def readiness(status: int) -> dict[str, str]:
        found, answer = await stack.get("/readyz", "publisher")
        return {"status": answer["status"], **answer.get("wrong", {})} if found == status else {}

    topic.tell("vm-p", "compute.instance.pause.end", second=1)
    await eventually(partial(published, "PAUSE"), within=30)
    done = await vimfed(stack, "output", "pause", "dmaap")
    assert done.stdout == (
        "output dmaap is paused: what comes for it waits in Kafka, which keeps it for 7 days\n"
    )
    wrong = await eventually(partial(readiness, 503), within=30)
    assert wrong["output dmaap"].startswith("paused at 2")
    (told,) = (await stack.get("/api/multicloud/v1/outputs"))[1]["outputs"]
    assert told["paused_at"] in wrong["output dmaap"]
    assert "vimfed_publisher_paused{" in await stack.text("/metrics", "publisher")
    topic.tell("vm-p", "compute.instance.unpause.end", second=2, state="active")
    await eventually(partial(knows, stack, "vm-p", "active"), within=30)
    status = await vimfed(stack, "status", "--json", *at_worker(stack))
    assert json.loads(status.stdout)["processes"][1]["wrong"].keys() == {"output dmaap"}
    assert await published("PAUSE") == ["PAUSE"]

    path = "/api/multicloud/v1/outputs/dmaap"
    assert (await stack.put(path, {"paused": False}))[1] == {"name": "dmaap", "carries": "events"}
    assert (await stack.put(path, {"paused": 1}))[0] == 400
    assert (await stack.put(f"{path}x", {"paused": True}))[0] == 404
    assert await eventually(partial(published, "UNPAUSE"), within=30) == ["PAUSE", "UNPAUSE"]
    await eventually(partial(readiness, 200), within=30)

    tried = await vimfed(stack, "output", "replay", "dmaap", "--from", "2026-01-01", "--dry-run")
    pattern = (
        r"output dmaap would get those that it wants of (\d+) events since 2026-01-01T00:00:00Z"
    )
    count = re.match(pattern, tried.stdout)
    assert count is not None, tried
    assert int(count[1]) >= 5
    done = await vimfed(stack, "output", "replay", "dmaap", "--from", "2026-01-01")
    assert done.stdout == (
        f"output dmaap gets those that it wants of {count[1]} events since 2026-01-01T00:00:00Z "
        "again, then goes on\n"
    )
    topic.tell("vm-p", "compute.instance.pause.end", second=3)
    again = await eventually(partial(published, "UNPAUSE", "PAUSE", at_least=2), within=30)
    await eventually(partial(published, "PAUSE", at_least=3), within=30)
    assert again[:4] == ["PAUSE", "UNPAUSE"] * 2
    late = await vimfed(stack, "output", "replay", "dmaap", "--from", "2999-01-01")
    assert (late.returncode, late.stderr) == (2, "vimfed: --from is in the future\n")
    # What follows the topic passes over the marks.
    assert (await vimfed(stack, "events", "--instance", "vm-p")).stderr == ""


async def test_a_snapshot_goes_between_begin_and_end_to_the_output_that_it_is_for(
    stack: Stack,
) -> None:
    path = "/api/multicloud/v1/snapshots/mine"
    NotificationsTopic(stack, VIM_ID).tell("vm-s", "compute.instance.pause.end", second=1)
    await eventually(partial(knows, stack, "vm-s", "paused"), within=30)
    asked = {"output": "dmaap", "clouds": [VIM_ID]}
    for wrong, complaint in (
        ({"output": "x"}, "output: 'x' is none of dmaap"),
        ({"output": "dmaap", "clouds": ["x_y"]}, "clouds: 'x_y' is none of CloudOwner_Polled, "),
        ({"output": "dmaap", "kinds": []}, "not a snapshot: "),
    ):
        status, answer = await stack.put(path, wrong)
        assert (status, answer["error"].startswith(complaint)) == (400, True), answer
    status, made = await stack.put(path, asked)
    assert (status, made["state"], made["clouds"]) == (201, "requested", [VIM_ID])
    ended = await eventually(partial(ended_snapshot, stack, path), within=60)
    assert ended["partitions"] == {"written": 8, "of": 8}
    count = ended["instances"][VIM_ID]
    assert count >= 3
    status, again = await stack.put(path, asked)
    assert (status, again) == (200, ended)
    assert (await stack.put(path, {"output": "dmaap"}))[0] == 409
    by_cloud = "/api/multicloud/v1/CloudOwner/RegionOne/snapshots/mine"
    assert await stack.put(by_cloud, {"output": "dmaap"}) == (200, ended)
    assert (await stack.get(by_cloud))[1] == ended
    assert (await stack.get(by_cloud.replace("RegionOne", "Polled")))[0] == 404

    records = await asyncio.to_thread(read_topic, stack.bootstrap, stack.dmaap_topic)
    told = [json.loads(record.value() or b"") for record in records]
    ours = [each for each in told if each["vim_event"].get("snapshot") == "mine"]
    assert len({each["vim_event"]["id"] for each in ours}) == len(ours) == count + 2
    states = {each["instance_id"]: each["state"] for each in ours if "instance_id" in each}
    assert (states["vm-s"], len(states)) == ("paused", count)
    boundaries = {each["vim_event"]["phase"]: each for each in ours if "instance_id" not in each}
    assert (boundaries["start"]["snapshot"], boundaries["end"]["told"]) == ("mine", count)
    at = {
        json.loads(record.value() or b"")["vim_event"]["id"]: record.timestamp()[1]
        for record in records
    }
    times = [at[each["vim_event"]["id"]] for each in ours if "instance_id" in each]
    begin, end = (at[boundaries[phase]["vim_event"]["id"]] for phase in ("start", "end"))
    assert begin <= min(times) <= max(times) <= end
    listed = (await stack.get("/api/multicloud/v1/snapshots"))[1]["snapshots"]
    assert listed == [ended]
    assert (await stack.delete(path))[1] == {"name": "mine", "state": "ended"}
    assert (await stack.get(path))[0] == 404
    history = await vimfed(stack, "events", "--instance", "vm-s")
    assert [line.split()[3] for line in history.stdout.splitlines()] == ["PAUSE", "STATE_SNAPSHOT"]


async def ended_snapshot(stack: Stack, path: str) -> Any:
    answer = (await stack.get(path))[1]
    return answer if answer["state"] == "ended" else None


async def test_processes_export_what_is_spoken_of_and_name_the_part_that_is_not_ready(
    stack: Stack, kafka: LocalKafka
) -> None:
    exported: dict[str, Metric] = {}
    for name in PROCESSES:
        families = {
            family.name: family
            for family in text_string_to_metric_families(await stack.text("/metrics", name))
        }
        assert families["vimfed_build_info"].samples[0].labels["version"]
        assert "process_resident_memory_bytes" in families
        exported |= families
    known = {"up"}.union(*map(series, exported.values()))
    asked = {name for query in queries() for name in re.findall(r"\b(?:vimfed|process)_\w+", query)}
    assert asked - known == set()

    ours = {each for family in exported.values() for each in series(family) if "vimfed_" in each}
    described = (PROJECT / "docs" / "operations.md").read_text()
    told = set(re.findall(r"^\| `(vimfed_\w+)` \|", described, re.MULTILINE))
    assert told == {name for name in ours if not name.endswith(("_count", "_sum"))}

    assert "vimfed_ready 1.0" in await stack.text("/metrics")
    kafka.freeze()
    try:
        for name in ("worker", "gateway", "publisher"):
            await eventually(partial(names_kafka, stack, name), within=30)
        for name in ("worker", "gateway", "publisher"):
            assert "vimfed_ready 0.0" in await stack.text("/metrics", name)
    finally:
        kafka.thaw()
    for name in PROCESSES:
        await stack.ready(name)


async def names_kafka(stack: Stack, name: str) -> bool:
    status, answer = await stack.get("/readyz", name)
    return status == 503 and answer["status"] == "failing" and list(answer["wrong"]) == ["kafka"]


async def test_what_is_no_event_is_named_and_passed_over(stack: Stack) -> None:
    foreign = Producer({"bootstrap.servers": stack.bootstrap})
    for key, value in ((b"x", b"{}"), (None, None), (f"{VIM_ID}/vm-1".encode(), b"{}")):
        foreign.produce(stack.names.events, value, key, 0)
    assert foreign.flush(10) == 0
    lines = await vimfed(stack, "events", "--instance", "vm-1", "--kind", "PAUSE")
    assert (lines.returncode, lines.stdout.count("\n")) == (0, 1)
    assert lines.stderr.count("is no event") == 3
