"""What a real Prometheus scrapes is measured: through the bridge and a worker, with its rates."""

import asyncio
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stack import Stack, eventually
from tests.support.prometheus import Exporter, Prometheus
from vimfed.local.kafka import LocalKafka

VM = "bc6a6306-a184-45fa-b269-41a18e01ba12"
PATH = "/api/multicloud/v1/Owner/scraped"
GIBIBYTE = 2**30
COMMAND = [sys.executable, "-m", "vimfed", "--config"]
BROKEN = {"meter": "broken", "query": "up{", "host_label": "instance"}


def libvirt() -> str:
    """Return what prometheus-libvirt-exporter tells of one domain that works half of the time."""
    now = time.time()
    of = 'domain="instance-01"'
    disk, port = (f'{of},target_device="{device}"' for device in ("vda", "tap1"))
    info = f'{of},instance_id="{VM}",instance_name="vm 1",project_id="p"'
    return f"""\
libvirt_domain_openstack_info{{{info}}} 1
libvirt_domain_info_cpu_time_seconds_total{{{of}}} {now / 2}
libvirt_domain_info_virtual_cpus{{{of}}} 2
libvirt_domain_info_maximum_memory_bytes{{{of}}} {4 * GIBIBYTE}
libvirt_domain_info_memory_usage_bytes{{{of}}} {4 * GIBIBYTE}
libvirt_domain_memory_stats_available_bytes{{{of}}} {4 * GIBIBYTE}
libvirt_domain_memory_stats_usable_bytes{{{of}}} {3 * GIBIBYTE}
libvirt_domain_block_stats_read_bytes_total{{{disk}}} {now * 1000}
libvirt_domain_interface_stats_transmit_bytes_total{{{port}}} {now * 2000}
libvirt_domain_info_virtual_cpus{{domain="of nobody"}} 1
"""


async def test_what_prometheus_scrapes_is_measured_with_its_rates(
    tmp_path: Path, kafka: LocalKafka
) -> None:
    with (
        Exporter(libvirt) as exporter,
        Prometheus(tmp_path / "prometheus", [exporter.address]) as prometheus,
    ):
        asked = {
            "url": prometheus.url,
            "delay": 1,
            "built_in": ["libvirt_domain_openstack_info"],
            "queries": [BROKEN],
        }
        cloud = {
            "cloud_owner": "Owner",
            "cloud_region_id": "scraped",
            "samples": {"prometheus": asked},
        }
        sections = "[metrics]\ninterval = 10\ngrace = 5"
        async with Stack(tmp_path, kafka.bootstrap, [cloud], sections) as stack:
            stack.start("bridge")
            stack.start_worker()
            await stack.ready()

            async def with_rates() -> Any:
                status, answer = await stack.get(f"{PATH}/instances/{VM}/measurements")
                if status != 200 or not answer["measurements"]:
                    return None
                told = answer["measurements"][-1]
                values = {(each["meter"], each["device"] or ""): each for each in told["values"]}
                return values if values.get(("cpu", ""), {}).get("rate") else None

            values = await eventually(with_rates, within=90)
            _, troubles = await stack.get("/readyz", "bridge")
            text = await stack.text("/metrics", "bridge")
            check = await asyncio.to_thread(
                subprocess.run,
                [*COMMAND, str(tmp_path / "vimfed.toml"), "check", "--process", "bridge"],
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
        counters = {
            ("cpu", ""): ("libvirt_domain_info_cpu_time_seconds_total", 1e9),
            ("disk.device.read.bytes", "vda"): ("libvirt_domain_block_stats_read_bytes_total", 1),
            ("network.outgoing.bytes", "tap1"): (
                "libvirt_domain_interface_stats_transmit_bytes_total",
                1,
            ),
        }
        for about, (metric, factor) in counters.items():
            value = values[about]
            scrapes = scraped(prometheus, metric)
            at = datetime.fromisoformat(value["at"]).timestamp()
            assert value["volume"] == pytest.approx(scrapes[at] * factor)
            # Since the last scrape of the interval before, of a slow machine of an earlier one.
            lasts = {each // 10: each for each in sorted(scrapes) if each // 10 < at // 10}
            rates = [
                (scrapes[at] - scrapes[last]) * factor / (at - last) for last in lasts.values()
            ]
            assert value["rate"] in [pytest.approx(rate, rel=1e-6) for rate in rates]
        assert values["cpu_util", ""]["volume"] == pytest.approx(values["cpu", ""]["rate"] / 2e7)
        assert values["memory", ""]["volume"] == 4096
        assert values["memory.usage", ""]["volume"] == 1024
        assert values["memory_util", ""]["volume"] == 25
    name = "Prometheus of Owner_scraped, query broken"
    assert "parse error" in troubles["degraded"][name]
    assert 'vimfed_prometheus_failing_queries{vim_id="Owner_scraped"} 1.0' in text
    assert 'vimfed_prometheus_failing{vim_id="Owner_scraped"} 0.0' in text
    log = (tmp_path / "bridge.log").read_text()
    assert log.count("does not answer the query of meter broken, the others go on; mend it") == 1
    assert check.returncode == 1
    assert "query broken: mend it: bad_data: invalid parameter" in check.stdout
    assert "warning: query memory.resident: no series" in check.stdout
    assert "query vcpus: 1 of 2 series" not in check.stdout  # of nobody: not joined


def scraped(prometheus: Prometheus, metric: str) -> dict[float, float]:
    """Return what Prometheus has of the metric of the VM, by time."""
    (series,) = prometheus.query(f'{metric}{{domain="instance-01"}}[5m]')
    return {float(at): float(value) for at, value in series["values"]}
