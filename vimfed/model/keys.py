"""The keys of records: one codec for the bridge, the table of the worker and the HTTP router.

What is behind the cloud's name tells what a record is about. An instance's id has no slash
(streams/core/normalise.py refuses one), so that no instance can have the key of anything else.

===============================  ==================================================
key                              of
===============================  ==================================================
``vim_id/<instance_id>``         an instance; ``vim_id/`` of none
``vim_id/host/<host>``           a host
``vim_id/cloud/``                the cloud itself
``vim_id/alerts/<instance_id>``  the alerts from outside about an instance
``vim_id/alerts/host/<host>``    those about a host
``vim_id/alerts/cloud/``         those about the cloud
===============================  ==================================================
"""

from typing import Literal

CLOUD = "cloud/"
_HOST = "host/"
_ALERTS = "alerts/"

KeyKind = Literal["instance", "host", "cloud", "alerts"]


def instance_key(vim_id: str, instance_id: str) -> bytes:
    """Return the Kafka key of an instance: ``vim_id/instance_id`` in UTF-8.

    ``instance_id`` is empty for what is not about an instance; the key is then ``vim_id/``.
    """
    return f"{vim_id}/{instance_id}".encode()


def host_key(vim_id: str, host: str) -> bytes:
    """Return the key of a host."""
    return f"{vim_id}/{_HOST}{host}".encode()


def host_of_key(key: bytes) -> str:
    """Return the host of a key made by :func:`host_key`."""
    return key.decode().split("/", 2)[2]


def cloud_key(vim_id: str) -> bytes:
    """Return the key of a cloud itself."""
    return f"{vim_id}/{CLOUD}".encode()


def home_key(vim_id: str, instance_id: str = "", host: str = "") -> bytes:
    """Return the key of what an event or an alert is about: its partition tells of it."""
    if instance_id:
        return instance_key(vim_id, instance_id)
    return host_key(vim_id, host) if host else cloud_key(vim_id)


def alerts_key(vim_id: str, instance_id: str = "", host: str = "") -> bytes:
    """Return the key of the alerts from outside about an instance, a host or the cloud."""
    about = instance_id or (f"{_HOST}{host}" if host else CLOUD)
    return f"{vim_id}/{_ALERTS}{about}".encode()


def kind_of_key(key: bytes) -> KeyKind:
    """Return what a key names."""
    about = key.partition(b"/")[2]
    if b"/" not in about:
        return "instance"
    return _KINDS.get(about.partition(b"/")[0], "instance")


_KINDS: dict[bytes, KeyKind] = {b"host": "host", b"cloud": "cloud", b"alerts": "alerts"}


def split_instance_key(key: bytes) -> tuple[str, str]:
    """Return (vim_id, instance_id) of a key made by :func:`instance_key`.

    Of another key the second is what follows the cloud's name. Raises ValueError where the bytes
    are no such key.
    """
    vim_id, slash, instance_id = key.decode().partition("/")
    if not slash:
        raise ValueError(f"not an instance key: {key!r}")
    return vim_id, instance_id
