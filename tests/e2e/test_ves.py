"""What a VES collector hears of a cloud: faults and their ends, changes, and heartbeats."""

from pathlib import Path
from typing import Any

from tests.e2e.notifications_topic import NotificationsTopic
from tests.e2e.stack import Stack, eventually
from tests.e2e.test_hosts import CLOUD, VIM_ID, Reports
from tests.support.ves_collector import VesCollector
from vimfed.local.kafka import LocalKafka
from vimfed.nova.host_report import HostReport


async def test_a_collector_hears_of_faults_and_their_ends_and_that_the_cloud_is_listened_to(
    tmp_path: Path, kafka: LocalKafka
) -> None:
    async with VesCollector() as collector:
        output = f'[[dmaap.outputs]]\nname = "ves"\nurl = "{collector.url}"\n'
        async with Stack(tmp_path, kafka.bootstrap, [CLOUD], output) as stack:
            stack.start_worker()
            await stack.ready()
            stack.start("ves", "publisher", "--output", "ves", "--port", "0")
            topic, reports = NotificationsTopic(stack, VIM_ID), Reports(stack)

            def of(source: str) -> list[dict[str, Any]]:
                """Return the headers of what was said of a source, each once."""
                said = {}
                for event in collector.events:
                    header = event["commonEventHeader"]
                    if header["sourceName"] == source:
                        said[header["eventId"], header["sequence"]] = header
                return list(said.values())

            async def heard(source: str, *names: str) -> bool:
                return [each["eventName"] for each in of(source)] == list(names)

            def vm(event: str, second: int, state: str) -> None:
                about: dict[str, Any] = {"display_name": "web", "host": "h0"}
                topic.tell("vm-1", f"compute.instance.{event}", second, state=state, **about)

            fault = "Fault_MultiCloud_VMFailure"
            reboot = "Notification_MultiCloud_VMReboot"
            vm("reboot.end", 1, "active")
            vm("reboot.error", 2, "error")
            vm("reboot.end", 3, "active")
            wanted = [reboot, fault, f"{fault}Cleared"]
            await eventually(lambda: heard("web", *wanted), within=40)
            _first, raised, cleared = of("web")
            assert raised["eventId"] == cleared["eventId"]
            assert raised["startEpochMicrosec"] == cleared["startEpochMicrosec"]
            assert (raised["sequence"], cleared["sequence"]) == (0, 1)

            reports.tell(1, HostReport(host="h0", is_up=True))
            reports.tell(2, HostReport(host="h0", is_up=False))
            reports.beat(3)
            reports.tell(4, HostReport(host="h0", is_up=True))
            down, away = "Fault_MultiCloud_HostDown", "Fault_MultiCloud_VMUnavailable"
            wanted += [away, f"{away}Cleared"]
            await eventually(lambda: heard("web", *wanted), within=40)
            await eventually(lambda: heard("h0", down, f"{down}Cleared"), within=40)
            await eventually(lambda: heard(VIM_ID, "Heartbeat_MultiCloud_Cloud"), within=40)
