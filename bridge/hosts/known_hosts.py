"""The hosts that the table knows of a cloud: what was removed while no bridge ran is still there.

Each partition of the table has all of a cloud's hosts, so one is read, and not the whole changelog.
"""

from collections.abc import Mapping

from bridge.poller.known_instances import Known, Scope
from vimfed.kafka.aio import ConsumerRecord
from vimfed.model.keys import host_of_key, kind_of_key, split_instance_key


def _heed(found: Mapping[str, Known], record: ConsumerRecord) -> None:
    key = record.key or b""
    if kind_of_key(key) != "host":
        return
    try:
        vim_id, _about = split_instance_key(key)
    except ValueError:  # bytes that are no text: no worker has written them
        return
    cloud = found.get(vim_id)
    if cloud is None:
        return
    host = host_of_key(key)
    if record.value is None:
        cloud.pop(host, None)
    else:
        cloud[host] = ""


HOSTS = Scope(_heed, partitions=1)
"""The names of the hosts that have a row."""
