"""The AsyncAPI document: whether it is whole, and true of what is sent."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import jsonschema
import msgspec
import pytest

from streams.publisher.formats import FORMATS, Content, Headers
from streams.publisher.measurement_formats import MEASUREMENT_FORMATS
from tests.support.every_output import EVERY_OUTPUT
from tests.support.measurements import measurement
from tests.support.vm_events import alarm_step, vm_event
from vimfed.kafka.dead_letter import dead_letter_record
from vimfed.kafka.topics import topic_specs
from vimfed.model.records import encode_event
from vimfed.model.samples import encode_measurement
from vimfed.settings import Format, Settings, load_settings
from web.asyncapi import asyncapi_document, without_servers


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    file = tmp_path_factory.mktemp("settings") / "vimfed.toml"
    file.write_text(EVERY_OUTPUT)
    return load_settings(file)


@pytest.fixture(scope="module")
def document(settings: Settings) -> Any:
    return json.loads(msgspec.json.encode(asyncapi_document(settings)))


def found(document: Any, reference: str) -> Any:
    """Return what a reference names. Raises KeyError where it is not there."""
    place = document
    for step in reference.removeprefix("#/").split("/"):
        place = place[step]
    return place


def check(document: Any, message: str, value: bytes, headers: Headers = ()) -> None:
    """Assert that the document describes a message as it is sent."""
    described = document["components"]["messages"][message]
    schema = {**described["payload"], "components": document["components"]}
    jsonschema.Draft7Validator(schema).validate(json.loads(value))
    told = {name: text.decode() for name, text in headers}
    if "headers" in described:
        jsonschema.Draft7Validator(described["headers"]).validate(told)
        assert told.keys() <= described["headers"]["properties"].keys()
    else:
        assert told.get("content-type", "").partition(";")[0] in ("", described["contentType"])


def test_every_topic_and_every_output_has_its_channel_and_is_sent_to(
    settings: Settings, document: Any
) -> None:
    addresses = [channel["address"] for channel in document["channels"].values()]
    own = [spec.name for spec in topic_specs(settings.kafka)]
    assert addresses == [
        *own,
        "unauthenticated.VIM_VM_EVENTS",
        "/events/unauthenticated.VMS",
        "/eventListener/v7",
        "/eventListener/v5",
        "unauthenticated.SEC_FAULT_OUTPUT",
        "unauthenticated.VES_NOTIFICATION_OUTPUT",
        "unauthenticated.SEC_HEARTBEAT_OUTPUT",
        None,
        "t.{project_id}.events",
        "metrics",
    ]
    of_projects = document["channels"]["output-tenants"]
    assert list(of_projects["parameters"]) == ["project_id"]
    sent = [operation["channel"]["$ref"] for operation in document["operations"].values()]
    assert sent == [f"#/channels/{name}" for name in document["channels"]]
    messages = {
        name: list(channel["messages"])
        for name, channel in document["channels"].items()
        if name.startswith("output-")
    }
    assert messages["output-onap"] == ["payload", "cloudevents", "ves"]
    assert messages["output-mr"] == ["cloudevents", "payload", "ves"]
    assert messages["output-ves"] == messages["output-ves-topics-0"] == ["ves"]
    assert messages["output-old-ves"] == ["ves-5"]
    assert messages["output-hook"] == ["cloudevents", "ves"]
    assert messages["output-metrics"] == [
        *("measurement", "measurement-cloudevents", "measurement-ves"),
    ]


def test_topics_of_samples_are_there_only_where_samples_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "vimfed.toml"
    file.write_text('[kafka]\ntopic_prefix = "p"\n')
    told = asyncapi_document(load_settings(file))
    assert list(told["channels"]) == [
        *("p.notifications", "p-instances-changelog", "p.events", "p.subscriptions"),
        *("p.dead-letter", "output-dmaap"),
    ]


def test_all_that_is_referred_to_is_there_and_all_that_is_there_is_referred_to(
    document: Any,
) -> None:
    references = set(re.findall(r'"\$ref": "([^"]*)"', json.dumps(document)))
    for reference in references:
        found(document, reference)
    components = {
        f"#/components/{kind}/{name}"
        for kind, held in document["components"].items()
        for name in held
    }
    assert components <= references
    assert {f"#/servers/{name}" for name in document["servers"]} <= references


def test_servers_are_told_without_logins_and_over_http_not_at_all(document: Any) -> None:
    servers = {
        name: (server["host"], server["protocol"]) for name, server in document["servers"].items()
    }
    assert servers == {
        "kafka": ("k0:9092", "kafka"),
        "output-onap": ("k1:9092,k2:9092", "kafka"),
        "output-mr": ("mr:3905", "https"),
        "output-ves": ("ves:8443", "https"),
        "output-old-ves": ("ves:8080", "http"),
        "output-ves-topics": ("k3:9093", "kafka-secure"),
        "output-hook": ("hooks.example.org", "https"),
        "output-tenants": ("k1:9092", "kafka"),
        "output-metrics": ("k1:9092", "kafka"),
    }
    assert "nobody-reads" not in json.dumps(document)
    assert "who-logs-in" not in json.dumps(document)
    told = json.dumps(without_servers(document))
    assert not any(host in told for host, _protocol in servers.values())
    assert '"servers"' not in told


@pytest.mark.parametrize("format_", get_args(Format))
def test_what_is_sent_is_as_it_is_described(
    settings: Settings, document: Any, format_: Format
) -> None:
    outputs = {output.name: output for output in settings.outputs()}
    alarm = vm_event(
        kind="UNAVAILABLE", phase="start", host="c-1", alarm=alarm_step("vm_unavailable")
    )
    for event in (vm_event(), alarm):
        content = FORMATS[format_](event, outputs["onap"])
        if content is not None:
            check(document, format_, content.value, content.headers)
    measured: Content = MEASUREMENT_FORMATS[format_](measurement(), outputs["metrics"])
    names = {"payload": "measurement", "cloudevents": "measurement-cloudevents"}
    check(document, names.get(format_, "measurement-ves"), measured.value, measured.headers)


def test_what_lies_on_our_own_topics_is_as_it_is_described(
    settings: Settings, document: Any
) -> None:
    check(document, "VmEvent", encode_event(vm_event()))
    check(document, "Measurement", encode_measurement(measurement()))
    letter = dead_letter_record(
        *(settings.kafka, b"x" * 3_000_000, "why"),
        source="t",
        partition=0,
        offset=1,
        vim_id="o_r",
        output="onap",
    )
    described = document["components"]["messages"]["DeadLetter"]["headers"]
    assert described["properties"].keys() == dict(letter.headers).keys()
