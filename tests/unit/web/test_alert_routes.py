"""How a cloud's hosts are, and which alarms it has: filters, pages, and who sees what."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from msgspec.structs import replace

from streams.worker.row_indexes import RowIndexes
from streams.worker.worker import StreamWorker
from tests.unit.web.test_gather import OwnsNothing
from tests.unit.worker.test_alarm_index import alarm
from tests.unit.worker.test_instance_index import VIM, row
from vimfed.kafka.partitions import partition_of
from vimfed.model.keys import alerts_key, cloud_key, home_key, host_key, instance_key
from vimfed.model.records import (
    Alarm,
    CloudState,
    HostState,
    SourceAlerts,
    decode_row,
    encode_row,
)
from vimfed.settings import load_settings
from web.auth.caller import CALLER, Caller
from web.http.errors import errors_as_json
from web.http.routes import add_routes
from web.queries.alert_routes import AlertRoutes
from web.queries.gather import Gather

PARTITIONS = 2
CLOUD = "/api/multicloud/v1/Owner/Region"
SINCE = "2026-01-01T00:00:01.000000Z"
CLEARED = "2026-01-01T00:00:59.000000Z"


class OwnsAll(OwnsNothing):
    """A worker that owns all partitions."""

    def partitions(self) -> list[int]:
        return list(range(PARTITIONS))


class Api:
    """A worker's routes over indexes of our own, asked by whom we like."""

    def __init__(self) -> None:
        self.indexes = RowIndexes(PARTITIONS)
        for partition in range(PARTITIONS):
            self.indexes.add_partition(partition)
        self.tenants: tuple[str, ...] | None = None
        self.session: ClientSession
        self.url = ""

    def tell_host(self, host: str, **fields: Any) -> None:
        """Write a host's row to every partition."""
        key, told = host_key(VIM, host), HostState(vim_id=VIM, host=host, **fields)
        for partition in range(PARTITIONS):
            self.indexes.put(partition, key, encode_row(told))

    def tell_cloud(self, unknown_since: str) -> None:
        """Write the cloud's row to every partition."""
        told = CloudState(vim_id=VIM, hosts_unknown_since=unknown_since)
        for partition in range(PARTITIONS):
            self.indexes.put(partition, cloud_key(VIM), encode_row(told))

    def tell(self, instance_id: str, *alarms: Alarm, **fields: Any) -> None:
        """Write an instance's row."""
        key = instance_key(VIM, instance_id)
        told = replace(decode_row(row(instance_id, "active", SINCE, **fields)), alarms=alarms)
        self.indexes.put(partition_of(key, PARTITIONS), key, encode_row(told))

    def tell_alerts(self, *alarms: Alarm, instance_id: str = "", host: str = "") -> None:
        """Write the row of alerts from outside of an instance, of a host or of the cloud."""
        told = SourceAlerts(vim_id=VIM, alarms=alarms, instance_id=instance_id, host=host)
        partition = partition_of(home_key(VIM, instance_id, host), PARTITIONS)
        self.indexes.put(partition, alerts_key(VIM, instance_id, host), encode_row(told))

    async def get(self, path: str) -> tuple[int, Any]:
        """Return the status and the JSON body of an answer."""
        async with self.session.get(self.url + CLOUD + path) as answer:
            return answer.status, await answer.json()

    async def alerts(self, query: str = "") -> list[str]:
        """Return the ids of the alarms that are told."""
        status, told = await self.get(f"/alerts{query}")
        assert status == 200, told
        assert told["count"] == len(told["alerts"])
        return [each["id"] for each in told["alerts"]]


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = Api()

    @web.middleware
    async def ask(request: web.Request, handler: Any) -> web.StreamResponse:
        request[CALLER] = Caller(name="somebody", role="reader", tenants=api.tenants)
        answer: web.StreamResponse = await handler(request)
        return answer

    settings = load_settings(None, {})
    worker = SimpleNamespace(settings=settings, vim_ids=settings.vim_ids, indexes=api.indexes)
    own = OwnsAll("http://this-worker")
    app = web.Application(middlewares=[errors_as_json, ask])
    add_routes(app, AlertRoutes(cast(StreamWorker, worker), Gather(own)).routes())
    async with TestServer(app) as server, ClientSession() as session:
        api.session, api.url = session, str(server.make_url("")).rstrip("/")
        yield api


