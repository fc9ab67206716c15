"""Outputs over HTTP: which there are, and which are paused."""

import time
from datetime import UTC, datetime

import msgspec
from aiohttp import web

from streams.subscriptions.switches import OutputSwitches, Paused, encode_paused, switch_key
from vimfed.model.decoding import UnreadableError, decoded
from vimfed.model.times import utc_text
from vimfed.settings import Carries, Settings
from web.auth.caller import CALLER
from web.change_log import ChangeLog
from web.http.audit import WHO
from web.http.errors import ApiError, Problem, Unavailable, json_response
from web.http.routes import Route, body_of


class ToldOutput(msgspec.Struct, frozen=True, kw_only=True):
    """An output of the settings."""

    name: str
    carries: Carries
    paused_at: str | msgspec.UnsetType = msgspec.UNSET
    """Since when it is paused: ISO 8601, UTC; missing: it is not."""


class OutputList(msgspec.Struct, frozen=True, kw_only=True):
    """All outputs, in the settings' order."""

    outputs: list[ToldOutput]


class Switch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether an output is to be paused."""

    paused: bool


_decode = msgspec.json.Decoder(Switch).decode


class Outputs:
    """The handlers of ``{prefix}/v1/outputs``."""

    def __init__(self, settings: Settings, changes: ChangeLog, switches: OutputSwitches) -> None:
        self._base = f"{settings.web.prefix}/v1/outputs"
        self._outputs = {output.name: output for output in settings.outputs()}
        self._changes = changes
        self._switches = switches

    def routes(self) -> list[Route]:
        """Return all routes."""
        return [
            Route(
                method="GET",
                paths=(self._base,),
                handler=self.list_all,
                role="reader",
                answers={200: OutputList, 503: Unavailable},
            ),
            Route(
                method="PUT",
                paths=(self._base + "/{name}",),
                handler=self.put,
                role="admin",
                audit="output.switched",
                body=Switch,
                answers={
                    200: ToldOutput,
                    400: Problem,
                    403: Problem,
                    404: Problem,
                    503: Unavailable,
                },
            ),
        ]

    async def list_all(self, _request: web.Request) -> web.Response:
        """Tell which outputs the settings name, and which of them are paused."""
        await self._changes.known()
        return json_response(OutputList(outputs=[self._told(name) for name in self._outputs]))

    async def put(self, request: web.Request) -> web.Response:
        """Pause an output, or resume it.

        What comes for a paused output waits in Kafka, for as long as Kafka keeps it.
        """
        name = request.match_info["name"]
        caller = request[CALLER]
        if not (caller.may_see_all(()) and caller.may_see_tenants(())):
            raise ApiError(403, f"{caller.name} may not see all that outputs get")
        if name not in self._outputs:
            raise ApiError(404, f"there is no output {name}, only {', '.join(self._outputs)}")
        try:
            paused = decoded(_decode, await body_of(request)).paused
        except UnreadableError as error:
            raise ApiError(400, f'not {{"paused": true}} or {{"paused": false}}: {error}') from None
        await self._changes.known()
        if paused != bool(self._switches.paused_at(name)):
            now = utc_text(datetime.fromtimestamp(time.time(), UTC), "seconds")
            value = encode_paused(Paused(paused_at=now)) if paused else None
            await self._changes.append(switch_key(name), value, request[WHO].header())
            await self._changes.known()
        return json_response(self._told(name))

    def _told(self, name: str) -> ToldOutput:
        return ToldOutput(
            name=name,
            carries=self._outputs[name].carries,
            paused_at=self._switches.paused_at(name) or msgspec.UNSET,
        )
