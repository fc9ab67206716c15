"""Those who look at hosts, as the bridge makes them; they themselves are imported when needed."""

import time

from bridge.hosts.known_hosts import HOSTS
from bridge.hosts.progress import HostsCollector, HostsCounters, HostsProgress
from bridge.poller.known_instances import KnownInstances
from bridge.progress import Progress
from bridge.source import Make, Source, Surroundings
from vimfed.settings import VimSettings

LOOKS = 3
"""So often a host is told of after a notification; one of the looks may have been on its way."""


def host_pollers(surroundings: Surroundings) -> Make:
    """Return what makes the one who looks at a cloud's hosts; all share their metrics."""
    kafka = surroundings.settings.kafka
    counters = HostsCounters(surroundings.registry)
    surroundings.registry.register(HostsCollector(lambda: surroundings.of(HostsProgress)))
    known = KnownInstances(
        kafka,
        lambda: [each.vim_id for each in surroundings.of(HostsProgress)],
        surroundings.topics_ready.is_set,
        HOSTS,
    )

    def make(vim: VimSettings, _part: str) -> Source:
        from bridge.hosts.poller import HostPoller  # openstacksdk: half a second, and 20 MB

        return HostPoller(
            vim,
            kafka,
            surroundings.write_from_thread,
            HostsProgress(vim.vim_id, vim.poll.hosts_interval, counters),
            known=known,
            told=lambda: _told_lately(surroundings, vim),
        )

    return make


def _told_lately(surroundings: Surroundings, vim: VimSettings) -> frozenset[str]:
    """Return the hosts of which the cloud has notified something within some looks."""
    since = time.monotonic() - LOOKS * vim.poll.hosts_interval
    return frozenset(
        host
        for progress in surroundings.of(Progress)
        if progress.vim_id == vim.vim_id
        for host, at in list(progress.hosts_at.items())
        if at >= since
    )
