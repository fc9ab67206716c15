"""Which VMs a worker tells of, to whom, and when it rather tells nothing."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families
from yarl import URL

from streams.worker.instance_index import InstanceIndex
from streams.worker.worker import StreamWorker
from tests.unit.web.test_alert_routes import OwnsAll
from tests.unit.worker.test_instance_index import row
from vimfed.kafka.partitions import partition_of
from vimfed.model.keys import host_key, instance_key
from vimfed.model.samples import Measurement, MetersState, MeterValue, encode_meters
from vimfed.model.times import utc_text
from vimfed.settings import MetricsSettings, load_settings
from web.auth.caller import CALLER, Caller
from web.http.errors import errors_as_json
from web.http.routes import add_routes
from web.queries.vm_gauge_routes import AT_ONCE, VmGaugeRoutes

PARTITIONS = 2
CLOUD, OTHER = "Owner_Region", "Owner_Other"
PATH = "/api/multicloud/v1/metrics/vms"
METRICS = MetricsSettings(vm_gauges=True)


class Meters:
    """A table of meters."""

    def __init__(self) -> None:
        self.active = set(range(PARTITIONS))
        self.rows: dict[int, dict[bytes, bytes]] = {each: {} for each in self.active}
        self.lost_after: int | None = None
        """After so many rows another worker gets the partitions."""

    def partition(self, number: int) -> SimpleNamespace:
        return SimpleNamespace(items=lambda: self._items(number))

    def _items(self, number: int) -> Iterator[tuple[bytes, bytes]]:
        for count, item in enumerate(self.rows[number].items()):
            if count == self.lost_after:
                self.active.clear()
            yield item


class Api:
    """The route over rows of our own, asked by whom we like."""

    def __init__(self) -> None:
        self.caller = Caller(name="somebody", role="reader")
        self.metrics = METRICS
        self.meters: Meters | None = Meters()
        self.index = InstanceIndex()
        for partition in range(PARTITIONS):
            self.index.add_partition(partition)
        self.session: ClientSession
        self.url = ""

    @property
    def settings(self) -> Any:
        return replace(load_settings(None, {}), metrics=self.metrics)

    def tell(self, instance_id: str, vim_id: str = CLOUD, **about: str) -> None:
        """Write an instance's row."""
        told = row(instance_id, about.get("state", "active"), "", tenant=about.get("tenant", "t"))
        told = told.replace(CLOUD.encode(), vim_id.encode())
        self.index.put(partition_of(instance_key(vim_id, instance_id), PARTITIONS), told)

    def measure(
        self, name: str, vim_id: str = CLOUD, age: float = 0, key: bytes = b"", values: int = 0
    ) -> None:
        """Write what was measured until ``age`` seconds ago, with so many further values."""
        assert self.meters is not None
        end = utc_text(datetime.now(UTC) - timedelta(seconds=age))
        meters = ["cpu_util", *(f"{'m' * 200}{number}" for number in range(values))]
        told = tuple(MeterValue(meter=meter, volume=1, at=end) for meter in meters)
        measured = Measurement(id="", vim_id=vim_id, begin=end, end=end, values=told)
        state = MetersState(vim_id=vim_id, measured_until=end, measurements=(measured,))
        key = key or instance_key(vim_id, name)
        self.meters.rows[partition_of(key, PARTITIONS)][key] = encode_meters(state)

    async def get(self, query: str = "") -> tuple[int, Any]:
        async with self.session.get(self.url + PATH + query) as answer:
            return answer.status, await answer.json()

    async def told(self, query: str = "") -> list[str]:
        """Return the ids of the instances that are told of."""
        async with self.session.get(self.url + PATH + query) as answer:
            text = await answer.text()
            assert answer.status == 200, text
            assert answer.headers["Content-Type"].startswith("text/plain; version=1.0.0")
        return sorted(
            sample.labels["instance_id"]
            for family in text_string_to_metric_families(text)
            if family.name == "vimfed_vm_cpu_util_percent"
            for sample in family.samples
        )


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = Api()

    @web.middleware
    async def ask(request: web.Request, handler: Any) -> web.StreamResponse:
        request[CALLER] = api.caller
        answer: web.StreamResponse = await handler(request)
        return answer

    own = OwnsAll("http://this-worker")
    own._worker = cast(StreamWorker, api)
    app = web.Application(middlewares=[errors_as_json, ask])
    add_routes(app, VmGaugeRoutes(cast(StreamWorker, api), own).routes())
    async with TestServer(app) as server, ClientSession() as session:
        api.session, api.url = session, str(server.make_url("")).rstrip("/")
        yield api


