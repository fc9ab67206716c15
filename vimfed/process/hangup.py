"""SIGHUP: the clouds of the settings are read again; everything else needs a restart."""

import logging
import signal
from collections.abc import Callable, Sequence
from socket import gethostname

import msgspec

from vimfed.process.audit import Trail, Who
from vimfed.settings import SamplesSettings, Settings, SettingsError, VimSettings

LOG = logging.getLogger(__name__)

HANGUP = Who("SIGHUP", address=gethostname())
"""A signal tells nobody's name."""

Reload = Callable[[], Settings]
"""Reads the settings as at the start. Raises SettingsError."""


class Hangup:
    """Notes that SIGHUP came before anybody heeds it: its default is to end the process."""

    def __init__(self) -> None:
        self.came = False

    def note(self) -> None:
        """Note from now on; in the main thread."""
        signal.signal(signal.SIGHUP, self._note)

    def _note(self, *_signal: object) -> None:
        self.came = True


def reread(reload: Reload, now: Settings, sections: Sequence[str], trail: Trail) -> Settings:
    """Return ``now`` with the clouds that the settings name by now; what was done is told.

    A change in one of ``sections``, those that the process reads, is not taken, and told; nor are
    the first samples of all, whose topics are made at a start. Settings that cannot be used change
    nothing.
    """
    try:
        settings = reload()
    except SettingsError as error:
        LOG.warning("SIGHUP: the settings stay as they were: %s", error)
        trail.record("settings.reread", "failed", HANGUP, reason=str(error))
        return now
    changes = _changes(now.vims, settings.vims)
    trail.record("settings.reread", "done", HANGUP, **changes)
    told = " ".join(f"{how} {vim_ids}" for how, vim_ids in changes.items() if vim_ids)
    LOG.info("SIGHUP: clouds: %s", told or "no changes")
    changed = [name for name in sections if getattr(settings, name) != getattr(now, name)]
    if changed:
        names = " and ".join(f"[{name}]" for name in changed)
        LOG.warning("SIGHUP: changes in %s need a restart", names)
    vims = settings.vims
    if settings.takes_samples and not now.takes_samples:
        LOG.warning("SIGHUP: the first cloud with [vims.samples] needs a restart")
        vims = [msgspec.structs.replace(vim, samples=SamplesSettings()) for vim in vims]
    return msgspec.structs.replace(now, vims=vims)


def _changes(before: Sequence[VimSettings], after: Sequence[VimSettings]) -> dict[str, str]:
    """Return the vim_ids of the clouds that were added, removed and changed."""
    old, new = ({vim.vim_id: vim for vim in vims} for vims in (before, after))
    changes = {
        "added": new.keys() - old.keys(),
        "removed": old.keys() - new.keys(),
        "changed": {each for each in old.keys() & new.keys() if old[each] != new[each]},
    }
    return {how: " ".join(sorted(vim_ids)) for how, vim_ids in changes.items()}
