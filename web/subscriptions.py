"""Subscriptions over HTTP: who wants which events and measurements, changed at run time."""

from collections.abc import Collection
from datetime import UTC, datetime

import msgspec
from aiohttp import web

from streams.core.kinds import EVENT_KINDS
from streams.subscriptions.filters import (
    DEFAULT,
    HOLDS_AFTER,
    MAX_SUBSCRIPTIONS,
    Subscription,
)
from streams.subscriptions.log import encoded
from streams.subscriptions.projects import name_of, split_name
from vimfed.model.times import utc_text
from vimfed.settings import Settings
from web.auth.caller import CALLER
from web.auth.limits import check_limits, is_within
from web.change_log import ChangeLog
from web.http.audit import WHO
from web.http.errors import ApiError, Problem, TooFast, Unavailable, json_response
from web.http.routes import Route, body_of, named_vim_id
from web.kept_requests import (
    MAX_BYTES,
    check_known,
    is_by_path,
    of_named_cloud,
    parsed,
    writable_name,
)
from web.self_service import MAX_OWN_BYTES, SelfService

_decode = msgspec.json.Decoder(Subscription).decode


class ToldSubscription(Subscription, frozen=True, kw_only=True):
    """A subscription in an answer."""

    name: str
    owner: str | msgspec.UnsetType = msgspec.UNSET
    """The project that keeps it; missing: those who operate do."""
    holds_from: str | msgspec.UnsetType = msgspec.UNSET
    """When it has just been made or changed: the time from which it holds."""


class SubscriptionList(msgspec.Struct, frozen=True, kw_only=True):
    """All subscriptions, by name."""

    subscriptions: list[ToldSubscription]


