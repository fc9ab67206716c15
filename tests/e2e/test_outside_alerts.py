"""Real monitors drive alarms: each is raised once and cleared once, whoever is killed meanwhile."""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.stack import Stack, eventually
from tests.real_aodh.cloud import RealAodh
from tests.real_aodh.environment import aodh_python
from tests.support.alertmanager import Alertmanager
from tests.support.core_truth import records_on
from vimfed.local.kafka import LocalKafka
from vimfed.model.records import AlarmStep, VmEvent, decode_event

pytestmark = pytest.mark.asyncio(loop_scope="package")

CLOUD = {"cloud_owner": "Owner", "cloud_region_id": "watched"}
VIM = "Owner_watched"
PATH = "/api/multicloud/v1/Owner/watched/alerts"
TOKEN = "token-of-the-alertmanager"
PASSWORD = "password of the alertmanager"
USERS = f"""
[web.auth]
peer_secret = "the secret of the peers"
[[web.auth.users]]
name = "basic"
password = "{PASSWORD}"
role = "writer"
[[web.auth.users]]
name = "bearer"
token = "{TOKEN}"
role = "writer"
"""


def told(stack: Stack, vim_id: str = VIM) -> list[tuple[VmEvent, AlarmStep]]:
    """Return the events of alerts of a cloud, each once, in the order of each source."""
    events = {
        event.id: event
        for event in (
            decode_event(record.value) for record in records_on(stack.bootstrap, stack.names.events)
        )
        if event.vim_id == vim_id and event.kind == "ALERT"
    }
    return [(event, event.alarm) for event in events.values() if isinstance(event.alarm, AlarmStep)]


def steps(stack: Stack, vim_id: str = VIM) -> Counter[tuple[str, str]]:
    """Return how often each step was told, by what it is about and the step."""
    return Counter(
        (event.instance_id or event.host or "cloud", step.step)
        for event, step in told(stack, vim_id)
    )


async def are_told(stack: Stack, expected: Counter[tuple[str, str]], vim_id: str = VIM) -> bool:
    return await asyncio.to_thread(steps, stack, vim_id) == expected


def webhook(stack: Stack, **login: object) -> dict[str, object]:
    url = f"http://127.0.0.1:{stack.ports['worker']}{PATH}"
    return {"url": url, "http_config": login}


def expire_after(stack: Stack, seconds: int) -> None:
    """Let alarms that are told from the next start of a worker on age out so soon."""
    settings = stack.folder / "vimfed.toml"
    text = settings.read_text()
    settings.write_text(text.replace("[worker]", f"[worker]\nalerts_expire_after = {seconds}", 1))


def forgotten(instance_id: str) -> object:
    """Return the webhook of an alert that nobody resolves."""
    labels = {"alertname": "Forgotten", "instance_id": instance_id}
    alert = {"status": "firing", "labels": labels, "fingerprint": "f0", "startsAt": "2026-01-01"}
    return {"version": "4", "groupKey": "{}", "alerts": [alert]}


