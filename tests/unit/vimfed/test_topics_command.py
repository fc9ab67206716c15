"""What ``vimfed topics`` prints, and the table of rights in docs/kafka.md."""

import re
import shlex
from collections.abc import Iterator

import msgspec
import yaml

from bridge.kafka.listener import cloud_needs
from tests.support.paths import PROJECT
from vimfed.cli.topics import as_commands, as_strimzi, plans_of
from vimfed.kafka.rights import Need, needs_by_process, output_needs
from vimfed.kafka.topic_settings import _RULES, settings_findings
from vimfed.kafka.topics import topic_specs
from vimfed.nova.oslo import PRIORITIES
from vimfed.settings import (
    CloudKafkaSettings,
    DmaapOutput,
    DmaapSettings,
    KafkaSettings,
    RetentionSettings,
    SamplesKafkaSettings,
    SamplesSettings,
    Secret,
    Settings,
    VimSettings,
)

CLOUD = VimSettings(
    cloud_owner="Owner",
    cloud_region_id="Region",
    kafka=CloudKafkaSettings(
        bootstrap="cloud:9092",
        security_protocol="SASL_PLAINTEXT",
        username="nova",
        password=Secret("pw"),
        virtual_host="v",
    ),
)
SETTINGS = Settings(
    kafka=KafkaSettings(
        bootstrap="kafka:9092",
        security_protocol="SASL_SSL",
        username="job",
        replication=3,
        min_insync_replicas=2,
    ),
    dmaap=DmaapSettings(outputs=[DmaapOutput(url="kafka://dmaap:9092/unauthenticated.VM_EVENTS")]),
    vims=[CLOUD],
)
METERED = msgspec.structs.replace(
    SETTINGS, vims=[msgspec.structs.replace(CLOUD, samples=SamplesSettings(pushed=True))]
)

TOLD_OF = Settings(
    dmaap=DmaapSettings(
        outputs=[
            *Settings().outputs(),
            DmaapOutput(name="metrics", url="ves+kafka://dmaap:9092", carries="measurements"),
        ]
    ),
    vims=METERED.vims,
)
"""Of which the documentation tells: the default output, and one of measurements."""


def rows() -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
    """Yield process, kind, name and rights of each row of the table in docs/kafka.md."""
    text = (PROJECT / "docs" / "kafka.md").read_text()
    for process, kind, name, rights in re.findall(
        r"^\| ([a-z ]+) \| [^|]+ \| (topic|group) `([^`]+)` \| ([A-Za-z, ]+) \|", text, re.MULTILINE
    ):
        yield process, kind, name, tuple(rights.split(", "))


def test_the_table_of_rights_is_that_of_the_code() -> None:
    needs = {process: list(each) for process, each in needs_by_process(TOLD_OF).items()}
    of_cloud = cloud_needs(CLOUD.kafka)
    needs["bridge"] += [Need("topic", "TOPIC.PRIORITY", of_cloud[0].operations, ""), of_cloud[-1]]
    for output in TOLD_OF.outputs():
        needs[f"publisher {output.name}"] += output_needs(output.topics)
    assert sorted(rows()) == sorted(
        (process, need.kind, need.name, need.operations)
        for process, each in needs.items()
        for need in each
    )


def test_the_acls_that_security_tells_of_are_those_of_the_code() -> None:
    text = (PROJECT / "docs" / "security.md").read_text()
    told = {
        (kind, name, operation, process)
        for kind, name, writers, readers in re.findall(
            r"^\| (topic|group) `([^`]+)` \| ([a-z, ]*) ?\| ([a-z, ]*) ?\|$", text, re.MULTILINE
        )
        for operation, processes in (("Write", writers), ("Read", readers))
        for process in processes.replace(" ", "").split(",")
        if process
    }
    assert told == {
        (need.kind, need.name, operation, process.partition(" ")[0])
        for process, needs in needs_by_process(TOLD_OF).items()
        for need in needs
        for operation in need.operations
    }


def test_topics_are_made_with_the_retention_that_the_settings_say() -> None:
    short = RetentionSettings(
        notifications=86400, events=172800, dead_letters=3600, samples=7200, measurements=14400
    )
    kafka = KafkaSettings(retention=short)
    made = {spec.name: spec.configs for spec in topic_specs(kafka)}
    kept = {name: configs.get("retention.ms") for name, configs in made.items()}
    assert kept == {
        "vimfed.notifications": "86400000",
        "vimfed-instances-changelog": None,
        "vimfed.events": "172800000",
        "vimfed.subscriptions": None,
        "vimfed.dead-letter": "3600000",
        "vimfed.samples": "7200000",
        "vimfed-meters-changelog": None,
        "vimfed.measurements": "14400000",
    }
    assert made["vimfed.subscriptions"]["min.compaction.lag.ms"] == "172800000"
    assert made["vimfed.events"]["segment.ms"] == "43200000"
    there = {**made["vimfed.events"], "retention.ms": "604800000"}
    (spec,) = [spec for spec in topic_specs(kafka) if spec.name == "vimfed.events"]
    (finding,) = settings_findings(kafka, spec, there)
    assert not finding.refused
    assert finding.text.endswith("--add-config retention.ms=172800000")
    script = as_commands(plans_of(Settings(kafka=kafka)))
    assert "--topic vimfed.dead-letter" in script
    assert "retention.ms=3600000" in script


def test_the_table_of_settings_names_each_that_is_checked() -> None:
    text = (PROJECT / "docs" / "kafka.md").read_text()
    told = set(
        re.findall(r"`([a-z.]+)`", "".join(re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE)))
    )
    made = {name for spec in topic_specs(KafkaSettings()) for name in spec.configs}
    assert told == made == set(_RULES)


