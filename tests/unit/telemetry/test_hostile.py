"""Whatever comes, it is samples or a reason, and what is taken can be read back."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bridge.forwarding import Arrival, UnusableBodyError, UnusedNotificationError, notifications_of
from bridge.sampling import samples_of
from tests.support.ceilometer_messages import bare, counter, enveloped, notification
from tests.support.notifications import body
from tests.support.sections import vim_of
from vimfed.kafka.dead_letter import dead_letter_record
from vimfed.model.records import MAX_RECORD_BYTES
from vimfed.model.samples import decode_samples
from vimfed.settings import KafkaSettings
from vimfed.telemetry.usage import USAGE_TYPES

KAFKA = KafkaSettings(partitions=4)
ARRIVAL = Arrival("o_r", "p", 1, "2026-11-29T10:00:02.000000Z")
CLOUD = vim_of(
    {
        "cloud_owner": "o",
        "cloud_region_id": "r",
        "samples": {"telemetry_secret": "s", "usage": True},
    }
)
UNSIGNED = vim_of({"cloud_owner": "o", "cloud_region_id": "r"})
NAMES = st.sampled_from(
    [
        *counter(),
        *("instance_id", "disk_name", "vnic_name", "cpu_number", "vcpus", "host", "node"),
        *("samples", "metrics", "name", "value", "nova_object.data", "numa_membw_values"),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
COUNTERS = st.lists(
    JSON
    | st.dictionaries(NAMES, JSON, max_size=3).map(lambda changes: counter() | changes)
    | st.just(counter()),
    max_size=4,
)


def outcome(content: bytes, vim: Any) -> None:
    """Check what becomes of a message."""
    try:
        made = samples_of(KAFKA, vim).convert(content, ARRIVAL)
    except (UnusableBodyError, UnusedNotificationError):
        return
    for record in made.records:
        assert len(record.value or b"") < MAX_RECORD_BYTES
        assert decode_samples(record.value or b"").samples
    if made.unread is not None:
        letter = dead_letter_record(KAFKA, *made.unread, source="queue", origin="telemetry")
        assert len(letter.value or b"") <= MAX_RECORD_BYTES


@given(COUNTERS)
def test_any_samples(counters: list[Any]) -> None:
    for vim in (CLOUD, UNSIGNED):
        outcome(bare(*counters), vim)
        outcome(enveloped(notification(counters)), vim)
        outcome(enveloped(notification({"samples": counters}, "telemetry.polling")), vim)


@given(JSON)
def test_any_json(content: Any) -> None:
    outcome(json.dumps(content).encode(), UNSIGNED)
    outcome(enveloped(content), UNSIGNED)
    outcome(enveloped(notification(content)), UNSIGNED)


@given(st.binary(max_size=50))
def test_any_bytes(content: bytes) -> None:
    for begin in (b"", b"[", b"[NaN,", b'{"oslo.message": "['):
        outcome(begin + content, UNSIGNED)


@given(st.sampled_from(sorted(USAGE_TYPES)), st.dictionaries(NAMES, JSON, max_size=5))
def test_any_usage(event_type: str, payload: dict[str, Any]) -> None:
    content = body(event_type=event_type, payload=payload)
    try:
        made = notifications_of(KAFKA, CLOUD).convert(content, ARRIVAL)
    except (UnusableBodyError, UnusedNotificationError):
        return
    assert all(decode_samples(record.value or b"").samples for record in made.records)
