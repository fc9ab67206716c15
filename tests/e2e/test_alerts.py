"""What is told of a host that dies, and of its VMs, whichever worker is asked."""

from functools import partial
from typing import Any

import aiohttp
import pytest

from tests.e2e.notifications_topic import NotificationsTopic
from tests.e2e.stack import Stack, eventually
from tests.support.server_sent import event_stream

pytestmark = pytest.mark.asyncio(loop_scope="package")

PREFIX = "/api/multicloud/v1"
CLOUD = f"{PREFIX}/Owner/alerts"
VIM_ID = "Owner_alerts"
WORKERS = ("one", "two")
DEAD, ALIVE = [f"vm-{number}" for number in range(0, 12, 2)], ["vm-1", "vm-3"]
"""VMs on the host that dies, and on the other."""


async def listed(stack: Stack, query: str, worker: str) -> dict[str, Any]:
    """Return by id the instances that are told."""
    status, answer = await stack.get(f"{CLOUD}/instances?sort=instance_id&{query}", worker)
    assert status == 200, answer
    assert answer["count"] == len(answer["instances"])
    return {each["instance_id"]: each for each in answer["instances"]}


async def are(stack: Stack, ids: list[str], query: str) -> None:
    """Wait until each worker lists these instances."""

    async def each_lists() -> bool:
        told = [sorted(await listed(stack, query, worker)) for worker in WORKERS]
        return all(each == sorted(ids) for each in told)

    await eventually(each_lists, within=30)


async def pushed(stack: Stack, *hosts: dict[str, Any]) -> None:
    """Say how hosts are."""
    status, answer = await stack.post(f"{CLOUD}/hosts", list(hosts), "one")
    assert (status, answer) == (200, {"accepted": len(hosts)})


async def alerts(stack: Stack, query: str, worker: str) -> list[Any]:
    """Return the alarms that are told."""
    status, answer = await stack.get(f"{CLOUD}/alerts?{query}", worker)
    assert status == 200, answer
    assert answer["count"] == len(answer["alerts"])
    return list(answer["alerts"])


async def test_a_host_that_dies_takes_its_vms_along_and_brings_them_back(served: Stack) -> None:
    topic = NotificationsTopic(served, VIM_ID)
    for name in [*DEAD, *ALIVE]:
        host = "c-dead" if name in DEAD else "c-alive"
        topic.tell(name, "compute.instance.create.end", state="active", host=host)
    await are(served, [*DEAD, *ALIVE], "available=unknown")
    assert (await served.get(f"{CLOUD}/hosts", "one"))[1]["hosts"] == []

    await pushed(served, {"host": "c-dead", "is_up": True}, {"host": "c-alive", "is_up": True})
    await are(served, [*DEAD, *ALIVE], "available=true")
    url = f"http://127.0.0.1:{served.ports['two']}{PREFIX}/events?vim_id={VIM_ID}"
    async with aiohttp.ClientSession() as session, event_stream(session, url) as stream:
        await pushed(served, {"host": "c-dead", "is_up": False})
        began = {(each["kind"], each["instance_id"]): each for each in await stream.take(7)}
        await is_told_as_down(served)
        await pushed(served, {"host": "c-dead", "is_up": True})
        ended = {(each["kind"], each["instance_id"]): each for each in await stream.take(7)}
    wanted = {("UNAVAILABLE", name) for name in DEAD} | {("HOST_DOWN", "")}
    assert began.keys() == ended.keys() == wanted
    for key in wanted:
        first, last = began[key], ended[key]
        assert (first["phase"], first["reason"], first["host"]) == ("start", "host_down", "c-dead")
        assert (last["phase"], last["reason"], last["host"]) == ("end", "host_up", "c-dead")
        assert (first["alarm"]["step"], last["alarm"]["step"]) == ("raised", "cleared")
        for field in ("id", "started_at", "condition"):
            assert first["alarm"][field] == last["alarm"][field]
    await are(served, [*DEAD, *ALIVE], "available=true")
    for worker in WORKERS:
        await eventually(partial(is_over, served, worker), within=30)


async def is_told_as_down(served: Stack) -> None:
    """Assert what each worker says while the host is down."""
    await are(served, DEAD, "available=false")
    await are(served, DEAD, "state=UNAVAILABLE")
    await are(served, ALIVE, "available=true")
    for worker in WORKERS:
        told = await listed(served, "host=c-dead", worker)
        assert {each["unavailable_reason"] for each in told.values()} == {"host_down"}
        assert {each["state_description"] for each in told.values()} == {"active"}
        _, one = await served.get(f"{CLOUD}/instances/{DEAD[0]}", worker)
        assert (one["available"], one["unavailable_reason"]) == (False, "host_down")
        assert one["unavailable_since"] == told[DEAD[0]]["unavailable_since"]
        _, answer = await served.post(
            f"/{VIM_ID}/check_vim_status", {"states": ["unavailable"]}, worker
        )
        assert (answer["count"], answer["state_description"]) == (len(DEAD), "active")
        _, answer = await served.get(f"{CLOUD}/hosts?state=down", worker)
        (host,) = answer["hosts"]
        assert (host["host"], host["instances"]) == ("c-dead", len(DEAD))
        assert host["since"] == one["unavailable_since"]
        assert answer["states"] == {"up": 1, "down": 1}
        active = await alerts(served, "host=c-dead", worker)
        assert sorted(each["condition"] for each in active) == [
            "host_down",
            *["vm_unavailable"] * len(DEAD),
        ]
        _, answer = await served.get(f"{PREFIX}/vims", worker)
        (vim,) = [each for each in answer["vims"] if each["vim_id"] == VIM_ID]
        assert (vim["hosts"], vim["unavailable"]) == ({"up": 1, "down": 1}, len(DEAD))
        assert vim["alarms"] == {"host_down": 1, "vm_unavailable": len(DEAD)}


async def is_over(served: Stack, worker: str) -> bool:
    """Return whether a worker has no active alarm any more, and knows what there was."""
    if await alerts(served, "", worker):
        return False
    cleared = await alerts(served, f"state=cleared&instance_id={DEAD[0]}", worker)
    (alarm,) = cleared
    assert (alarm["condition"], alarm["sequence"]) == ("vm_unavailable", 1)
    assert alarm["cleared_at"] > alarm["started_at"]
    status, answer = await served.get(f"{CLOUD}/alerts/{alarm['id']}", worker)
    assert (status, answer["alert"], answer["history"]) == (200, alarm, [alarm])
    assert (await served.get(f"{CLOUD}/alerts/none", worker))[0] == 404
    return True
