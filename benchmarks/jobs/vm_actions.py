"""A nova that only acts: ``python -m benchmarks.jobs.vm_actions URL SECONDS RATE``.

Each notification is an action of its own, so each becomes one event. The VM's metadata, which pass
through to DMaaP, say when Notifier.info was called: ``sent_ms``, in milliseconds since 1970.
"""

import sys
import time

import oslo_messaging
from oslo_config import cfg

from tests.support.vm_events import SPEC_EXAMPLE

INSTANCES = 100
EVENT_TYPES = tuple(
    f"compute.instance.{action}.{phase}"
    for action in ("pause", "unpause")
    for phase in ("start", "end")
)


def main() -> None:
    """Notify at a steady rate."""
    url, seconds, rate = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    oslo_messaging.set_transport_defaults("nova")
    conf = cfg.ConfigOpts()
    conf([], default_config_files=[], default_config_dirs=[])
    transport = oslo_messaging.get_notification_transport(conf, url=url)
    notifier = oslo_messaging.Notifier(
        transport, "compute.host1", driver="messagingv2", topics=["notifications"]
    )
    begun = time.monotonic()
    for number in range(seconds * rate):
        time.sleep(max(0.0, begun + number / rate - time.monotonic()))
        turn, instance = divmod(number, INSTANCES)
        payload = {
            **SPEC_EXAMPLE,
            "instance_id": f"instance-{instance}",
            "metadata": {"sent_ms": time.time() * 1000},
        }
        event_type = EVENT_TYPES[turn % len(EVENT_TYPES)]
        notifier.info({"request_id": f"req-{number}"}, event_type, payload)


if __name__ == "__main__":
    main()