def options(line: str) -> dict[str, list[str]]:
    """Return a command's options with their values."""
    found: dict[str, list[str]] = {}
    name = ""
    for word in shlex.split(line)[1:]:
        if word.startswith("--"):
            name = word
            found.setdefault(name, [])
        else:
            found[name].append(word)
    return found


def test_the_commands_make_each_topic_as_a_process_would() -> None:
    lines = as_commands(plans_of(METERED)).splitlines()[1:]
    made = {
        each["--topic"][0]: each
        for each in map(options, lines)
        if "--create" in each and each["--bootstrap-server"] == ["kafka:9092"]
    }
    specs = {spec.name: spec for spec in topic_specs(METERED.kafka)}
    assert made.keys() == specs.keys()
    for name, spec in specs.items():
        assert made[name]["--partitions"] == [str(spec.partitions)]
        assert made[name]["--replication-factor"] == ["3"]
        assert made[name]["--config"] == [f"{k}={v}" for k, v in spec.configs.items()]


def test_a_cloud_without_samples_asks_for_no_topic_or_right_of_them() -> None:
    (plan, *_others), (metered, *_others) = plans_of(SETTINGS), plans_of(METERED)
    more = {spec.name for spec in metered.topics} - {spec.name for spec in plan.topics}
    assert more == {"vimfed.samples", "vimfed-meters-changelog", "vimfed.measurements"}
    granted = {name for _kind, name, _operation in metered.grants["job"] - plan.grants["job"]}
    assert granted == more | {"vimfed-samples"}


def test_a_bridge_may_read_what_ceilometer_writes_with_a_priority_and_without() -> None:
    samples = SamplesSettings(kafka=SamplesKafkaSettings(bootstrap="metering:9092"))
    cloud = VimSettings(cloud_owner="Owner", cloud_region_id="Region", samples=samples)
    plans = plans_of(msgspec.structs.replace(SETTINGS, vims=[cloud]), ["bridge"], "alice")
    (plan,) = [plan for plan in plans if plan.kafka.bootstrap == "metering:9092"]
    topics = ["metering", *(f"metering.{priority}" for priority in PRIORITIES)]
    assert plan.grants["alice"] == {
        *(("topic", topic, "Read") for topic in topics),
        ("group", "vimfed-samples", "Read"),
    }


def test_the_commands_grant_each_cluster_its_own_user_no_more_than_is_needed() -> None:
    lines = as_commands(plans_of(SETTINGS)).splitlines()[1:]
    granted = {
        (each["--bootstrap-server"][0], each["--allow-principal"][0], *resource, operation)
        for each in map(options, lines)
        if "--add" in each
        for operation in each["--operation"]
        for resource in [("topic", *each.get("--topic", [])), ("group", *each.get("--group", []))]
        if len(resource) == 2
    }
    cloud = {
        ("cloud:9092", "User:nova", "topic", f"{topic}.{priority}.v", "Read")
        for topic in ("notifications", "versioned_notifications")
        for priority in PRIORITIES
    }
    assert {each for each in granted if each[0] == "cloud:9092"} == {
        *cloud,
        ("cloud:9092", "User:nova", "group", "vimfed", "Read"),
    }
    assert {each for each in granted if each[0] == "dmaap:9092"} == {
        ("dmaap:9092", "User:job", "topic", "unauthenticated.VM_EVENTS", "Write")
    }
    own = {each[2:] for each in granted if each[0] == "kafka:9092"}
    assert {each for each in own if each[2] != "DescribeConfigs"} == {
        (need.kind, need.name, operation)
        for needs in needs_by_process(SETTINGS).values()
        for need in needs
        for operation in need.operations
    }


def test_one_process_gets_its_own_rights_and_topics_alone() -> None:
    (plan, _cloud) = plans_of(SETTINGS, ["bridge"], "alice")
    rights = {
        "vimfed.notifications": "Write",
        "vimfed.dead-letter": "Write",
        "vimfed-instances-changelog": "Read",
    }
    assert {spec.name for spec in plan.topics} == rights.keys()
    assert plan.grants == {
        "alice": {
            ("topic", name, operation)
            for name, right in rights.items()
            for operation in (right, "DescribeConfigs")
        }
    }


def test_strimzis_resources_say_the_same_as_the_commands() -> None:
    plans = plans_of(SETTINGS)
    resources = list(yaml.safe_load_all(as_strimzi(plans, "onap")))
    topics = {each["spec"]["topicName"]: each for each in resources if each["kind"] == "KafkaTopic"}
    for plan in plans:
        for spec in plan.topics:
            told = topics.pop(spec.name)
            assert told["spec"]["config"] == spec.configs
            assert (told["spec"]["partitions"], told["spec"]["replicas"]) == (
                spec.partitions,
                spec.replication,
            )
            assert re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", told["metadata"]["name"])
            assert told["metadata"]["labels"] == {"strimzi.io/cluster": "onap"}
    assert not topics
    users = [each for each in resources if each["kind"] == "KafkaUser"]
    granted = [
        {
            (acl["resource"]["type"], acl["resource"]["name"], operation)
            for acl in user["spec"]["authorization"]["acls"]
            for operation in acl["operations"]
        }
        for user in users
    ]
    assert granted == [grants for plan in plans for grants in plan.grants.values()]
    assert users[0]["metadata"]["name"] == "job"
    assert users[0]["spec"]["authentication"] == {"type": "scram-sha-512"}