async def test_hosts_are_told_by_name_each_once_with_the_instances_on_it(api: Api) -> None:
    api.tell_host("c2", is_up=False, down_since=SINCE)
    api.tell_host("c1")
    api.tell_host("c3", forced_down=True, down_since=SINCE, disabled=True, disabled_reason="dust")
    for number in range(5):
        api.tell(f"vm{number}", host="c2" if number else "c1")
    status, told = await api.get("/hosts")
    assert (status, told["count"], told["next_marker"]) == (200, 3, None)
    assert told["states"] == {"up": 1, "down": 1, "forced_down": 1}
    assert told["hosts"] == [
        {
            "host": host,
            "state": state,
            "since": since,
            "last_state": state,
            "disabled": reason is not None,
            "disabled_reason": reason,
            "disabled_since": None,
            "instances": instances,
        }
        for host, state, since, reason, instances in (
            ("c1", "up", None, None, 1),
            ("c2", "down", SINCE, None, 4),
            ("c3", "forced_down", SINCE, "dust", 0),
        )
    ]
    status, told = await api.get("/hosts?state=down,forced_down&limit=1")
    assert (told["count"], [each["host"] for each in told["hosts"]]) == (2, ["c2"])
    status, told = await api.get(f"/hosts?state=down,forced_down&marker={told['next_marker']}")
    assert ([each["host"] for each in told["hosts"]], told["next_marker"]) == (["c3"], None)


async def test_hosts_of_a_cloud_that_does_not_tell_are_unknown(api: Api) -> None:
    api.tell_host("c1", is_up=False, down_since="2025-12-31T00:00:00.000000Z")
    api.tell_cloud(SINCE)
    _status, told = await api.get("/hosts")
    (host,) = told["hosts"]
    assert (host["state"], host["since"], host["last_state"]) == ("unknown", SINCE, "down")
    assert (await api.get("/hosts?state=down"))[1]["count"] == 0
    assert (await api.get("/hosts?state=unknown"))[1]["count"] == 1
    api.tell_cloud("")
    assert (await api.get("/hosts?state=down"))[1]["count"] == 1


@pytest.mark.parametrize(
    "path", ["/hosts?state=ill", "/hosts?limit=0", "/hosts?marker=x", "/hosts?what=1"]
)
async def test_what_is_wrong_in_a_question_of_hosts_is_refused(api: Api, path: str) -> None:
    api.tell_host("c1")
    assert (await api.get(path))[0] == 400


@pytest.mark.parametrize("path", ["/hosts", "/alerts"])
async def test_a_cloud_that_nobody_has_heard_of_is_not_there(api: Api, path: str) -> None:
    assert (await api.get(path))[0] == 404
    api.tell_host("c1")
    assert (await api.get("/hosts"))[0] == 200
    assert (await api.get("/alerts"))[0] == 200


async def test_who_sees_some_tenants_alone_sees_no_hosts_and_alarms_of_their_instances(
    api: Api,
) -> None:
    api.tell_host("c1", is_up=False, alarms=(alarm("h", 1, "host_down"),))
    api.tell("mine", alarm("m", 2), tenant="t1", host="c1")
    api.tell("theirs", alarm("t", 3), tenant="t2", host="c1")
    api.tell_alerts(alarm("am", 4, "alert/x"), instance_id="mine")
    api.tell_alerts(alarm("at", 5, "alert/x"), instance_id="theirs")
    api.tell_alerts(alarm("au", 6, "alert/x"), instance_id="unheard-of")
    api.tell_alerts(alarm("ah", 7, "alert/x"), host="c1")
    api.tell_alerts(alarm("ac", 8, "alert/x"))
    assert await api.alerts() == ["ac", "ah", "au", "at", "am", "t", "m", "h"]
    api.tenants = ("t1",)
    assert await api.alerts() == ["am", "m"]
    status, told = await api.get("/hosts")
    assert (status, told["error"]) == (
        403,
        "somebody sees instances of its own tenants alone, no hosts",
    )
    assert (await api.get("/alerts/m"))[0] == 200
    for hidden in ("t", "at", "au", "ah", "ac", "h", "never-there"):
        assert (await api.get(f"/alerts/{hidden}"))[0] == 404
    api.tenants = ()
    assert (await api.get("/alerts"))[0] == 404


