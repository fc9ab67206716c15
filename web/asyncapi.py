"""The AsyncAPI 3 document: every topic and message, made from settings, types and schemas."""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple, get_args
from urllib.parse import urlsplit

import msgspec

from streams.publisher.formats import format_of
from streams.subscriptions.filters import Subscription
from vimfed.kafka.connect_headers import Place, connect_headers
from vimfed.kafka.outputs import dmaap_cluster
from vimfed.kafka.topics import TopicNames, TopicSpec, topic_specs
from vimfed.model.records import InstanceState, Notification, VmEvent
from vimfed.model.samples import Measurement, MetersState, SampleRecord
from vimfed.model.schemas import SchemaName, schema_id
from vimfed.process.project_files import project_file
from vimfed.settings import Carries, DmaapOutput, Format, KafkaConnection, Settings
from web.http.type_schemas import Schema, type_schemas

JSON = "application/json"
CLOUDEVENT = "application/cloudevents+json"
OWN_CLUSTER = "kafka"
"""Name of the job's own cluster among the servers; outputs have their own names behind a prefix."""
BINDING = "0.5.0"
"""Version of AsyncAPI's Kafka bindings."""

DEAD_LETTER_HEADERS = {
    "origin": "Whose bytes they are.",
    "source": "The topic or queue from which they came.",
    "partition": "Their partition there; absent of a queue.",
    "offset": "Their offset there; absent of a queue.",
    "error": "Why they could not be handled.",
    "vim_id": "The cloud, where it is known.",
    "output": "The output that did not take them.",
    "size": "How many bytes there were, where they are cut.",
}
"""Our own; those of Kafka Connect stand beside them."""


class _OwnTopic(NamedTuple):
    """What lies on a topic of the job's own cluster."""

    spec: TopicSpec
    record: type[msgspec.Struct] | None
    """None: bytes of others."""
    summary: str


class _Published(NamedTuple):
    """A message that an output gets."""

    schema: SchemaName
    content_type: str
    envelope: SchemaName
    """The schema that names the CloudEvents attributes."""


_EVENTS: Mapping[Format, _Published] = {
    "payload": _Published("payload", JSON, "cloudevents"),
    "cloudevents": _Published("cloudevents", CLOUDEVENT, "cloudevents"),
    "ves": _Published("ves", JSON, "cloudevents"),
}
_MEASUREMENTS: Mapping[Format, _Published] = {
    "payload": _Published("measurement", JSON, "measurement-cloudevents"),
    "cloudevents": _Published("measurement-cloudevents", CLOUDEVENT, "measurement-cloudevents"),
    "ves": _Published("ves", JSON, "measurement-cloudevents"),
}
_PUBLISHED: Mapping[Carries, Mapping[Format, _Published]] = {
    "events": _EVENTS,
    "measurements": _MEASUREMENTS,
}


def published_schema(name: SchemaName) -> Schema:
    """Return a published JSON Schema."""
    schema: Schema = json.loads(project_file(f"docs/schemas/{name}.schema.json").read_text())
    return schema


def asyncapi_document(settings: Settings) -> Schema:
    """Return the AsyncAPI 3.0 document of what flows with these settings; it holds no secret."""
    own, outputs = _own_topics(settings), settings.outputs()
    published = {name: each for output in outputs for name, each in _published(output).items()}
    _, schemas = type_schemas([topic.record for topic in own if topic.record is not None])
    channels = {topic.spec.name: _own_channel(topic) for topic in own}
    for output in outputs:
        channels |= _output_channels(settings, output)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "vim-event-federation",
            "version": version("vim-event-federation"),
            "description": "The states of VMs in many clouds: what is sent to the outputs, and "
            "what lies on the job's own topics, to which nobody else may write.\n\n"
            "Every message comes at least once; a repetition has the same id. What has the same "
            "key comes in order. Fields, attributes and headers may be added: pass over those "
            "that you do not know.",
            "license": {"name": "Apache 2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": JSON,
        "servers": {
            OWN_CLUSTER: _kafka_server(settings.kafka, "The job's own cluster."),
            **{f"output-{output.name}": _output_server(settings, output) for output in outputs},
        },
        "channels": channels,
        "operations": {
            f"send.{name}": {
                "action": "send",
                "channel": {"$ref": f"#/channels/{name}"},
                "messages": [
                    {"$ref": f"#/channels/{name}/messages/{message}"}
                    for message in channel["messages"]
                ],
            }
            for name, channel in channels.items()
        },
        "components": {
            "messages": {
                **{_message_name(topic): _own_message(topic) for topic in own},
                **{name: _published_message(name, each) for name, each in published.items()},
            },
            "schemas": {
                **schemas,
                **{each.schema: _embedded(each.schema) for each in published.values()},
            },
        },
    }


