"""Notifications and bare states that plug-ins push: written into Kafka before they are answered."""

import uuid
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Raw, Struct, field

from streams.core.bounds import OutOfBoundsError
from streams.core.news import Passed
from streams.core.normalise import normalise
from vimfed.kafka.clients import OutgoingRecord
from vimfed.kafka.notification_writer import arrival_time, notification_record
from vimfed.model.decoding import UNREADABLE
from vimfed.model.records import Notification
from vimfed.nova import oslo
from vimfed.nova.bare_state import MAX_ID, BareStateError, bare_state_notification, read_bare_state
from vimfed.nova.host_report import OWN_PREFIX
from vimfed.nova.states import TASK_STATES, VM_STATES
from web.http.routes import Route
from web.pushing import EntryError, Pushing


def _one_of(names: Iterable[str]) -> msgspec.Meta:
    return msgspec.Meta(extra_json_schema={"enum": sorted(names)})


class PushedState(Struct, frozen=True, kw_only=True):
    """A bare state; other fields of the specification's flat payload may stand beside these."""

    instance_id: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID)]
    """Without spaces and slashes."""
    state: Annotated[str, _one_of(VM_STATES)]
    """nova's vm_state."""
    state_description: Annotated[str, _one_of(TASK_STATES | {""})] | None = None
    """nova's task_state; empty, null or absent at rest."""
    timestamp: str | None = None
    """When it was so (ISO 8601, UTC by default); by default now."""
    changed_at: str | None = None
    """Since when it was so, where that is known."""
    power_state: str | None = None
    message_id: str | None = None
    """By which a repetition is recognised; by default that follows from what is said."""
    vim_id: str | None = None
    """Must be that of the path."""


class PushedNotification(Struct, frozen=True, kw_only=True):
    """An oslo notification; or one in its envelope, ``{"oslo.version", "oslo.message"}``."""

    message_id: str
    event_type: str
    payload: dict[str, Any]
    publisher_id: str | None = None
    priority: str | None = None
    timestamp: str | None = None
    vim_id: str | None = None
    """Must be that of the path."""


class Enveloped(Struct, frozen=True, kw_only=True):
    """An oslo notification in its envelope, as driver ``messagingv2`` sends it."""

    message: str = field(name="oslo.message")
    """JSON text of the notification."""
    version: str = field(name="oslo.version", default="2.0")


Pushed = PushedState | PushedNotification | Enveloped


class _Kind(Struct):
    """What tells an entry's kind, and for which VIM it is."""

    enveloped: Raw = field(name="oslo.message", default=Raw(b""))
    event_type: Raw = Raw(b"")
    vim_id: str | None = None


_decode_kind = msgspec.json.Decoder(_Kind).decode


class Ingest:
    """The handler of ``…/notifications``."""

    def __init__(self, pushing: Pushing) -> None:
        self._pushing = pushing
        self._kafka = pushing.settings.kafka
        self._session = f"ingest/{uuid.uuid4()}"
        self._sequence = count()

    def routes(self) -> list[Route]:
        """Return the route."""
        return [self._pushing.route("notifications", self.push, audit="states.pushed", body=Pushed)]

    async def push(self, request: web.Request) -> web.Response:
        """Write what a plug-in knows into Kafka: an oslo notification, a bare state, or an array.

        It is answered when Kafka has acknowledged all of it. An entry that is refused refuses the
        request: nothing of it is written.
        """
        return await self._pushing.push(request, self._read)

    def _read(self, vim_id: str, entry: Raw) -> Sequence[OutgoingRecord]:
        """Return the record of the notification that an entry makes. Raises EntryError."""
        notification, instance_id = read_entry(
            vim_id, entry, self._session, lambda: next(self._sequence), arrival_time()
        )
        try:
            told = normalise(notification)
        except OutOfBoundsError as error:
            raise EntryError(str(error)) from None
        if isinstance(told, Passed) and told.reason == "malformed_payload":
            raise EntryError(f"the payload of {told.event_type} is not understood")
        return [notification_record(self._kafka, notification, instance_id)]


def read_entry(
    vim_id: str, entry: Raw, path: str, next_sequence: Callable[[], int], received_at: str
) -> tuple[Notification, str]:
    """Return the notification that an entry makes, and which instance it is about.

    Oslo notifications are taken to come in the cloud's order: ``path`` and ``next_sequence`` say
    where they stand in it. Bare states come with the time at which they held, and that decides.
    Raises EntryError.
    """
    try:
        kind = _decode_kind(entry)
    except UNREADABLE as error:
        raise EntryError(f"neither a notification nor a bare state: {error}") from None
    if kind.vim_id not in (None, vim_id):
        raise EntryError(f"it names the VIM {kind.vim_id}, but was sent to {vim_id}")
    if not bytes(kind.enveloped) and not bytes(kind.event_type):
        try:
            state = read_bare_state(entry)
        except BareStateError as error:
            raise EntryError(f"not a bare state: {error}") from None
        notification = bare_state_notification(
            vim_id, state, source="ingest", path="", sequence=0, received_at=received_at
        )
        return notification, state.instance_id
    try:
        told = oslo.decode(bytes(entry))
    except oslo.NotANotificationError as error:
        raise EntryError(str(error)) from None
    if told.event_type.startswith(OWN_PREFIX):
        raise EntryError(f"event types {OWN_PREFIX}* are our own: send a bare state")
    notification = oslo.stamp(
        told,
        vim_id=vim_id,
        path=path,
        sequence=next_sequence(),
        received_at=received_at,
        source="ingest",
    )
    return notification, told.instance_id