async def test_alarms_pass_every_filter_that_is_given(api: Api) -> None:
    worst = replace(alarm("1", 1, "alert/x"), severity="Critical", name="Fire", summary="it burns")
    api.tell_alerts(worst, instance_id="a")
    api.tell("a", alarm("2", 2), alarm("3", 3, "action_failed/RESIZE"), host="c1", name="web")
    api.tell("b", alarm("4", 4, "vm_error", CLEARED), alarm("5", 5), host="c2")
    api.tell_host("c1", is_up=False, alarms=(alarm("6", 6, "host_down"),))
    assert await api.alerts() == ["6", "5", "3", "2", "1"]
    assert await api.alerts("?state=cleared") == ["4"]
    assert await api.alerts("?state=active,cleared") == ["6", "5", "4", "3", "2", "1"]
    assert await api.alerts("?condition=vm_error&condition=host_down") == ["6", "5", "2"]
    assert await api.alerts("?condition=action_failed") == ["3"]
    assert await api.alerts("?condition=action_failed/RESIZE,alert/x") == ["3", "1"]
    assert await api.alerts("?condition=action_failed/MIGRATE") == []
    assert await api.alerts("?severity=critical") == ["1"]
    assert await api.alerts("?instance_id=a") == ["3", "2", "1"]
    assert await api.alerts("?host=c1") == ["6", "3", "2", "1"]
    assert await api.alerts("?host=c1&condition=vm_error") == ["2"]
    _status, told = await api.get("/alerts?severity=critical")
    assert told["alerts"] == [
        {
            "id": "1",
            "condition": "alert/x",
            "state": "active",
            "source": "instance",
            "instance_id": "a",
            "display_name": "web",
            "host": "c1",
            "name": "Fire",
            "severity": "Critical",
            "summary": "it burns",
            "started_at": SINCE,
            "changed_at": SINCE,
            "cleared_at": None,
            "sequence": 0,
        }
    ]


async def test_alarms_come_page_by_page(api: Api) -> None:
    for number in range(7):
        api.tell(f"vm{number}", alarm(f"{number}", number % 3))
    seen, marker = list[str](), ""
    while True:
        _status, told = await api.get(f"/alerts?limit=2&marker={marker}")
        assert told["count"] == 7
        seen += [each["id"] for each in told["alerts"]]
        marker = told["next_marker"]
        if marker is None:
            break
    assert seen == ["5", "2", "4", "1", "6", "3", "0"]


async def test_an_alarm_is_told_with_those_of_the_same_source_and_condition(api: Api) -> None:
    api.tell(
        "a", alarm("1", 1, "vm_error", CLEARED), alarm("2", 2), alarm("3", 3, "vm_unavailable")
    )
    api.tell("b", alarm("4", 4))
    for asked in ("1", "2"):
        status, told = await api.get(f"/alerts/{asked}")
        assert (status, told["vim_id"], told["alert"]["id"]) == (200, VIM, asked)
        assert [(each["id"], each["state"]) for each in told["history"]] == [
            ("2", "active"),
            ("1", "cleared"),
        ]
    status, told = await api.get("/alerts/5")
    assert (status, told["error"]) == (
        404,
        f"unknown alarm 5 of VIM {VIM}: cleared ones are forgotten",
    )
