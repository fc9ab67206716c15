"""Commands that only read what lies on the job's topics."""

import asyncio
import json
import os
import pwd
import uuid
from pathlib import Path
from socket import gethostname

import msgspec
import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from msgspec.structs import replace

from tests.support.core_truth import records_on
from tests.support.vm_events import create_topics, vm_event
from vimfed.cli import main
from vimfed.kafka.dead_letter import dead_letter_record
from vimfed.local.kafka import LocalKafka
from vimfed.model.keys import instance_key
from vimfed.process.ports import free_ports
from vimfed.settings import KafkaSettings

COMMANDS = [
    ("events", ["events"]),
    ("dead-letter", ["dead-letter", "list"]),
    ("dead-letter", ["dead-letter", "show", "0@0"]),
    ("dead-letter", ["dead-letter", "drop", "0@0"]),
]


def invoke(
    folder: Path, bootstrap: str, prefix: str, command: list[str], *, code: int = 1, lines: int = 1
) -> Result:
    config = folder / "vimfed.toml"
    config.write_text(
        f'[kafka]\nbootstrap = "{bootstrap}"\ntopic_prefix = "{prefix}"\npartitions = 2\n'
        f'[log]\nformat = "json"\naudit_file = "{folder / "audit.log"}"\n'
    )
    result = CliRunner().invoke(main, ["--config", str(config), *command])
    assert result.exit_code == code, result.output
    assert code == 0 or result.stderr.count("\n") == lines
    return result


def test_somebody_elses_records_and_transaction_markers_end_no_command(
    tmp_path: Path, kafka: LocalKafka
) -> None:
    prefix = f"t{uuid.uuid4().hex[:10]}"
    asyncio.run(create_topics(kafka.bootstrap, prefix, partitions=2))
    good, odd = vm_event("vm-1"), replace(vm_event("vm-1"), payload=msgspec.Raw(b"5"))
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": prefix})
    producer.init_transactions(30)
    producer.begin_transaction()
    key = instance_key(good.vim_id, good.instance_id)
    for value in (b"none", b"[" * 100_000, msgspec.json.encode(odd), msgspec.json.encode(good)):
        producer.produce(f"{prefix}.events", value, key, 0)
    odd_headers: list[dict[str, bytes | None]] = [
        {"settles": b"none"},
        {"settles": None},
        {"error": None},
        {"error": b"\xff"},
    ]
    for headers in odd_headers:
        producer.produce(f"{prefix}.dead-letter", b"x", key, 0, headers=headers)  # type: ignore[arg-type]
    producer.commit_transaction(30)
    told = invoke(tmp_path, kafka.bootstrap, prefix, ["events"], code=0)
    assert len(told.stdout.splitlines()) == 1
    assert told.stderr.count("is no event") == 3
    told = invoke(tmp_path, kafka.bootstrap, prefix, ["dead-letter", "list"], code=0)
    assert [line.split("\t")[0] for line in told.stdout.splitlines()] == ["0@2", "0@3"]


def test_what_a_cloud_calls_its_queue_does_not_decide_where_a_dead_letter_goes(
    tmp_path: Path, kafka: LocalKafka
) -> None:
    """A cloud's routing key named topics of the job, where a replay wrote what the cloud wanted."""
    prefix = f"t{uuid.uuid4().hex[:10]}"
    asyncio.run(create_topics(kafka.bootstrap, prefix, partitions=2))
    job = KafkaSettings(topic_prefix=prefix, partitions=2)
    forged = msgspec.json.encode(vm_event("vm-1"))
    newer = forged.replace(b'"schema_version":1', b'"schema_version":99')
    letters = [
        dead_letter_record(job, body, "why", source=f"{prefix}.{topic}", vim_id="Evil_Cloud")
        for topic, body in (("events", forged), ("notifications", newer))
    ]
    key = instance_key("Evil_Cloud", "vm-1")
    letters += [
        # The event of one cloud under the key of another; and bytes that a newer version wrote.
        dead_letter_record(job, forged, "why", source="x", key=key, origin="events"),
        dead_letter_record(job, newer, "why", source="x", key=key, origin="events"),
    ]
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
    for letter in letters:
        producer.produce(letter.topic, letter.value, letter.key, 0, headers=list(letter.headers))
    assert producer.flush(30) == 0
    command = ["dead-letter", "replay", "0@0", "0@1", "0@2", "0@3"]
    told = invoke(tmp_path, kafka.bootstrap, prefix, command, lines=4).stderr.splitlines()
    assert [line.partition(" ")[2].partition(":")[0] for line in told] == [
        "still unusable",
        "still unusable",
        "it says that it is of cloud CloudOwner_RegionOne, and was kept for Evil_Cloud, under the "
        "key of Evil_Cloud",
        "replay it with the version that wrote it",
    ]
    for topic in ("events", "notifications"):
        assert records_on(kafka.bootstrap, f"{prefix}.{topic}") == []
    trail = trail_of(tmp_path)
    assert [(each["event"], each["result"]) for each in trail] == [
        ("dead_letter.replayed", "failed")
    ] * 4
    assert [each["object"] for each in trail] == command[2:]
    assert {each["cloud"] for each in trail} == {"Evil_Cloud"}


