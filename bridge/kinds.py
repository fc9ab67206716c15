"""The kinds of sources: which settings of a cloud make which, and how each is made.

A further kind is a package beside this module, a line here, and its keys in
vimfed/settings/sections.py.
"""

from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from bridge.kafka.listener import kafka_listeners
from bridge.poller.source import pollers
from bridge.rabbit.listener import rabbit_listeners
from bridge.source import Make, SourceKey, SourceKind, Surroundings
from vimfed.settings import VimSettings


def _notifies_over(scheme: str) -> Callable[[VimSettings], Sequence[str]]:
    def parts(vim: VimSettings) -> Sequence[str]:
        return [""] if urlsplit(vim.transport_url.reveal()).scheme == scheme else []

    return parts


def _is_polled(vim: VimSettings) -> Sequence[str]:
    return [""] if vim.auth_url else []


KINDS: Mapping[str, SourceKind] = {
    "rabbit": SourceKind(_notifies_over("rabbit"), rabbit_listeners),
    "kafka": SourceKind(_notifies_over("kafka"), kafka_listeners),
    "poller": SourceKind(_is_polled, pollers),
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