async def test_they_are_off_unless_the_settings_say_so(api: Api) -> None:
    api.metrics = MetricsSettings()
    assert await api.get() == (
        404,
        {"error": "gauges of VMs are off: say vm_gauges = true in [metrics]"},
    )


async def test_all_vms_are_told_but_those_that_are_deleted_and_no_hosts(api: Api) -> None:
    names = sorted(f"vm-{number:03}" for number in range(100))
    for name in names:
        api.tell(name)
        api.measure(name)
    api.measure("unheard-of")
    api.tell("gone", state="deleted")
    api.measure("gone")
    api.measure("", key=host_key(CLOUD, "compute-1"))
    assert await api.told() == ["unheard-of", *names]


async def test_nothing_is_told_where_nothing_is_measured(api: Api) -> None:
    assert await api.told() == []
    api.meters = None
    assert await api.told() == []


@pytest.mark.parametrize("grace", [0, 3600])
async def test_what_is_older_than_five_intervals_and_the_grace_is_left_out(
    api: Api, grace: int
) -> None:
    api.metrics = MetricsSettings(vm_gauges=True, interval=600, grace=grace)
    api.measure("new", age=grace + 4 * 600)
    api.measure("old", age=grace + 6 * 600)
    assert await api.told() == ["new"]


async def test_who_is_limited_sees_its_clouds_and_tenants_alone(api: Api) -> None:
    for tenant in ("mine", "yours"):
        for vim_id in (CLOUD, OTHER):
            api.tell(f"{tenant}-{vim_id}", vim_id, tenant=tenant)
            api.measure(f"{tenant}-{vim_id}", vim_id)
    api.measure("unheard-of")
    assert len(await api.told()) == 5
    assert await api.told(f"?vim_id={OTHER}") == [f"mine-{OTHER}", f"yours-{OTHER}"]
    api.caller = Caller(name="somebody", role="reader", clouds=(CLOUD,))
    assert await api.told() == [f"mine-{CLOUD}", "unheard-of", f"yours-{CLOUD}"]
    assert await api.get(f"?vim_id={OTHER}") == (
        403,
        {"error": f"somebody may not see the cloud {OTHER}"},
    )
    api.caller = Caller(name="somebody", role="reader", tenants=("mine",))
    assert await api.told() == [f"mine-{OTHER}", f"mine-{CLOUD}"]


async def test_partitions_that_are_lost_meanwhile_are_told_in_part_to_nobody(api: Api) -> None:
    assert api.meters is not None
    for number in range(100):
        api.measure(f"vm-{number}")
    api.meters.lost_after = 30
    status, answer = await api.get()
    assert (status, answer["reason"]) == (503, "meters lie at another worker")


async def test_an_answer_that_is_too_large_is_refused_and_says_what_to_do(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.queries.vm_gauges.MAX_BYTES", 1000)
    for number in range(10):
        api.measure(f"vm-{number}")
    status, answer = await api.get()
    assert (status, answer["error"].partition(": ")[2]) == (400, "choose with meter= or vim_id=")
    assert await api.get("?host=a") == (
        400,
        {"error": "query: Object contains unknown field `host`"},
    )


async def test_a_client_that_does_not_read_is_cut_off_and_keeps_nobody_waiting(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.queries.vm_gauge_routes.SEND_WITHIN", 0.5)
    for number in range(40):
        api.measure(f"vm-{number}", values=1000)
    url = URL(api.url)
    silent = []
    for _each in range(AT_ONCE):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.connect((url.host, url.port))
        reader, writer = await asyncio.open_connection(sock=client)
        writer.write(f"GET {PATH} HTTP/1.1\r\nHost: {url.host}\r\n\r\n".encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")  # it has its turn
        silent.append((reader, writer))
    async with asyncio.timeout(30):
        assert await api.told("?meter=cpu_util&vim_id=none") == []
        # Of the others the time may not be over yet.
        assert not (await silent[0][0].read()).endswith(b"\r\n0\r\n\r\n")
    for _reader, writer in silent:
        writer.transport.abort()


async def test_head_is_answered_as_get_is_without_the_text(api: Api) -> None:
    async with api.session.head(api.url + PATH) as answer:
        assert (answer.status, await answer.read()) == (200, b"")
        assert answer.headers["Content-Type"].startswith("text/plain")
