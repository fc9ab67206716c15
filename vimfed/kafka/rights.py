"""Rights that each process needs on the topics and groups of its cluster.

One table for all who need to know: a process before it starts, ``vimfed check``, ``vimfed topics``,
and docs/kafka.md.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from vimfed.kafka.topics import TopicNames
from vimfed.settings import KafkaConnection, KafkaSettings

Operation = Literal["Read", "Write"]
"""Operations of Kafka's ACLs. Each implies Describe."""


class Need(NamedTuple):
    """What a process does with one topic or group."""

    kind: Literal["topic", "group"]
    name: str
    operations: tuple[Operation, ...]
    purpose: str


def bridge_needs(kafka: KafkaSettings, *, compares: bool = True) -> Sequence[Need]:
    """Return what a bridge needs; ``compares``: polled clouds, with what the table knows."""
    names = TopicNames(kafka.topic_prefix)
    needs = (
        Need("topic", names.notifications, ("Write",), "forwards notifications"),
        Need("topic", names.dead_letter, ("Write",), "keeps what is no notification"),
    )
    known = Need("topic", names.changelog, ("Read",), "compares polled clouds with the table")
    return (*needs, known) if compares else needs


def worker_needs(kafka: KafkaSettings) -> Sequence[Need]:
    """Return what a worker needs."""
    names = TopicNames(kafka.topic_prefix)
    return (
        Need(
            "topic",
            names.notifications,
            ("Read", "Write"),
            "reads notifications; writes those that are pushed over HTTP",
        ),
        Need("topic", names.changelog, ("Read", "Write"), "keeps the instances table"),
        Need("topic", names.events, ("Read", "Write"), "writes events; reads the live ones"),
        Need("topic", names.subscriptions, ("Read", "Write"), "keeps subscriptions"),
        Need("topic", names.dead_letter, ("Write",), "keeps what cannot be handled"),
        Need("group", names.worker_group, ("Read",), "shares the partitions of notifications"),
    )


def publisher_needs(kafka: KafkaSettings, output: str) -> Sequence[Need]:
    """Return what a publisher of the output ``output`` needs on the cluster of ``[kafka]``."""
    names = TopicNames(kafka.topic_prefix)
    return (
        Need("topic", names.events, ("Read",), "reads events"),
        Need("topic", names.subscriptions, ("Read",), "knows who wants an event"),
        Need("topic", names.dead_letter, ("Write",), "keeps what an output does not take"),
        Need("group", names.publisher_group(output), ("Read",), "shares the partitions of events"),
    )


def operator_needs(kafka: KafkaSettings) -> Sequence[Need]:
    """Return what the commands events and dead-letter need."""
    names = TopicNames(kafka.topic_prefix)
    return (
        Need("topic", names.events, ("Read", "Write"), "prints events; gives dead letters back"),
        Need("topic", names.dead_letter, ("Read", "Write"), "lists and settles dead letters"),
        Need("topic", names.notifications, ("Write",), "gives dead letters back"),
    )


def output_needs(topics: Iterable[str]) -> Sequence[Need]:
    """Return what a publisher needs on the cluster of an output with these topics."""
    return [Need("topic", topic, ("Write",), "publishes") for topic in topics]


def needs_by_process(kafka: KafkaSettings, outputs: Sequence[str]) -> Mapping[str, Sequence[Need]]:
    """Return the needs of every kind of process on the cluster of ``[kafka]``.

    ``outputs`` are the names of the outputs, each of which has publishers of its own.
    """
    return {
        "bridge": bridge_needs(kafka),
        "worker": worker_needs(kafka),
        **{f"publisher {name}": publisher_needs(kafka, name) for name in outputs},
        "operator": operator_needs(kafka),
    }


def merged(needs: Iterable[Need]) -> list[Need]:
    """Return one need for each topic and group, with all that is done there."""
    together: dict[tuple[str, str], Need] = {}
    for need in needs:
        before = together.get((need.kind, need.name))
        operations = need.operations if before is None else before.operations + need.operations
        together[need.kind, need.name] = need._replace(operations=tuple(dict.fromkeys(operations)))
    return list(together.values())


def user_of(kafka: KafkaConnection) -> str:
    """Return the words for whom Kafka takes us."""
    if kafka.login is not None:
        return f"user {kafka.login.username}"
    if kafka.security_protocol == "SSL" and kafka.cert_file:
        return f"the user of certificate {kafka.cert_file}"
    return "an anonymous user"


def refusal(kafka: KafkaConnection, kind: str, name: str, operation: str) -> str:
    """Return one line: what is not allowed, and which right mends it."""
    return (
        f"{user_of(kafka)} lacks the right {operation} on {kind} {name}: grant it; vimfed topics "
        "prints the commands"
    )
