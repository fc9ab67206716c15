"""What VES messages of all domains have: the header, and the frame around an event."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from vimfed.settings import DmaapOutput, VesDomain

Json = dict[str, Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EVENT, _END = b'{"event":', b"}"
_encode = msgspec.json.Encoder().encode


class Subject(NamedTuple):
    """What a message is about."""

    word: str
    """In event names."""
    event_type: str
    """VES's eventType."""
    source_type: str
    """VES's eventSourceType."""
    id: str
    name: str
    tenant_id: str = ""


def vm_subject(instance_id: str, name: str, tenant_id: str) -> Subject:
    """Return an instance; it has its id for a name where ``name`` is empty."""
    return Subject("VM", "guestOS", "virtualMachine", instance_id, name or instance_id, tenant_id)


def host_subject(vim_id: str, host: str) -> Subject:
    """Return a host."""
    return Subject("Host", "hostOS", "host", f"{vim_id}/{host}", host)


def cloud_subject(vim_id: str) -> Subject:
    """Return a cloud."""
    return Subject("Cloud", "platform", "other", vim_id, vim_id)


class Happening(NamedTuple):
    """Which event or measurement a message tells of."""

    id: str
    vim_id: str
    begin: str
    """Times: ISO 8601, UTC."""
    end: str


def header(
    told: Happening, subject: Subject, domain: VesDomain, priority: str, output: DmaapOutput
) -> Json:
    """Return a header without ``eventName``."""
    return {
        "domain": domain,
        "eventId": told.id,
        "eventType": subject.event_type,
        "lastEpochMicrosec": microseconds(told.end),
        "priority": priority,
        "reportingEntityId": told.vim_id,
        "reportingEntityName": told.vim_id,
        "sequence": 0,
        "sourceId": subject.id,
        "sourceName": subject.name,
        "startEpochMicrosec": microseconds(told.begin),
        "version": "4.1" if output.ves_version == "7.2.1" else "4.0.1",
        "vesEventListenerVersion": output.ves_version,
    }


def microseconds(time: str) -> int:
    """Return a time as microseconds since 1970."""
    return (datetime.fromisoformat(time) - _EPOCH) // timedelta(microseconds=1)


def ves_message_of(event: Json) -> bytes:
    """Return the JSON of one message, ``{"event": ...}``."""
    return b"%b%b%b" % (_EVENT, _encode(event), _END)


def ves_batch(messages: Iterable[bytes]) -> bytes:
    """Return the JSON of one request, ``{"eventList": [...]}``, of several messages."""
    events = (message[len(_EVENT) : -len(_END)] for message in messages)
    return b'{"eventList":[%b]}' % b",".join(events)
