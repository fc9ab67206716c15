"""Which sources the settings of clouds ask for, and what the bridge needs of one to run it."""

import asyncio
import contextlib
import json
from collections.abc import Sequence

import pytest

from bridge import kinds, service
from bridge.kinds import wanted
from bridge.progress import Progress
from bridge.source import Make, SourceKey, SourceKind, Surroundings
from tests.support.sections import vim_of
from vimfed.settings import BridgeSettings, KafkaSettings, Settings, VimSettings


def cloud(name: str, **sections: dict[str, object]) -> VimSettings:
    return vim_of({"cloud_owner": "Owner", "cloud_region_id": name, **sections})


def test_each_way_of_access_to_a_cloud_is_a_source_of_its_own() -> None:
    urls = ["rabbit://u:p@Host,u:p@other/", "rabbit://host:5673/", "RABBIT://[::1]/cell"]
    rabbit = cloud("R", rabbit={"transport_urls": urls})
    both = cloud("B", kafka={"bootstrap": "host:9092"}, poll={"auth_url": "http://keystone/v3"})
    assert wanted([rabbit, both, cloud("none")]) == {
        SourceKey("Owner_R", "rabbit", "host:5672/"): rabbit,
        SourceKey("Owner_R", "rabbit", "host:5673/"): rabbit,
        SourceKey("Owner_R", "rabbit", "[::1]:5672/cell"): rabbit,
        SourceKey("Owner_B", "kafka"): both,
        SourceKey("Owner_B", "poller"): both,
        SourceKey("Owner_B", "hosts"): both,
    }


def test_samples_come_by_sources_of_their_own_that_tell_no_events() -> None:
    metered = cloud(
        "M",
        rabbit={"transport_urls": ["rabbit://u:p@mq/"]},
        samples={
            "rabbit": {"transport_urls": ["rabbit://u:p@mq/", "rabbit://other/"]},
            "kafka": {"bootstrap": "host:9092"},
            "prometheus": {"url": "http://prometheus:9090", "built_in": ["openstack_nova"]},
            "pushed": True,
        },
    )
    keys = wanted([metered])
    assert list(keys) == [
        SourceKey("Owner_M", "rabbit", "mq:5672/"),
        SourceKey("Owner_M", "samples-rabbit", "mq:5672/"),
        SourceKey("Owner_M", "samples-rabbit", "other:5672/"),
        SourceKey("Owner_M", "samples-kafka"),
        SourceKey("Owner_M", "samples-prometheus"),
    ]
    assert [key.tells_events for key in keys] == [True, False, False, False, False]


def test_a_cloud_is_not_asked_for_its_hosts_where_that_is_switched_off() -> None:
    quiet = cloud("Q", poll={"auth_url": "http://keystone/v3", "hosts_interval": 0})
    assert list(wanted([quiet])) == [SourceKey("Owner_Q", "poller")]


class Toy:
    """A source that needs no cloud: the least that the bridge asks of one."""

    def __init__(self, progress: Progress, part: str, log: list[str], runs: asyncio.Event) -> None:
        self.progress = progress
        self._part = part
        self._log = log
        self._runs = runs

    def start(self) -> None:
        self._log.append(f"{self._part} starts")
        self.progress.connected = True
        self.progress.received(2)
        if self._part == "second":
            self.progress.alive_at -= 100
            self._runs.set()

    async def stop(self) -> bool:
        self._log.append(f"{self._part} stops")
        return True


async def answer(port: int, path: str) -> tuple[int, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    return int(head.split()[1]), body


async def test_a_cloud_has_several_sources_of_a_kind_that_the_bridge_has_never_seen(
    monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    log: list[str] = []
    both_run = asyncio.Event()

    def toys(surroundings: Surroundings) -> Make:
        return lambda vim, part: Toy(surroundings.new_progress(vim), part, log, both_run)

    def parts(_vim: VimSettings) -> Sequence[str]:
        return ["first", "second"]

    monkeypatch.setattr(kinds, "KINDS", {"toy": SourceKind(parts, toys)})
    settings = Settings(
        kafka=KafkaSettings(bootstrap="127.0.0.1:1"),
        bridge=BridgeSettings(port=unused_tcp_port),
        vims=[cloud("R")],
    )
    bridge = service._Bridge(settings, None)
    running = asyncio.create_task(bridge.run())
    async with asyncio.timeout(10):
        await both_run.wait()
        status, body = await answer(unused_tcp_port, "/healthz")
        assert (status, list(json.loads(body)["wrong"])) == (503, ["Owner_R: second"])
        _status, metrics = await answer(unused_tcp_port, "/metrics")
        assert 'vimfed_bridge_received_total{bus="",vim_id="Owner_R"} 4.0' in metrics
        bridge._stop.set()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    assert log == ["first starts", "second starts", "first stops", "second stops"]
