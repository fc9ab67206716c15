"""What operators see: metrics and readiness of every process, and what is built upon them."""

import json
import re
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.stack import Stack, eventually
from vimfed.local_kafka import LocalKafka
from vimfed.ports import free_ports

PROJECT = Path(__file__).parent.parent.parent
DASHBOARD: dict[str, Any] = json.loads(
    (PROJECT / "deploy" / "grafana" / "vim-event-federation.json").read_text()
)
PROCESSES = ("bridge", "worker", "publisher", "gateway")
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}


@pytest.fixture
async def stack(tmp_path: Path, kafka: LocalKafka) -> AsyncIterator[Stack]:
    (port,) = free_ports(1)
    cloud = {
        "cloud_owner": "CloudOwner",
        "cloud_region_id": "RegionOne",
        "transport_url": f"kafka://{kafka.bootstrap}",
        "pool": f"pool-{port}",
    }
    async with Stack(tmp_path, kafka.bootstrap, [cloud], f"[gateway]\nport = {port}") as stack:
        stack.ports["gateway"] = port
        stack.start_worker()
        for name in ("bridge", "publisher", "gateway"):
            stack.start(name)
        for name in PROCESSES:
            await stack.ready(name)
        yield stack


def queries() -> list[str]:
    """Return every expression of the dashboard and of the alert rules."""
    rules = yaml.safe_load((PROJECT / "deploy" / "prometheus" / "alerts.yml").read_text())
    return [
        *(target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())),
        *(rule["expr"] for group in rules["groups"] for rule in group["rules"]),
    ]


def series(family: Metric) -> set[str]:
    return {family.name + suffix for suffix in SUFFIXES.get(family.type, ("",))}


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
        for name in ("worker", "publisher"):
            assert "vimfed_ready 0.0" in await stack.text("/metrics", name)
    finally:
        kafka.thaw()
    for name in PROCESSES:
        await stack.ready(name)


async def names_kafka(stack: Stack, name: str) -> bool:
    status, answer = await stack.get("/readyz", name)
    return status == 503 and answer["status"] == "failing" and list(answer["wrong"]) == ["kafka"]


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    panels = DASHBOARD["panels"]
    assert DASHBOARD["uid"]
    assert DASHBOARD["schemaVersion"] >= 39
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, f"{panel['title']} overlaps another panel"
        taken |= cells
        assert at["x"] + at["w"] <= 24
        if panel["type"] != "row":
            assert panel["targets"]
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
