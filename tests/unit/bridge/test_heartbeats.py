"""What a bridge tells of its clouds at an interval."""

import asyncio
import contextlib
import time
from collections.abc import Sequence

from prometheus_client import CollectorRegistry

from bridge.heartbeats import beat, heartbeats_of
from bridge.hosts.progress import HostsCounters, HostsProgress
from bridge.progress import Counters, Progress
from bridge.source import Health, Running, SourceKey, Surroundings
from tests.support.sections import vim_of
from vimfed.kafka.clients import OutgoingRecord
from vimfed.kafka.partitions import partition_of
from vimfed.model.keys import cloud_key
from vimfed.model.records import decode_notification
from vimfed.nova.host_report import HEARTBEAT, Heartbeat, read_heartbeat
from vimfed.settings import KafkaSettings, Settings

CLOUD = vim_of({"cloud_owner": "Owner", "cloud_region_id": "R"})


class Stub:
    """A source that has nothing but its health."""

    def __init__(self, progress: Health) -> None:
        self.progress = progress

    def start(self) -> None: ...

    async def stop(self) -> bool:
        return True


def running(**health: Health) -> dict[SourceKey, Running]:
    """Return sources of one cloud; a kind's further parts have a number behind its name."""
    return {
        SourceKey("Owner_R", name.rstrip("0123456789"), name): Running(CLOUD, Stub(each))
        for name, each in health.items()
    }


def listener(*, connected: bool = True) -> Progress:
    progress = Progress("Owner_R", Counters(CollectorRegistry()))
    progress.connected = connected
    return progress


def test_a_heartbeat_tells_which_sources_flow_and_how_far_behind_they_are() -> None:
    waits, away = listener(), listener(connected=False)
    waits.received(1)
    assert waits.waiting_since is not None
    waits.waiting_since -= 7
    hosts = HostsProgress("Owner_R", 10.0, HostsCounters(CollectorRegistry()))
    hosts.succeeded(0.1)
    (told,) = heartbeats_of(running(rabbit=waits, hosts=hosts), 60.0).values()
    assert told.sources == {"rabbit": True, "hosts": True}
    assert told.interval == 60.0
    assert 7 <= told.lag < 8
    away.alive_at -= 100
    (told,) = heartbeats_of(running(rabbit1=waits, rabbit2=away, hosts=hosts), 60.0).values()
    assert told.sources == {"rabbit": False, "hosts": True}
    assert 100 <= told.lag < 101
    samples = {SourceKey("Owner_R", "samples-kafka"): Running(CLOUD, Stub(away))}
    (told,) = heartbeats_of(running(kafka=listener()) | samples, 60.0).values()
    assert told.sources == {"kafka": True, "samples-kafka": False}
    assert told.lag == 0, "of events none waits"
    hosts.failed("down", "no route")
    hosts.succeeded_at = time.time() - 500
    (told,) = heartbeats_of(running(kafka=listener(), hosts=hosts), 60.0).values()
    assert told.sources == {"kafka": True, "hosts": False}
    assert 500 <= told.lag < 501


async def test_each_cloud_has_a_heartbeat_in_its_own_partition_every_interval() -> None:
    written: list[OutgoingRecord] = []
    twice = asyncio.Event()

    async def write(records: Sequence[OutgoingRecord], _progress: object) -> None:
        written.extend(records)
        if len(written) >= 4:
            twice.set()

    kafka = KafkaSettings(partitions=7)
    surroundings = Surroundings(Settings(kafka=kafka), CollectorRegistry(), write)
    for region in ("R", "S"):
        key = SourceKey(f"Owner_{region}", "rabbit")
        surroundings.running[key] = Running(CLOUD, Stub(listener()))
    beating = asyncio.create_task(beat(surroundings, 0.01))
    async with asyncio.timeout(10):
        await twice.wait()
    beating.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await beating
    first = written[:2]
    assert [each.key for each in first] == [cloud_key("Owner_R"), cloud_key("Owner_S")]
    assert [each.partition for each in first] == [
        partition_of(each.key or b"", 7) for each in first
    ]
    told = [decode_notification(each.value or b"") for each in written]
    assert {each.event_type for each in told} == {HEARTBEAT}
    assert len({each.message_id for each in told}) == len(told)
    assert read_heartbeat(told[0].payload) == Heartbeat(
        interval=0.01, lag=0.0, sources={"rabbit": True}
    )
