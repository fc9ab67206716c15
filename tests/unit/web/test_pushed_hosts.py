"""What an entry about a host becomes that somebody pushes."""

import json
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
from msgspec import Raw

from vimfed.kafka.clients import OutgoingRecord
from vimfed.kafka.partitions import partition_of
from vimfed.model.keys import host_key
from vimfed.model.records import decode_notification
from vimfed.nova.host_report import HOST_STATE, HostReport, read_host_report
from vimfed.process.audit import Who
from vimfed.settings import KafkaSettings, Settings, WebSettings
from web.auth.caller import CALLER, CLIENT, EVERYBODY, Caller
from web.http.audit import COUNT, WHO
from web.http.errors import ApiError
from web.pushed_hosts import PushedHosts, read_host
from web.pushing import EntryError, Pushing

NOW = "2026-01-01T12:00:00.000000Z"


def read(entry: Any) -> tuple[HostReport, str]:
    content = entry if isinstance(entry, bytes) else json.dumps(entry).encode()
    return read_host("Owner_Region", Raw(content), NOW)


@pytest.mark.parametrize(
    "said",
    [
        {"is_up": False},
        {"forced_down": True, "is_up": True},
        {"disabled": True, "disabled_reason": "kernel"},
        {"is_gone": True},
        {"disabled_reason": ""},
    ],
)
def test_what_is_said_is_told_and_nothing_else(said: dict[str, Any]) -> None:
    assert read({"host": "h", **said, "vim_id": "Owner_Region"}) == (
        HostReport(host="h", **said),
        NOW,
    )


def test_it_was_so_when_it_says_but_not_in_the_future() -> None:
    entry = {"host": "h", "is_up": True}
    assert read({**entry, "timestamp": "2026-01-01T11:00:00+01:00"})[1] == (
        "2026-01-01T10:00:00.000000Z"
    )
    assert read({**entry, "timestamp": "2036-01-01"})[1] == NOW


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        (1, "nothing about a host"),
        ({}, "required field `host`"),
        ({"host": "h"}, "says nothing"),
        ({"host": "h", "is_up": None}, "says nothing"),
        ({"host": "", "is_up": True}, "length >= 1"),
        ({"host": "h" * 256, "is_up": True}, "length <= 255"),
        ({"host": "a/b", "is_up": True}, "slashes"),
        ({"host": "a b", "is_up": True}, "spaces"),
        ({"host": "a\n", "is_up": True}, "printable"),
        ({"host": "h", "is_up": "no"}, "bool"),
        ({"host": "h", "state": "down"}, "unknown field `state`"),
        ({"host": "h", "is_up": True, "disabled_reason": "r" * 256}, "length <= 255"),
        ({"host": "h", "is_up": True, "timestamp": "noon"}, "ISO 8601"),
        ({"host": "h", "is_up": True, "vim_id": "Other_Region"}, "names the VIM Other_Region"),
        (b'{"x": ' + b"[" * 100_000, "nothing about a host"),
    ],
)
def test_an_entry_that_is_none_is_refused_with_a_reason(entry: Any, complaint: str) -> None:
    with pytest.raises(EntryError, match=complaint):
        read(entry)


class Request(dict[Any, Any]):
    """As much of a request as the handler asks for."""

    match_info: ClassVar = {"vim_id": "Owner_Region"}

    def __init__(self, body: Any, caller: Caller = EVERYBODY) -> None:
        super().__init__({CALLER: caller, CLIENT: "192.0.2.1", WHO: Who(address="192.0.2.1")})
        self._body = json.dumps(body).encode()

    async def read(self) -> bytes:
        return self._body


class Pushed:
    """A route, and what went to Kafka."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **web: Any) -> None:
        self.written: list[OutgoingRecord] = []
        settings = Settings(kafka=KafkaSettings(partitions=5), web=WebSettings(**web))
        pushing = Pushing(settings)
        pushing.vim_ids = frozenset({"Owner_Region"})
        monkeypatch.setattr(pushing._commits, "commit", self._commit)
        self.hosts = PushedHosts(pushing)

    async def _commit(self, records: Sequence[OutgoingRecord]) -> None:
        self.written += records

    async def push(self, request: Request) -> Any:
        answer = await self.hosts.push(request)  # type: ignore[arg-type]
        return json.loads(answer.body)  # type: ignore[arg-type]


async def test_a_host_is_told_to_every_partition_by_who_pushed_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pushed = Pushed(monkeypatch)
    request = Request([{"host": "h", "is_up": False}, {"host": "i", "forced_down": True}])
    assert await pushed.push(request) == {"accepted": 2}
    assert request[COUNT] == 2
    first = pushed.written[:5]
    assert [each.partition for each in first] == [0, 1, 2, 3, 4]
    assert {each.key for each in first} == {host_key("Owner_Region", "h")}
    told = [decode_notification(each.value or b"") for each in first]
    home = partition_of(host_key("Owner_Region", "h"), 5)
    assert [read_host_report(each.payload) for each in told] == [
        HostReport(host="h", is_up=False, is_home=number == home) for number in range(5)
    ]
    assert {(each.event_type, each.source) for each in told} == {(HOST_STATE, "ingest")}
    assert {dict(each.headers)["caller"] for each in pushed.written} == {b"-/-@192.0.2.1"}


async def test_one_entry_that_is_refused_refuses_all(monkeypatch: pytest.MonkeyPatch) -> None:
    pushed = Pushed(monkeypatch)
    with pytest.raises(ApiError) as refused:
        await pushed.push(Request([{"host": "h", "is_up": False}, {"host": "h"}]))
    assert refused.value.status == 400
    assert [each.index for each in refused.value.problem.refused] == [1]  # type: ignore[attr-defined]
    assert pushed.written == []


async def test_an_entry_takes_as_much_of_the_rate_as_it_makes_records(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pushed = Pushed(monkeypatch, ingest_rate=10.0)
    request = Request([{"host": f"h{number}", "is_up": False} for number in range(5)])
    await pushed.push(request)
    with pytest.raises(ApiError) as refused:
        await pushed.push(request)
    assert refused.value.status == 429


async def test_who_may_see_some_tenants_alone_says_nothing_of_hosts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pushed = Pushed(monkeypatch)
    limited = Caller(name="project", role="writer", tenants=("t",))
    with pytest.raises(ApiError) as refused:
        await pushed.push(Request({"host": "h", "is_up": False}, limited))
    assert refused.value.status == 403
    assert pushed.written == []
