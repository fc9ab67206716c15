"""ceilometer's notification agent, which brings nova's notifications to Kafka as its events.

From the environment of tests/real_ceilometer, with what ceilometer's and oslo's options have for
throughput: the pipeline of events alone, batches, no signatures, messages fetched ahead, records
that wait for others. It takes a third less without the last two. Of ceilometer's publishers,
``notifier`` with oslo's driver for Kafka is the one that writes there.
"""

import sys
from pathlib import Path

from tests.real_ceilometer.environment import ceilometer_python
from vimfed.local.child import Child

TOPIC = "event.sample"
"""Below a prefix: the topic of events, and the priority that oslo gives what is measured."""

_SETTINGS = """\
[DEFAULT]
transport_url = {rabbitmq}
event_pipeline_cfg_file = {folder}/event_pipeline.yaml
[notification]
pipelines = event
notification_control_exchanges = {exchange}
workers = {workers}
batch_size = 500
batch_timeout = 1
ack_on_event_error = false
[publisher]
telemetry_secret =
[oslo_messaging_rabbit]
rabbit_qos_prefetch_count = 1000
[oslo_messaging_kafka]
compression_codec = zstd
producer_batch_timeout = 0.05
"""
_PIPELINE = """\
sources:
    - {{name: events, events: ["*"], sinks: [kafka]}}
sinks:
    - {{name: kafka, publishers: ["notifier://{kafka}?driver=kafka&topic={prefix}.event"]}}
"""


def notification_agent(
    folder: Path, rabbitmq: str, exchange: str, kafka: str, prefix: str, workers: int
) -> Child:
    """Return an agent that is not running yet, of so many worker processes."""
    folder.mkdir(parents=True)
    places = {"folder": folder, "rabbitmq": rabbitmq, "exchange": exchange, "workers": workers}
    settings = folder / "ceilometer.conf"
    settings.write_text(_SETTINGS.format(**places))
    (folder / "event_pipeline.yaml").write_text(_PIPELINE.format(kafka=kafka, prefix=prefix))
    python = ceilometer_python(lambda text: print(text, file=sys.stderr))
    agent = python.with_name("ceilometer-agent-notification")
    return Child(
        [str(python), "-W", "ignore", str(agent), "--config-file", str(settings)],
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
        log=folder / "ceilometer.log",
    )
