"""A process that Kafka leaves while it starts begins anew in its place, and waits."""

import os
import sys
import uuid
from pathlib import Path

from tests.e2e.stack import eventually
from tests.e2e.test_start_without_kafka import asked
from tests.support.slow_link import SlowLink
from vimfed.local.child import Child
from vimfed.local.kafka import LocalKafka
from vimfed.process.ports import free_ports

SCRIPT = """
import json, sys, time
from pathlib import Path
from streams.engine import apps
from vimfed.kafka.before_kafka import Port, Probes
from vimfed.kafka.rights import publisher_needs
from vimfed.kafka.topics import TopicNames
from vimfed.process.log import configure_logging
from vimfed.settings import KafkaSettings, LogSettings, Settings, WorkerSettings

folder, bootstrap, prefix, port = sys.argv[1:]
settings = Settings(
    kafka=KafkaSettings(bootstrap=bootstrap, topic_prefix=prefix),
    worker=WorkerSettings(session_timeout=6.0),
    log=LogSettings(),
)
configure_logging(settings.log, "publisher")
events = TopicNames(prefix).events
app = apps.new_app(settings, "group", events, Path(folder), store="memory://", web_enabled=False)

async def until_told():
    Path(folder, "found-kafka").touch()
    while not Path(folder, "go-on").exists():
        time.sleep(0.1)

async def handler(producer):
    Path(folder, "works").touch()

apps.consume(app, events, settings.kafka, handler)
probes = Probes([Port("127.0.0.1", int(port), "port")], [])
needs = publisher_needs(settings.kafka, settings.outputs()[0])
sys.exit(apps.run_app(app, settings.kafka, needs, probes, until_told))
"""


async def test_who_loses_kafka_while_starting_waits_as_the_same_process(
    tmp_path: Path, kafka: LocalKafka
) -> None:
    link_port, port = free_ports(2)
    target = int(kafka.bootstrap.rpartition(":")[2])
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    arguments = [str(tmp_path), f"127.0.0.1:{link_port}", f"t{uuid.uuid4().hex[:8]}", str(port)]
    root = Path(__file__).parents[2]

    async def is_there(name: str) -> bool:
        return (tmp_path / name).exists()

    async def waits() -> bool:
        status, body = asked(port, "/readyz")
        return status == 503 and "no broker answers" in body["wrong"]["kafka"]

    process = Child(
        [sys.executable, "-W", "ignore", str(script), *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        log=tmp_path / "log",
    )
    process.spawn()
    try:
        with SlowLink(target, 10**9, listen=link_port):
            await eventually(lambda: is_there("found-kafka"), within=60)
        (tmp_path / "go-on").touch()
        await eventually(waits, within=60)
        with SlowLink(target, 10**9, listen=link_port):
            await eventually(lambda: is_there("works"), within=60)
    finally:
        process.stop()
    told = (tmp_path / "log").read_text()
    assert told.count("this process begins anew, and waits for it") == 1, told
    assert process.returncode == 0, told
