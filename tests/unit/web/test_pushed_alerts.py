"""What is written of alerts that monitors push, and how they are answered."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests.unit.alerts.test_alertmanager import ALERT, VM, webhook
from tests.unit.alerts.test_aodh import ACTION
from vimfed.kafka.clients import OutgoingRecord
from vimfed.kafka.partitions import partition_of
from vimfed.model.records import decode_notification
from vimfed.nova.alert_report import read_alert_report
from vimfed.process.audit import Who
from vimfed.settings import AlertsSettings, Settings, VimSettings, WebSettings
from web.auth.caller import CALLER, CLIENT, EVERYBODY, Caller
from web.http.audit import COUNT, WHO
from web.http.errors import ApiError, UnavailableError
from web.pushed_alerts import PushedAlerts
from web.pushing import Pushing

VIM = "Owner_Region"


class Request(dict[Any, Any]):
    """As much of a request as the handler looks at."""

    def __init__(self, body: bytes, caller: Caller = EVERYBODY, **query: str) -> None:
        super().__init__({CALLER: caller, CLIENT: "192.0.2.1", WHO: Who(address="192.0.2.1")})
        self.match_info = {"vim_id": VIM}
        self.query = Query(query)
        self._body = body

    async def read(self) -> bytes:
        return self._body


class Query(dict[str, str]):
    def getall(self, name: str) -> list[str]:
        return [self[name]]


class Pushed:
    """The route, and what it has written."""

    def __init__(self, **web: Any) -> None:
        settings = Settings(
            vims=[VimSettings(cloud_owner="Owner", cloud_region_id="Region")],
            web=WebSettings(**web),
            alerts=AlertsSettings(instance_labels=("instance_id",), host_labels=("host",)),
        )
        self._pushing = Pushing(settings)
        self.records: list[OutgoingRecord] = []
        self._pushing._commits._write = self._write
        self._alerts = PushedAlerts(self._pushing)

    async def _write(self, records: Sequence[OutgoingRecord]) -> None:
        self.records += records

    async def push(self, request: Any) -> Any:
        response: Any = await self._alerts.push(request)
        return json.loads(response.body)

    @property
    def keys(self) -> list[str]:
        return [(record.key or b"").decode() for record in self.records]


def alert(**labels: str) -> dict[str, Any]:
    return ALERT | {"labels": {"alertname": "A", **labels}}


async def test_each_alert_goes_to_the_partition_of_what_it_is_about() -> None:
    pushed = Pushed()
    request = Request(webhook(alert(instance_id=VM), alert(host="h1"), alert()))
    assert await pushed.push(request) == {"accepted": 3, "unread": []}
    assert pushed.keys == [f"{VIM}/{VM}", f"{VIM}/host/h1", f"{VIM}/cloud/"]
    for record in pushed.records:
        assert record.topic == "vimfed.notifications"
        assert record.partition == partition_of(record.key or b"", 8)
        assert dict(record.headers)["caller"] == b"-/-@192.0.2.1"
        notification = decode_notification(record.value or b"")
        assert (notification.event_type, notification.source) == ("vimfed.alert", "ingest")
        assert notification.timestamp == notification.received_at
    assert request[COUNT] == 3


async def test_times_of_reports_rise_with_their_arrival() -> None:
    pushed = Pushed()
    await pushed.push(Request(webhook(ALERT, ALERT)))
    first, second = (decode_notification(each.value or b"") for each in pushed.records)
    assert first.timestamp < second.timestamp
    assert first.message_id != second.message_id


async def test_an_alert_that_cannot_be_read_is_a_dead_letter() -> None:
    pushed = Pushed()
    answer = await pushed.push(Request(webhook(ALERT, ALERT | {"status": "burning"})))
    assert answer["accepted"] == 1
    (unread,) = answer["unread"]
    assert unread["index"] == 1
    alert_record, letter = pushed.records
    assert alert_record.topic == "vimfed.notifications"
    assert letter.topic == "vimfed.dead-letter"
    assert json.loads(letter.value or b"")["status"] == "burning"
    headers = dict(letter.headers)
    assert headers["source"] == b"alerts"
    assert headers["vim_id"] == VIM.encode()
    assert b"firing or resolved" in headers["error"]
    assert headers["caller"]


async def test_the_url_of_an_action_of_aodh_names_the_instance() -> None:
    pushed = Pushed()
    body = json.dumps(ACTION).encode()
    assert await pushed.push(Request(body, instance_id=VM)) == {"accepted": 1, "unread": []}
    await pushed.push(Request(body, host="h1"))
    assert pushed.keys == [f"{VIM}/{VM}", f"{VIM}/host/h1"]
    report = read_alert_report(decode_notification(pushed.records[0].value or b"").payload)
    assert report.instance_id == VM


async def test_an_action_that_says_nothing_is_taken_and_not_written() -> None:
    pushed = Pushed()
    body = json.dumps(ACTION | {"current": "insufficient data"}).encode()
    assert await pushed.push(Request(body)) == {"accepted": 0, "unread": []}
    assert pushed.records == []


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ({"instance_id": VM, "host": "h1"}, "not both"),
        ({"instance_id": "a/b"}, "no instance's id"),
        ({"host": "h 1"}, "no host's name"),
        ({"instance_id": "i" * 65}, "query"),
    ],
)
async def test_a_query_that_names_nothing_is_refused(query: dict[str, str], complaint: str) -> None:
    pushed = Pushed()
    with pytest.raises(ApiError, match=complaint) as refused:
        await pushed.push(Request(webhook(ALERT), EVERYBODY, **query))
    assert refused.value.status == 400
    assert pushed.records == []


@pytest.mark.parametrize(
    ("body", "status"), [(b"{}", 400), (b"[", 400), (webhook(*[ALERT] * 1001), 413)]
)
async def test_what_holds_no_alerts_is_refused(body: bytes, status: int) -> None:
    pushed = Pushed()
    with pytest.raises(ApiError) as refused:
        await pushed.push(Request(body))
    assert refused.value.status == status
    assert pushed.records == []


async def test_who_may_see_some_tenants_alone_may_not_push() -> None:
    limited = Caller(name="ada", role="writer", tenants=("t1",))
    with pytest.raises(ApiError) as refused:
        await Pushed().push(Request(webhook(ALERT), limited))
    assert refused.value.status == 403


async def test_an_unknown_cloud_is_no_route_to_any() -> None:
    request = Request(webhook(ALERT))
    request.match_info = {"vim_id": "Other_Region"}
    with pytest.raises(ApiError) as refused:
        await Pushed().push(request)
    assert refused.value.status == 404


@pytest.mark.parametrize("web", [{"ingest_rate": 1.0}, {"ingest_bytes_rate": 100.0}])
async def test_too_many_are_answered_so_that_alertmanager_sends_them_again(web: Any) -> None:
    """It drops what is answered 429."""
    pushed = Pushed(**web)
    await pushed.push(Request(webhook(ALERT, ALERT, ALERT)))
    with pytest.raises(UnavailableError, match="more than") as refused:
        await pushed.push(Request(webhook(ALERT)))
    assert refused.value.retry_after > 0


async def test_what_is_refused_counts_too() -> None:
    pushed = Pushed(ingest_bytes_rate=1.0)
    with pytest.raises(ApiError):
        await pushed.push(Request(b"{" + b" " * 1000))
    with pytest.raises(UnavailableError):
        await pushed.push(Request(webhook(ALERT)))


@pytest.mark.parametrize("text", ['"\\ud800"', '"\\udfff x"'])
async def test_half_a_character_is_no_json(text: str) -> None:
    """Alertmanager sends none; who sends it hears of it."""
    body = webhook(ALERT, ALERT).replace(b'"CPU at 97 %"', text.encode(), 1)
    with pytest.raises(ApiError, match="no JSON object"):
        await Pushed().push(Request(body))
