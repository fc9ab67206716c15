"""One message bus of a cloud: a cloud has several where each of nova's cells has its RabbitMQ."""

from typing import NamedTuple

from vimfed.settings import RabbitSettings, Secret, VimSettings


class Bus(NamedTuple):
    """Where a message bus is, and how it is listened to."""

    vim_id: str
    name: str
    """Tells it from the cloud's others; it holds neither user nor password."""
    label: str
    """Names it in the log: the cloud's vim_id, and the bus where there are several."""
    path: str
    """Names its queue in the records; see ``vimfed.model.records.Notification``."""
    url: Secret
    settings: RabbitSettings


def buses_of(vim: VimSettings) -> dict[str, Bus]:
    """Return the message buses of a cloud by name, in the order of its settings.

    The path of the first one does not name the bus: a cloud that had one bus, and is given another
    one behind it, goes on where it was.
    """
    return _buses(vim.vim_id, vim.vim_id, vim.rabbit)


def sample_buses_of(vim: VimSettings) -> dict[str, Bus]:
    """Return the message buses on which a cloud's ceilometer sends, like ``buses_of``."""
    return _buses(vim.vim_id, f"{vim.vim_id}, samples", vim.samples.rabbit)


def _buses(vim_id: str, label: str, rabbit: RabbitSettings) -> dict[str, Bus]:
    urls = rabbit.buses
    buses = {}
    for number, (name, url) in enumerate(urls.items()):
        path = "/".join([vim_id, rabbit.pool, *([name] if number else [])])
        bus_label = label if len(urls) == 1 else f"{label}, bus {name}"
        buses[name] = Bus(vim_id, name, bus_label, path, url, rabbit)
    return buses
