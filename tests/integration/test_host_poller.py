"""A cloud's hosts, looked at in the test's own process: a stand-in for nova shows what it likes."""

import asyncio
import concurrent.futures
import logging
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any, Self, cast

import pytest
from prometheus_client import CollectorRegistry

import bridge.hosts.poller
from bridge.hosts.poller import HostPoller
from bridge.hosts.progress import HostsCollector, HostsCounters, HostsProgress
from bridge.hosts.source import _told_lately
from bridge.poller.known_instances import Known, KnownInstances, KnownInstancesError
from bridge.source import Running, Source, SourceKey, Surroundings
from tests.support.sections import vim_of
from tests.support.stub_nova import StubNova
from tests.support.waiting import eventually
from vimfed.cli.check import _api_findings, _checked
from vimfed.kafka.clients import OutgoingRecord
from vimfed.kafka.partitions import partition_of
from vimfed.model.keys import cloud_key, host_key
from vimfed.model.records import Notification, decode_notification
from vimfed.nova.host_report import (
    HOST_STATE,
    HostReport,
    read_cloud_report,
    read_host_report,
)
from vimfed.settings import KafkaSettings, Settings

KAFKA = KafkaSettings(partitions=3)
VIM = "openstack_hosts"


class Watched:
    """One who looks at a cloud's hosts, and what that has written."""

    def __init__(self, login: dict[str, Any], known: Sequence[str] = (), **more: Any) -> None:
        self.settings = {
            "cloud_owner": "openstack",
            "cloud_region_id": "hosts",
            "poll": {"hosts_interval": 0.1, "timeout": 1.0, **login, **more},
        }
        vim = vim_of(self.settings)
        self.registry = CollectorRegistry()
        self.progress = HostsProgress(VIM, vim.poll.hosts_interval, HostsCounters(self.registry))
        self.registry.register(HostsCollector(lambda: [self.progress]))
        self.written: list[OutgoingRecord] = []
        self.told: set[str] = set()
        """Hosts of which the cloud has notified something."""
        self.known: Sequence[str] | None = known
        """None: the table cannot be read."""
        self._poller = HostPoller(
            vim,
            KAFKA,
            self._write,
            self.progress,
            known=cast(KnownInstances, self),
            told=lambda: self.told,
        )

    def __enter__(self) -> Self:
        self._poller.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        assert asyncio.run(self._poller.stop())

    def take(self, vim_id: str, _stopped: object) -> Known:
        """Stand in for KnownInstances."""
        assert vim_id == VIM
        if self.known is None:
            raise KnownInstancesError("no right")
        return dict.fromkeys(self.known, "")

    def _write(self, records: Sequence[OutgoingRecord]) -> concurrent.futures.Future[None]:
        self.written += records
        done = concurrent.futures.Future[None]()
        done.set_result(None)
        return done

    def notifications(self) -> list[Notification]:
        """Return those of one partition: each has all of them."""
        return [decode_notification(one.value or b"") for one in self.written if one.partition == 0]

    def hosts(self, host: str = "") -> list[HostReport]:
        told = [one for one in self.notifications() if one.event_type == HOST_STATE]
        reports = [read_host_report(one.payload) for one in told]
        return [one for one in reports if host in ("", one.host)]

    def clouds(self) -> list[bool]:
        told = [one for one in self.notifications() if one.event_type != HOST_STATE]
        return [read_cloud_report(one.payload).is_known for one in told]

    def state(self, host: str) -> dict[str, Any]:
        """Return what a reader of all reports holds of a host."""
        held: dict[str, Any] = {}
        for report in self.hosts(host):
            said = {name: getattr(report, name) for name in ("is_up", "forced_down", "disabled")}
            held |= {name: value for name, value in said.items() if value is not None}
            if report.is_gone:
                held = {"gone": True}
        return held

    def value(self, name: str, **labels: str) -> float:
        value = self.registry.get_sample_value(f"vimfed_hosts_{name}", {"vim_id": VIM, **labels})
        return value or 0.0

    def wait_for_answers(self, count: int) -> None:
        wanted = self.value("cycle_seconds_count") + count
        eventually(lambda: self.value("cycle_seconds_count") >= wanted, 10)


@pytest.fixture
def nova() -> Iterator[StubNova]:
    with StubNova() as stub:
        for host in ("one", "two"):
            stub.host(host)
        yield stub


ON = {"is_up": True, "forced_down": False, "disabled": False}


def test_every_partition_is_told_of_every_host_and_one_of_them_at_home(nova: StubNova) -> None:
    with Watched(nova.login()) as watched:
        eventually(lambda: watched.state("one") == watched.state("two") == ON, 10)
        watched.wait_for_answers(2)
    assert len(watched.written) == 3 * len(watched.notifications())
    key = host_key(VIM, "one")
    told = [each for each in watched.written if each.key == key]
    assert [each.partition for each in told] == [0, 1, 2]
    at_home = [read_host_report(decode_notification(one.value or b"").payload) for one in told]
    assert [one.is_home for one in at_home] == [n == partition_of(key, 3) for n in range(3)]
    assert watched.clouds() == [True]
    assert {each.key for each in watched.written} >= {cloud_key(VIM), key, host_key(VIM, "two")}


