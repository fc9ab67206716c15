"""Host reports: what somebody says of a cloud's hosts, as notifications of our own.

A report travels to every partition of the notifications topic, since each has instances of the
host; a report that says nothing new changes nothing. One partition tells the host's own events:
that of its key, to which the report says so (``is_home``).

The event types below are never taken from outside: bridge and push make these notifications.
"""

import uuid

import msgspec
from msgspec import Raw

from vimfed.model.records import Notification, Source

OWN_PREFIX = "vimfed."
"""How all event types of our own begin."""
HOST_STATE = "vimfed.host.state"
"""Event type of a host report; keyed by ``host_key``."""
HOSTS_KNOWN = "vimfed.cloud.hosts"
"""Event type of a cloud report; keyed by ``cloud_key``."""
HEARTBEAT = "vimfed.cloud.heartbeat"
"""Event type of a heartbeat; keyed by ``cloud_key``, in that partition alone."""

COMPUTE = "nova-compute"
"""The binary of the service that a host is known by."""
MAX_HOST = 255
"""Maximum characters of a host's name, as in nova's database."""
MAX_REASON = 255
"""Characters that nova keeps of why a service is disabled."""

_NAMESPACE = uuid.UUID("a3a3c6b1-9c39-5d0e-8f63-0f4a54f6f9ab")
_encode = msgspec.json.Encoder().encode


class HostReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What somebody says of one host; what is None nobody says."""

    host: str
    is_up: bool | None = None
    """nova's ``state`` of the nova-compute service."""
    forced_down: bool | None = None
    disabled: bool | None = None
    disabled_reason: str | None = None
    is_known: bool | None = None
    """False: nova itself does not know how it is, since its cell does not answer."""
    is_gone: bool = False
    """The service is deleted, or no longer listed."""
    is_home: bool = False
    """Whether this copy of the report is in the partition of the host's key."""


class CloudReport(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a cloud tells how its hosts are."""

    is_known: bool
    is_home: bool = False


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """A bridge still listens to a cloud."""

    interval: float
    """Seconds until the next one."""
    lag: float
    """Seconds that the oldest unread message has waited, over all sources of events; 0: none
    waits."""
    sources: dict[str, bool] = {}
    """By kind of source (bridge/kinds.py): whether news of the cloud come in through it."""


read_host_report = msgspec.json.Decoder(HostReport).decode
read_cloud_report = msgspec.json.Decoder(CloudReport).decode
read_heartbeat = msgspec.json.Decoder(Heartbeat).decode


def is_host_name(name: str) -> bool:
    """Return whether a host can be called so: 1 to 255 printable characters, no spaces, no /."""
    return 0 < len(name) <= MAX_HOST and name.isprintable() and not {" ", "/"} & set(name)


def report_notification(
    vim_id: str,
    report: HostReport | CloudReport | Heartbeat,
    *,
    source: Source,
    timestamp: str,
    received_at: str,
) -> Notification:
    """Return the notification of a report that was true at ``timestamp``.

    Times: ISO 8601, UTC, microseconds, ``Z``. ``message_id`` follows from the content.
    """
    payload = _encode(report)
    event_type = _EVENT_TYPES[type(report)]
    name = f"{vim_id}/{event_type}/{source}/{timestamp}/{payload.decode()}"
    return Notification(
        message_id=str(uuid.uuid5(_NAMESPACE, name)),
        event_type=event_type,
        payload=Raw(payload),
        publisher_id=f"{source}:",
        timestamp=timestamp,
        vim_id=vim_id,
        source=source,
        received_at=received_at,
    )


_EVENT_TYPES = {HostReport: HOST_STATE, CloudReport: HOSTS_KNOWN, Heartbeat: HEARTBEAT}
