"""Live events: what a client is told, where it goes on, and what becomes of one that is slow."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import aiohttp
import psutil
import pytest
import pytest_asyncio

from tests.e2e.notifications_topic import NotificationsTopic
from tests.e2e.stack import Stack, eventually
from tests.support.server_sent import event_stream
from tests.support.vm_events import vm_event, write_events
from vimfed.model.records import VmEvent

pytestmark = pytest.mark.asyncio(loop_scope="package")

PREFIX = "/api/multicloud/v1"
VIM_ID = "Owner_live"
WORKERS = ("one", "two")


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


def url_of(stack: Stack, query: str = "", worker: str = "one") -> str:
    return f"http://127.0.0.1:{stack.ports[worker]}{PREFIX}/events?vim_id={VIM_ID}&{query}"


def event(instance_id: str, **fields: Any) -> VmEvent:
    return vm_event(instance_id, vim_id=VIM_ID, **fields)


def tell(stack: Stack, events: Iterable[VmEvent]) -> list[str]:
    """Write events as a worker does; return their ids."""
    told = list(events)
    write_events(stack.bootstrap, stack.prefix, told)
    return [each.id for each in told]


async def test_a_notification_reaches_the_clients_of_every_worker(
    served: Stack, session: aiohttp.ClientSession
) -> None:
    async with (
        event_stream(session, url_of(served)) as one,
        event_stream(session, url_of(served, worker="two")) as two,
    ):
        NotificationsTopic(served, VIM_ID).tell("live-1", display_name="shown\nname")
        (told,) = await one.take(1)
        assert await two.take(1) == [told]
    assert told.pop("id")
    assert told == {
        "vim_id": VIM_ID,
        "instance_id": "live-1",
        "display_name": "shown\nname",
        "kind": "PAUSE",
        "phase": "end",
        "old_state": "",
        "old_task_state": "",
        "new_state": "paused",
        "new_task_state": "",
        "changed_at": "2026-01-01T12:00:00.000000Z",
        "late": False,
        "inferred": False,
        "source": "oslo",
    }


FILTERS = {
    "": ["a", "b", "c"],
    "kind=delete,rebuild": ["b"],
    "phase=error&phase=start": ["c"],
    "tenant_id=tenant-1": ["a"],
    "instance_id=a&instance_id=c": ["a", "c"],
    "instance_id=a&kind=REBUILD": [],
    "vim_id=Owner_another": ["a", "b", "c"],
}


async def test_a_client_is_told_what_passes_its_filters(
    served: Stack, session: aiohttp.ClientSession
) -> None:
    own = {"tenant_id": "tenant-1"}
    events = [
        event("a", payload=own),
        event("b", kind="DELETE"),
        event("c", phase="error"),
        event("a", kind="REBUILD", phase="start", payload=own),  # passes all of the filters
    ]
    async with AsyncExitStack() as open_streams:
        streams = {
            query: await open_streams.enter_async_context(
                event_stream(session, url_of(served, query))
            )
            for query in FILTERS
        }
        tell(served, events)
        for query, told in FILTERS.items():
            taken = await streams[query].take(len(told) + 1)
            assert sorted(each["instance_id"] for each in taken) == sorted([*told, "a"]), query


@pytest.mark.parametrize("query", ["kind=FLY", "phase=middle", "since=now", "limit=3"])
async def test_a_filter_that_is_not_understood_is_refused(served: Stack, query: str) -> None:
    status, answer = await served.get(f"{PREFIX}/events?{query}", "one")
    assert (status, "error" in answer) == (400, True)


async def test_a_client_goes_on_where_it_broke_off_at_any_worker_also_after_a_restart(
    served: Stack, session: aiohttp.ClientSession
) -> None:
    async with event_stream(session, url_of(served, "kind=RESIZE")) as stream:
        first = tell(served, (event(str(number), kind="RESIZE") for number in range(20)))
        assert {each["id"] for each in await stream.take(20)} == set(first)
        place = stream.last_id
    missed = tell(served, (event(str(number), kind="RESIZE") for number in range(20)))
    for worker in ("two", "one"):
        url = url_of(served, "kind=RESIZE", worker)
        async with event_stream(session, url, place) as stream:
            assert {each["id"] for each in await stream.take(20)} == set(missed)
    async with event_stream(session, url_of(served, worker="two")) as stream:
        served.children["two"].stop()
        with pytest.raises(EOFError):
            await stream.next()
    served.start_worker("two")
    await served.serving("one", "two")
    async with event_stream(session, url_of(served, "kind=RESIZE", "two"), place) as stream:
        seen = {each["id"] for each in await stream.take(20)}
        assert seen == set(missed)


@pytest.mark.parametrize("place", ["0.0.0.0.0.0.0.99999", "1.2", "x", "1.1.1.1.1.1.1.-1"])
async def test_a_place_that_is_not_held_is_told_so_and_the_stream_goes_on(
    served: Stack, session: aiohttp.ClientSession, place: str
) -> None:
    async with event_stream(session, url_of(served), place) as stream:
        assert (await stream.next()).event == "resync"
        here = stream.last_id
    async with event_stream(session, url_of(served), here) as stream:
        await stream.placed()
        assert stream.last_id == here


async def test_each_worker_tells_the_recent_events_of_an_instance(
    served: Stack, session: aiohttp.ClientSession
) -> None:
    kinds = ("PAUSE", "UNPAUSE", "DELETE")
    *told, _other = tell(
        served, [*(event("recent", kind=kind) for kind in kinds), event("another")]
    )
    path = f"{PREFIX}/Owner/live/instances/recent/events"
    for worker in WORKERS:

        async def all_there(worker: str = worker) -> Any:
            _, answer = await served.get(path, worker)
            return answer if len(answer.get("events", ())) == 3 else None

        answer = await eventually(all_there, within=20)
        assert [each["id"] for each in answer["events"]] == told[::-1]
        assert answer["since"] <= "9999"
        assert len((await served.get(f"{path}?limit=1", worker))[1]["events"]) == 1
    assert (await served.get(f"{path}?limit=0", "one"))[0] == 400
    nothing = f"{PREFIX}/Owner/live/instances/nobody/events"
    assert (await served.get(nothing, "one"))[1]["events"] == []


async def test_a_slow_reader_is_cut_off_with_a_reason_and_the_others_are_told_everything(
    served: Stack, session: aiohttp.ClientSession
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.ports["one"], limit=1000)
    writer.write(
        f"GET {PREFIX}/events?vim_id={VIM_ID} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    )
    await reader.readuntil(b"id: ")
    async with event_stream(session, url_of(served)) as other:
        # More than a worker holds, in portions that the other one has read before the next: this
        # process too must get the time for it.
        for _ in range(10):
            portion = [event(str(number)) for number in range(3000)]
            missing = set(await asyncio.to_thread(tell, served, portion))
            while missing:
                missing -= {each["id"] for each in await other.take(1, within=30)}

        async def was_cut() -> bool:
            return "vimfed_web_live_cut_total 1.0" in await served.text("/metrics", "one")

        await eventually(was_cut, within=30)
    rest = await asyncio.wait_for(reader.read(), 30)
    assert rest.endswith(b"0\r\n\r\n")
    assert b'event: cut\ndata: {"reason":"this client reads too slowly"}\n\n' in rest
    writer.close()


async def test_two_hundred_clients_are_told_everything_and_leave_nothing_behind(
    served: Stack, session: aiohttp.ClientSession
) -> None:
    def memory() -> int:
        return psutil.Process(served.children["one"].pid).memory_info().rss

    async def clients(count: int) -> bool:
        return f"vimfed_web_live_clients {count}.0" in await served.text("/metrics", "one")

    await eventually(partial(clients, 0), within=60)  # those of earlier tests have gone
    async with AsyncExitStack() as open_streams:
        streams = [await open_streams.enter_async_context(event_stream(session, url_of(served)))]
        before = memory()  # with what is held for all clients
        streams += [
            await open_streams.enter_async_context(event_stream(session, url_of(served)))
            for _ in range(199)
        ]
        await eventually(partial(clients, 200), within=30)
        ids = set(tell(served, (event(str(number)) for number in range(100))))
        for stream in streams:
            assert {each["id"] for each in await stream.take(100, within=30)} == ids
        assert memory() - before < 50_000_000
    await eventually(partial(clients, 0), within=30)
