"""Oslo notification bodies, in every envelope in which nova's transports deliver them.

Three shapes occur (oslo.messaging, ``_drivers/common.py`` and ``_drivers/impl_kafka.py``):

- driver ``messaging``: the message itself, its context flat in ``_context_*`` keys;
- driver ``messagingv2``: ``{"oslo.version": "2.0", "oslo.message": "<JSON text of the message>"}``;
- the same over Kafka, with the context as one ``_context`` object inside the message.

Of the context only ``request_id`` and ``global_request_id`` are kept: older notifiers leak tokens
in it. Payloads lose the contexts that some legacy ones carry inside (serialised nova objects), and
a function-named failure ``{exception, args}`` loses its ``args``, which are whole objects with
their contexts; the id of the instance found there is put into the payload as ``instance_id``, so
that key and value say the same.
"""

import re
from typing import Any

import msgspec
from msgspec import Raw, Struct, field

from vimfed.model.decoding import UNREADABLE
from vimfed.model.records import Notification, Source

PRIORITIES = ("audit", "debug", "info", "warn", "error", "critical", "sample")
"""All priorities that oslo knows; the queue (RabbitMQ) or topic (Kafka) is ``<topic>.<priority>``.

A priority that nobody consumes fills its queue for ever.
"""

_REQUEST_IDS = ("request_id", "global_request_id")
_KEPT = frozenset(f"_context_{name}" for name in _REQUEST_IDS)
_SECRET = frozenset({"auth_token", "service_token", "service_catalog", "ctxt", "admin_password"})
"""Keys of a serialised request context, and of calls that carry one."""
_MARKS = (b"_context", *(f'"{key}'.encode() for key in sorted(_SECRET)))
_MARKS_ESCAPED = (b"_context", *(key.encode() for key in sorted(_SECRET)))
_WORD = re.compile(rb'\w++(?:\\*+"\s*+:\s*+(\\*+"))?')
"""A word, and, where it is a key with a text as its value, what opens that text.

It matches at every word and gives nothing back, so that a search reads each byte once.
"""
_SECRET_WORDS = (b"auth_token", b"service_token", b"admin_password")
MAX_BODY_BYTES = 3 * 1024 * 1024
"""Maximum size of a body that is read.

What is larger cannot become a record of 1 MB, however much of it is context and escapes.
"""


class NotANotificationError(Exception):
    """The body is no oslo notification; the text says why, and quotes nothing of it."""


class OsloNotification(Struct, frozen=True, gc=False, kw_only=True):
    """What one body says, context and envelope removed; the names are oslo's own."""

    message_id: str
    event_type: str
    payload: Raw
    """The payload's JSON text, as it came unless something had to be removed."""
    instance_id: str
    """The instance that the payload is about; empty where it is about none."""
    publisher_id: str
    priority: str
    timestamp: str
    request_id: str | None
    global_request_id: str | None


class _Context(Struct, gc=False):
    request_id: str | None = None
    global_request_id: str | None = None


class Message(Struct, gc=False):
    """An envelope or a message: which of both shows in the keys that are there.

    The names are oslo's own.
    """

    enveloped: str | None = field(name="oslo.message", default=None)
    message_id: str | None = None
    event_type: str | None = None
    payload: Raw = Raw(b"")
    """Its JSON text."""
    publisher_id: str | None = None
    priority: str | None = None
    timestamp: str | None = None
    context: _Context | None = field(name="_context", default=None)
    request_id: str | None = field(name="_context_request_id", default=None)
    global_request_id: str | None = field(name="_context_global_request_id", default=None)


class _Properties(Struct, gc=False):
    uuid: Any = None


class _RequestSpec(Struct, gc=False):
    instance_properties: _Properties | None = None


class _ObjectData(Struct, gc=False):
    uuid: Any = None
    instance_uuid: Any = None


class _Payload(Struct, gc=False):
    """The places in which nova's payloads name their instance."""

    instance_id: Any = None
    object_name: str = field(name="nova_object.name", default="")
    object_data: _ObjectData | None = field(name="nova_object.data", default=None)
    request_spec: _RequestSpec | None = None


_decode_message = msgspec.json.Decoder(Message).decode
_decode_payload = msgspec.json.Decoder(_Payload).decode
_decode_tree = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def decode(body: bytes) -> OsloNotification:
    """Read one body in any envelope. Raises NotANotificationError."""
    message = read_message(body)
    payload = bytes(message.payload)
    if not payload.startswith(b"{"):
        raise NotANotificationError("payload is not an object")
    if any(mark in payload for mark in _MARKS) or b'"args"' in payload:
        payload = _scrub_payload(payload)
    context = message.context or _Context()
    return OsloNotification(
        message_id=message.message_id or "",
        event_type=message.event_type or "",
        payload=Raw(payload),
        instance_id=instance_id_of(payload),
        publisher_id=message.publisher_id or "",
        priority=message.priority or "INFO",
        timestamp=message.timestamp or "",
        request_id=message.request_id or context.request_id,
        global_request_id=message.global_request_id or context.global_request_id,
    )


