"""Those who ask a Prometheus, as the bridge makes them; they are imported when there is one."""

from bridge.prometheus.progress import (
    PrometheusCollector,
    PrometheusCounters,
    PrometheusProgress,
)
from bridge.source import Make, Source, Surroundings
from vimfed.settings import VimSettings


def prometheus_pollers(surroundings: Surroundings) -> Make:
    """Return what makes the one who asks a cloud's Prometheus; all share their metrics."""
    settings = surroundings.settings
    interval = settings.metrics.interval
    counters = PrometheusCounters(surroundings.registry)
    surroundings.registry.register(PrometheusCollector(lambda: surroundings.of(PrometheusProgress)))

    def make(vim: VimSettings, _part: str) -> Source:
        from bridge.prometheus.poller import PrometheusPoller

        return PrometheusPoller(
            vim,
            settings.kafka,
            interval,
            surroundings.write_from_thread,
            PrometheusProgress(vim.vim_id, interval, counters),
        )

    return make
