"""How the poller asks a cloud's API, and what it does while that fails: pollers in this process."""

import time
import uuid
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

import bridge.poller.polling
from bridge.poller.poller import HEAD_START
from bridge.poller.progress import PollerCounters, PollerProgress
from tests.support.bridge_process import BridgeProcess
from tests.support.fault_proxy import FaultProxy
from tests.support.polled import Polled
from tests.support.sections import vim_of
from tests.support.stub_nova import StubNova
from tests.support.waiting import eventually
from vimfed.cli import check
from vimfed.local.kafka import LocalKafka
from vimfed.settings import KafkaSettings, Settings


def test_two_thousand_servers_are_listed_page_by_page_and_then_only_what_changes() -> None:
    with StubNova() as nova:
        servers = [nova.add() for _ in range(2000)]
        gone = nova.add("deleted", age=timedelta(hours=3))
        forgotten = nova.add("deleted", age=timedelta(days=3))
        with Polled(nova.login()) as polled:
            polled.wait_for_cycles(1)
            polled.wait_for_cycles(3)
            requests = list(nova.requests)
            changed = servers[700]
            request = nova.act(changed, "stop", "compute_stop_instance", "stopped")
            eventually(lambda: polled.knows(changed, "stopped", ""), 30)
    outcome = polled.outcome()
    assert outcome.rows.keys() == {*servers, gone}
    assert forgotten not in outcome.rows
    assert all(each.startswith("/servers/detail?") for each in requests if each != "/")
    lists = [each for each in requests if each != "/"]
    assert all("changes-since" not in each for each in lists[:4])
    assert "deleted=true" in lists[4]
    assert all("changes-since" in each and "deleted" not in each for each in lists[5:])
    assert [(e.kind, e.phase, e.inferred) for e in outcome.events] == [
        ("POWER_OFF", "start", False),
        ("POWER_OFF", "end", False),
    ]
    assert request in {each.request_id for each in polled.notifications()}
    assert polled.value("findings_total") == len(polled.written)


def test_a_state_that_no_action_explains_is_told_as_inferred() -> None:
    with StubNova() as nova:
        server = nova.add()
        with Polled(nova.login()) as polled:
            polled.wait_for_cycles(1)
            nova.change(server, "error")
            eventually(lambda: polled.knows(server, "error", ""), 10)
    (event,) = polled.outcome().events
    assert (event.kind, event.inferred, event.old_state) == ("STATE", True, "active")


def test_a_server_deleted_while_it_is_read_is_told_once_and_as_deleted() -> None:
    with StubNova() as nova:
        server = nova.add()
        with Polled(nova.login()) as polled:
            polled.wait_for_cycles(1)
            delete = partial(nova.act, server, "delete", "compute_terminate_instance", "deleted")
            nova.meanwhile[server] = delete
            nova.change(server, "stopped")
            eventually(lambda: polled.knows(server, "deleted", ""), 30)
    deletion = [e for e in polled.outcome().events if e.kind == "DELETE"]
    assert [(e.phase, e.new_state, e.inferred) for e in deletion] == [
        ("start", "stopped", False),
        ("end", "deleted", False),
    ]


def test_findings_that_kafka_does_not_take_are_found_again() -> None:
    with StubNova() as nova:
        server = nova.add()
        with Polled(nova.login()) as polled:
            polled.wait_for_cycles(1)
            polled.takes = False
            nova.act(server, "stop", "compute_stop_instance", "stopped")
            cycles = polled.cycles
            eventually(lambda: any("os-instance-actions/" in each for each in nova.requests), 10)
        assert polled.cycles <= cycles + 1
        assert not polled.knows(server, "stopped", "")
        with Polled(nova.login()) as polled:
            eventually(lambda: polled.knows(server, "stopped", ""), 10)


def test_an_endpoint_may_have_the_project_in_its_url() -> None:
    with StubNova(endpoint="/v2.1/0123456789abcdef") as nova:
        server = nova.add("paused")
        with Polled(nova.login()) as polled:
            eventually(lambda: polled.knows(server, "paused", ""), 10)


