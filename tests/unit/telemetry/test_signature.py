"""The signature of samples, against what ceilometer 27.0.0 computed."""

import json
from typing import Any

import pytest

from vimfed.telemetry.signature import is_signed, signature_of

DEFAULT = "change this for valid signing"
POLLED: dict[str, Any] = {
    "counter_name": "cpu",
    "counter_type": "cumulative",
    "counter_unit": "ns",
    "counter_volume": 8370120000,
    "user_id": None,
    "project_id": "p1",
    "resource_id": "a4e0dbe1-7fd5-4c31-bbe2-6d1b3a9c1d20",
    "timestamp": "2026-11-29T10:00:00.123456",
    "resource_metadata": {
        "cpu_number": 2,
        "flavor": {"ram": 512, "vcpus": 2, "name": "m1.tiny", "ephemeral": 0},
        "image": None,
        "empty": {},
        "ok": True,
        "list": [],
    },
    "message_id": "6f2c",
    "source": "openstack",
    "monotonic_time": 1234.5,
}
NESTED: dict[str, Any] = {
    "counter_name": "größe",
    "counter_volume": 0.1,
    "resource_metadata": {
        "image": {
            "id": "i",
            "links": [
                {"rel": "bookmark", "href": "http://x/ü"},
                {"a": {"z": 1, "b": ["x", None, 1.5]}},
            ],
        },
        "tags": ["a", "b"],
    },
}
NUMBERS: dict[str, Any] = {"b": -0.0, "a": 1e22, "c": 123456789012345678901234567890, "d": ""}


@pytest.mark.parametrize(
    ("sample", "secret", "signature"),
    [
        (POLLED, DEFAULT, "606007abf8c5b81721f28a6d30bb6be810be3d00c33aaed497672379d5ed97e8"),
        (POLLED, "sécret", "c0dd312e0f9b5e01f166a3e9fad26010450321386ad2662445df9e99c5d1c0fe"),
        (NESTED, DEFAULT, "9410e606aa01e93397bb06d450a4b1889384ce16bb453bc7d3cf448e5788a17e"),
        (NESTED, "sécret", "4e3495b0e1682f63d9ac6b3bbee47b86a78150c066b70f5f76d8b779c05923f2"),
        (NUMBERS, DEFAULT, "70c33e147836837010c6fb30b3ab79b0305ef82c07df745cb5adb1db5668eebe"),
        (NUMBERS, "sécret", "06e635d3fc2f87a05583cce0dc273207333f045d569779aba7644da1bca30cad"),
    ],
)
def test_it_is_what_ceilometer_computes(
    sample: dict[str, Any], secret: str, signature: str
) -> None:
    assert signature_of(sample, secret.encode()) == signature
    turned = json.loads(json.dumps(dict(reversed(sample.items()))))
    assert is_signed(turned | {"message_signature": signature}, secret.encode())
    assert not is_signed(turned | {"message_signature": signature}, b"other")
    assert not is_signed(turned | {"message_signature": signature, "more": 1}, secret.encode())


@pytest.mark.parametrize("signature", [None, 1, ["a"], "", "ü", "606007"])
def test_what_is_no_signature_is_none(signature: object) -> None:
    assert not is_signed(POLLED | {"message_signature": signature}, DEFAULT.encode())
