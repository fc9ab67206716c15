"""The kinds that settings name: one that nobody tells would be silent for ever."""

from streams.core.kinds import EVENT_KINDS, KINDS
from vimfed.settings import Settings, SettingsError


def refuse_unknown_kinds(settings: Settings) -> None:
    """Raise SettingsError where settings of a worker or publisher name a kind that is none."""
    for key, kinds, known in (
        ("filter.kinds", settings.filter.kinds, EVENT_KINDS),
        ("worker.action_failures", settings.worker.action_failures, KINDS.keys()),
        ("worker.action_ends", settings.worker.action_ends, KINDS.keys()),
    ):
        for unknown in sorted(set(kinds) - known):
            raise SettingsError(f"{key}: {unknown!r} is none of {', '.join(sorted(known))}")
