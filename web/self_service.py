"""What a project may with subscriptions of its own, beside what everybody may."""

import math
import time
from collections import deque
from collections.abc import Callable, Collection

import msgspec

from streams.subscriptions.filters import Subscription
from streams.subscriptions.projects import MAX_OF_PROJECTS, split_name
from vimfed.settings import Settings, SettingsError
from web.auth.caller import Caller
from web.http.bounded_map import BoundedMap
from web.http.errors import ApiError, TooFast

MAX_OWN_BYTES = 10_000
"""Bytes of JSON that one may take."""
MAX_CHANGES, CHANGES_WITHIN = 100, 86400.0
"""So many changes a project may make at one worker in so many seconds: every publisher remembers
each of them for as long as an event may ask what held."""
MAX_COUNTED = 10_000
"""Projects whose changes are counted."""


def refuse_unknown_projects(settings: Settings) -> None:
    """Raise SettingsError where projects are to keep some, and nobody says whose a caller's is.

    Publishers, which heed them, may have settings without those of the HTTP API.
    """
    if settings.self_service.per_project and not settings.web.auth.keystone.url:
        raise SettingsError(
            "self_service: per_project needs [web.auth.keystone], which says of which project a "
            "caller is"
        )


class SelfService:
    """The rules of ``[self_service]``."""

    def __init__(self, settings: Settings, now: Callable[[], float] = time.monotonic) -> None:
        self._per_project = settings.self_service.per_project
        self._outputs = [output.name for output in settings.outputs() if output.is_of_tenants]
        self._now = now
        self._changes: BoundedMap[str, deque[float]] = BoundedMap(MAX_COUNTED)

    @property
    def is_on(self) -> bool:
        """Whether projects may have any."""
        return self._per_project > 0

    def project_of(self, caller: Caller) -> str:
        """Return whose own subscriptions a caller keeps; empty: it is under the other rules."""
        return caller.project if self.is_on else ""

    def own(self, given: Subscription, project: str) -> Subscription:
        """Return a subscription as one of a project alone.

        Raises ApiError: 403 where it names others, 400 where it names no output for projects.
        """
        if given.tenants not in ((), (project,)):
            raise ApiError(403, f"tenants: it is of your project {project} alone: leave them out")
        if given.output not in self._outputs:
            names = ", ".join(sorted(self._outputs))
            raise ApiError(400, f"output: {given.output!r} is none of {names}")
        return msgspec.structs.replace(given, tenants=(project,))

    def check_room(self, names: Collection[str], project: str) -> None:
        """Raise ApiError (409) where the names of all are too many for a project, or for all."""
        owners = [owner for each in names if (owner := split_name(each)[1])]
        if owners.count(project) > self._per_project:
            raise ApiError(
                409,
                f"your project may have {self._per_project} subscriptions, and has them: delete "
                "one first",
            )
        if len(owners) > MAX_OF_PROJECTS:
            raise ApiError(
                409, f"all projects together have {MAX_OF_PROJECTS} subscriptions, and no more"
            )

    def count_change(self, project: str) -> None:
        """Count a change by a project. Raises ApiError (429) where that is one too many."""
        now = self._now()
        made = self._changes.get(project) or deque[float]()
        while made and made[0] <= now - CHANGES_WITHIN:
            made.popleft()
        if len(made) >= MAX_CHANGES:
            wait = math.ceil(made[0] + CHANGES_WITHIN - now)
            text = (
                f"a project may change subscriptions {MAX_CHANGES} times a day: try again in "
                f"{wait} s"
            )
            raise ApiError(429, TooFast(error=text, retry_after=wait), {"Retry-After": str(wait)})
        made.append(now)
        self._changes[project] = made
