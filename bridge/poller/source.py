"""Pollers as the bridge makes them; the poller itself is imported when there is one."""

from bridge.poller.known_instances import KnownInstances
from bridge.poller.progress import PollerCollector, PollerCounters, PollerProgress
from bridge.source import Make, Source, Surroundings
from vimfed.settings import VimSettings


def pollers(surroundings: Surroundings) -> Make:
    """Return what makes the poller of a cloud; all share their metrics and the known instances."""
    settings = surroundings.settings
    counters = PollerCounters(surroundings.registry)
    surroundings.registry.register(PollerCollector(lambda: surroundings.of(PollerProgress)))
    known = KnownInstances(
        settings.kafka,
        lambda: [each.vim_id for each in surroundings.of(PollerProgress)],
        surroundings.topics_ready.is_set,
    )

    def make(vim: VimSettings, _part: str) -> Source:
        from bridge.poller.poller import Poller  # openstacksdk: half a second, and 20 MB

        return Poller(
            vim,
            settings.kafka,
            settings.worker.deleted_retention,
            surroundings.write_from_thread,
            PollerProgress(vim.vim_id, vim.seconds_between_polls, counters),
            known=known,
        )

    return make