def trail_of(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / "audit.log").read_text().splitlines()]


def test_who_replays_or_drops_a_dead_letter_is_in_the_trail_and_in_the_records_that_follow(
    tmp_path: Path, kafka: LocalKafka
) -> None:
    prefix = f"t{uuid.uuid4().hex[:10]}"
    asyncio.run(create_topics(kafka.bootstrap, prefix, partitions=2))
    job = KafkaSettings(topic_prefix=prefix, partitions=2)
    event = msgspec.json.encode(vm_event("vm-1"))
    letter = dead_letter_record(
        job,
        event,
        "why",
        source="x",
        key=instance_key("CloudOwner_RegionOne", "vm-1"),
        output="one",
        origin="events",
    )
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
    for _ in range(2):
        producer.produce(letter.topic, letter.value, letter.key, 0, headers=list(letter.headers))
    assert producer.flush(30) == 0
    told = invoke(tmp_path, kafka.bootstrap, prefix, ["dead-letter", "replay", "0@0"], code=0)
    assert (told.stdout, told.stderr) == (f"0@0: replayed to {prefix}.events\n", "")
    told = invoke(tmp_path, kafka.bootstrap, prefix, ["dead-letter", "drop", "0@1"], code=0)
    assert (told.stdout, told.stderr) == ("0@1: dropped\n", "")
    replayed, dropped = trail_of(tmp_path)
    user, host = pwd.getpwuid(os.getuid()).pw_name, gethostname()
    for record, event_name, letter_id in (
        (replayed, "dead_letter.replayed", "0@0"),
        (dropped, "dead_letter.dropped", "0@1"),
    ):
        assert (record["event"], record["result"]) == (event_name, "done")
        assert (record["object"], record["cloud"]) == (letter_id, "CloudOwner_RegionOne")
        assert (record["login"], record["role"], record["address"]) == (user, "operator", host)
        assert record["process"] == "dead-letter"
    caller = f"{user}/operator@{host}"
    (again,) = records_on(kafka.bootstrap, f"{prefix}.events")
    assert again.value == event
    assert again.headers == {"output": "one", "caller": caller}
    settled = records_on(kafka.bootstrap, f"{prefix}.dead-letter")[2:]
    assert [each.headers["how"] for each in settled] == ["replayed", "dropped"]
    assert [each.headers["caller"] for each in settled] == [caller] * 2


def test_without_its_audit_file_a_command_changes_nothing(
    tmp_path: Path, kafka: LocalKafka
) -> None:
    (tmp_path / "audit.log").mkdir()
    prefix = f"t{uuid.uuid4().hex[:10]}"
    told = invoke(tmp_path, kafka.bootstrap, prefix, ["dead-letter", "drop", "0@0"])
    assert told.stderr.startswith("vimfed: cannot write log.audit_file ")


@pytest.mark.parametrize(("topic", "command"), COMMANDS)
def test_a_topic_that_is_not_there_is_told_and_not_made(
    tmp_path: Path, kafka: LocalKafka, topic: str, command: list[str]
) -> None:
    prefix = f"t{uuid.uuid4().hex[:10]}"
    told = invoke(tmp_path, kafka.bootstrap, prefix, command).stderr
    assert told.startswith(f"vimfed: there is no topic {prefix}.{topic}: a bridge or worker makes")
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    assert f"{prefix}.{topic}" not in admin.list_topics(timeout=10).topics


@pytest.mark.parametrize(("topic", "command"), COMMANDS)
def test_another_partition_count_than_the_settings_is_told(
    tmp_path: Path, kafka: LocalKafka, topic: str, command: list[str]
) -> None:
    prefix = f"t{uuid.uuid4().hex[:10]}"
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    for made in admin.create_topics([NewTopic(f"{prefix}.{topic}", 3, 1)]).values():
        made.result(30)
    while f"{prefix}.{topic}" not in admin.list_topics(timeout=10).topics:
        pass  # made, and not known to the broker yet
    told = invoke(tmp_path, kafka.bootstrap, prefix, command).stderr
    assert "has 3 partitions, the settings say kafka.partitions = 2" in told


@pytest.mark.parametrize(("_topic", "command"), COMMANDS)
def test_without_a_broker_one_line_says_so(tmp_path: Path, _topic: str, command: list[str]) -> None:
    bootstrap = f"127.0.0.1:{free_ports(1)[0]}"
    told = invoke(tmp_path, bootstrap, "none", command).stderr
    assert told == f"vimfed: no broker answers at {bootstrap}: is kafka.bootstrap right?\n"
