"""What a cluster tells of topics and groups: how they are, and what we may do with them."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    InvalidTopicError,
    KafkaConnectionError,
    KafkaError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.admin import DescribeGroupsRequest_v3, DescribeGroupsResponse_v3
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.types import (
    Array,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    String,
    TaggedFields,
)

_OPERATIONS = {3: "Read", 4: "Write", 5: "Create", 8: "Describe", 10: "DescribeConfigs"}
"""Kafka's numbers of the operations that matter here; each is a bit of a set of operations."""
_NOT_TOLD = -(2**31)
_ABSENT = (UnknownTopicOrPartitionError, InvalidTopicError, TopicAuthorizationFailedError)
COORDINATOR_ATTEMPTS = 30
"""Seconds that a cluster gets to name the coordinator of a group; a new one makes a topic first."""


class _TopicsResponseV8(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            Array(
                ("node_id", Int32),
                ("host", String("utf-8")),
                ("port", Int32),
                ("rack", String("utf-8")),
            ),
        ),
        ("cluster_id", String("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("authorized_operations", Int32),
    )


class _TopicsRequestV8(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _TopicsResponseV8
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class _TopicsRequest(Request[_TopicsRequestV8]):  # type: ignore[misc]
    """Metadata of topics with our rights, which aiokafka 0.14 does not ask for."""

    API_KEY = 3

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def build(self, request_struct_class: type[_TopicsRequestV8]) -> _TopicsRequestV8:
        return request_struct_class(self._names, False, False, True)


class _GroupsRequestV3(RequestStruct):  # type: ignore[misc]
    API_KEY = 15
    API_VERSION = 3
    RESPONSE_TYPE = DescribeGroupsResponse_v3
    SCHEMA = DescribeGroupsRequest_v3.SCHEMA


class _GroupsRequest(Request[_GroupsRequestV3]):  # type: ignore[misc]
    """Groups with our rights; aiokafka 0.14 reads the answer of version 3 as that of version 2."""

    API_KEY = 15

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def build(self, request_struct_class: type[_GroupsRequestV3]) -> _GroupsRequestV3:
        return request_struct_class(self._names, True)


class _DisksResponseV4(Response):  # type: ignore[misc]
    API_KEY = 35
    API_VERSION = 4
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        (
            "folders",
            CompactArray(
                ("error_code", Int16),
                ("folder", CompactString("utf-8")),
                (
                    "topics",
                    CompactArray(
                        ("topic", CompactString("utf-8")),
                        (
                            "partitions",
                            CompactArray(
                                ("partition", Int32),
                                ("size", Int64),
                                ("offset_lag", Int64),
                                ("is_future_key", Boolean),
                                ("tags", TaggedFields),
                            ),
                        ),
                        ("tags", TaggedFields),
                    ),
                ),
                ("total_bytes", Int64),
                ("usable_bytes", Int64),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _DisksRequestV4(RequestStruct):  # type: ignore[misc]
    API_KEY = 35
    API_VERSION = 4
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _DisksResponseV4
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                ("partitions", CompactArray(Int32)),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _DisksRequest(Request[_DisksRequestV4]):  # type: ignore[misc]
    """A broker's log folders and how full their disks are; aiokafka 0.14 does not ask for them."""

    API_KEY = 35

    def build(self, request_struct_class: type[_DisksRequestV4]) -> _DisksRequestV4:
        return request_struct_class([], {})


class Disk(NamedTuple):
    """The disk under a log folder of a broker; sizes in bytes."""

    folder: str
    total: int
    free: int


class TopicState(NamedTuple):
    """How a topic is, and what we may do with it."""

    partitions: int
    replicas: int
    """Of the partition that has the fewest."""
    operations: frozenset[str] | None
    """None: the brokers do not tell (Kafka before 2.3)."""


DENIED = TopicState(0, 0, frozenset())
"""We may not even know whether the topic is there."""


async def topic_states(admin: AIOKafkaAdminClient, names: Iterable[str]) -> dict[str, TopicState]:
    """Return what the cluster tells of each topic that it knows, or that we may not see (DENIED).

    No topic is made by that. Raises KafkaError.
    """
    names = sorted(names)
    try:
        answer = (await admin._send_request(_TopicsRequest(names))).to_object()
    except NotImplementedError:  # that version of the request
        known = set(await admin.list_topics()).intersection(
            names
        )  # who describes others makes them
        answer = {"topics": await admin.describe_topics(sorted(known)) if known else []}
    states = {}
    for topic in answer["topics"]:
        if topic["error_code"] == TopicAuthorizationFailedError.errno:
            states[topic["topic"]] = DENIED
        elif not topic["error_code"]:
            replicas = min((len(each["replicas"]) for each in topic["partitions"]), default=0)
            operations = _operations(topic.get("authorized_operations", _NOT_TOLD))
            states[topic["topic"]] = TopicState(len(topic["partitions"]), replicas, operations)
    return states


async def topic_exists(admin: AIOKafkaAdminClient, topic: str) -> bool:
    """Return whether a topic is there, as far as we may know. Raises KafkaError.

    Kafka is asked for this one alone: some clusters have thousands. aiokafka's own way to ask would
    have it made.
    """
    request = MetadataRequest([topic], allow_auto_topic_creation=False)
    answer = (await admin._send_request(request)).to_object()
    return all(for_code(told["error_code"]) not in _ABSENT for told in answer["topics"])


async def group_operations(admin: AIOKafkaAdminClient, group: str) -> frozenset[str] | None:
    """Return what we may do with a group; None: the brokers do not tell. Raises KafkaError."""
    try:
        coordinator = await _coordinator(admin, group)
        answer = await admin._send_request_to_node(coordinator, _GroupsRequest([group]))
    except GroupAuthorizationFailedError:
        return frozenset()
    except NotImplementedError:
        return None
    described = answer.to_object()["groups"][0]
    if described["error_code"] == GroupAuthorizationFailedError.errno:
        return frozenset()
    return None if described["error_code"] else _operations(described["authorized_operations"])


async def topic_configs(
    admin: AIOKafkaAdminClient, names: Iterable[str]
) -> Mapping[str, Mapping[str, str]]:
    """Return the effective settings of the topics into which we may look. Raises KafkaError."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in sorted(names)]
    if not resources:
        return {}
    answers: list[Any] = await admin.describe_configs(resources)
    return {
        resource["resource_name"]: {
            entry["config_names"]: entry["config_value"] for entry in resource["config_entries"]
        }
        for answer in answers
        for resource in answer.to_object()["resources"]
        if not resource["error_code"]
    }


async def disks(admin: AIOKafkaAdminClient, broker: int) -> list[Disk]:
    """Return a broker's disks; none where it does not tell: Kafka before 3.3, or no right to ask.

    That is Describe on the cluster. Raises KafkaError.
    """
    try:
        answer = (await admin._send_request_to_node(broker, _DisksRequest())).to_object()
    except NotImplementedError:
        return []
    return [
        Disk(folder["folder"], folder["total_bytes"], folder["usable_bytes"])
        for folder in answer["folders"]
        if not folder["error_code"] and folder["total_bytes"] >= 0
    ]


async def _coordinator(admin: AIOKafkaAdminClient, group: str) -> int:
    for _second in range(COORDINATOR_ATTEMPTS):
        try:
            return int(await admin.find_coordinator(group))
        except GroupAuthorizationFailedError:
            raise
        except KafkaError as error:
            if not error.retriable:
                raise
            last = error
        await asyncio.sleep(1)
    raise KafkaConnectionError(f"no broker coordinates group {group}: {last}")


def _operations(bits: int) -> frozenset[str] | None:
    if bits == _NOT_TOLD:
        return None
    return frozenset(name for number, name in _OPERATIONS.items() if bits >> number & 1)
