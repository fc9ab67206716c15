"""Real ceilometer: its compute pollsters, and what publishes what they found.

Run by the interpreter of ceilometer's own environment (environment.py): ``agent.py FOLDER
TRANSPORT_URL EXCHANGE SECRET PUBLISHER...``. It polls two instances once with every compute
pollster, whose hypervisor is a stand-in, sends the samples through each publisher (a URL of
pipeline.yaml) and as a polling agent sends them to others (``telemetry.polling``), and ends.
FOLDER/sent.json then holds ``{"pollsters": names, "sent": samples}``, the samples with the
signatures that ceilometer gave them.
"""

import json
import sys
import types
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ceilometer import messaging, service
from ceilometer.compute.pollsters import GenericComputePollster
from ceilometer.compute.virt.inspector import (
    DiskInfo,
    DiskStats,
    InstanceStats,
    InterfaceRateStats,
    InterfaceStats,
)
from ceilometer.publisher import utils
from ceilometer.publisher.messaging import SampleNotifierPublisher
from oslo_utils import timeutils

SETTINGS = """\
[DEFAULT]
host = compute1
transport_url = {transport_url}
control_exchange = {exchange}
[oslo_messaging_notifications]
driver = messagingv2
[publisher]
telemetry_secret = {secret}
"""
PORT = "9f1cf7a9-2f2d-4b0c-8d5b-3c0a3c9c1d11"


class Hypervisor:
    """What ceilometer asks libvirt for, with volumes that follow from the instance."""

    def inspect_instance(self, instance: Any, _duration: Any) -> Any:
        """Return cumulative counters and gauges, one of which is a fraction."""
        number = instance.number
        return InstanceStats(
            power_state=1,
            cpu_number=2,
            cpu_time=8370120000 + number,
            memory_actual=512,
            memory_available=490.5,
            memory_usage=311.25 + number,
            memory_resident=300,
            memory_swap_in=0,
            memory_swap_out=7,
            cpu_cycles=2**63,
            instructions=1e22,
            cache_references=3,
            cache_misses=4,
        )

    def inspect_vnics(self, instance: Any, _duration: Any) -> Any:
        """Yield a port of neutron's, and one without an id of its own."""
        for name, port in (("tap9f1cf7a9-2f", PORT), ("vnet1", None)):
            counters = [instance.number + each for each in range(10)]
            yield InterfaceStats(name, "fa:16:3e:00:00:01", port, {}, *counters)

    def inspect_vnic_rates(self, instance: Any, _duration: Any) -> Any:
        """Yield the rates of a port."""
        yield InterfaceRateStats("vnet1", "fa:16:3e:00:00:01", None, {}, 0.1, instance.number)

    def inspect_disks(self, instance: Any, _duration: Any) -> Any:
        """Yield two disks."""
        for device in ("vda", "vdb"):
            yield DiskStats(device, *(instance.number + each for each in range(7)))

    def inspect_disk_info(self, instance: Any, _duration: Any) -> Any:
        """Yield how large a disk is."""
        yield DiskInfo("vda", 1073741824, 196616 + instance.number, 197120)


def instance(number: int) -> Any:
    """Return an instance as novaclient does."""
    made = types.SimpleNamespace(
        number=number,
        id=f"{number:08x}-7fd5-4c31-bbe2-6d1b3a9c1d20",
        name=f"größe {number}",
        user_id="u",
        tenant_id="p",
        hostId="8a9f6e0b",
        status="ACTIVE",
        flavor={"id": "1", "name": "m1", "vcpus": 2, "ram": 512, "disk": 3, "ephemeral": 1},
        image={"id": "i", "links": [{"rel": "bookmark", "href": "http://glance/i"}]},
        metadata={"metering.stack": "web", "other": "x"},
        os_type="linux",
    )
    vars(made).update(
        {
            "OS-EXT-SRV-ATTR:instance_name": f"instance-{number:08x}",
            "OS-EXT-SRV-ATTR:host": "compute1",
            "OS-EXT-STS:vm_state": "active",
            "OS-EXT-STS:task_state": None,
            "OS-EXT-AZ:availability_zone": "nova",
        }
    )
    return made


def main(folder: Path, transport_url: str, exchange: str, secret: str, *publishers: str) -> None:
    """Poll once, and send what was found each way."""
    settings = folder / "ceilometer.conf"
    settings.write_text(
        SETTINGS.format(transport_url=transport_url, exchange=exchange, secret=secret)
    )
    conf = service.prepare_service(argv=["ceilometer"], config_files=[str(settings)])
    GenericComputePollster._inspector = Hypervisor()
    pollsters = entry_points(group="ceilometer.poll.compute")
    samples, cache = [], {}  # type: ignore[var-annotated]
    for pollster in pollsters:
        poller = pollster.load()(conf)
        poller.setup_environment() if hasattr(poller, "setup_environment") else None
        polled_at = timeutils.utcnow().isoformat()
        for sample in poller.get_samples(None, cache, [instance(1), instance(2)]):
            sample.set_timestamp(polled_at)
            samples.append(sample)
    for publisher in publishers:
        SampleNotifierPublisher(conf, urlsplit(publisher)).publish_samples(samples)
    sent = [utils.meter_message_from_counter(sample, secret) for sample in samples]
    agent = messaging.get_notifier(messaging.get_transport(conf), "ceilometer.polling")
    agent.sample({}, "telemetry.polling", {"samples": sent})
    for transport in messaging.TRANSPORTS.values():
        transport.cleanup()
    names = [pollster.name for pollster in pollsters]
    (folder / "sent.json").write_text(json.dumps({"pollsters": names, "sent": sent}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
