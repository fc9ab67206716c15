"""What programs are told of clouds and instances, whichever worker they ask."""

from functools import partial
from typing import Any
from urllib.parse import quote

import pytest

from tests.e2e.notifications_topic import NotificationsTopic
from tests.e2e.stack import Stack, eventually

pytestmark = pytest.mark.asyncio(loop_scope="package")

PREFIX = "/api/multicloud/v1"
INSTANCES = f"{PREFIX}/Owner/queries/instances"
STATES = ("active", "paused", "stopped")
WORKERS = ("one", "two")


@pytest.fixture(scope="package")
def told(served: Stack) -> None:
    """Twelve instances, four in each state, and one that is deleted."""
    topic = NotificationsTopic(served, "Owner_queries")
    for number in range(12):
        topic.tell(
            f"vm-{number:02}",
            second=number,
            state=STATES[number % 3],
            display_name=f"{'Web' if number < 6 else 'db'}-{11 - number:02}",
            host=f"compute0{number % 2}",
            tenant_id=f"tenant-{number // 6}",
        )
    topic.tell(
        "gone",
        "compute.instance.delete.end",
        second=30,
        state="deleted",
        deleted_at="2026-01-01T12:00:30.000000",
    )


async def listed(stack: Stack, query: str, worker: str = "one") -> list[str]:
    """Return the ids in an answer; all of them, over its pages."""
    ids: list[str] = []
    marker = ""
    while True:
        status, answer = await stack.get(f"{INSTANCES}?{query}{marker}", worker)
        assert status == 200, answer
        ids += [one["instance_id"] for one in answer["instances"]]
        if answer["next_marker"] is None:
            assert answer["count"] == len(ids)
            return ids
        marker = f"&marker={quote(answer['next_marker'])}"


async def is_counted(stack: Stack, worker: str) -> Any:
    _, answer = await stack.get(f"{PREFIX}/vims", worker)
    vims = {vim["vim_id"]: vim for vim in answer.get("vims", [])}
    return vims.get("Owner_queries", {}).get("states") == {
        "active": 4,
        "deleted": 1,
        "paused": 4,
        "stopped": 4,
    }


async def test_each_worker_counts_the_instances_of_all(served: Stack, told: None) -> None:
    for worker in WORKERS:
        await eventually(partial(is_counted, served, worker), within=30)
        _, answer = await served.get(f"{PREFIX}/vims/", worker)
        names = [vim["vim_id"] for vim in answer["vims"]]
        assert names == sorted(names)
        vims = {vim["vim_id"]: vim for vim in answer["vims"]}
        assert (vims["Owner_queries"]["instances"], vims["Owner_queries"]["configured"]) == (
            12,
            True,
        )


NEWEST_FIRST = [f"vm-{number:02}" for number in reversed(range(12))]


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", NEWEST_FIRST),
        ("order=asc&limit=5", NEWEST_FIRST[::-1]),
        ("limit=1", NEWEST_FIRST),
        (
            "sort=display_name&limit=5",
            [
                "vm-11",
                "vm-10",
                "vm-09",
                "vm-08",
                "vm-07",
                "vm-06",
                "vm-05",
                "vm-04",
                "vm-03",
                "vm-02",
                "vm-01",
                "vm-00",
            ],
        ),
        ("sort=host&limit=3&name=WEB", ["vm-00", "vm-02", "vm-04", "vm-01", "vm-03", "vm-05"]),
        ("state=PAUSE&limit=3", ["vm-10", "vm-07", "vm-04", "vm-01"]),
        ("state=paused&state=SHUTOFF&tenant_id=tenant-1", ["vm-11", "vm-10", "vm-08", "vm-07"]),
        ("state=paused,stopped&host=compute01", ["vm-11", "vm-07", "vm-05", "vm-01"]),
        ("kind=PAUSE&changed_since=2026-01-01T12:00:09Z", ["vm-11", "vm-10", "vm-09"]),
        ("state=DELETED", ["gone"]),
        ("kind=DELETE", ["gone"]),
        ("kind=REBUILD", []),
        ("tenant_id=nobody", []),
        ("name=null", []),
    ],
)
async def test_each_worker_lists_the_instances_that_pass_the_filters(
    served: Stack, told: None, query: str, ids: list[str]
) -> None:
    for worker in WORKERS:
        await eventually(partial(is_counted, served, worker), within=30)
        assert await listed(served, query, worker) == ids


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("state=FLYING", "unknown ['FLYING']"),
        ("kind=paused", "unknown ['paused']"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=1&limit=2", "limit is given 2 times"),
        ("limit=x", "limit"),
        ("sort=vcpus", "sort"),
        ("order=up", "order"),
        ("order=null", "order"),
        ("changed_since=yesterday", "ISO 8601"),
        ("marker=x", "next_marker"),
        ("states=PAUSE", "states"),
    ],
)
async def test_a_query_that_is_not_understood_is_refused_with_a_reason(
    served: Stack, query: str, complaint: str
) -> None:
    status, answer = await served.get(f"{INSTANCES}?{query}", "one")
    assert status == 400
    assert complaint in answer["error"]


async def test_a_vim_that_nobody_has_heard_of_has_no_list(served: Stack) -> None:
    status, answer = await served.get(f"{PREFIX}/No/where/instances", "one")
    assert (status, "unknown VIM No_where" in answer["error"]) == (404, True)


async def test_the_project_header_restricts_a_list_to_a_tenant(served: Stack, told: None) -> None:
    await eventually(partial(is_counted, served, "two"), within=30)
    status, answer = await served.get(f"{INSTANCES}?limit=1", "two", Project="tenant-0")
    assert (status, answer["count"], answer["instances"][0]["instance_id"]) == (200, 6, "vm-05")
