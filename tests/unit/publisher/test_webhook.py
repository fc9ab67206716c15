"""Requests to a webhook: their form, their signature, and when none is made."""

import asyncio
import base64
import hashlib
import json
import time
from typing import Any

import msgspec
import pytest
from aiokafka.structs import ConsumerRecord

from streams.publisher.delivery import Message
from streams.publisher.formats import FORMATS, format_of
from streams.publisher.measurement_formats import MEASUREMENT_FORMATS
from streams.publisher.outputs.webhook.binding import Request, requests_of
from streams.publisher.outputs.webhook.circuit import (
    FIRST_PAUSE,
    MAX_PAUSE,
    OPENS_AFTER,
    Circuit,
    CircuitOpenError,
)
from streams.publisher.outputs.webhook.handshake import (
    NotGrantedError,
    granted_rate,
    handshake_headers,
)
from streams.publisher.outputs.webhook.pace import Pace
from streams.publisher.outputs.webhook.signature import signed_headers
from tests.support.measurements import measurement
from tests.support.vm_events import host_event, vm_event
from tests.support.webhook_receiver import events_of
from vimfed.model.keys import home_key
from vimfed.model.records import VmEvent
from vimfed.settings import DmaapOutput, Secret, WebhookMode, WebhookSettings, signing_key

OUTPUT = DmaapOutput(url="webhook+https://receiver.example/hooks")


def message(event: VmEvent) -> Message:
    content = FORMATS["cloudevents"](event, OUTPUT)
    assert content is not None
    key = home_key(event.vim_id, event.instance_id, event.host or "")
    record: ConsumerRecord[bytes, bytes] = ConsumerRecord(
        "events", 0, 0, 0, 1, key, b"", None, 0, 0, ()
    )
    return Message(key, content.value, content.headers, record)


def only(lists: list[list[Request]]) -> Request:
    ((request,),) = lists
    return request


@pytest.mark.parametrize("mode", ["structured", "binary", "batch"])
def test_the_sdk_of_cloudevents_reads_an_event_in_each_mode(mode: WebhookMode) -> None:
    event = vm_event(reason='läuft "100 %" voll\n', host="compute-1")
    request = only(requests_of([message(event)], mode))
    (read,) = events_of(dict(request.headers), request.body)
    assert (read["id"], read["type"]) == (event.id, "org.onap.multicloud.vm.pause.end")
    assert (read["source"], read["subject"]) == (f"/vims/{event.vim_id}", event.instance_id)
    assert (read["vimid"], read["kind"], read["datacontenttype"]) == (
        event.vim_id,
        event.kind,
        "application/json",
    )
    # The SDK for Python does not decode what the binding has encoded in headers.
    reason = "l%C3%A4uft%20%22100%20%25%22%20voll%0A" if mode == "binary" else event.reason
    assert read["reason"] == reason
    data = read.data if isinstance(read.data, dict) else json.loads(read.data)
    assert data["instance_id"] == event.instance_id
    assert data["vim_event"]["id"] == event.id


@pytest.mark.parametrize("mode", ["structured", "binary", "batch"])
def test_a_request_carries_the_trace_of_its_event(mode: WebhookMode) -> None:
    traceparent = b"00-2ba4b4a636ce4bd58c573bb8cf6e0f0e-00f067aa0ba902b7-01"
    plain = message(vm_event())
    headers = (*plain.headers, ("ce_traceparent", traceparent), ("traceparent", traceparent))
    request = only(requests_of([msgspec.structs.replace(plain, headers=headers)], mode))
    (read,) = events_of(dict(request.headers), request.body)
    assert read["traceparent"] == request.headers["traceparent"] == traceparent.decode()
    assert "traceparent" not in only(requests_of([plain], mode)).headers


def test_requests_about_one_instance_follow_each_other_and_others_do_not_wait() -> None:
    events = [vm_event(f"vm-{number % 3}") for number in range(9)]
    lists = requests_of([message(each) for each in events], "structured")
    assert [[each.id for each in requests] for requests in lists] == [
        [event.id for event in events[number::3]] for number in range(3)
    ]


