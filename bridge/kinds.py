"""The kinds of sources: which settings of a cloud make which, and how each is made.

A further kind is a package beside this module, a line here, and its keys in
vimfed/settings/sections.py.
"""

from collections.abc import Mapping, Sequence

from bridge.hosts.source import host_pollers
from bridge.kafka.listener import kafka_listeners, kafka_sample_listeners
from bridge.poller.source import pollers
from bridge.prometheus.source import prometheus_pollers
from bridge.rabbit.listener import rabbit_listeners, rabbit_sample_listeners
from bridge.source import Make, SourceKey, SourceKind, Surroundings
from vimfed.settings import VimSettings

KINDS: Mapping[str, SourceKind] = {
    "rabbit": SourceKind(lambda vim: list(vim.rabbit.buses), rabbit_listeners),
    "kafka": SourceKind(lambda vim: [""] if vim.kafka.is_used else [], kafka_listeners),
    "samples-rabbit": SourceKind(
        lambda vim: list(vim.samples.rabbit.buses), rabbit_sample_listeners
    ),
    "samples-kafka": SourceKind(
        lambda vim: [""] if vim.samples.kafka.is_used else [], kafka_sample_listeners
    ),
    "samples-prometheus": SourceKind(
        lambda vim: [""] if vim.samples.prometheus.is_used else [], prometheus_pollers
    ),
    "poller": SourceKind(lambda vim: [""] if vim.poll.is_used else [], pollers),
    "hosts": SourceKind(lambda vim: [""] if vim.poll.looks_at_hosts else [], host_pollers),
}
"""By the name that logs and ``SourceKey`` give them."""


def wanted(vims: Sequence[VimSettings]) -> dict[SourceKey, VimSettings]:
    """Return the sources that the settings ask for, each with its cloud."""
    return {
        SourceKey(vim.vim_id, name, part): vim
        for vim in vims
        for name, kind in KINDS.items()
        for part in kind.parts(vim)
    }


def makers(surroundings: Surroundings) -> dict[str, Make]:
    """Return what makes the sources of each kind; once per process."""
    return {name: kind.prepare(surroundings) for name, kind in KINDS.items()}
