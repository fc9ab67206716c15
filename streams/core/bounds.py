"""How much of what a cloud says is kept: nova's own bounds, whichever way it is heard.

nova's database holds no more than these (``nova/db/main/models.py``: String(255) for names, hosts
and ids, String(255) for keys and values of metadata; ``quota.metadata_items`` is 128 by default).
What is longer did not come from nova's database, and must not fill rows, events and indexes.

===========================  ======================================================================
what                         beyond the bound
===========================  ======================================================================
an instance's id             MAX_ID: refused. It names the row; cut, it would name another one
states                       none of nova's: ``other``. The payload keeps the word that was told
texts                        MAX_TEXT: cut, with ``…`` as the last character
``metadata``, ``image_meta`` MAX_ITEMS entries and MAX_MAP_BYTES: further entries are left out, and
                             those with a longer key; longer values are cut
anything else                of more than MAX_TEXT bytes of JSON: left out, as if it were absent
===========================  ======================================================================

Only states, ids and the texts by which instances are found have their bounds in any payload. What
is passed on alone has them in payloads of more than SURELY_WITHIN bytes: a smaller one fills
nothing.
"""

from collections.abc import Mapping
from typing import TypeVar

import msgspec
from msgspec import Raw, Struct

from vimfed.model.decoding import UNREADABLE
from vimfed.model.flat_payload import MAX_TEXT, OBJECT
from vimfed.nova.states import OTHER, TASK_STATES, VM_STATES

MAX_ITEMS: Mapping[str, int] = {"metadata": 128, "image_meta": 256}
"""Entries that each map may have. An image's properties are nova's copies of Glance's 128, and of
what Glance itself says of it."""
MAX_MAP_BYTES = 80_000
"""Bytes of such a map as JSON: 128 entries with the longest ASCII keys and values have 67 kB."""
SURELY_WITHIN = 4096
"""Bytes of a payload in which there cannot be much. nova's own have 1.5 kB, at most some 2 kB."""

KNOWN_VM_STATES = VM_STATES | {"", OTHER}
KNOWN_TASK_STATES = TASK_STATES | {"", OTHER}

_decode = msgspec.json.Decoder().decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.Encoder().encode

S = TypeVar("S", bound=Struct)


class OutOfBoundsError(Exception):
    """A notification names what nova cannot have; the text says what."""


def shortened(text: str) -> str:
    """Return a text of at most MAX_TEXT characters; one that was cut ends in ``…``."""
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"


def bounded(payload: S) -> S:
    """Return a payload with bounds for all that is only passed on."""
    changes = {}
    for field in msgspec.structs.fields(payload):
        value = getattr(payload, field.name)
        if isinstance(value, Raw) and len(value) > MAX_TEXT:
            within = bounded_value(field.name, value)
            changes[field.name] = field.default if within is None else within
    return msgspec.structs.replace(payload, **changes) if changes else payload


def bounded_fields(fields: Mapping[str, Raw]) -> dict[str, Raw]:
    """Return fields of a payload, each within its bounds; those that cannot be are left out."""
    within = {name: bounded_value(name, value) for name, value in fields.items()}
    return {name: value for name, value in within.items() if value is not None}


def bounded_value(name: str, value: Raw) -> Raw | None:
    """Return the JSON text of a field within its bounds; None where it cannot be."""
    if len(value) <= MAX_TEXT:
        return value
    try:
        if name in MAX_ITEMS:
            return _bounded_map(value, MAX_ITEMS[name])
        if not _is_text(value):
            return None
        text = _decode(value)
        return value if len(text) <= MAX_TEXT else Raw(_encode(shortened(text)))
    except UNREADABLE:
        return None


def _bounded_map(text: Raw, most: int) -> Raw | None:
    if not bytes(text).lstrip().startswith(b"{"):
        return None
    kept: dict[str, Raw] = {}
    size = len(OBJECT)
    for key, value in _decode_fields(text).items():
        within = bounded_value("", value)
        if len(key) > MAX_TEXT or within is None:
            continue
        size += len(_encode(key)) + len(within) + len(":,")
        if len(kept) == most or size > MAX_MAP_BYTES:
            break
        kept[key] = within
    return Raw(_encode(kept))


def _is_text(value: Raw) -> bool:
    return bytes(value).lstrip().startswith(b'"')
