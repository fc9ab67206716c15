"""Which of two pieces of news about an instance is newer: rules 3 to 5 of transition.py."""

from streams.core.news import InstanceNews
from vimfed.model.records import Phase, Version
from vimfed.nova.states import DELETED

_RANKS: dict[Phase, int] = {"start": 0, "end": 2, "error": 2}
_UPDATE_RANK = 1
_DELETION_RANK = 3


def version_of(news: InstanceNews) -> Version:
    """Return how new ``news`` is."""
    if news.vm_state == DELETED:
        rank = _DELETION_RANK
    else:
        rank = _UPDATE_RANK if news.is_update else _RANKS[news.phase]
    sent = news.notification
    return Version(
        sent.path,
        sent.sequence,
        news.timestamp,
        rank,
        sent.session,
        sent.received_at,
        sent.redelivered,
    )


def is_newer(
    version: Version,
    known: Version | None,
    came_later: bool | None,
    *,
    is_fresh: bool,
    wins_tie: bool,
) -> bool:
    """Return whether ``version`` replaces ``known``; ``came_later`` is what ``arrived_later`` says.

    ``is_fresh`` says that the message is not the redelivery of one that has been forgotten,
    ``wins_tie`` what is to happen if nothing else decides.
    """
    if known is None:
        return True
    if (version.rank == _DELETION_RANK) != (known.rank == _DELETION_RANK):
        return version.rank == _DELETION_RANK
    if came_later is not None:
        return is_fresh and came_later
    mine, theirs = (version.timestamp, version.rank), (known.timestamp, known.rank)
    return mine > theirs or (mine == theirs and wins_tie)


def arrived_later(version: Version, known: Version | None) -> bool | None:
    """Return whether ``version`` left its queue after ``known``; None where arrival does not tell.

    Of two sessions on one queue that did not overlap, the later one was given what came later. What
    was delivered before, and came back, can be older than what came first.
    """
    if known is None or version.path != known.path or version.path == "":
        return None
    if version.is_redelivered:
        return None
    if version.session == known.session:
        return version.sequence > known.sequence
    if version.session > known.received_at:
        return True
    return False if known.session > version.received_at else None