@pytest.mark.parametrize("hours", [-3, 3])
def test_a_cloud_may_have_another_time(hours: int) -> None:
    with StubNova() as nova:
        nova.skew = timedelta(hours=hours)
        server = nova.add()
        with Polled(nova.login()) as polled:
            polled.wait_for_cycles(1)
            nova.act(server, "pause", "compute_pause_instance", "paused")
            eventually(lambda: polled.knows(server, "paused", ""), 10)
    assert [event.kind for event in polled.outcome().events] == ["PAUSE", "PAUSE"]


def test_an_old_cloud_is_asked_in_its_own_microversion() -> None:
    with StubNova(max_microversion="2.25") as nova:
        server = nova.add()
        with Polled(nova.login(), all_projects=False) as polled:
            polled.wait_for_cycles(1)
            nova.act(server, "pause", "compute_pause_instance", "paused")
            eventually(lambda: polled.knows(server, "paused", ""), 10)
    assert not any("all_tenants" in each or "deleted=" in each for each in nova.requests)
    assert not any("actions?changes-since" in each for each in nova.requests)
    assert [event.kind for event in polled.outcome().events] == ["PAUSE", "PAUSE"]


def test_one_clouds_failures_hold_up_no_other_and_end_by_themselves(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with StubNova() as nova, FaultProxy(nova.url) as proxy:
        server = nova.add()
        with Polled(nova.login(proxy.url), "ill") as ill, Polled(nova.login()) as well:
            for fault, reason, action, event, state in (
                ("down", "down", "stop", "compute_stop_instance", "stopped"),
                ("slow", "slow", "start", "compute_start_instance", "active"),
                ("401", "unauthorised", "pause", "compute_pause_instance", "paused"),
                ("429", "throttled", "unpause", "compute_unpause_instance", "active"),
                ("500", "failing", "suspend", "compute_suspend_instance", "suspended"),
                ("garbage", "garbage", "resume", "compute_resume_instance", "active"),
            ):
                ill.wait_for_cycles(1)
                caplog.clear()
                proxy.fail(fault)
                eventually(lambda: ill.progress.failing, 20)
                good = ill.progress.succeeded_at
                nova.act(server, action, event, state)
                eventually(lambda: well.knows(server, state, ""), 20)  # noqa: B023
                eventually(lambda: proxy.failed >= 3, 20)
                assert ill.progress.failing.startswith(f"{reason}: ")
                assert ill.progress.succeeded_at == good
                assert not ill.knows(server, state, "")
                assert ill.value("failures_total", reason=reason) >= 1
                told = [line.getMessage() for line in caplog.records if line.levelname == "WARNING"]
                assert len(told) == 1, told
                assert told[0].startswith(f"cloud openstack_ill: not polled ({reason})")
                proxy.fail("")
                eventually(lambda: ill.knows(server, state, ""), 20)  # noqa: B023
                assert not ill.progress.failing
            assert not well.progress.failing
    told_of_each = [
        [(event.kind, event.phase) for event in polled.outcome().events] for polled in (ill, well)
    ]
    assert told_of_each[0] == told_of_each[1]
    assert len(told_of_each[0]) == 12


def test_an_expired_token_is_replaced_without_a_failure() -> None:
    with StubNova() as nova:
        server = nova.add()
        with Polled(nova.login()) as polled:
            polled.wait_for_cycles(1)
            nova.expire_tokens()
            nova.act(server, "pause", "compute_pause_instance", "paused")
            eventually(lambda: polled.knows(server, "paused", ""), 10)
            assert polled.value("failures_total", reason="unauthorised") == 0


def test_a_throttled_cloud_is_left_alone_for_as_long_as_it_asks() -> None:
    with StubNova() as nova, FaultProxy(nova.url) as proxy, Polled(nova.login(proxy.url)) as polled:
        polled.wait_for_cycles(1)
        proxy.fail("429")  # for a second
        eventually(lambda: proxy.failed == 1, 10)
        polled_at = polled.cycles
        proxy.fail("")
        eventually(lambda: polled.cycles > polled_at, 10)
        assert proxy.failed == 0


def test_no_cloud_is_left_alone_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge.poller.polling, "MAX_ASKED_FOR", 0.5)
    with StubNova() as nova, FaultProxy(nova.url) as proxy, Polled(nova.login(proxy.url)) as polled:
        polled.wait_for_cycles(1)
        proxy.fail("429 for ever")
        eventually(lambda: proxy.failed >= 1, 10)
        proxy.fail("")
        polled.wait_for_cycles(1)


