"""Records what nova measures of a host: ``python -m tests.real_nova.record_metrics``.

Writes tests/data/nova-34-metrics.jsonl anew, in some seconds.
"""

import json
import shutil
import subprocess
from pathlib import Path

from tests.real_nova.environment import nova_python
from tests.real_nova.record_faults import FOLDER, captured, declare
from tests.support.brokers import RabbitMQ
from tests.support.paths import DATA

CONFIG = """
[DEFAULT]
transport_url = {url}
my_ip = 10.0.0.1
compute_driver = fake.FakeDriver
compute_monitors = cpu.virt_driver
[notifications]
notification_format = both
[oslo_messaging_notifications]
driver = messagingv2
"""


def record() -> None:
    """Let nova measure, and write what it said."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    script = Path(__file__).with_name("measuring_nova.py")
    with RabbitMQ(FOLDER / "rabbitmq") as broker:
        declare(broker)
        config = FOLDER / "nova.conf"
        config.write_text(CONFIG.format(url=broker.url))
        subprocess.run([nova_python(print), script, config], check=True, timeout=300)
        lines = [json.dumps(line) + "\n" for line in captured(broker)]
    (DATA / "nova-34-metrics.jsonl").write_text("".join(lines))
    print(f"{len(lines)} messages")


if __name__ == "__main__":
    record()