def without_servers(document: Schema) -> Schema:
    """Return a document that does not say where brokers and collectors are."""
    channels = {
        name: {key: value for key, value in channel.items() if key != "servers"}
        for name, channel in document["channels"].items()
    }
    rest = {key: value for key, value in document.items() if key != "servers"}
    return {**rest, "channels": channels}


def _own_topics(settings: Settings) -> Sequence[_OwnTopic]:
    names = TopicNames(settings.kafka.topic_prefix)
    held: dict[str, tuple[type[msgspec.Struct] | None, str]] = {
        names.notifications: (Notification, "Notifications of clouds, as bridges write them."),
        names.changelog: (InstanceState, "Rows of the table of instances, compacted."),
        names.events: (VmEvent, "Events, before subscriptions are applied."),
        names.subscriptions: (Subscription, "Subscriptions by name, compacted."),
        names.dead_letter: (None, "What could not be handled, with the reason."),
        names.samples: (SampleRecord, "Samples of meters, as bridges write them."),
        names.meters_changelog: (MetersState, "Rows of the table of meters, compacted."),
        names.measurements: (Measurement, "Measurements, before subscriptions are applied."),
    }
    unused = (
        set()
        if settings.takes_samples
        else {names.samples, names.meters_changelog, names.measurements}
    )
    return [
        _OwnTopic(spec, *held[spec.name])
        for spec in topic_specs(settings.kafka)
        if spec.name not in unused
    ]


def _message_name(topic: _OwnTopic) -> str:
    return "DeadLetter" if topic.record is None else topic.record.__name__


def _own_channel(topic: _OwnTopic) -> Schema:
    name = _message_name(topic)
    configs: dict[str, Any] = {
        "cleanup.policy": topic.spec.configs["cleanup.policy"].split(","),
    }
    if "retention.ms" in topic.spec.configs:
        configs["retention.ms"] = int(topic.spec.configs["retention.ms"])
    return {
        "address": topic.spec.name,
        "summary": topic.summary,
        "servers": [{"$ref": f"#/servers/{OWN_CLUSTER}"}],
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "bindings": {
            "kafka": {
                "topic": topic.spec.name,
                "partitions": topic.spec.partitions,
                "replicas": topic.spec.replication,
                "topicConfiguration": configs,
                "bindingVersion": BINDING,
            }
        },
    }


def _own_message(topic: _OwnTopic) -> Schema:
    name = _message_name(topic)
    message = {"name": name, "summary": topic.summary, **_keyed()}
    if topic.record is not None:
        return {**message, "contentType": JSON, "payload": {"$ref": f"#/components/schemas/{name}"}}
    connect = connect_headers(Place(), "", "TASK_PUT", "")
    headers = {
        **{
            name: {"type": "string", "description": text}
            for name, text in DEAD_LETTER_HEADERS.items()
        },
        **{name: {"type": "string", "description": "As Kafka Connect has it."} for name in connect},
    }
    return {
        **message,
        "contentType": "application/octet-stream",
        "headers": {
            "type": "object",
            "required": ["origin", "source", "error"],
            "properties": headers,
        },
        "payload": {"description": "The bytes as they came, without a request's context."},
    }


