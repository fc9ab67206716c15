"""Whether an existing topic is as the job needs it: each setting that we depend on, and why."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from vimfed.kafka.cluster_state import TopicState
from vimfed.kafka.topics import TopicSpec
from vimfed.settings import KafkaSettings


class Finding(msgspec.Struct, frozen=True):
    """Something about a topic, a group or a connection that is not as it has to be."""

    subject: str
    """What it is about, e.g. ``topic vimfed.events``."""
    text: str
    """One line: what is wrong, what follows from it, how to mend it."""
    refused: bool
    """Whether a process does not start with it; else it is a warning."""
    denied: bool = False
    """Whether a right is missing."""


class _Rule(NamedTuple):
    """How a topic's setting has to stand to the one that we make topics with."""

    holds: Callable[[str, str], bool]
    """Gets what we make it with, and what it is."""
    consequence: str


def _same(wanted: str, there: str) -> bool:
    return set(wanted.split(",")) == set(there.split(","))


def _at_least(wanted: str, there: str) -> bool:
    """Compare numbers, of which -1 is infinite."""
    return float(there) == -1 or (float(wanted) != -1 and float(there) >= float(wanted))


def _at_most(wanted: str, there: str) -> bool:
    return float(there) <= float(wanted)


_TOO_LARGE = "the log keeps, and a recovery reads, more than the rows need"
_RULES = {
    "cleanup.policy": _Rule(_same, "Kafka removes records that are still needed"),
    "retention.ms": _Rule(_same, "records are removed unread, or stay for longer"),
    "retention.bytes": _Rule(_at_least, "what exceeds it is lost, whether it was read or not"),
    "min.insync.replicas": _Rule(_at_least, "what was acknowledged is lost with fewer brokers"),
    "unclean.leader.election.enable": _Rule(_same, "what was acknowledged may be lost"),
    "max.message.bytes": _Rule(_at_least, "Kafka takes no larger record"),
    "message.timestamp.type": _Rule(_same, "a wrong clock lets records expire too soon"),
    "min.compaction.lag.ms": _Rule(_at_least, "what held when an event was written is forgotten"),
    "delete.retention.ms": _Rule(_at_least, "who was away for half of it reads all anew"),
    "segment.bytes": _Rule(_at_most, _TOO_LARGE),
    "segment.ms": _Rule(_at_most, "records stay for as much longer"),
    "min.cleanable.dirty.ratio": _Rule(_at_most, _TOO_LARGE),
}


def partitions_finding(wanted: TopicSpec, state: TopicState) -> Finding | None:
    """Return what is wrong with a topic's number of partitions; None: nothing."""
    if state.partitions == wanted.partitions:
        return None
    text = (
        f"topic {wanted.name} has {state.partitions} partitions, the settings say "
        f"kafka.partitions = {wanted.partitions}. Instances are spread by that number, so "
        f"it cannot be changed later: set kafka.partitions = {state.partitions}, or choose a "
        "new kafka.topic_prefix and start afresh"
    )
    return Finding(f"topic {wanted.name}", text, refused=True)


def replication_findings(
    wanted: TopicSpec, state: TopicState, configs: Mapping[str, str]
) -> Iterator[Finding]:
    """Yield what is wrong with a topic's number of replicas."""
    subject = f"topic {wanted.name}"
    least = int(configs.get("min.insync.replicas", "1"))
    if least > state.replicas:
        text = (
            f"{subject} has {state.replicas} replicas, of which min.insync.replicas asks {least}: "
            "Kafka takes no record; add replicas with kafka-reassign-partitions.sh, or lower that"
        )
        yield Finding(subject, text, refused=True)
    elif state.replicas < wanted.replication:
        text = (
            f"{subject} has {state.replicas} replicas, the settings say kafka.replication = "
            f"{wanted.replication}: it is lost with as many brokers; add replicas with "
            "kafka-reassign-partitions.sh"
        )
        yield Finding(subject, text, refused=False)


def settings_findings(
    kafka: KafkaSettings, wanted: TopicSpec, configs: Mapping[str, str]
) -> Iterator[Finding]:
    """Yield what is wrong with a topic's settings, which are ``configs``."""
    for name, value in wanted.configs.items():
        there = configs.get(name)
        rule = _RULES[name]
        if there is None or rule.holds(value, there):
            continue
        text = (
            f"topic {wanted.name} has {name} = {there} instead of {value}: {rule.consequence}; "
            f"kafka-configs.sh --bootstrap-server {kafka.bootstrap} --alter --entity-type topics "
            f"--entity-name {wanted.name} --add-config {name}={value}"
        )
        yield Finding(f"topic {wanted.name}", text, refused=name in wanted.strict)
