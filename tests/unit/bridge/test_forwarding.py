import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.forwarding import Arrival, UnusableBodyError, forwarded
from bridge.listening import Message, records_of
from tests.support import notifications
from vimfed.kafka.clients import OutgoingRecord
from vimfed.kafka.dead_letter import dead_letter_record
from vimfed.model.records import MAX_RECORD_BYTES
from vimfed.settings import KafkaSettings, RetentionSettings

KAFKA = KafkaSettings(topic_prefix="p", partitions=4)
ARRIVAL = Arrival("o_r", "p", 1, "now")

NAMES = st.sampled_from(
    [
        "message_id",
        "event_type",
        "payload",
        "priority",
        "publisher_id",
        "timestamp",
        "_context",
        "_context_request_id",
        "_context_auth_token",
        "oslo.version",
        "oslo.message",
        "instance_id",
        "instance",
        "uuid",
        "args",
        "exception",
        "auth_token",
        "request_spec",
        "instance_properties",
        "nova_object.name",
        "nova_object.data",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
MESSAGES = st.fixed_dictionaries(
    {"message_id": st.text(min_size=1), "event_type": st.text(min_size=1), "payload": JSON},
    optional={"_context": JSON, "priority": JSON, "_context_request_id": JSON},
)


def forward(body: bytes) -> OutgoingRecord:
    return forwarded(KAFKA, body, ARRIVAL)


def outcome(body: bytes) -> OutgoingRecord:
    """Forward a body, or dead-letter it: there is no third thing."""
    try:
        return forward(body)
    except UnusableBodyError as error:
        return dead_letter_record(KAFKA, body, str(error), vim_id="o_r", source="queue")


@given(JSON | MESSAGES)
def test_every_json_is_forwarded_or_dead_lettered(tree: Any) -> None:
    for body in (
        json.dumps(tree).encode(),
        json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(tree)}).encode(),
    ):
        assert outcome(body).topic in ("p.notifications", "p.dead-letter")


@given(st.binary(max_size=200))
def test_all_bytes_are_forwarded_or_dead_lettered(body: bytes) -> None:
    assert outcome(body).topic == "p.dead-letter"


def test_a_record_never_outgrows_what_kafka_takes() -> None:
    message = {"message_id": "m", "event_type": "e", "payload": {"instance_id": "i" * 600_000}}
    for body in (
        json.dumps(message).encode(),
        json.dumps({**message, "payload": {"x": "x" * 2_000_000}}).encode(),
    ):
        record = outcome(body)
        assert record.topic == "p.dead-letter"
        assert len(record.key or b"") + len(record.value or b"") < MAX_RECORD_BYTES


@pytest.mark.parametrize("mark", ['"_context": {}', '"exception": "e", "args": {}'])
@pytest.mark.parametrize("depth", [200, 400, 900, 5000])
def test_what_is_nested_deeply_is_forwarded_or_unusable(mark: str, depth: int) -> None:
    nested = "[" * depth + "]" * depth
    content = f'{{"message_id": "m", "event_type": "e", "payload": {{{mark}, "deep": {nested}}}}}'
    with contextlib.suppress(UnusableBodyError):
        record = forward(content.encode())
        assert nested.encode() in (record.value or b"")


def test_what_no_worker_uses_is_passed_over_unless_the_settings_keep_it() -> None:
    used = notifications.body()
    unused = notifications.body(event_type="keypair.create.end")
    messages = [
        Message(each, ARRIVAL, lambda why: dead_letter_record(KAFKA, b"", why, source="queue"))
        for each in (used, unused, b"no message", used)
    ]
    records, dead, passed_over = records_of(KAFKA, messages)
    assert (len(records), dead, passed_over) == (3, 1, 1)
    topics = [record.topic for record in records]
    assert topics == ["p.notifications", "p.dead-letter", "p.notifications"]
    keeping = KafkaSettings(retention=RetentionSettings(unused=True))
    assert records_of(keeping, messages)[1:] == (1, 0)
