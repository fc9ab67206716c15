"""A nova-compute as a process of its own, for server.py: ``compute.py FOLDER HOST RPC_URL``.

It is nova's own command, which has no database: it reaches the conductor by RPC over RPC_URL, as in
every cloud, and placement at the address in FOLDER/placement. Its hypervisor is nova's fake driver,
which dies with it. What nova's own tests put in the place of its neighbours is here, too: images,
networks and volumes.

Run by the interpreter of nova's own environment (environment.py) with
``OS_NOVA_DISABLE_EVENTLET_PATCHING``: its threads are real ones, as this release has them.
"""

import sys
from pathlib import Path
from typing import Any

from nova.cmd import compute  # before all else of nova's: it chooses threads, not eventlet

# isort: split
import fixtures
from nova import conf
from nova.servicegroup import api as servicegroup
from nova.tests import fixtures as nova_fixtures

CONF = conf.CONF
FOLDER = Path(sys.argv[1])
HOST = sys.argv[2]
RPC_URL = sys.argv[3]


class Neighbours(fixtures.Fixture):  # type: ignore[misc]
    """The services beside nova, as nova's own tests have them."""

    def _setUp(self) -> None:  # noqa: N802 - the name that the library calls
        self.useFixture(nova_fixtures.GlanceFixture(self))
        self.useFixture(nova_fixtures.NeutronFixture(self))
        self.useFixture(nova_fixtures.CinderFixture(self))

    def stub_out(self, name: str, replacement: Any) -> None:
        """Part of the interface of a test of nova's: put something in the place of a name."""
        self.useFixture(fixtures.MonkeyPatch(name, replacement))

    def flags(self, group: str | None = None, **options: Any) -> None:
        """Part of the interface of a test of nova's: set options."""
        for name, value in options.items():
            CONF.set_override(name, value, group)


def settings() -> str:
    """Return the text of this compute's nova.conf."""
    return f"""
[DEFAULT]
host = {HOST}
transport_url = {RPC_URL}
state_path = {FOLDER / HOST}
compute_driver = fake.FakeDriverWithoutFakeNodes
report_interval = 1
use_stderr = true
[oslo_concurrency]
lock_path = {FOLDER / HOST}
[oslo_messaging_notifications]
driver = messagingv2
[notifications]
notification_format = both
notify_on_state_change = vm_and_task_state
[placement]
auth_type = none
endpoint_override = {(FOLDER / "placement").read_text()}
"""


def main() -> None:
    """Run until killed."""
    (FOLDER / HOST).mkdir(exist_ok=True)
    file = FOLDER / HOST / "nova.conf"
    file.write_text(settings())
    servicegroup.INITIAL_REPORTING_DELAY = 0  # seconds before the first heartbeat
    sys.argv = ["nova-compute", "--config-file", str(file)]
    with Neighbours():
        compute.main()


if __name__ == "__main__":
    main()