class EndedSubscription(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription that was deleted."""

    name: str
    holds_until: str


class Subscriptions:
    """The handlers of ``…/subscriptions``, of all clouds and of one."""

    def __init__(self, settings: Settings, changes: ChangeLog) -> None:
        self._settings = settings
        self._outputs = {output.name: output.carries for output in settings.outputs()}
        self._changes = changes
        self._self_service = SelfService(settings)

    def routes(self) -> list[Route]:
        """Return all routes: those of all clouds, and by a cloud's path those of it alone."""
        v1 = f"{self._settings.web.prefix}/v1"
        several = (v1 + "/subscriptions", v1 + "/{owner}/{region}/subscriptions")
        one = tuple(path + "/{name}" for path in several)
        return [
            Route(
                method="GET",
                paths=several,
                handler=self.list_all,
                role="reader",
                answers={200: SubscriptionList, 503: Unavailable},
            ),
            Route(
                method="GET",
                paths=one,
                handler=self.get,
                role="reader",
                answers={200: ToldSubscription, 404: Problem, 503: Unavailable},
            ),
            Route(
                method="PUT",
                paths=one,
                handler=self.put,
                role="writer",
                audit="subscription.written",
                of_projects=self._self_service.is_on,
                body=Subscription,
                answers={
                    200: ToldSubscription,
                    201: ToldSubscription,
                    400: Problem,
                    403: Problem,
                    409: Problem,
                    429: TooFast,
                    503: Unavailable,
                },
            ),
            Route(
                method="DELETE",
                paths=one,
                handler=self.delete,
                role="writer",
                audit="subscription.deleted",
                of_projects=self._self_service.is_on,
                answers={
                    200: EndedSubscription,
                    400: Problem,
                    404: Problem,
                    409: Problem,
                    503: Unavailable,
                },
            ),
        ]

    async def list_all(self, request: web.Request) -> web.Response:
        """Tell all subscriptions, the settings' filter among them; or those of one cloud alone.

        Who may not see all clouds, or all tenants, is told those that name none but such as it may
        see; with self-service, a project those that it keeps itself.
        """
        held = await self._held(request)
        project = self._self_service.project_of(request[CALLER])
        told = [
            _told(name, held[name], to=project)
            for name in sorted(held)
            if (
                split_name(name)[1] == project
                if project
                else is_within(request[CALLER], held[name])
            )
        ]
        return json_response(SubscriptionList(subscriptions=told))

    async def get(self, request: web.Request) -> web.Response:
        """Tell one subscription."""
        project = self._self_service.project_of(request[CALLER])
        name, held = _full_name(request, project), await self._held(request)
        if name not in held:
            raise _missing(request)
        check_limits(request, held[name])
        return json_response(_told(name, held[name], to=project))

    async def put(self, request: web.Request) -> web.Response:
        """Make or replace a subscription; the answer says from when it holds.

        By a cloud's path it is one of that cloud alone: its ``clouds`` are left out, or name it.

        With self-service, a project keeps some of its own, for outputs with a topic for each
        project: ``tenants`` are left out, or name it.
        """
        project = self._self_service.project_of(request[CALLER])
        name = _writable_name(request, project)
        subscription = self._parsed(await body_of(request), project)
        subscription = of_named_cloud(request, subscription)
        held = await self._held()
        if name in held and not is_by_path(request, held[name]):
            raise ApiError(
                409,
                f"the subscription {request.match_info['name']} is not of {named_vim_id(request)} "
                "alone: take another name",
            )
        for concerned in (subscription, held.get(name, subscription)):
            check_limits(request, concerned)
        if name not in held:
            self._check_room({*held, name}, project)
        if project:
            self._self_service.count_change(project)
        caller = request[WHO].header()
        holds_from = await self._write(name, subscription, caller)
        if name not in held and (project or len(held) + 1 >= MAX_SUBSCRIPTIONS):
            now_held = await self._held()
            try:
                self._check_room(now_held if name in now_held else {*now_held, name}, project)
            except ApiError:
                # Another one was faster: ours must not hold, nor come to life later.
                await self._write(name, None, caller)
                raise
        told = _told(name, subscription, holds_from, to=project)
        return json_response(told, 200 if name in held else 201)

    async def delete(self, request: web.Request) -> web.Response:
        """End a subscription; the answer says until when it holds."""
        project = self._self_service.project_of(request[CALLER])
        given = request.match_info["name"]
        is_taken_away = not project and split_name(given)[1]  # by who operates, from a project
        name = given if is_taken_away else _writable_name(request, project)
        held = await self._held(request)
        if name not in held:
            raise _missing(request)
        check_limits(request, held[name])
        holds_until = await self._write(name, None, request[WHO].header())
        return json_response(EndedSubscription(name=given, holds_until=holds_until))

    def _check_room(self, names: Collection[str], project: str) -> None:
        """Raise ApiError (409) where these are more than there may be."""
        if len(names) > MAX_SUBSCRIPTIONS:
            raise ApiError(
                409, f"there are {MAX_SUBSCRIPTIONS} subscriptions already: delete one first"
            )
        if project:
            self._self_service.check_room(names, project)

    async def _held(self, request: web.Request | None = None) -> dict[str, Subscription]:
        """Return what all workers have been told so far, by name.

        Of ``request``: where its path names a cloud, those of that cloud alone.
        """
        await self._changes.known()
        held = dict(self._changes.log.history.current())
        if request is None:
            return held
        return {name: each for name, each in held.items() if is_by_path(request, each)}

    async def _write(
        self, name: str, subscription: Subscription | None, caller: tuple[str, bytes]
    ) -> str:
        value = None if subscription is None else encoded(subscription)
        taken_at = await self._changes.append(name.encode(), value, caller)
        moment = datetime.fromtimestamp(taken_at / 1000 + HOLDS_AFTER, UTC)
        return utc_text(moment, "milliseconds")

    def _parsed(self, body: bytes, project: str) -> Subscription:
        """Read a body, as that of ``project`` if it is not empty. Raises ApiError (400, 403)."""
        most = MAX_OWN_BYTES if project else MAX_BYTES
        subscription = parsed(body, _decode, "subscription", most)
        if project:
            subscription = self._self_service.own(subscription, project)
        check_known("kinds", subscription.kinds, EVENT_KINDS)
        check_known("output", filter(None, [subscription.output]), self._outputs)
        of_events = subscription.kinds or subscription.phases
        if of_events and self._outputs.get(subscription.output) == "measurements":
            raise ApiError(
                400,
                f"output {subscription.output} gets measurements, which have neither kinds nor "
                "phases: leave them out",
            )
        return subscription


def _full_name(request: web.Request, project: str) -> str:
    """Return how what the path names is called among all; ``project``: whose own it is."""
    name = request.match_info["name"]
    return name_of(project, name) if project else name


def _writable_name(request: web.Request, project: str) -> str:
    if writable_name(request) == DEFAULT:
        raise ApiError(409, f"{DEFAULT} is the settings' [filter]: change it there")
    return _full_name(request, project)


def _missing(request: web.Request) -> ApiError:
    return ApiError(404, f"there is no subscription {request.match_info['name']}")


def _told(
    name: str,
    subscription: Subscription,
    holds_from: str | msgspec.UnsetType = msgspec.UNSET,
    *,
    to: str = "",
) -> ToldSubscription:
    """Return a subscription as it is told; ``to`` its owner by the name that this one gave it."""
    fields = msgspec.structs.asdict(subscription)
    own, project = split_name(name)
    return ToldSubscription(
        name=own if to else name, owner=project or msgspec.UNSET, holds_from=holds_from, **fields
    )
