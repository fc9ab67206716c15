"""What a plug-in or a monitor says of hosts: written into Kafka before it is answered.

A monitor such as masakari's knows sooner than nova which host is dead, and a plug-in knows the
hosts of a cloud that must not be asked.
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Raw, Struct

from vimfed.kafka.clients import OutgoingRecord
from vimfed.kafka.notification_writer import arrival_time, report_records
from vimfed.model.decoding import UNREADABLE
from vimfed.nova.host_report import MAX_HOST, MAX_REASON, HostReport, is_host_name
from web.http.routes import Route
from web.pushing import EntryError, Pushing, pushed_time


class PushedHost(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is said of one host; what is absent or null is not said."""

    host: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_HOST)]
    """As nova names it (``OS-EXT-SRV-ATTR:host``); without spaces and slashes."""
    is_up: bool | None = None
    """Whether it runs."""
    forced_down: bool | None = None
    """Whether somebody has declared it down, so that its VMs can be evacuated."""
    disabled: bool | None = None
    """Whether it gets no new VMs."""
    disabled_reason: Annotated[str, msgspec.Meta(max_length=MAX_REASON)] | None = None
    """Why that is so."""
    is_gone: bool = False
    """It is a host of the cloud no longer."""
    timestamp: str | None = None
    """When it was so (ISO 8601, UTC by default); by default, and at the latest, now."""
    vim_id: str | None = None
    """Must be that of the path."""


_decode = msgspec.json.Decoder(PushedHost).decode


class PushedHosts:
    """The handler of ``POST …/hosts``."""

    def __init__(self, pushing: Pushing) -> None:
        self._pushing = pushing
        self._kafka = pushing.settings.kafka

    def routes(self) -> list[Route]:
        """Return the route."""
        return [self._pushing.route("hosts", self.push, audit="hosts.pushed", body=PushedHost)]

    async def push(self, request: web.Request) -> web.Response:
        """Write how hosts are into Kafka: one, or an array.

        Of each of up, forced down and disabled the newest news counts, whoever told it. It is
        answered when Kafka has acknowledged all of it. An entry that is refused refuses the
        request: nothing of it is written.
        """
        # Each entry is a record in every partition.
        return await self._pushing.push(request, self._read, weight=self._kafka.partitions)

    def _read(self, vim_id: str, entry: Raw) -> Sequence[OutgoingRecord]:
        received_at = arrival_time()
        report, timestamp = read_host(vim_id, entry, received_at)
        return report_records(
            self._kafka,
            vim_id,
            report,
            source="ingest",
            timestamp=timestamp,
            received_at=received_at,
        )


def read_host(vim_id: str, entry: Raw, received_at: str) -> tuple[HostReport, str]:
    """Return what an entry says of a host, and when that was so: not after ``received_at``.

    Raises EntryError.
    """
    try:
        said = _decode(entry)
    except UNREADABLE as error:
        raise EntryError(f"nothing about a host: {error}") from None
    if said.vim_id not in (None, vim_id):
        raise EntryError(f"it names the VIM {said.vim_id}, but was sent to {vim_id}")
    if not is_host_name(said.host):
        raise EntryError("host must be printable characters without spaces and slashes")
    report = HostReport(
        host=said.host,
        is_up=said.is_up,
        forced_down=said.forced_down,
        disabled=said.disabled,
        disabled_reason=said.disabled_reason,
        is_gone=said.is_gone,
    )
    if report == HostReport(host=said.host):
        raise EntryError("it says nothing: is_up, forced_down, disabled or is_gone")
    return report, min(pushed_time(said.timestamp) or received_at, received_at)
