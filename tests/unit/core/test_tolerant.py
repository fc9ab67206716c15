"""A field that does not decide costs no message."""

from typing import Any

import msgspec
import pytest

from streams.core.news import InstanceNews, Passed
from streams.core.normalise import normalise
from streams.core.payloads import encode_flat
from streams.core.tolerant import tolerant_decoder
from tests.support.nova_messages import INSTANCE, legacy, notification, versioned, versioned_object


class Inner(msgspec.Struct):
    size: int = 0
    name: str = ""


class Outer(msgspec.Struct):
    id: str = ""
    inner: Inner | None = None
    other: Inner = msgspec.field(default_factory=Inner)
    count: int = 7


decode = tolerant_decoder(Outer, frozenset({"id"}))


def test_wrong_fields_are_left_out_at_every_level() -> None:
    text = msgspec.Raw(b'{"id": "a", "inner": {"size": "x", "name": "n"}, "other": 5, "count": []}')
    assert decode(text) == Outer("a", Inner(0, "n"), Inner(), 7)


@pytest.mark.parametrize("text", [b'{"id": 5}', b"[]", b"null", b'"a"', b"{"])
def test_what_decides_must_be_right(text: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(msgspec.Raw(text))


def flat(message: Any) -> dict[str, Any]:
    news = normalise(message)
    assert isinstance(news, InstanceNews)
    payload: dict[str, Any] = msgspec.json.decode(encode_flat(news.payload))
    return payload


@pytest.mark.parametrize(
    ("field", "value", "becomes"),
    [
        ("root_gb", 1.5, 1.5),
        ("disk_gb", "20", 0),
        ("launched_at", 1_520_402_386, ""),
        ("created_at", {"at": 1}, ""),
        ("instance_type", None, None),
        ("display_name", 5, ""),
        ("tenant_id", ["t"], ""),
        ("host", 7, None),
        ("image_ref_url", False, ""),
        ("memory_mb", "many", "many"),
        ("volume_id", 5, None),
    ],
)
def test_a_legacy_field_that_does_not_decide_drops_no_message(
    field: str, value: Any, becomes: Any
) -> None:
    payload = flat(legacy("pause.end", "paused", fields={field: value}))
    assert payload.get(field) == becomes
    assert payload["state"] == "paused"


@pytest.mark.parametrize(
    ("fields", "flat_field", "becomes"),
    [
        ({"launched_at": 5}, "launched_at", ""),
        ({"flavor": None}, "instance_type", ""),
        ({"flavor": [1]}, "instance_type", ""),
        (
            {"flavor": versioned_object("FlavorPayload", {"root_gb": "x", "name": "small"})},
            "instance_type",
            "small",
        ),
        (
            {"flavor": versioned_object("FlavorPayload", {"root_gb": 1.5, "ephemeral_gb": 1})},
            "disk_gb",
            2.5,
        ),
        ({"power_state": 4}, "state", "paused"),
        ({"request_id": 9}, "state", "paused"),
    ],
)
def test_a_versioned_field_that_does_not_decide_drops_no_message(
    fields: dict[str, Any], flat_field: str, becomes: Any
) -> None:
    assert flat(versioned("pause.end", "paused", fields=fields))[flat_field] == becomes


@pytest.mark.parametrize(
    "request_spec",
    [
        None,
        "text",
        [],
        {"instance_type": None},
        {"instance_properties": None},
        {"instance_type": {"root_gb": 1.5, "memory_mb": None}, "instance_properties": {"x": 1}},
    ],
)
def test_a_failed_tasks_request_drops_no_message(request_spec: Any) -> None:
    said = {"instance_id": INSTANCE, "state": "error", "request_spec": request_spec}
    assert flat(notification("compute_task.build_instances", said))["state"] == "error"


@pytest.mark.parametrize("field", ["state", "state_description", "deleted_at", "instance_id"])
def test_a_field_that_decides_must_have_its_type(field: str) -> None:
    message = legacy("pause.end", "paused", fields={field: {"not": "text"}})
    assert normalise(message) == Passed("malformed_payload", message.event_type)
