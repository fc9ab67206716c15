"""Lets nova's own resource tracker measure a host, twice, and notify of it.

Run in nova's environment by record_metrics.py; its argument is a nova.conf.
"""

import sys
from typing import Any

from nova import config, context, objects, rpc
from nova.compute.resource_tracker import ResourceTracker
from nova.virt import fake

SECOND = 10**9
"""In the nanoseconds of CPU times."""
STEPS = {"user": 20 * SECOND, "kernel": 5 * SECOND, "iowait": SECOND, "idle": 34 * SECOND}
"""What passes between two looks: of a minute of one CPU."""


class BusyDriver(fake.FakeDriver):  # type: ignore[misc]
    """A hypervisor whose CPU times pass; those of the fake driver stand still."""

    def __init__(self) -> None:
        super().__init__(None)
        self._looks = 0

    def get_host_cpu_stats(self) -> dict[str, Any]:
        """Return the times since the host's start in ns, and the frequency in MHz."""
        stats = super().get_host_cpu_stats()
        passed = {name: stats[name] + step * self._looks for name, step in STEPS.items()}
        self._looks += 1
        return {**stats, **passed}


def main(config_file: str) -> None:
    """Measure and notify."""
    config.parse_args(["nova-compute", "--config-file", config_file])
    objects.register_all()
    tracker = ResourceTracker("host1", BusyDriver(), reportclient=object())
    for _look in range(2):
        assert tracker._get_host_metrics(context.get_admin_context(), "node1")
    rpc.cleanup()


if __name__ == "__main__":
    main(sys.argv[1])
