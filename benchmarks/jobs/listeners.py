"""Listeners that are not ours, each a process of its own: ``KIND URL NUMBER``.

They print one line of JSON at the end. See benchmarks/bridge.py, which runs them.
"""

import http.client
import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import oslo_messaging
from oslo_config import cfg

from vimfed.nova.oslo import PRIORITIES

EXCHANGE = "nova"
TOPICS = ("notifications", "versioned_notifications")
POOL = "benchmark"
BATCH = 500


def transport(url: str) -> Any:
    """Return oslo's transport for a URL."""
    conf = cfg.ConfigOpts()
    conf([], default_config_files=[], default_config_dirs=[])
    oslo_messaging.set_transport_defaults(EXCHANGE)
    return oslo_messaging.get_notification_transport(conf, url=url)


def targets() -> list[Any]:
    """Return what nova's notifications lie under."""
    return [oslo_messaging.Target(topic=topic, exchange=EXCHANGE) for topic in TOPICS]


class Endpoint:
    """Takes every priority; ``handle`` returns how many messages it has dealt with."""

    def __init__(self, handle: Callable[..., int], count: int) -> None:
        self._handle = handle
        self._count = count
        self._done = 0
        self._begun = 0.0
        self.all_done = threading.Event()
        self.seconds = self.cpu_seconds = 0.0
        for priority in PRIORITIES:
            setattr(self, priority, self._take)

    def _take(self, *arguments: Any) -> Any:
        if not self._begun:
            self._begun, self._cpu_begun = time.monotonic(), time.process_time()
        self._done += self._handle(*arguments)
        if self._done >= self._count:
            self.seconds = time.monotonic() - self._begun
            self.cpu_seconds = time.process_time() - self._cpu_begun
            self.all_done.set()
        return oslo_messaging.NotificationResult.HANDLED


def nothing(url: str, count: int) -> Endpoint:
    """Drain the pool's queue in batches with a callback that does nothing."""
    endpoint = Endpoint(len, count)
    listener = oslo_messaging.get_batch_notification_listener(
        transport(f"{url}?rabbit_qos_prefetch_count={BATCH}"),
        targets(),
        [endpoint],
        allow_requeue=True,
        pool=POOL,
        batch_size=BATCH,
        batch_timeout=0.02,
    )
    _run(listener, endpoint)
    return endpoint


def post(url: str, count: int, sink_port: int) -> Endpoint:
    """Drain it one by one, each message posted over a connection of its own before the next."""

    def handle(_context: Any, publisher: str, event: str, payload: Any, metadata: Any) -> int:
        told = {"publisher_id": publisher, "event_type": event, "payload": payload, **metadata}
        connection = http.client.HTTPConnection("127.0.0.1", sink_port, timeout=10)
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/events/test", json.dumps(told), headers)
        connection.getresponse().read()
        connection.close()
        return 1

    endpoint = Endpoint(handle, count)
    listener = oslo_messaging.get_notification_listener(
        transport(url), targets(), [endpoint], allow_requeue=True, pool=POOL
    )
    _run(listener, endpoint)
    return endpoint


def _run(listener: Any, endpoint: Endpoint) -> None:
    listener.start(override_pool_size=1)
    endpoint.all_done.wait()
    time.sleep(0.5)  # the last acknowledgements are on their way
    listener.stop()
    listener.wait()


def main() -> None:
    """Run the kind of process that the arguments name."""
    logging.disable(logging.ERROR)
    kind, url, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    endpoint = nothing(url, count) if kind == "nothing" else post(url, count, int(sys.argv[4]))
    print(json.dumps({"seconds": endpoint.seconds, "cpu_seconds": endpoint.cpu_seconds}))


if __name__ == "__main__":
    main()