def test_each_look_is_one_request_and_what_stays_as_it_is_is_told_once(nova: StubNova) -> None:
    with Watched(nova.login()) as watched:
        watched.wait_for_answers(6)
        nova.host("one", "down")
        eventually(lambda: watched.state("one") == {**ON, "is_up": False}, 10)
        nova.host("one", "down", forced_down=True)
        nova.host("two", status="disabled", disabled_reason="kernel")
        eventually(lambda: watched.state("two") == {**ON, "disabled": True}, 10)
        eventually(lambda: watched.state("one")["forced_down"], 10)
        nova.host("one")
        eventually(lambda: watched.state("one") == ON, 10)
        watched.wait_for_answers(3)
    assert len(watched.hosts("one")) == 4
    assert [each.disabled_reason for each in watched.hosts("two")] == ["", "kernel"]
    cycles = watched.value("cycle_seconds_count")
    assert set(nova.requests) == {"/os-services?binary=nova-compute"}
    assert len(nova.requests) - cycles <= 1
    assert watched.value("requests_total") == len(nova.requests)
    assert watched.value("reports_total") == len(watched.written)
    assert watched.value("listed", state="up") == 2


def test_reports_are_of_the_clouds_own_time(nova: StubNova) -> None:
    nova.skew = timedelta(hours=-2)
    with Watched(nova.login()) as watched:
        eventually(lambda: len(watched.hosts()) == 2, 10)
        begun = nova.now() - timedelta(seconds=15)
        nova.skew = timedelta(hours=-2, seconds=0.5)
        nova.host("one", "down")
        eventually(lambda: not watched.state("one")["is_up"], 10)
    told = [one for one in watched.notifications() if one.event_type == HOST_STATE]
    times = [one.timestamp for one in told]
    assert times == sorted(times)
    assert all(f"{begun:%Y-%m-%dT%H:%M:%S}" <= time <= f"{nova.now():%Y-%m-%dT%H:%M:%S}Z"
               for time in times)  # fmt: skip
    assert all(one.received_at > one.timestamp for one in told)


def test_of_a_host_that_was_notified_of_the_next_look_is_told_too(nova: StubNova) -> None:
    with Watched(nova.login()) as watched:
        eventually(lambda: watched.state("one") == watched.state("two") == ON, 10)
        watched.told = {"one"}  # disabled, and enabled again, of which the second was lost
        eventually(lambda: len(watched.hosts("one")) == 3, 10)
        watched.told = set()
    assert watched.hosts("one")[-1] == watched.hosts("one")[0]
    assert len(watched.hosts("two")) == 1
    times = [one.timestamp for one in watched.notifications() if one.event_type == HOST_STATE]
    assert len(set(times)) == 3


def test_a_listener_remembers_the_hosts_that_it_told_of_for_some_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    surroundings = Surroundings(Settings(), CollectorRegistry(), cast(Any, None))
    vim = vim_of(Watched({}, auth_url="http://k").settings)
    listener = surroundings.new_progress(vim)
    other = surroundings.new_progress(vim_of({"cloud_owner": "o", "cloud_region_id": "r"}))
    for number, progress in enumerate((listener, other)):
        source = cast(Source, SimpleNamespace(progress=progress))
        surroundings.running[SourceKey(progress.vim_id, "rabbit", str(number))] = Running(
            vim, source
        )
    monkeypatch.setattr("bridge.progress.MAX_HOSTS", 3)
    listener.told_of(["one", "two", "three"])
    listener.told_of(["two", "four"])
    other.told_of(["other"])
    assert _told_lately(surroundings, vim) == {"two", "three", "four"}
    later = time.monotonic() + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert _told_lately(surroundings, vim) == set()


def test_all_is_told_again_at_an_interval(nova: StubNova, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge.hosts.poller, "REPEAT_EVERY", 0.5)
    with Watched(nova.login()) as watched:
        eventually(lambda: len(watched.clouds()) > 2, 10)
        assert len(watched.hosts("one")) >= 2
        assert watched.state("one") == ON
    assert all(watched.clouds())


def test_a_host_that_is_removed_is_gone_also_if_that_was_before_the_start(nova: StubNova) -> None:
    with Watched(nova.login(), known=["one", "old"]) as watched:
        eventually(lambda: watched.state("old") == {"gone": True}, 10)
        del nova.hosts["one"]
        eventually(lambda: watched.state("one") == {"gone": True}, 10)
        watched.wait_for_answers(3)
    assert [each.is_gone for each in watched.hosts("one")] == [False, True]
    assert [each.is_gone for each in watched.hosts("old")] == [True]


