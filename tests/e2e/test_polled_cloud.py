"""What a client of the HTTP API sees of a cloud that is polled."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.e2e.stack import Stack, eventually
from tests.support.bridge_process import BridgeProcess
from tests.support.stub_nova import StubNova

pytestmark = pytest.mark.asyncio(loop_scope="package")

CLOUD = {"cloud_owner": "Owner", "cloud_region_id": "polled"}
STATUS = "/api/multicloud/v1/Owner/polled/check_vim_status"


def poll_of(nova: StubNova) -> dict[str, object]:
    return {"interval": 0.5, **nova.login()}


def bridge_of(served: Stack, folder: Path, cloud: dict[str, object]) -> BridgeProcess:
    kafka = {"bootstrap": served.bootstrap, "topic_prefix": served.names.prefix}
    return BridgeProcess(folder, kafka=kafka, vims=[cloud])


async def test_check_vim_status_tells_of_a_polled_cloud_as_of_any_other(
    served: Stack, tmp_path: Path
) -> None:
    with StubNova() as nova:
        long_stopped = nova.add("stopped", age=timedelta(days=7))
        server = nova.add("active")
        bridge = bridge_of(served, tmp_path, {**CLOUD, "poll": poll_of(nova)})
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


@pytest.mark.parametrize("how", ["polled", "reconciled"])
async def test_what_went_while_the_bridge_was_away_is_deleted_and_nothing_else_is(
    served: Stack, tmp_path: Path, how: str
) -> None:
    region = f"purged-{how}"
    route = f"/api/multicloud/v1/Owner/{region}"
    with StubNova() as nova:
        there, soft_deleted, deleted, purged = (nova.add("stopped") for _ in range(4))
        cloud: dict[str, object] = {**CLOUD, "cloud_region_id": region, "poll": poll_of(nova)}
        if how == "reconciled":
            cloud["kafka"] = {"bootstrap": "127.0.0.1:9"}  # nothing is heard of it
        bridge = bridge_of(served, tmp_path, cloud)

        async def states() -> dict[str, str]:
            told = [await served.get(f"{route}/instances/{each}", "one") for each in before]
            return {
                answer["instance_id"]: answer["vm_state"]
                for status, answer in told
                if status == 200
            }

        async def are(wanted: dict[str, str]) -> bool:
            return await states() == wanted

        before = dict.fromkeys((there, soft_deleted, deleted, purged), "stopped")
        bridge.start()
        try:
            await eventually(lambda: are(before), within=60)
            bridge.child.stop()
            nova.change(soft_deleted, "soft-delete", age=timedelta(days=3))
            nova.change(deleted, "deleted", age=timedelta(days=3))
            nova.purge(purged)
            bridge.start()
            after = {soft_deleted: "soft-delete", deleted: "deleted", purged: "deleted"}
            await eventually(lambda: are({**before, **after}), within=60)
        finally:
            bridge.child.stop()
        _status, answer = await served.get(f"{route}/instances/{purged}/events", "one")
        told = [(each["kind"], each["phase"], each["inferred"]) for each in answer["events"]]
        assert told == [("DELETE", "end", True)]
