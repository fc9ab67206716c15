"""The rows of the instances table: their keys tell which record type they are."""

from typing import Any

import msgspec

from vimfed.model.keys import KeyKind, kind_of_key
from vimfed.model.records import CloudState, HostState, InstanceState, SourceAlerts

Row = InstanceState | HostState | CloudState | SourceAlerts

_DECODERS: dict[KeyKind, msgspec.json.Decoder[Any]] = {
    "instance": msgspec.json.Decoder(InstanceState),
    "host": msgspec.json.Decoder(HostState),
    "cloud": msgspec.json.Decoder(CloudState),
    "alerts": msgspec.json.Decoder(SourceAlerts),
}


def decode_row_of(key: bytes, row: bytes) -> Row:
    """Return an encoded row as the record that its key names.

    Raises msgspec.DecodeError, and NewerSchemaError.
    """
    decoded: Row = _DECODERS[kind_of_key(key)].decode(row)
    return decoded
