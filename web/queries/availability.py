"""Whether an instance is available, as far as is known of its host. Decides, and does nothing."""

from typing import Literal

from streams.worker.host_index import CloudNews

UNAVAILABLE = "UNAVAILABLE"
"""The name by which check_vim_status knows instances that are unavailable since their host is down,
as long as no end of it has been told."""

Availability = Literal["true", "false", "unknown"]


def availability(*, is_out: bool, host: str, news: CloudNews) -> bool | None:
    """Return whether an instance on ``host`` is available; None: that is not known.

    It is not known of an instance without a host, of one on a host of which nobody tells, and while
    the cloud, or the host's cell, does not tell how its hosts are.
    """
    entry = news.hosts.get(host)
    if news.unknown_since or (entry is not None and entry.unknown_since):
        return None
    if is_out:
        return False
    return None if entry is None else True


def spelled(available: bool | None) -> Availability:
    """Return how a filter spells it."""
    if available is None:
        return "unknown"
    return "true" if available else "false"
