"""``vimfed topics``: the topics and rights that must exist where the job may create nothing."""

import hashlib
import re
import shlex
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from bridge.kafka.listener import cloud_needs
from vimfed.kafka.outputs import dmaap_cluster, kafka_outputs, output_topics
from vimfed.kafka.rights import Need, needs_by_process, output_needs
from vimfed.kafka.topics import TopicSpec, topic_specs
from vimfed.settings import KafkaConnection, Settings

DEFAULT_USER = "vimfed"
STRIMZI_API = "kafka.strimzi.io/v1beta2"

Grant = tuple[str, str, str]
"""Kind and name of a resource, and an operation on it."""


@dataclass
class Plan:
    """What must exist on one cluster."""

    kafka: KafkaConnection
    """How the job connects to it."""
    topics: list[TopicSpec] = field(default_factory=list)
    grants: dict[str, set[Grant]] = field(default_factory=dict)
    """By user."""

    def grant(self, user: str, needs: Iterable[Need], *, settings_too: bool) -> None:
        """Add rights of a user; ``settings_too``: to see the topics' settings as well."""
        grants = self.grants.setdefault(user, set())
        for need in needs:
            extra = ("DescribeConfigs",) if settings_too and need.kind == "topic" else ()
            grants.update((need.kind, need.name, each) for each in (*need.operations, *extra))


def plans_of(settings: Settings, processes: Collection[str] = (), user: str = "") -> list[Plan]:
    """Return what must exist on each cluster; that of ``[kafka]`` comes first.

    ``processes``: for these alone, such as ``worker``; empty: for all. ``user`` is whose rights are
    meant, instead of the one that the settings name for a cluster.
    """
    plans: dict[str, Plan] = {}

    def plan_of(kafka: KafkaConnection) -> Plan:
        return plans.setdefault(kafka.bootstrap, Plan(kafka))

    def user_on(kafka: KafkaConnection) -> str:
        return user or (kafka.login.username if kafka.login else "")

    own = plan_of(settings.kafka)
    for process, needs in needs_by_process(settings).items():
        if _is_meant(process, processes):
            own.grant(user_on(settings.kafka) or DEFAULT_USER, needs, settings_too=True)
    used = {name for grants in own.grants.values() for _kind, name, _operation in grants}
    own.topics += [spec for spec in topic_specs(settings.kafka) if spec.name in used]
    for output in kafka_outputs(settings):
        if _is_meant("publisher", processes):
            cluster = dmaap_cluster(settings, output)
            plan_of(cluster).topics.extend(output_topics(settings, output))
            plan_of(cluster).grant(
                user_on(cluster) or DEFAULT_USER, output_needs(output.topics), settings_too=False
            )
    for vim in settings.vims:
        for cloud in (vim.kafka, vim.samples.kafka):
            if cloud.is_used and _is_meant("bridge", processes):
                plan_of(cloud).grant(
                    user_on(cloud) or DEFAULT_USER, cloud_needs(cloud), settings_too=False
                )
    return list(plans.values())


def _is_meant(process: str, processes: Collection[str]) -> bool:
    return not processes or process.partition(" ")[0] in processes


# -- as commands


def as_commands(plans: Sequence[Plan]) -> str:
    """Return a shell script of kafka-topics.sh and kafka-acls.sh."""
    return "\n".join(
        [
            "# Where an administrator has to log in, add --command-config FILE to each command.",
            *(line for plan in plans for line in _commands(plan)),
            "",
        ]
    )


def _commands(plan: Plan) -> Iterator[str]:
    server = ["--bootstrap-server", plan.kafka.bootstrap]
    for spec in plan.topics:
        words = ["kafka-topics.sh", *server, "--create", "--if-not-exists", "--topic", spec.name]
        words += ["--partitions", str(spec.partitions)]
        words += ["--replication-factor", str(spec.replication)]
        for name, value in spec.configs.items():
            words += ["--config", f"{name}={value}"]
        yield shlex.join(words)
    for user, grants in plan.grants.items():
        for kind, name, operations in _by_resource(grants):
            words = ["kafka-acls.sh", *server, "--add", "--allow-principal", f"User:{user}"]
            for operation in operations:
                words += ["--operation", operation]
            yield shlex.join([*words, f"--{kind}", name])


def _by_resource(grants: Iterable[Grant]) -> Iterator[tuple[str, str, list[str]]]:
    operations: dict[tuple[str, str], list[str]] = {}
    for kind, name, operation in sorted(grants):
        operations.setdefault((kind, name), []).append(operation)
    for (kind, name), allowed in sorted(operations.items(), key=lambda item: item[0][::-1]):
        yield kind, name, allowed


# -- as Strimzi's resources


def as_strimzi(plans: Sequence[Plan], cluster: str) -> str:
    """Return KafkaTopic and KafkaUser resources for the cluster of ``[kafka]`` as YAML.

    Other clusters, such as a cloud's, are somebody else's: each of theirs begins with a comment.
    """
    texts = []
    for number, plan in enumerate(plans):
        resources = [*(_strimzi_topic(spec, cluster) for spec in plan.topics)]
        resources += [_strimzi_user(user, plan, cluster) for user in plan.grants]
        where = "" if number == 0 else f"# On {plan.kafka.bootstrap}, which is another cluster:\n"
        texts += [where + yaml.safe_dump(each, sort_keys=False) for each in resources]
    return "---\n".join(texts)


def _strimzi_topic(spec: TopicSpec, cluster: str) -> dict[str, Any]:
    return {
        "apiVersion": STRIMZI_API,
        "kind": "KafkaTopic",
        "metadata": _metadata(spec.name, cluster),
        "spec": {
            "topicName": spec.name,
            "partitions": spec.partitions,
            "replicas": spec.replication,
            "config": dict(spec.configs),
        },
    }


def _strimzi_user(user: str, plan: Plan, cluster: str) -> dict[str, Any]:
    protocol = plan.kafka.security_protocol
    authentication = {"authentication": {"type": "scram-sha-512" if "SASL" in protocol else "tls"}}
    return {
        "apiVersion": STRIMZI_API,
        "kind": "KafkaUser",
        "metadata": _metadata(user, cluster),
        "spec": {
            **({} if protocol == "PLAINTEXT" else authentication),
            "authorization": {
                "type": "simple",
                "acls": [
                    {
                        "resource": {"type": kind, "name": name, "patternType": "literal"},
                        "operations": operations,
                        "host": "*",
                    }
                    for kind, name, operations in _by_resource(plan.grants[user])
                ],
            },
        },
    }


def _metadata(name: str, cluster: str) -> dict[str, Any]:
    """Return the metadata of a resource; its name is what Kubernetes takes, and unlike others."""
    taken = re.sub(r"[^a-z0-9.-]+", "-", name.lower()).strip(".-")
    if taken != name:
        taken = f"{taken}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return {"name": taken, "labels": {"strimzi.io/cluster": cluster}}
