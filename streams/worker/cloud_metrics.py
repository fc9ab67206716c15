"""How the clouds are, as metrics of a worker: VMs by state, hosts, outages, active alarms.

Each worker tells what counts in its partitions; a cloud's figures are the sums over all workers.
"""

from collections.abc import Iterable, Mapping

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streams.worker.alarm_index import CLASSES
from streams.worker.alarm_index import OTHER as OTHER_CLASS
from streams.worker.row_indexes import RowIndexes
from vimfed.nova.states import OTHER, VM_STATES

UNTOLD = "unknown"
"""The state of an instance of which nobody has told one."""
STATES = (*sorted(VM_STATES), OTHER, UNTOLD)
HOST_STATES = ("up", "down", "forced_down", "unknown")


class CloudMetrics(Collector):
    """Gauges that are read when somebody asks."""

    def __init__(self, indexes: RowIndexes) -> None:
        self._indexes = indexes

    def collect(self) -> Iterable[Metric]:
        """Return the gauges."""
        indexes = self._indexes
        vms = {
            vim_id: {state or UNTOLD: number for state, number in counts.items()}
            for vim_id, counts in indexes.instances.counts().items()
        }
        yield _counts(
            "vimfed_vms", "instances of a cloud by nova's vm_state", ("state", STATES), vms
        )
        states = ("state", HOST_STATES)
        yield _counts("vimfed_hosts", "hosts of a cloud by state", states, indexes.hosts.counts())
        unavailable = GaugeMetricFamily(
            "vimfed_unavailable_instances",
            "instances of a cloud whose host is down, while no end of that was told",
            labels=["vim_id"],
        )
        for vim_id, number in sorted(indexes.instances.unavailable().items()):
            unavailable.add_metric([vim_id], number)
        yield unavailable
        yield _counts(
            "vimfed_active_alarms",
            "active alarms of a cloud by class of condition",
            ("condition", (*CLASSES, OTHER_CLASS)),
            indexes.alarms.counts(),
        )


def _counts(
    name: str,
    text: str,
    label: tuple[str, tuple[str, ...]],
    counts: Mapping[str, Mapping[str, int]],
) -> Metric:
    """Return a gauge by cloud and by the values that its second label has, the zeros too."""
    key, values = label
    family = GaugeMetricFamily(name, text, labels=["vim_id", key])
    for vim_id, by_value in sorted(counts.items()):
        for value in values:
            family.add_metric([vim_id, value], by_value.get(value, 0))
    return family
