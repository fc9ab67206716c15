"""What the newest nova told, in the payloads of an older one, as its recorded run has them."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple

import msgspec

from tests.support.playing import is_versioned
from tests.support.traces import NEWEST, notifications
from vimfed.model.records import Notification

UNKNOWN = {"nova-31": (), "nova-26": ("instance.share_",)}
"""Beginnings of event types that a release has not: shares came with nova 31."""


class Shapes(NamedTuple):
    """The versioned objects of a release's payloads, by their names."""

    versions: dict[str, str]
    fields: dict[str, frozenset[str]]


@cache
def shapes(*runs: str) -> Shapes:
    """Return the objects that recorded runs of one release have."""
    versions: dict[str, str] = {}
    fields: dict[str, set[str]] = defaultdict(set)
    for run in runs:
        for one in filter(is_versioned, notifications(run)):
            for found in _objects(json.loads(bytes(one.payload))):
                versions[found["nova_object.name"]] = found["nova_object.version"]
                fields[found["nova_object.name"]].update(found["nova_object.data"])
    return Shapes(versions, {name: frozenset(known) for name, known in fields.items()})


@cache
def lacking(release: str) -> frozenset[str]:
    """Return the fields of the newest nova's objects that older ones of the same name have not."""
    newest = shapes(*NEWEST).fields
    older = shapes(release).fields
    return frozenset().union(*(newest.get(name, known) - known for name, known in older.items()))


def as_told_by(release: str, told: Iterable[Notification]) -> Iterator[Notification]:
    """Yield what an older release would have told, in its payloads.

    An object that its run does not have (a volume's, say) loses the fields that all others lack.
    """
    versions = shapes(release).versions
    for one in told:
        if one.event_type.startswith(UNKNOWN[release]):
            continue
        if is_versioned(one):
            payload = _reduced(json.loads(bytes(one.payload)), versions, lacking(release))
            one = msgspec.structs.replace(  # noqa: PLW2901
                one, payload=msgspec.Raw(json.dumps(payload).encode())
            )
        yield one


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield the versioned objects in a part of a payload, however deep they lie."""
    inner: Iterable[Any] = ()
    if isinstance(value, dict):
        if "nova_object.name" in value:
            yield value
        inner = value.values()
    elif isinstance(value, list):
        inner = value
    for part in inner:
        yield from _objects(part)


def _reduced(value: Any, versions: dict[str, str], without: frozenset[str]) -> Any:
    if isinstance(value, list):
        return [_reduced(part, versions, without) for part in value]
    if not isinstance(value, dict):
        return value
    kept = {name: _reduced(part, versions, without) for name, part in value.items()}
    if "nova_object.name" in kept:
        name = kept["nova_object.name"]
        kept["nova_object.version"] = versions.get(name, kept["nova_object.version"])
        data = kept["nova_object.data"].items()
        kept["nova_object.data"] = {field: part for field, part in data if field not in without}
    return kept
