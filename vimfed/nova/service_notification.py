"""nova's versioned notifications of its services: what they say of a host.

nova sends them when somebody disables, enables, forces down, makes or deletes a service, and not
when one dies. There is no legacy form of them.
"""

import msgspec
from msgspec import Raw, Struct, field

from vimfed.model.decoding import UNREADABLE
from vimfed.nova.host_report import COMPUTE, MAX_REASON, HostReport, is_host_name

_DELETED = "service.delete"
SERVICE_TYPES = frozenset({"service.create", "service.update", _DELETED})


class NotAServiceError(Exception):
    """What is called a service's notification is none; the text says why."""


class _Service(Struct, gc=False):
    """What is read of nova's ServiceStatusPayload; the names are nova's."""

    binary: str | None
    host: str | None
    disabled: bool
    forced_down: bool
    disabled_reason: str | None = None


class _Payload(Struct, gc=False):
    service: _Service = field(name="nova_object.data")


_decode = msgspec.json.Decoder(_Payload).decode


def read_service(event_type: str, payload: bytes | Raw) -> HostReport | None:
    """Return what a notification of SERVICE_TYPES says of a host; None: it is of no host's service.

    ``payload`` is JSON text. Raises NotAServiceError.
    """
    try:
        service = _decode(payload).service
    except UNREADABLE as error:
        raise NotAServiceError(f"{event_type} without nova's service: {error}") from None
    if service.binary != COMPUTE:
        return None
    host = service.host or ""
    if not is_host_name(host):
        raise NotAServiceError(f"{event_type} of a host that cannot be called so: {host[:50]!a}")
    if event_type == _DELETED:
        return HostReport(host=host, is_gone=True)
    return HostReport(
        host=host,
        forced_down=service.forced_down,
        disabled=service.disabled,
        disabled_reason=(service.disabled_reason or "")[:MAX_REASON],
    )
