"""Which instance or host an alert is about: what its labels, or those who send it, name."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from vimfed.nova.bare_state import MAX_ID
from vimfed.nova.host_report import MAX_HOST

_ID = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_ID}}}")
_HOST = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_HOST}}}")
_PORT = re.compile(r":\d{1,5}")


class Subject(NamedTuple):
    """What an alert is about; neither: the cloud."""

    instance_id: str = ""
    host: str = ""


class SubjectLabels(NamedTuple):
    """The labels that name what an alert is about; the first one with a fitting value decides."""

    instance: Sequence[str] = ()
    host: Sequence[str] = ()


CLOUD = Subject()


def subject_of(labels: Mapping[str, str], names: SubjectLabels) -> Subject:
    """Return what an alert with these labels is about.

    A value that can be no id, or no host's name, names nothing. The port of ``host:9100`` is cut
    off.
    """
    instance_id = _first(_ID, (labels.get(name, "") for name in names.instance))
    if instance_id:
        return Subject(instance_id=instance_id)
    hosts = (_without_port(labels.get(name, "")) for name in names.host)
    return Subject(host=_first(_HOST, hosts))


def is_instance_id(text: str) -> bool:
    """Return whether it can be an instance's id."""
    return _ID.fullmatch(text) is not None


def is_host(text: str) -> bool:
    """Return whether it can be a host's name."""
    return _HOST.fullmatch(text) is not None


def _first(pattern: re.Pattern[str], values: Iterable[str]) -> str:
    return next((value for value in values if pattern.fullmatch(value)), "")


def _without_port(value: str) -> str:
    name, colon, port = value.partition(":")
    return name if _PORT.fullmatch(colon + port) else value
