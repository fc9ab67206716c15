"""What an entry that a plug-in pushes becomes, and who pushes too fast."""

import json
from itertools import count
from typing import Any, ClassVar

import pytest
from msgspec import Raw

from tests.support.notifications import body
from vimfed.model.records import Notification
from vimfed.process.audit import Who
from vimfed.settings import Settings, WebSettings
from web.auth.caller import CALLER, CLIENT, EVERYBODY
from web.http.audit import WHO
from web.http.errors import ApiError
from web.ingest import Ingest, read_entry
from web.pushing import EntryError, Pushing, Rates

NOW = "2026-01-01T12:00:00.000000Z"
BARE = {"instance_id": "a", "state": "paused", "state_description": "unpausing"}


def read(entry: Any) -> tuple[Notification, str]:
    content = entry if isinstance(entry, bytes) else json.dumps(entry).encode()
    return read_entry("Owner_Region", Raw(content), "session", count(7).__next__, NOW)


def test_an_oslo_notification_keeps_its_place_in_the_order_of_arrival() -> None:
    notification, instance_id = read(body(message_id="m", instance_id="i"))
    assert instance_id == "i"
    assert (notification.vim_id, notification.source) == ("Owner_Region", "ingest")
    assert (notification.path, notification.sequence) == ("session", 7)
    assert (notification.message_id, notification.received_at) == ("m", NOW)


def test_a_bare_state_is_placed_by_its_time_alone() -> None:
    notification, instance_id = read({**BARE, "timestamp": "2026-01-01T11:00:00+01:00"})
    assert (instance_id, notification.path, notification.source) == ("a", "", "ingest")
    assert notification.timestamp == "2026-01-01T10:00:00.000000Z"


def test_the_same_bare_state_is_the_same_message() -> None:
    timed = {**BARE, "timestamp": "2026-01-01T11:00:00"}
    first, again = read(timed)[0], read(timed)[0]
    other = read({**timed, "state_description": ""})[0]
    assert first.message_id == again.message_id != other.message_id


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        (1, "neither a notification nor a bare state"),
        ([], "neither a notification nor a bare state"),
        ({}, "not a bare state"),
        ({**BARE, "vim_id": 1}, "neither a notification nor a bare state"),
        ({**BARE, "state": "flying"}, "'flying' is none of"),
        ({**BARE, "timestamp": "noon"}, "ISO 8601"),
        ({**BARE, "instance_id": "a/b"}, "slash"),
        ({**BARE, "instance_id": "i" * 65}, "1 to 64 printable"),
        ({**BARE, "display_name": "n" * 256}, "length <= 255"),
        ({**BARE, "message_id": "m" * 256}, "length <= 255"),
        ({**BARE, "vim_id": "Other_Region"}, "names the VIM Other_Region, but was sent to Owner_"),
        ({"event_type": "instance.pause.end"}, "no message_id"),
        ({"event_type": "e", "message_id": "m", "payload": []}, "payload is not an object"),
        (
            {"event_type": "vimfed.instance.state", "message_id": "m", "payload": {}},
            "are our own",
        ),
        *(
            ({"event_type": f"vimfed.{kind}", "message_id": "m", "payload": {}}, "are our own")
            for kind in ("host.state", "cloud.hosts", "cloud.heartbeat", "alert")
        ),
        ({"oslo.message": "{"}, "malformed JSON"),
        ({"oslo.message": "{}", "vim_id": "Other_Region"}, "names the VIM Other_Region"),
        (b'{"x": ' + b"[" * 100_000, "neither a notification nor a bare state"),
    ],
)
def test_an_entry_that_is_none_is_refused_with_a_reason(entry: Any, complaint: str) -> None:
    with pytest.raises(EntryError, match=complaint):
        read(entry)


def test_an_entry_may_name_its_own_vim() -> None:
    assert read({**BARE, "vim_id": "Owner_Region"})[1] == "a"


def test_who_takes_more_than_the_rate_waits_until_that_has_passed() -> None:
    rates = Rates(100.0)
    assert rates.wait("a", 0.0) == 0
    rates.take("a", 100, 0.0)
    assert rates.wait("a", 0.0) == 0
    rates.take("a", 150, 0.0)
    assert rates.wait("a", 0.0) == pytest.approx(1.5)
    assert rates.wait("a", 1.0) == pytest.approx(0.5)
    assert rates.wait("a", 1.5) == 0
    assert rates.wait("b", 0.0) == 0


async def test_a_caller_has_a_rate_of_bytes_beside_that_of_entries() -> None:
    pushing = Pushing(Settings(web=WebSettings(ingest_bytes_rate=1000.0)))
    ingest = Ingest(pushing)
    large = b'{"text": "' + b"x" * 10_000 + b'"}'

    class Request(dict[Any, Any]):
        match_info: ClassVar = {"vim_id": "Owner_Region"}

        async def read(self) -> bytes:
            return large

    pushing.vim_ids = frozenset({"Owner_Region"})
    request: Any = Request({CALLER: EVERYBODY, CLIENT: "192.0.2.1", WHO: Who(address="192.0.2.1")})
    with pytest.raises(ApiError) as refused:
        await ingest.push(request)
    assert refused.value.status == 400
    with pytest.raises(ApiError) as refused:
        await ingest.push(request)
    assert refused.value.status == 429
    assert "more than 1000 bytes a second" in refused.value.problem.error


def test_a_steady_caller_at_the_rate_never_waits() -> None:
    rates = Rates(100.0)
    for step in range(1000):
        assert rates.wait("a", step / 10) == 0
        rates.take("a", 10, step / 10)


def test_of_many_callers_the_newest_are_remembered() -> None:
    rates = Rates(1.0)
    for number in range(1001):
        rates.take(str(number), 100, 0.0)
    assert rates.wait("0", 0.0) == 0
    assert rates.wait("1000", 0.0) > 0