def test_a_table_that_cannot_be_read_keeps_nobody_from_looking(
    nova: StubNova, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(bridge.hosts.poller, "REPEAT_EVERY", 0.5)
    watched = Watched(nova.login())
    watched.known = None
    with watched:
        eventually(lambda: watched.state("one") == ON, 10)
        eventually(lambda: "are not noticed: no right" in caplog.text, 10)
        watched.known = ["old"]
        eventually(lambda: watched.state("old") == {"gone": True}, 10)


def test_a_nova_that_hides_the_hosts_of_a_cell_that_is_down_makes_none_gone() -> None:
    with StubNova(max_microversion="2.68") as nova, Watched(nova.login()) as watched:
        nova.host("one")
        nova.host("two")
        eventually(lambda: watched.state("two") == ON, 10)
        del nova.hosts["two"]
        watched.wait_for_answers(4)
        assert watched.state("two") == ON


def test_a_host_whose_cell_is_down_is_unknown_and_keeps_its_state(nova: StubNova) -> None:
    with Watched(nova.login()) as watched:
        eventually(lambda: watched.state("one") == ON, 10)
        nova.host("one", "UNKNOWN")
        watched.wait_for_answers(4)
        assert watched.value("listed", state="unknown") == 1
        assert watched.state("one") == ON
        assert watched.hosts("one")[1:] == [HostReport(host="one", is_home=False, is_known=False)]
        nova.host("one")
        eventually(lambda: watched.hosts("one")[-1].is_known, 10)
        assert watched.state("one") == ON
        assert watched.clouds() == [True]


def test_a_cloud_that_does_not_answer_makes_no_host_down_but_all_unknown_once(
    nova: StubNova,
) -> None:
    with Watched(nova.login(), hosts_interval=0.5) as watched:
        eventually(lambda: watched.state("one") == ON, 10)
        nova.hosts_answer = 503
        eventually(lambda: watched.clouds() == [True, False], 20)
        assert "503" in watched.progress.troubles[f"hosts of {VIM}"]
        assert not watched.progress.flows
        failures = watched.value("failures_total", reason="failing")
        eventually(lambda: watched.value("failures_total", reason="failing") > failures, 20)
        nova.hosts_answer = 200
        eventually(lambda: watched.clouds() == [True, False, True], 20)
        eventually(lambda: watched.progress.flows, 10)
        assert watched.progress.troubles == {}
    assert watched.state("one") == watched.state("two") == ON
    clouds = [one for one in watched.notifications() if one.event_type != HOST_STATE]
    assert [one.timestamp for one in clouds] == [one.received_at for one in clouds]


def test_who_may_not_ask_is_told_so_once_and_nothing_is_said_of_any_host(
    nova: StubNova, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.poller.polling.MIN_BACKOFF", 0.1)
    nova.hosts_answer = 403
    with Watched(nova.login()) as watched:
        eventually(lambda: watched.value("failures_total", reason="forbidden") >= 4, 20)
    assert watched.written == []
    (told,) = [each.getMessage() for each in caplog.records if "not polled" in each.getMessage()]
    assert told.startswith(f"cloud {VIM}: hosts: not polled (forbidden)")
    assert "give the user nova's role admin, or set poll.hosts_interval = 0" in told
    checked = _checked("cloud", partial(_api_findings, "cloud", vim_of(watched.settings).poll))
    assert checked.ok
    assert "warning: hosts are not looked at: GET" in checked.lines()[0]


def test_a_cloud_is_left_alone_for_as_long_as_it_asks(nova: StubNova) -> None:
    nova.hosts_answer, nova.hosts_headers = 429, {"Retry-After": "3"}
    with Watched(nova.login()) as watched:
        eventually(lambda: watched.value("failures_total", reason="throttled") == 1, 10)
        nova.hosts_answer = 200
        asked = len(nova.requests)
        eventually(lambda: len(watched.hosts()) == 2, 20)
    first = watched.notifications()[0]
    assert asked == 1
    assert first.event_type != HOST_STATE


@pytest.mark.parametrize(
    ("answer", "said"),
    [(404, "refused"), (500, "failing")],
)
def test_an_api_without_hosts_says_nothing_of_them(nova: StubNova, answer: int, said: str) -> None:
    nova.hosts_answer = answer
    with Watched(nova.login()) as watched:
        eventually(lambda: watched.value("failures_total", reason=said) >= 1, 10)
        assert watched.hosts() == []


def test_more_hosts_than_a_cloud_can_have_are_an_answer_of_nobodys(
    nova: StubNova, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.poller.nova_api.MAX_SERVICES", 2)
    with Watched(nova.login()) as watched:
        eventually(lambda: watched.value("failures_total", reason="garbage") >= 1, 10)
    assert watched.hosts() == []
