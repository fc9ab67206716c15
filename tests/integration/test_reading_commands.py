"""Commands that only read what lies on the job's topics."""

import uuid
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from vimfed.cli import main
from vimfed.local_kafka import LocalKafka
from vimfed.ports import free_ports

COMMANDS = [
    ("events", ["events"]),
    ("dead-letter", ["dead-letter", "list"]),
    ("dead-letter", ["dead-letter", "show", "0@0"]),
    ("dead-letter", ["dead-letter", "drop", "0@0"]),
]


def invoke(folder: Path, bootstrap: str, prefix: str, command: list[str]) -> Result:
    config = folder / "vimfed.toml"
    config.write_text(
        f'[kafka]\nbootstrap = "{bootstrap}"\ntopic_prefix = "{prefix}"\npartitions = 2\n'
    )
    result = CliRunner().invoke(main, ["--config", str(config), *command])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    return result


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
    told = invoke(tmp_path, kafka.bootstrap, prefix, command).stderr
    assert "has 3 partitions, the settings say kafka.partitions = 2" in told


@pytest.mark.parametrize(("_topic", "command"), COMMANDS)
def test_without_a_broker_one_line_says_so(tmp_path: Path, _topic: str, command: list[str]) -> None:
    bootstrap = f"127.0.0.1:{free_ports(1)[0]}"
    told = invoke(tmp_path, bootstrap, "none", command).stderr
    assert told == f"vimfed: no broker answers at {bootstrap}: is kafka.bootstrap right?\n"
