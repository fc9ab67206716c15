"""Queries for what known exporters publish, as ceilometer calls it, and in its units.

Both libvirt exporters tell domains by libvirt's name, ``instance-0000002a``, which two hosts can
have; a metric of their own has nova's id, too. It is joined to the others by the target that told
both. ``max by`` takes the labels away that change in an instance's life, such as its name: else two
series would fit, and Prometheus would answer nothing.

- https://github.com/inovex/prometheus-libvirt-exporter has ``libvirt_domain_openstack_info``
- https://github.com/Tinkoff/libvirt-exporter has ``libvirt_domain_info_meta``
- https://github.com/openstack-exporter/openstack-exporter tells of hosts what nova says of them

``libvirt_domain_info_memory_usage_bytes`` is not among them: it is what the balloon leaves to the
domain, most often all. What is used of it are ``available`` less ``usable``, as for ceilometer.
"""

from collections.abc import Mapping, Sequence

import msgspec

from vimfed.settings import PrometheusQuery, PrometheusSettings

_NANOSECONDS = 1e9
_MEBIBYTE, _GIBIBYTE = 2.0**-20, 2.0**-30
_MATCHERS = "{}"
"""Stands behind each metric, for the matchers of the settings."""


def queries_of(prometheus: PrometheusSettings) -> Sequence[PrometheusQuery]:
    """Return what a Prometheus is asked for: the built-in queries, and those of the settings.

    Of two for the same meter the settings' one counts, else the first.
    """
    matchers = f"{{{prometheus.matchers}}}"
    queries = {query.meter: query for query in prometheus.queries}
    for name in prometheus.built_in:
        for query in BUILT_IN[name]:
            matched = msgspec.structs.replace(
                query,
                query=query.query.replace(_MATCHERS, matchers),
                time_of=query.time_of.replace(_MATCHERS, matchers),
                join=query.join.replace(_MATCHERS, matchers),
            )
            queries.setdefault(query.meter, matched)
    return list(queries.values())


def _libvirt(info: str, label: str) -> list[PrometheusQuery]:
    """Return the queries of a libvirt exporter whose metric ``info`` has the id as ``label``."""
    of = "job, instance, domain"
    join = f"* on ({of}) group_left ({label}) max by ({of}, {label}) ({info}{_MATCHERS})"

    def query(meter: str, metric: str, unit: str, factor: float = 1.0) -> PrometheusQuery:
        return PrometheusQuery(
            meter=meter,
            query=f"libvirt_domain_{metric}{_MATCHERS}",
            join=join,
            type="cumulative" if metric.endswith("_total") else "gauge",
            factor=factor,
            unit=unit,
            instance_label=label,
            device_label="target_device" if "device" in meter or "network" in meter else "",
        )

    available = f"libvirt_domain_memory_stats_available_bytes{_MATCHERS}"
    usage = query("memory.usage", "memory_stats_usable_bytes", "MiB", _MEBIBYTE)
    return [
        query("cpu", "info_cpu_time_seconds_total", "ns", _NANOSECONDS),
        query("vcpus", "info_virtual_cpus", "vcpu"),
        query("memory", "info_maximum_memory_bytes", "MiB", _MEBIBYTE),
        msgspec.structs.replace(usage, query=f"{available} - {usage.query}", time_of=available),
        query("memory.resident", "memory_stats_rss_bytes", "MiB", _MEBIBYTE),
        *(
            each
            for way in ("read", "write")
            for each in (
                query(f"disk.device.{way}.bytes", f"block_stats_{way}_bytes_total", "B"),
                query(
                    f"disk.device.{way}.requests", f"block_stats_{way}_requests_total", "request"
                ),
                query(
                    f"disk.device.{way}.latency",
                    f"block_stats_{way}_time_seconds_total",
                    "ns",
                    _NANOSECONDS,
                ),
            )
        ),
        query("disk.device.capacity", "block_stats_capacity_bytes", "B"),
        *(
            query(f"network.{way}.{meter}", f"interface_stats_{told}_{metric}_total", unit)
            for way, told in (("incoming", "receive"), ("outgoing", "transmit"))
            for meter, metric, unit in (
                ("bytes", "bytes", "B"),
                ("packets", "packets", "packet"),
                ("packets.drop", "drops", "packet"),
                ("packets.error", "errors", "packet"),
            )
        ),
    ]


def _openstack_nova() -> list[PrometheusQuery]:
    """Return the queries of the openstack-exporter for hosts."""
    return [
        PrometheusQuery(
            meter=f"compute.node.{meter}",
            query=f"openstack_nova_{metric}{_MATCHERS}",
            factor=factor,
            unit=unit,
            host_label="hostname",
        )
        for meter, metric, unit, factor in (
            ("vcpus", "vcpus_available", "vcpu", 1.0),
            ("vcpus.used", "vcpus_used", "vcpu", 1.0),
            ("memory", "memory_available_bytes", "MiB", _MEBIBYTE),
            ("memory.used", "memory_used_bytes", "MiB", _MEBIBYTE),
            ("disk", "local_storage_available_bytes", "GiB", _GIBIBYTE),
            ("disk.used", "local_storage_used_bytes", "GiB", _GIBIBYTE),
            ("instances", "running_vms", "instance", 1.0),
        )
    ]


BUILT_IN: Mapping[str, Sequence[PrometheusQuery]] = {
    "libvirt_domain_openstack_info": _libvirt("libvirt_domain_openstack_info", "instance_id"),
    "libvirt_domain_info_meta": _libvirt("libvirt_domain_info_meta", "uuid"),
    "openstack_nova": _openstack_nova(),
}
"""By the names of ``built_in``."""
