"""The specification's payload in every event, from either format."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from streams.core.news import InstanceNews
from streams.core.normalise import normalise
from streams.core.payloads import encode_flat
from tests.support.nova_messages import (
    in_order,
    legacy,
    notification,
    spec_example,
    versioned,
    versioned_data,
    versioned_object,
)
from tests.support.playing import is_versioned, play
from tests.support.traces import OLDER, ROUGH, RUNS, notifications

LACKING: dict[str, Any] = {"image_meta": {}, "instance_type_id": None, "cell_name": ""}
"""What versioned payloads do not tell, and what stands for it. The access addresses are null too,
as they are in the recorded runs."""

SPELLED_OTHERWISE = {"created_at", "launched_at", "deleted_at", "terminated_at", "image_ref_url"}
"""What both formats tell, each in its own spelling: times, and the image by its URL or its id."""


def flat(news: InstanceNews) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads(bytes(encode_flat(news.payload)))
    return payload


def test_the_specifications_example_passes_with_every_field_unchanged() -> None:
    message = notification("compute.instance.power_off.start", spec_example())
    (event,) = play([message]).events
    payload = json.loads(bytes(event.payload))
    assert payload == spec_example()
    assert [type(value) for value in payload.values()] == [
        type(spec_example()[key]) for key in payload
    ]


@pytest.mark.parametrize("build", [legacy, versioned])
def test_what_only_an_update_carries_is_not_in_the_payload(build: Any) -> None:
    update = build("update", "error", None, old=("active", None), fields={"fixed_ips": [1]})
    outcome = play([update])
    for payload in (outcome.events[0].payload, *(row.payload for row in outcome.rows.values())):
        assert set(json.loads(bytes(payload))) == set(spec_example())


@pytest.mark.parametrize("run", RUNS)
def test_every_event_of_a_run_has_all_fields_of_the_specification(run: str) -> None:
    for event in play(notifications(run)).events:
        payload = json.loads(bytes(event.payload))
        assert list(payload) == list(spec_example())
        assert payload["instance_id"] == event.instance_id
        assert payload["tenant_id"]


def twins(run: str) -> Iterator[tuple[InstanceNews, InstanceNews]]:
    """Yield (legacy, versioned) of each thing that a run told in both formats."""
    waiting: dict[tuple[str, ...], InstanceNews] = {}
    for one in notifications(run):
        news = normalise(one)
        if not isinstance(news, InstanceNews) or news.is_update or news.is_sparse:
            continue
        told = (news.instance_id, news.kind, news.phase, news.operation)
        if is_versioned(one):
            if told in waiting:
                yield waiting.pop(told), news
        else:
            waiting[told] = news


@pytest.mark.parametrize("run", RUNS)
def test_versioned_payloads_become_the_legacy_ones_field_by_field(run: str) -> None:
    compared = 0
    for old_format, new_format in twins(run):
        expected, payload = flat(old_format), flat(new_format)
        for field in payload.keys() - SPELLED_OTHERWISE:
            assert payload[field] == LACKING.get(field, expected[field]), field
        assert payload["image_ref_url"] == expected["image_ref_url"].rpartition("/")[2]
        for field in SPELLED_OTHERWISE - {"image_ref_url"}:
            same = expected[field][:19].replace(" ", "T")
            assert payload[field].removesuffix("Z") == same, field
        compared += 1
    assert compared > (400 if run in OLDER else 700)


def test_a_failed_build_of_an_unknown_instance_tells_what_its_request_says() -> None:
    failures = [one for one in notifications(ROUGH) if one.event_type.startswith("compute_task.")]
    assert len(failures) == 16
    for one in failures:
        (event,) = play([one]).events
        payload = json.loads(bytes(event.payload))
        assert (event.kind, event.phase, event.new_state) == ("CREATE", "error", "error")
        assert set(payload) == set(spec_example())
        assert payload["state"] == "error"
        assert payload["memory_mb"] == 99999999
        assert (payload["root_gb"], payload["disk_gb"], payload["vcpus"]) == (1, 1, 1)
        assert payload["instance_type"].startswith("big")
        assert payload["tenant_id"] == "6f70656e737461636b20342065766572"
        assert payload["user_id"] == "admin"


def test_a_failed_task_of_a_known_instance_keeps_what_is_known_of_it() -> None:
    failure = {"instance_id": spec_example()["instance_id"], "state": "active", "request_spec": {}}
    outcome = play(
        in_order(
            legacy("resize.prep.start", "active", "resize_prep", at=1),
            notification("compute_task.migrate_server", failure, at=2),
        )
    )
    event = outcome.events[-1]
    assert (event.kind, event.phase) == ("MIGRATE", "error")
    assert json.loads(bytes(event.payload)) == spec_example() | {"state_description": ""}
    assert outcome.state(event.instance_id) == ("active", "")


def test_a_failed_task_that_tells_no_state_leaves_it_alone() -> None:
    failure = {"instance_id": spec_example()["instance_id"], "state": None}
    outcome = play(
        in_order(
            legacy("live_migration.pre.start", "active", "migrating", at=1),
            notification("compute_task.migrate_server", failure, at=2),
        )
    )
    assert outcome.state(spec_example()["instance_id"]) == ("active", "migrating")
    assert (outcome.events[-1].kind, outcome.events[-1].new_task_state) == ("MIGRATE", "migrating")


@pytest.mark.parametrize(
    ("told", "flattened"),
    [
        ({"os_type": "linux"}, {"os_type": "linux"}),
        ({"progress": 40}, {"progress": 40}),
        ({"progress": 0}, {"progress": ""}),
        ({"image_uuid": None}, {"image_ref_url": ""}),
        ({"created_at": None}, {"created_at": ""}),
    ],
)
def test_a_field_of_a_versioned_payload(told: dict[str, Any], flattened: dict[str, Any]) -> None:
    (event,) = play([versioned("pause.end", "paused", fields=told)]).events
    payload = json.loads(bytes(event.payload))
    assert {name: payload[name] for name in flattened} == flattened


def test_a_flavor_that_names_no_disk_has_none() -> None:
    told = versioned_data()["flavor"]["nova_object.data"] | {"root_gb": None, "ephemeral_gb": None}
    flavor = versioned_object("FlavorPayload", told, "1.4")
    (event,) = play([versioned("pause.end", "paused", fields={"flavor": flavor})]).events
    assert json.loads(bytes(event.payload))["disk_gb"] == 0
