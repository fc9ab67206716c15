"""Gauges of VMs for Prometheus: each worker tells what was measured of its own."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.notifications_topic import NotificationsTopic
from tests.e2e.stack import Stack, eventually
from tests.support.sample_load import SampleLoad
from vimfed.local.kafka import LocalKafka

PATH = "/api/multicloud/v1/metrics/vms"
CLOUDS: list[dict[str, Any]] = [
    {"cloud_owner": "Owner", "cloud_region_id": region, "samples": {"pushed": True}}
    for region in ("one", "two")
]
ON = "[metrics]\nvm_gauges = true\n"
USERS = """
[web.auth]
peer_secret = "the secret of the peers"
[[web.auth.users]]
name = "prometheus"
token = "token-of-prometheus"
[[web.auth.users]]
name = "limited"
token = "token-of-the-limited-reader"
clouds = ["Owner_one"]
tenants = ["even"]
"""
ALL = {"Authorization": "Bearer token-of-prometheus"}
LIMITED = {"Authorization": "Bearer token-of-the-limited-reader"}

Told = dict[str, list[tuple[dict[str, str], float]]]


async def told(stack: Stack, query: str = "", worker: str = "worker", **headers: str) -> Told:
    text = await stack.text(PATH + query, worker, **headers)
    return {
        family.name: [(sample.labels, sample.value) for sample in family.samples]
        for family in text_string_to_metric_families(text)
    }


async def measure(stack: Stack, **clouds: list[str]) -> None:
    """Let clouds have instances, of two tenants in turn, and samples that are measured."""
    loads = []
    for vim_id, ids in clouds.items():
        topic = NotificationsTopic(stack, vim_id)
        for number, instance_id in enumerate(ids):
            tenant = ("even", "odd")[number % 2]
            topic.tell(instance_id, state="active", display_name=f'"{number}"', tenant_id=tenant)
        loads.append(SampleLoad(stack.bootstrap, stack.names, vim_id, ids))
    for load in loads * 2:  # in turn: whose minute is long over is late
        await asyncio.to_thread(load.write_minutes, 1)
    await asyncio.to_thread(loads[0].close_all)


async def test_the_workers_together_tell_each_vm_once(tmp_path: Path, kafka: LocalKafka) -> None:
    ids = [f"vm-{number}" for number in range(30)]
    async with Stack(tmp_path, kafka.bootstrap, CLOUDS, ON) as stack:
        for worker in ("one", "two"):
            stack.start_worker(worker)
        await stack.serving("one", "two")
        await measure(stack, Owner_one=ids)

        async def all_told() -> dict[str, list[Told]]:
            answers = [await told(stack, "", worker) for worker in ("one", "two")]
            seen = sum(len(each["vimfed_vm_meter_rate"]) for each in answers)
            return {"answers": answers} if seen >= 2 * len(ids) else {}

        answers = (await eventually(all_told, within=60))["answers"]
        for family in answers[0]:
            samples = [sample for each in answers for sample in each[family]]
            per_vm = Counter(labels["instance_id"] for labels, _ in samples)
            assert per_vm.keys() == set(ids), family
            assert len(set(per_vm.values())) == 1, family
            assert len({str(labels) for labels, _ in samples}) == len(samples), family
        assert all(each["vimfed_vm_cpu_util_percent"] for each in answers)
        _, measured = await stack.get(
            "/api/multicloud/v1/Owner/one/measurements?meter=cpu_util&limit=1000", "one"
        )
        assert {
            labels["instance_id"]: (number, labels["name"], labels["tenant_id"])
            for each in answers
            for labels, number in each["vimfed_vm_cpu_util_percent"]
        } == {
            each["instance_id"]: (each["volume"], each["display_name"], each["tenant_id"])
            for each in measured["entries"]
        }
        chosen = await told(stack, "?meter=cpu_util,vcpus&vim_id=Owner_one", "two")
        assert chosen["vimfed_vm_cpu_util_percent"] == answers[1]["vimfed_vm_cpu_util_percent"]
        assert chosen["vimfed_vm_meter_rate"] == []
        assert (await told(stack, "?vim_id=Owner_two", "two")).keys() == answers[1].keys()
        assert not any((await told(stack, "?vim_id=Owner_two", "two")).values())
        assert (await stack.get(f"{PATH}?host=a", "one"))[0] == 400


async def test_who_is_limited_sees_its_clouds_and_tenants_alone(
    tmp_path: Path, kafka: LocalKafka
) -> None:
    async with Stack(tmp_path, kafka.bootstrap, CLOUDS, ON + USERS) as stack:
        stack.start_worker()
        await stack.ready()
        clouds = ("Owner_one", "Owner_two")
        await measure(
            stack, **{each: [f"{each}-{number}" for number in range(6)] for each in clouds}
        )

        async def all_told() -> Told:
            answer = await told(stack, **ALL)
            tenants = [labels["tenant_id"] for labels, _ in answer["vimfed_vm_cpu_util_percent"]]
            return answer if Counter(tenants) == {"even": 6, "odd": 6} else {}

        everything = await eventually(all_told, within=60)
        limited = await told(stack, **LIMITED)
        theirs = {"Owner_one-0", "Owner_one-2", "Owner_one-4"}
        for family, samples in everything.items():
            assert limited[family] == [each for each in samples if each[0]["instance_id"] in theirs]
        assert {labels["tenant_id"] for labels, _ in limited["vimfed_vm_cpu_util_percent"]} == {
            "even"
        }
        assert (await stack.get(PATH))[0] == 401
        assert (await stack.get(f"{PATH}?vim_id=Owner_two", **LIMITED))[0] == 403


async def test_without_the_setting_there_are_none(tmp_path: Path, kafka: LocalKafka) -> None:
    async with Stack(tmp_path, kafka.bootstrap, CLOUDS) as stack:
        stack.start_worker()
        await stack.ready()
        assert await stack.get(PATH) == (
            404,
            {"error": "gauges of VMs are off: say vm_gauges = true in [metrics]"},
        )
