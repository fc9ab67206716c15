"""The key of a record: one codec for the bridge, the table of the worker and the HTTP router."""


def instance_key(vim_id: str, instance_id: str) -> bytes:
    """Return the Kafka key of an instance: ``vim_id/instance_id`` in UTF-8.

    ``instance_id`` is empty for what is not about an instance; the key is then ``vim_id/``.
    """
    return f"{vim_id}/{instance_id}".encode()


def split_instance_key(key: bytes) -> tuple[str, str]:
    """Return (vim_id, instance_id) of a key made by :func:`instance_key`.

    Raises ValueError where the bytes are no such key.
    """
    vim_id, slash, instance_id = key.decode().partition("/")
    if not slash:
        raise ValueError(f"not an instance key: {key!r}")
    return vim_id, instance_id