def _published(output: DmaapOutput) -> dict[str, _Published]:
    """Return the messages that an output may get, by name; its own format's is the first."""
    formats = [output.format, *get_args(Format)]
    found: dict[str, _Published] = {}
    for format_ in dict.fromkeys(format_of(output, wanted) for wanted in formats):
        each = _PUBLISHED[output.carries][format_]
        if format_ == "ves" and output.ves_version == "5.4":
            each = each._replace(schema="ves-5")
        is_measured_ves = format_ == "ves" and output.carries == "measurements"
        found["measurement-ves" if is_measured_ves else each.schema] = each
    return found


def _published_message(name: str, published: _Published) -> Schema:
    schema = published_schema(published.schema)
    message: Schema = {
        "name": name,
        "title": schema["title"],
        "contentType": published.content_type,
        "payload": {"$ref": f"#/components/schemas/{published.schema}"},
        **_keyed(),
    }
    if published.content_type == CLOUDEVENT:
        return message
    attributes = published_schema(published.envelope)
    return {**message, "headers": _attribute_headers(attributes)}


def _attribute_headers(envelope: Schema) -> Schema:
    """Return the schema of CloudEvents attributes as Kafka headers, from that of an envelope."""
    inside = ("data", "datacontenttype", "dataschema")
    attributes: Schema = {
        **{name: text for name, text in envelope["properties"].items() if name not in inside},
        "dataschema": {"type": "string", "description": "The URN of the payload's schema."},
    }
    required = [f"ce_{name}" for name in envelope["required"] if name not in inside]
    return {
        "type": "object",
        "required": [*required, "content-type"],
        "properties": {
            **{f"ce_{name}": text for name, text in attributes.items()},
            "content-type": {"const": JSON},
        },
    }


def _embedded(name: SchemaName) -> Schema:
    """Return a published schema as a part of the document: who it is, as a mere description."""
    schema = published_schema(name)
    rest = {key: value for key, value in schema.items() if key not in ("$schema", "$id")}
    return {**rest, "x-dataschema": schema_id(name)}


def _keyed() -> Schema:
    key = {"type": "string", "description": "What it is about: vim_id/instance_id, and the like."}
    return {"bindings": {"kafka": {"key": key, "bindingVersion": BINDING}}}


def _output_channels(settings: Settings, output: DmaapOutput) -> dict[str, Schema]:
    messages = {name: {"$ref": f"#/components/messages/{name}"} for name in _published(output)}
    how = f", by CloudEvents' HTTP binding, {output.webhook.mode} mode" * output.is_webhook
    channel: Schema = {
        "summary": f"Output {output.name}: {output.carries}, by default in the format "
        f"{format_of(output, None)}{how}.",
        "servers": [{"$ref": f"#/servers/output-{output.name}"}],
        "messages": messages,
    }
    addresses = _addresses(output)
    return {
        f"output-{output.name}" + f"-{number}" * (len(addresses) > 1): {
            "address": address,
            **_of_projects(output),
            **channel,
        }
        for number, address in enumerate(addresses)
    }


def _of_projects(output: DmaapOutput) -> Schema:
    """Return what is said of the place that a project's id has in an address, if it has one."""
    if not output.is_of_tenants:
        return {}
    return {"parameters": {"project_id": {"description": "Whose instances' the messages are."}}}


def _addresses(output: DmaapOutput) -> Sequence[str | None]:
    """Return the topics or the path of an output; None: a webhook's path may be a secret."""
    if output.is_of_tenants:
        return (output.topic_of(""),)
    if output.is_kafka:
        return output.topics
    return (None,) if output.is_webhook else (urlsplit(output.url).path,)


def _output_server(settings: Settings, output: DmaapOutput) -> Schema:
    text = f"Of output {output.name}."
    if output.is_kafka:
        return _kafka_server(dmaap_cluster(settings, output), text)
    url = urlsplit(output.url)
    protocol = url.scheme.rpartition("+")[2]
    return {"host": url.netloc.rpartition("@")[2], "protocol": protocol, "description": text}


def _kafka_server(cluster: KafkaConnection, text: str) -> Schema:
    is_secure = cluster.security_protocol.endswith("SSL")
    protocol = "kafka-secure" if is_secure else "kafka"
    return {"host": cluster.bootstrap, "protocol": protocol, "description": text}