async def test_alertmanager_raises_and_clears_each_alarm_once(
    tmp_path: Path, kafka: LocalKafka
) -> None:
    on_vms = [
        {"alertname": "VmDown", "severity": "critical", "instance_id": f"vm-{number}", "via": via}
        for number, via in enumerate(["basic", "bearer"] * 4)
    ]
    on_host = {"alertname": "HostHot", "host": "compute1:9100", "via": "basic"}
    on_cloud = {"alertname": "ApiSlow", "via": "bearer"}
    everything = [*on_vms, on_host, on_cloud]
    names = [*(labels["instance_id"] for labels in on_vms), "compute1", "cloud"]
    raised = Counter({(name, "raised"): 1 for name in names})
    since = datetime.now(UTC)
    async with Stack(tmp_path, kafka.bootstrap, [CLOUD], USERS) as stack:
        worker = stack.start_worker()
        await stack.ready()
        receivers = {
            "basic": webhook(stack, basic_auth={"username": "basic", "password": PASSWORD}),
            "bearer": webhook(stack, authorization={"credentials": TOKEN}),
        }
        with Alertmanager(tmp_path, receivers) as alertmanager:

            async def has_sent(more: int) -> None:
                wanted = alertmanager.sent + more

                async def is_sent() -> bool:
                    return alertmanager.sent >= wanted

                await eventually(is_sent, within=30)

            alertmanager.fire(*everything[:4], since=since, summary="first")
            await has_sent(2)
            worker.kill()
            alertmanager.fire(*everything[4:], since=since, summary="first")
            stack.start_worker()
            await eventually(partial(are_told, stack, raised), within=60, every=0.5)

            alertmanager.child.kill()  # it forgets its alerts, and whom it has told what
            alertmanager.start()
            alertmanager.fire(*everything, since=since, summary="first")
            await has_sent(len(everything))
            alertmanager.child.stop()  # it remembers whom it has told what
            alertmanager.start()
            alertmanager.fire(*everything[:4], since=since, summary="first")
            worker.kill()
            alertmanager.resolve(*everything, since=since)
            stack.start_worker()
            both = raised + Counter({(name, "cleared"): 1 for name in names})
            await eventually(partial(are_told, stack, both), within=60, every=0.5)
        worker.stop()
        expire_after(stack, 1)
        stack.start_worker()
        await stack.ready()
        login = {"Authorization": f"Bearer {TOKEN}"}
        assert (await stack.post(PATH, forgotten("vm-forgotten"), **login))[0] == 200
        both += Counter({("vm-forgotten", step): 1 for step in ("raised", "cleared")})
        await eventually(partial(are_told, stack, both), within=60, every=0.5)
    lives: dict[str, list[AlarmStep]] = {}
    for event, step in told(stack):
        lives.setdefault(step.id, []).append(step)
        if step.step == "cleared":
            reason = "expired" if event.instance_id == "vm-forgotten" else "resolved"
            assert event.reason == reason
    for life in lives.values():
        assert [(step.step, step.sequence) for step in life] == [("raised", 0), ("cleared", 1)]
        assert life[0].started_at == life[1].started_at


@pytest.fixture(scope="module")
def aodh(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> RealAodh:
    """An aodh that has not been started."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n{text}", flush=True)

    return RealAodh(aodh_python(say), tmp_path_factory.mktemp("aodh"))


async def test_actions_of_a_real_aodh_raise_and_clear_alarms(served: Stack, aodh: RealAodh) -> None:
    vim_id = "Owner_aodh"
    url = f"http://127.0.0.1:{served.ports['one']}/api/multicloud/v1/Owner/aodh/alerts"
    with aodh:
        named = aodh.make_alarm("cpu high", f"{url}?instance_id=vm-1", "critical")
        by_event = aodh.make_alarm("vm failed", url, event_type="compute.instance.error")
        on_cloud = aodh.make_alarm("api slow", url, repeat_actions=True)
        aodh.find(named, "alarm", "too hot")
        aodh.evaluate("compute.instance.error", instance_id="vm-2", host="h1")
        aodh.find(on_cloud, "alarm", "too slow")
        raised = {(name, "raised"): 1 for name in ("vm-1", "vm-2", "cloud")}
        await eventually(partial(are_told, served, Counter(raised), vim_id), within=30, every=0.5)
        aodh.child.kill()
        aodh.start()
        aodh.find(on_cloud, "alarm", "too slow")
        aodh.find(named, "insufficient data", "nobody measures")
        aodh.find(named, "ok", "cool")
        aodh.find(on_cloud, "ok", "fast")
    cleared = {(name, "cleared"): 1 for name in ("vm-1", "cloud")}
    await eventually(
        partial(are_told, served, Counter(raised | cleared), vim_id), within=30, every=0.5
    )
    assert by_event != named
    on_vm = [step for event, step in told(served, vim_id) if event.instance_id == "vm-1"]
    assert {(step.name, step.severity) for step in on_vm} == {("cpu high", "critical")}
    assert [step.summary for step in on_vm] == ["too hot"] * 2
