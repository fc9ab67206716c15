import gzip
import json
from typing import Any

import msgspec
import pytest

from tests.support.paths import DATA
from tests.support.traces import OLDER, PLAIN, ROUGH
from vimfed.model.records import Notification
from vimfed.nova import oslo

SECRET = "gAAAAABtoken"
INSTANCE = "4f398943-7d39-4119-8058-74768d6dfa52"

MESSAGE: dict[str, Any] = {
    "message_id": "m-1",
    "publisher_id": "compute.host1",
    "event_type": "compute.instance.power_off.start",
    "priority": "INFO",
    "payload": {"instance_id": INSTANCE, "state": "active", "launched_at": ""},
    "timestamp": "2026-01-01 12:00:00.123456",
}
FLAT_CONTEXT = {
    "_unique_id": "u-1",
    "_context_request_id": "req-1",
    "_context_global_request_id": None,
    "_context_auth_token": SECRET,
}


def enveloped(message: dict[str, Any]) -> bytes:
    return json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(message)}).encode()


def trace(name: str) -> list[bytes]:
    with gzip.open(DATA / name, "rt") as lines:
        return [json.loads(line)["body"].encode() for line in lines]


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({**MESSAGE, **FLAT_CONTEXT}).encode(),
        enveloped({**MESSAGE, **FLAT_CONTEXT}),
        enveloped({**MESSAGE, "_context": {"request_id": "req-1", "auth_token": SECRET}}),
    ],
    ids=["no envelope", "RabbitMQ's envelope", "Kafka's envelope"],
)
def test_every_envelope_gives_the_same_notification(body: bytes) -> None:
    decoded = oslo.decode(body)
    assert decoded.event_type == "compute.instance.power_off.start"
    assert decoded.request_id == "req-1"
    assert decoded.instance_id == INSTANCE
    assert json.loads(bytes(decoded.payload)) == MESSAGE["payload"]
    record = oslo.stamp(decoded, vim_id="o_r", path="o_r/q", sequence=7, received_at="now")
    value = msgspec.json.encode(record)
    assert SECRET.encode() not in value
    assert msgspec.json.decode(value, type=Notification) == record


def test_the_payload_keeps_its_text_to_the_byte() -> None:
    text = '{"instance_id": "i",  "ram": 1.0, "name": "\\u00e9"}'
    body = json.dumps(MESSAGE).replace(json.dumps(MESSAGE["payload"]), text).encode()
    assert bytes(oslo.decode(body).payload) == text.encode()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "malformed JSON"),
        (b'{"oslo.version": "2.0", "oslo.mess', "malformed JSON"),
        (b"\xff\xfe", "malformed JSON"),
        (b'{"x":' * 100_000, "malformed JSON"),
        (b"[]", "not a notification"),
        (b'"text"', "not a notification"),
        (enveloped({**MESSAGE, "event_type": 5}), "event_type"),
        (enveloped({**MESSAGE, "event_type": None}), "no event_type"),
        (enveloped({**MESSAGE, "message_id": ""}), "no message_id"),
        (enveloped({k: v for k, v in MESSAGE.items() if k != "payload"}), "no payload"),
        (enveloped({**MESSAGE, "payload": [1]}), "payload is not an object"),
        (enveloped({**MESSAGE, "payload": None}), "payload is not an object"),
        (b'{"oslo.version": "2.0", "oslo.message": "[1]"}', "not a notification"),
    ],
)
def test_what_is_no_notification_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    with pytest.raises(oslo.NotANotificationError, match=reason):
        oslo.decode(body)


@pytest.mark.parametrize(
    ("payload", "instance_id"),
    [
        ({"instance_id": "i"}, "i"),
        ({"instance_id": None}, ""),
        ({"instance_id": 5}, ""),
        ({"nova_object.name": "InstanceActionPayload", "nova_object.data": {"uuid": "i"}}, "i"),
        ({"nova_object.name": "ServiceStatusPayload", "nova_object.data": {"uuid": "s"}}, ""),
        (
            {"nova_object.name": "ComputeTaskPayload", "nova_object.data": {"instance_uuid": "i"}},
            "i",
        ),
        ({"request_spec": {"instance_properties": {"uuid": "i"}}}, "i"),
        ({"request_spec": {}}, ""),
        ({"request_spec": "text"}, ""),
        ({}, ""),
    ],
)
def test_the_instance_is_found_wherever_nova_names_it(
    payload: dict[str, Any], instance_id: str
) -> None:
    assert oslo.instance_id_of(json.dumps(payload).encode()) == instance_id


def test_a_failed_call_loses_its_arguments_and_keeps_its_instance() -> None:
    payload = {
        "exception": "Conflict",
        "args": {"ctxt": {"auth_token": SECRET}, "instance": {"uuid": INSTANCE, "key_data": "k"}},
    }
    decoded = oslo.decode(enveloped({**MESSAGE, "payload": payload}))
    assert decoded.instance_id == INSTANCE
    assert json.loads(bytes(decoded.payload)) == {"exception": "Conflict", "instance_id": INSTANCE}


def test_contexts_inside_a_payload_are_removed() -> None:
    nested = {"pci_requests": {"_context": {"auth_token": SECRET, "request_id": "req-2"}}}
    payload = {"instance_id": INSTANCE, "instance_properties": nested}
    text = bytes(oslo.decode(enveloped({**MESSAGE, "payload": payload})).payload)
    assert SECRET.encode() not in text
    kept = json.loads(text)["instance_properties"]["pci_requests"]
    assert kept == {"_context": {"request_id": "req-2", "global_request_id": None}}


@pytest.mark.parametrize("name", [f"{run}-trace.jsonl.gz" for run in (PLAIN, ROUGH, *OLDER)])
def test_every_recorded_notification_about_an_instance_finds_it(name: str) -> None:
    without = {d.event_type for d in map(oslo.decode, trace(name)) if not d.instance_id}
    assert without <= {"service.create", "service.delete", "flavor.create", "compute.exception"}


@pytest.mark.parametrize(
    "body",
    [
        enveloped({**MESSAGE, **FLAT_CONTEXT, "event_type": None}),
        json.dumps([{"_context": {"auth_token": SECRET}}]).encode(),
        enveloped({**MESSAGE, **FLAT_CONTEXT})[:-3],
        json.dumps({**MESSAGE, **FLAT_CONTEXT}).encode()[:-1],
    ],
    ids=["notification", "no object", "cut in the envelope", "cut"],
)
def test_no_token_is_left_in_a_dead_letter(body: bytes) -> None:
    assert SECRET.encode() in body
    assert SECRET.encode() not in oslo.without_context(body)


def test_a_dead_letter_without_context_stays_as_it_came() -> None:
    body = b'{ "a" : 1,\n "b": [ ] }'
    assert oslo.without_context(body) is body