def test_a_batch_is_one_request_whose_id_is_that_of_all_its_events() -> None:
    messages = [message(vm_event(f"vm-{number}")) for number in range(3)]
    request = only(requests_of(messages, "batch"))
    read = events_of(dict(request.headers), request.body)
    ids = [str(each["id"]) for each in read]
    assert request.id == hashlib.sha256("\n".join(ids).encode()).hexdigest()
    assert only(requests_of(messages, "batch")).id == request.id
    assert only(requests_of(messages[:2], "batch")).id != request.id


def test_an_id_that_a_signature_cannot_hold_is_written_as_its_hash() -> None:
    request = only(requests_of([message(vm_event(id="1.2"))], "structured"))
    assert request.id == hashlib.sha256(b"1.2").hexdigest()


@pytest.mark.parametrize("wanted", [None, "payload", "cloudevents"])
def test_a_webhook_gets_what_is_about_hosts_too_whatever_a_format_says(wanted: Any) -> None:
    assert format_of(OUTPUT, wanted) == "cloudevents"
    request = only(requests_of([message(host_event())], "structured"))
    (read,) = events_of(dict(request.headers), request.body)
    assert read["type"] == "org.onap.multicloud.host.host_down.start"


def test_the_data_of_an_event_may_be_ves() -> None:
    assert format_of(OUTPUT, "ves") == "ves"


def test_measurements_are_cloudevents_too() -> None:
    measured = measurement()
    content = MEASUREMENT_FORMATS["cloudevents"](measured, OUTPUT)
    record: ConsumerRecord[bytes, bytes] = ConsumerRecord(
        "measurements", 0, 0, 0, 1, b"k", b"", None, 0, 0, ()
    )
    told = Message(b"k", content.value, content.headers, record)
    request = only(requests_of([told], "binary"))
    (read,) = events_of(dict(request.headers), request.body)
    assert (read["id"], read["type"]) == (measured.id, "org.onap.multicloud.vm.measurement")


# -- signatures

KEY = signing_key(Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))


def test_a_signature_is_that_of_standard_webhooks_own_example() -> None:
    headers = signed_headers(
        [KEY], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_two_secrets_sign_side_by_side() -> None:
    other = b"k" * 32
    headers = signed_headers([KEY, other], "1", 2, b"{}")
    first, second = headers["webhook-signature"].split(" ")
    assert first == signed_headers([KEY], "1", 2, b"{}")["webhook-signature"]
    assert second == signed_headers([other], "1", 2, b"{}")["webhook-signature"]


def test_without_a_secret_nothing_is_signed() -> None:
    assert signed_headers([], "1", 2, b"{}") == {"webhook-id": "1", "webhook-timestamp": "2"}


@pytest.mark.parametrize(
    "text",
    [
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS",
        "whsec_" + base64.b64encode(b"k" * 23).decode(),
        "whsec_" + base64.b64encode(b"k" * 65).decode(),
        "whsec_läuft",
    ],
)
def test_a_secret_that_is_none_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="must be whsec_ and the base64 of 24 to 64") as caught:
        signing_key(Secret(text))
    assert text not in str(caught.value)


# -- the circuit


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def fail(circuit: Circuit, retry_after: float | None = None) -> bool:
    with circuit.request():
        return circuit.failed(retry_after)


def test_a_circuit_opens_after_some_failures_and_one_request_tries_after_a_pause() -> None:
    clock = Clock()
    circuit = Circuit(clock)
    assert [fail(circuit) for _ in range(OPENS_AFTER)] == [False] * (OPENS_AFTER - 1) + [True]
    with pytest.raises(CircuitOpenError) as caught:
        fail(circuit)
    assert caught.value.pause is not None
    assert 0 < caught.value.pause <= FIRST_PAUSE
    clock.now += FIRST_PAUSE
    with circuit.request():
        with pytest.raises(CircuitOpenError) as caught, circuit.request():
            pass
        assert caught.value.pause is None
        assert circuit.succeeded()
    assert not circuit.is_open
    with circuit.request(), circuit.request():
        pass


