"""How messages become requests: CloudEvents' HTTP binding, in its three content modes.

Says nothing of who is asked, and does nothing.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from streams.publisher.delivery import Message
from vimfed.process.trace_carriers import TRACE_HEADERS
from vimfed.settings import WebhookMode

_encode = msgspec.json.Encoder().encode

# Without a charset, which JSON does not need: the SDK for JavaScript takes one in small letters.
_STRUCTURED = "application/cloudevents+json"
_BATCH = "application/cloudevents-batch+json"
_PLAIN = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
"""What stands in a header as it is (CloudEvents' HTTP binding, 3.1.3.2)."""
_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")
"""An id that can be signed as it is: Standard Webhooks parts what is signed by full stops."""


class Request(NamedTuple):
    """What is posted."""

    messages: Sequence[Message]
    """What it carries."""
    id: str
    """Of the request, the same whenever it is made again."""
    headers: Mapping[str, str]
    body: bytes


def requests_of(messages: Sequence[Message], mode: WebhookMode) -> list[list[Request]]:
    """Return the requests that carry ``messages``: those of each inner list one after the other.

    Those of different lists may be under way at once: no two lists have messages of one key.
    """
    if mode == "batch":
        return [[_batch(messages)]]
    by_key: dict[bytes, list[Request]] = {}
    for message in messages:
        request = _structured(message) if mode == "structured" else _binary(message)
        by_key.setdefault(message.key, []).append(request)
    return list(by_key.values())


def _attributes(message: Message) -> dict[str, str]:
    """Return a message's CloudEvents attributes, which it has as Kafka's headers."""
    return {
        name.removeprefix("ce_"): value.decode()
        for name, value in message.headers
        if name.startswith("ce_")
    }


def _trace(attributes: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of a request that carries a message with these attributes."""
    return {name: attributes[name] for name in TRACE_HEADERS if name in attributes}


def _binary(message: Message) -> Request:
    attributes = _attributes(message)
    headers = {f"ce-{name}": quote(value, safe=_PLAIN) for name, value in attributes.items()}
    headers["Content-Type"] = "application/json"
    headers |= _trace(attributes)
    return Request([message], _id_of([attributes["id"]]), headers, message.value)


def _structured(message: Message) -> Request:
    attributes = _attributes(message)
    headers = {"Content-Type": _STRUCTURED, **_trace(attributes)}
    return Request([message], _id_of([attributes["id"]]), headers, _event(attributes, message))


def _batch(messages: Sequence[Message]) -> Request:
    all_attributes = [_attributes(message) for message in messages]
    headers = {"Content-Type": _BATCH}
    headers |= next(filter(None, map(_trace, all_attributes)), {})
    events = map(_event, all_attributes, messages)
    ids = [attributes["id"] for attributes in all_attributes]
    return Request(messages, _id_of(ids), headers, b"[%b]" % b",".join(events))


def _event(attributes: Mapping[str, str], message: Message) -> bytes:
    """Return the JSON of a CloudEvent."""
    return _encode(
        {
            **attributes,
            "datacontenttype": "application/json",
            "data": msgspec.Raw(message.value),
        }
    )


def _id_of(ids: Sequence[str]) -> str:
    if len(ids) == 1 and _ID.fullmatch(ids[0]):
        return ids[0]
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()
