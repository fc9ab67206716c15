"""What a client of the HTTP API sees of a cloud that is polled."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.bridge_process import BridgeProcess
from tests.e2e.stack import Stack, eventually
from tests.stub_nova import StubNova

pytestmark = pytest.mark.asyncio(loop_scope="package")

STATUS = "/api/multicloud/v1/Owner/polled/check_vim_status"


async def test_check_vim_status_tells_of_a_polled_cloud_as_of_any_other(
    served: Stack, tmp_path: Path
) -> None:
    with StubNova() as nova:
        long_stopped = nova.add("stopped", age=timedelta(days=7))
        server = nova.add("active")
        cloud = {"cloud_owner": "Owner", "cloud_region_id": "polled", "poll_interval": 0.5}
        bridge = BridgeProcess(
            tmp_path,
            kafka={"bootstrap": served.bootstrap, "topic_prefix": served.names.prefix},
            vims=[{**cloud, **nova.login()}],
        )
        bridge.start()
        try:

            async def stopped() -> list[str]:
                status, answer = await served.post(STATUS, {"states": ["POWER_OFF"]}, "one")
                found = answer["instances"] if status == 200 else []
                return [instance["instance_id"] for instance in found]

            async def are_stopped(*servers: str) -> bool:
                return await stopped() == [*servers]

            await eventually(lambda: are_stopped(long_stopped), within=60)
            nova.act(server, "stop", "compute_stop_instance", "stopped")
            await eventually(lambda: are_stopped(server, long_stopped), within=30)
            _status, answer = await served.post(STATUS, {"states": ["POWER_OFF"]}, "two")
            newest = answer["instances"][0]
            assert (newest["kind"], newest["phase"]) == ("POWER_OFF", "end")
            assert newest["display_name"] == nova.servers[server]["name"]
            assert newest["launched_at"][:16] == nova.servers[server]["updated"][:16]
        finally:
            bridge.child.stop()