def read_message(body: bytes) -> Message:
    """Return what one body says, in any envelope, whatever its payload is.

    It has an event type, a message id and a payload. Raises NotANotificationError.
    """
    if len(body) > MAX_BODY_BYTES:
        raise NotANotificationError(f"too large: {len(body)} bytes")
    try:
        message = _decode_message(body)
        if message.enveloped is not None:
            message = _decode_message(message.enveloped)
    except msgspec.ValidationError as error:
        raise NotANotificationError(f"not a notification: {error}") from None
    except UNREADABLE as error:
        raise NotANotificationError(f"malformed JSON: {error}") from None
    if not message.event_type:
        raise NotANotificationError("no event_type")
    if not message.message_id:
        raise NotANotificationError("no message_id")
    if not bytes(message.payload):
        raise NotANotificationError("no payload")
    return message


def instance_id_of(payload: bytes | Raw) -> str:
    """Return the id of the instance that a payload (JSON text) is about, or an empty string.

    Legacy payloads say ``instance_id``, the scheduler's only inside their request_spec; versioned
    ones say ``uuid`` if the object is an instance (so do services and aggregates with theirs), else
    ``instance_uuid``.
    """
    try:
        found = _decode_payload(payload)
    except UNREADABLE:
        return ""
    instance_id = found.instance_id
    if found.object_data is not None:
        data = found.object_data
        is_instance = found.object_name.startswith("Instance")
        instance_id = data.uuid if is_instance else data.instance_uuid
    elif instance_id is None and found.request_spec is not None:
        properties = found.request_spec.instance_properties
        instance_id = properties and properties.uuid
    return instance_id if isinstance(instance_id, str) else ""


def stamp(
    oslo: OsloNotification,
    *,
    vim_id: str,
    path: str,
    sequence: int,
    received_at: str,
    session: str = "",
    redelivered: bool = False,
    source: Source = "oslo",
) -> Notification:
    """Return the record for the notifications topic: what the body says, and where it came from."""
    return Notification(
        message_id=oslo.message_id,
        event_type=oslo.event_type,
        payload=oslo.payload,
        publisher_id=oslo.publisher_id,
        priority=oslo.priority,
        timestamp=oslo.timestamp,
        request_id=oslo.request_id,
        global_request_id=oslo.global_request_id,
        vim_id=vim_id,
        source=source,
        path=path,
        sequence=sequence,
        session=session,
        redelivered=redelivered,
        received_at=received_at,
    )


def without_context(body: bytes) -> bytes:
    """Return a body, notification or not, without its context's secrets, for the dead-letter topic.

    Bytes without any come back as they are. In bytes that are no JSON the values of the known keys
    are blackened; so they are in what is larger than MAX_BODY_BYTES, which is cut there.
    """
    is_cut = len(body) > MAX_BODY_BYTES
    body = body[:MAX_BODY_BYTES]
    if not any(mark in body for mark in _MARKS_ESCAPED):
        return body
    if is_cut:
        return _blackened(body)
    try:
        tree = _decode_tree(body)
        if isinstance(tree, dict) and isinstance(tree.get("oslo.message"), str):
            tree["oslo.message"] = _encode(_scrub(_decode_tree(tree["oslo.message"]))).decode()
        return _encode(_scrub(tree))
    except UNREADABLE:
        return _blackened(body)


def _blackened(text: bytes) -> bytes:
    """Return any bytes with the texts of the known keys blackened, in one pass."""
    kept: list[bytes] = []
    done = at = 0
    while (found := _WORD.search(text, at)) is not None:
        at = found.end()
        opening = found[1]
        if opening is None:
            continue
        word = text[found.start() : text.index(b'"', found.start())].rstrip(b"\\")
        if b"_context" in word or word.endswith(_SECRET_WORDS):
            kept += text[done:at], b"***"
            done = at = _end_of_text(text, at, len(opening) - 1)
    return b"".join([*kept, text[done:]])


def _end_of_text(text: bytes, at: int, escapes: int) -> int:
    """Return where a text ends that begins at ``at``, after a quote with so many backslashes.

    A quote with more of them belongs to the text.
    """
    while (quote := text.find(b'"', at)) >= 0:
        run = len(text[at:quote]) - len(text[at:quote].rstrip(b"\\"))
        if run <= escapes:
            return quote - run
        at = quote + 1
    return len(text)


def _scrub_payload(payload: bytes) -> bytes:
    try:
        tree = _decode_tree(payload)
        if "args" in tree and "exception" in tree:
            instance_id = _instance_in_args(tree.pop("args"))
            if instance_id:
                tree.setdefault("instance_id", instance_id)
        return _encode(_scrub(tree))
    except UNREADABLE as error:
        raise NotANotificationError(f"malformed JSON: {error}") from None


def _instance_in_args(args: Any) -> str:
    """Return the id of the instance among a failed call's arguments, or an empty string."""
    if not isinstance(args, dict):
        return ""
    instance = args.get("instance")
    if isinstance(instance, dict):
        # A versioned object is serialised with its data inside.
        instance = instance.get("nova_object.data", instance)
    found = instance.get("uuid") if isinstance(instance, dict) else args.get("instance_uuid")
    return found if isinstance(found, str) else ""


def _scrub(value: Any) -> Any:
    if isinstance(value, list):
        return [_scrub(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    kept = {}
    for key, entry in value.items():
        if key == "_context":
            if isinstance(entry, dict):
                kept[key] = {name: entry.get(name) for name in _REQUEST_IDS}
        elif key in _KEPT or not (key in _SECRET or key.startswith("_context")):
            kept[key] = _scrub(entry)
    return kept
