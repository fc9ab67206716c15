"""Heartbeats: the bridge tells of each cloud at an interval that it is still listened to.

Where nothing happens in a cloud nothing else is told of it, and silence could be a dead bridge.
"""

import asyncio
from collections.abc import Mapping

from bridge.source import Running, SourceKey, Surroundings
from vimfed.kafka.notification_writer import arrival_time, heartbeat_record
from vimfed.nova.host_report import Heartbeat


def heartbeats_of(running: Mapping[SourceKey, Running], interval: float) -> Mapping[str, Heartbeat]:
    """Return the heartbeat of each cloud, by vim_id; ``interval``: seconds until the next ones."""
    flows: dict[str, dict[str, bool]] = {}
    lags: dict[str, float] = {}
    for key, (_vim, source) in sorted(running.items()):
        kinds = flows.setdefault(key.vim_id, {})
        kinds[key.kind] = kinds.get(key.kind, True) and source.progress.flows
        lag = source.progress.lag if key.tells_events else 0.0
        lags[key.vim_id] = max(lags.get(key.vim_id, 0.0), lag)
    return {
        vim_id: Heartbeat(interval=interval, lag=round(lags[vim_id], 3), sources=kinds)
        for vim_id, kinds in flows.items()
    }


async def beat(surroundings: Surroundings, interval: float) -> None:
    """Write the heartbeats of all clouds every ``interval`` seconds, without end.

    While Kafka takes nothing they do not pile up.
    """
    while True:
        await asyncio.sleep(interval)
        received_at = arrival_time()
        kafka = surroundings.settings.kafka
        beats = heartbeats_of(surroundings.running, interval)
        await surroundings.write(
            [
                heartbeat_record(kafka, vim_id, each, received_at=received_at)
                for vim_id, each in beats.items()
            ]
        )