def test_a_request_that_tries_and_fails_makes_the_pauses_longer_up_to_a_minute() -> None:
    clock = Clock()
    circuit = Circuit(clock)
    for _ in range(OPENS_AFTER):
        fail(circuit)
    pauses = []
    for _ in range(10):
        pauses.append(circuit.pause)
        clock.now += circuit.pause
        assert not fail(circuit)  # it is open already
    assert all(later > earlier for earlier, later in zip(pauses[::2], pauses[2:6:2], strict=False))
    assert MAX_PAUSE / 2 <= pauses[-1] <= MAX_PAUSE


def test_a_request_that_tries_and_is_abandoned_leaves_the_try_to_another() -> None:
    clock = Clock()
    circuit = Circuit(clock)
    for _ in range(OPENS_AFTER):
        fail(circuit)
    clock.now += MAX_PAUSE
    with pytest.raises(KeyboardInterrupt), circuit.request():
        raise KeyboardInterrupt
    with circuit.request():
        circuit.succeeded()
    assert not circuit.is_open


def test_a_success_between_failures_counts_them_anew() -> None:
    circuit = Circuit(Clock())
    for _ in range(3):
        assert not any(fail(circuit) for _ in range(OPENS_AFTER - 1))
        assert not circuit.succeeded()
    assert not circuit.is_open


def test_a_receiver_that_asks_for_a_pause_gets_it_whatever_was_under_way() -> None:
    clock = Clock()
    circuit = Circuit(clock)
    with circuit.request():  # another request, whose answer comes later
        assert fail(circuit, retry_after=30)
        assert circuit.pause == 30
        assert not circuit.succeeded()
    clock.now += 29
    with pytest.raises(CircuitOpenError):
        fail(circuit)
    clock.now += 1
    with circuit.request():
        assert circuit.succeeded()


def test_nobody_puts_us_off_for_more_than_ten_minutes() -> None:
    circuit = Circuit(Clock())
    fail(circuit, retry_after=1e9)
    assert circuit.pause == 600


# -- the handshake


def test_the_handshake_names_who_asks_and_how_much_it_wants() -> None:
    webhook = WebhookSettings(origin="vims.example.com", request_rate=120)
    assert handshake_headers(webhook) == {
        "WebHook-Request-Origin": "vims.example.com",
        "WebHook-Request-Rate": "120",
    }
    assert "WebHook-Request-Rate" not in handshake_headers(WebhookSettings())


@pytest.mark.parametrize(
    ("headers", "rate"),
    [
        ({"WebHook-Allowed-Origin": "*", "WebHook-Allowed-Rate": "*"}, None),
        ({"WebHook-Allowed-Origin": "VIM-event-federation"}, None),
        (
            {"WebHook-Allowed-Origin": "vim-event-federation", "WebHook-Allowed-Rate": "100"},
            100,
        ),
    ],
)
def test_a_receiver_that_agrees_says_how_many_requests_it_wants(
    headers: dict[str, str], rate: int | None
) -> None:
    assert granted_rate(200, headers, WebhookSettings()) == rate


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({}, "the answer 200 to OPTIONS has no WebHook-Allowed-Origin"),
        ({"WebHook-Allowed-Origin": "other.example"}, "WebHook-Allowed-Origin: other.example"),
        ({"WebHook-Allowed-Origin": "*", "WebHook-Allowed-Rate": "0"}, "WebHook-Allowed-Rate: 0"),
        ({"WebHook-Allowed-Origin": "*", "WebHook-Allowed-Rate": "many"}, "Allowed-Rate: many"),
    ],
)
def test_a_receiver_that_does_not_agree_gets_nothing(headers: dict[str, str], told: str) -> None:
    with pytest.raises(NotGrantedError) as caught:
        granted_rate(200, headers, WebhookSettings())
    assert told in str(caught.value)


async def test_who_leaves_before_its_turn_takes_none_away() -> None:
    pace = Pace()
    pace.allow(1)
    assert await pace.turn(lambda _moment: False)
    taken_at = time.monotonic()
    waiting = [asyncio.create_task(pace.turn(lambda _moment: False)) for _ in range(5)]
    await asyncio.sleep(0)
    for each in waiting:
        each.cancel()
    await asyncio.wait(waiting)
    offered: list[float] = []

    def is_over(moment: float) -> bool:
        offered.append(moment)
        return True

    assert not await pace.turn(is_over)
    assert offered[0] <= taken_at + 60
