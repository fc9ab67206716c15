"""Rights that each process needs on the topics and groups of its cluster.

One table for all who need to know: a process before it starts, ``vimfed check``, ``vimfed topics``,
and docs/kafka.md.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from vimfed.kafka.topics import TopicNames
from vimfed.settings import DmaapOutput, KafkaConnection, KafkaSettings, Settings

Operation = Literal["Read", "Write"]
"""Operations of Kafka's ACLs. Each implies Describe."""


class Need(NamedTuple):
    """What a process does with one topic or group."""

    kind: Literal["topic", "group"]
    name: str
    operations: tuple[Operation, ...]
    purpose: str


def bridge_needs(
    kafka: KafkaSettings, *, compares: bool = True, samples: bool = False
) -> Sequence[Need]:
    """Return what a bridge needs.

    ``compares``: polled clouds, with what the table knows; ``samples``: any cloud's are taken.
    """
    names = TopicNames(kafka.topic_prefix)
    needs = [
        Need("topic", names.notifications, ("Write",), "forwards notifications"),
        Need("topic", names.dead_letter, ("Write",), "keeps what is no notification"),
    ]
    if compares:
        known = "compares polled clouds with the table"
        needs.append(Need("topic", names.changelog, ("Read",), known))
    if samples:
        needs.append(Need("topic", names.samples, ("Write",), "forwards samples"))
    return needs


def worker_needs(
    kafka: KafkaSettings, *, samples: bool = False, outputs: Sequence[DmaapOutput] = ()
) -> Sequence[Need]:
    """Return what a worker needs.

    ``samples``: any cloud's are taken; ``outputs``: those that snapshots can be for.
    """
    names = TopicNames(kafka.topic_prefix)
    of_outputs = (
        Need("group", names.publisher_group(each.name), ("Read",), "sees what a snapshot waits for")
        for each in outputs
        if each.carries == "events"
    )
    of_samples = (
        Need(
            "topic",
            names.samples,
            ("Read", "Write"),
            "reads samples; writes those that are pushed over HTTP, and what time it is",
        ),
        Need("topic", names.meters_changelog, ("Read", "Write"), "keeps the meters table"),
        Need("topic", names.measurements, ("Write",), "writes measurements"),
        Need("group", names.samples_group, ("Read",), "keeps its progress in samples"),
    )
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
        *of_outputs,
        *(of_samples if samples else ()),
    )


def publisher_needs(kafka: KafkaSettings, output: DmaapOutput) -> Sequence[Need]:
    """Return what a publisher of ``output`` needs on the cluster of ``[kafka]``."""
    names, what = TopicNames(kafka.topic_prefix), output.carries
    group = names.publisher_group(output.name)
    return (
        Need("topic", names.carried(what), ("Read",), f"reads {what}"),
        Need("topic", names.subscriptions, ("Read",), f"knows who wants {what}"),
        Need("topic", names.dead_letter, ("Write",), "keeps what an output does not take"),
        Need("group", group, ("Read",), f"shares the partitions of {what}"),
    )


def operator_needs(kafka: KafkaSettings, *, samples: bool = False) -> Sequence[Need]:
    """Return what the commands events, dead-letter and output need.

    ``samples``: any cloud's are taken.
    """
    names = TopicNames(kafka.topic_prefix)
    of_samples = [
        Need("topic", names.samples, ("Write",), "gives dead letters back"),
        Need("topic", names.measurements, ("Write",), "gives dead letters back; marks replays"),
    ]
    return (
        Need(
            "topic",
            names.events,
            ("Read", "Write"),
            "prints events; gives dead letters back; marks replays",
        ),
        Need("topic", names.subscriptions, ("Write",), "pauses and resumes outputs"),
        Need("topic", names.dead_letter, ("Read", "Write"), "lists and settles dead letters"),
        Need("topic", names.notifications, ("Write",), "gives dead letters back"),
        *(of_samples if samples else ()),
    )


def output_needs(topics: Iterable[str]) -> Sequence[Need]:
    """Return what a publisher needs on the cluster of an output with these topics."""
    return [Need("topic", topic, ("Write",), "publishes") for topic in topics]


def needs_by_process(settings: Settings) -> Mapping[str, Sequence[Need]]:
    """Return the needs of every kind of process on the cluster of ``[kafka]``.

    Each output has publishers of its own, such as ``publisher dmaap``.
    """
    kafka, samples = settings.kafka, settings.takes_samples
    publishers = {
        f"publisher {output.name}": publisher_needs(kafka, output) for output in settings.outputs()
    }
    return {
        "bridge": bridge_needs(kafka, samples=samples),
        "worker": worker_needs(kafka, samples=samples, outputs=settings.outputs()),
        **publishers,
        "operator": operator_needs(kafka, samples=samples),
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