def test_a_clouds_own_notifications_have_a_head_start() -> None:
    with StubNova() as nova:
        older, newer = nova.add(), nova.add()
        with Polled(nova.login(), cloud={"kafka": {"bootstrap": "127.0.0.1:9"}}) as polled:
            polled.wait_for_cycles(1)
            nova.change(newer, "error")
            nova.change(older, "error", age=HEAD_START + timedelta(seconds=2))
            eventually(lambda: polled.knows(older, "error", ""), 10)
            assert polled.knows(newer, "active", "")


def test_the_bridge_says_which_cloud_is_not_polled_and_stops_although_its_api_hangs(
    kafka: LocalKafka, tmp_path: Path
) -> None:
    with StubNova() as nova, FaultProxy(nova.url) as proxy:
        well = {"cloud_owner": "openstack", "cloud_region_id": "well", "poll": nova.login()}
        poll = {**nova.login(proxy.url), "timeout": 1.0, "interval": 1.0}
        ill = {**well, "cloud_region_id": "ill", "poll": poll}
        bridge = BridgeProcess(
            tmp_path,
            kafka={"bootstrap": kafka.bootstrap, "topic_prefix": f"p{uuid.uuid4().hex[:8]}"},
            vims=[well],
        )
        bridge.start()
        try:
            eventually(lambda: bridge.health("/readyz") == (200, {"status": "ok"}), 30)
            proxy.fail("slow")
            bridge.write_settings([well, ill])
            bridge.hang_up()
            eventually(lambda: len(bridge.health("/readyz")[1].get("degraded", {})) == 2, 30)
            status, health = bridge.health("/readyz")
            assert status == 200
            assert health["degraded"] == dict.fromkeys(
                ["polling openstack_ill", "hosts of openstack_ill"],
                "slow: no answer within 1 s; last polled: never",
            )
            assert bridge.health("/healthz")[0] == 200
            bridge.write_settings([ill])
            bridge.hang_up()
            eventually(lambda: bridge.health("/readyz")[0] == 503, 30)
            assert bridge.health("/readyz")[1]["wrong"]["clouds"] == "none is connected"
            assert bridge.stop() < 10
        finally:
            bridge.child.stop()


def test_a_poller_that_neither_succeeds_nor_fails_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    progress = PollerProgress("a_b", 30.0, PollerCounters(CollectorRegistry()))
    assert (progress.trouble, progress.flows) == ("", False)
    progress.succeeded(0.1)
    assert (progress.trouble, progress.flows) == ("", True)
    later = time.time() + 211
    monkeypatch.setattr(time, "time", lambda: later)
    stuck = "stuck: no cycle has ended; last polled: 211 s ago"
    assert (progress.trouble, progress.flows) == (stuck, False)
    progress.succeeded(0.1)
    assert (progress.trouble, progress.flows) == ("", True)


def test_check_tries_the_api_of_a_cloud_that_is_polled(capsys: pytest.CaptureFixture[str]) -> None:
    with StubNova() as nova:
        nova.add()
        cloud = {"cloud_owner": "openstack", "cloud_region_id": "polled", "poll": nova.login()}
        wrong = {
            **cloud,
            "cloud_region_id": "wrong",
            "poll": {**nova.login(), "password": "guessed"},
        }
        nowhere = {
            **cloud,
            "cloud_region_id": "nowhere",
            "poll": {**nova.login(), "auth_url": "http://127.0.0.1:9/v3"},
        }
        settings = Settings(
            kafka=KafkaSettings(bootstrap="127.0.0.1:9"),
            vims=[vim_of(each) for each in (cloud, wrong, nowhere)],
        )
        assert check.run(settings) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "cloud openstack_polled: API: ok" in lines
    assert any(line.startswith("cloud openstack_wrong: API: Keystone refuses") for line in lines)
    assert any(line.startswith("cloud openstack_nowhere: API: Unable to") for line in lines)
