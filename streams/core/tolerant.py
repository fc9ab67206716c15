"""Decode structs of which some fields decide, and the rest is only passed on.

A field that does not decide must not cost the whole message: where its value has another type than
nova's releases give it, it is taken for absent, and so becomes the struct's default. A text that is
longer than its field takes is cut, in fields that decide, too.
"""

from collections.abc import Callable
from typing import Any, TypeVar, get_args

import msgspec
from msgspec import Raw, Struct, ValidationError

from streams.core.bounds import shortened
from vimfed.model.flat_payload import Text

T = TypeVar("T", bound=Struct)

_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode


def tolerant_decoder(struct: type[T], decides: frozenset[str]) -> Callable[[Raw], T]:
    """Return a function that decodes JSON text as ``struct``, at every level.

    ``decides`` names the fields (of structs, not of JSON) whose types must be right. The function
    raises msgspec.DecodeError where they are not, or where the text is no object.
    """
    decode = msgspec.json.Decoder(struct).decode

    def decode_tolerantly(text: Raw) -> T:
        try:
            return decode(text)
        except ValidationError:
            return decode(without_wrong_fields(text, struct, decides))

    return decode_tolerantly


def without_wrong_fields(text: Raw, struct: type[Struct], decides: frozenset[str]) -> bytes:
    """Return a JSON object without the fields of ``struct`` whose values are of another type.

    Raises msgspec.DecodeError where it is no object, or a field that decides is among them.
    """
    given = _decode_fields(text)
    for field in msgspec.structs.fields(struct):
        value = given.get(field.encode_name)
        if value is None:
            continue
        nested = _struct_in(field.type)
        try:
            if nested is not None and bytes(value).lstrip().startswith(b"{"):
                given[field.encode_name] = Raw(without_wrong_fields(value, nested, decides))
            else:
                msgspec.json.decode(value, type=field.type)
        except ValidationError:
            long = _text_in(value) if field.type == Text else None
            if long is not None:
                given[field.encode_name] = Raw(_encode(shortened(long)))
            elif field.name in decides:
                raise
            else:
                del given[field.encode_name]
    return _encode(given)


def _text_in(value: Raw) -> str | None:
    try:
        return _decode_text(value)
    except ValidationError:
        return None


def _struct_in(field_type: Any) -> type[Struct] | None:
    for one in (field_type, *get_args(field_type)):
        if isinstance(one, type) and issubclass(one, Struct):
            return one
    return None
