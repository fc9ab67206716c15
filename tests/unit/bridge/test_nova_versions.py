"""What the compute API of each nova in use answers, read as the poller reads it.

Recorded beside the notifications, in the newest microversion of each nova: what the API says of
servers and their actions is what the notifications said.
"""

import gzip
import json
from collections import Counter
from typing import Any, NamedTuple

import msgspec
import pytest

from bridge.poller.findings import ActionEvent, Server, ServerAction, found_phases
from bridge.poller.nova_api import NEWEST_MICROVERSION, ComputeService
from streams.core.kinds import STATE
from tests.support.paths import DATA
from tests.support.playing import play
from tests.support.traces import OLDER, notifications, truth

LISTED = "/servers/detail?all_tenants=1"
BUILD = "compute__do_build_and_run_instance"
HOSTS = "/os-services?binary=nova-compute"

pytestmark = pytest.mark.parametrize("run", OLDER)


class Api(NamedTuple):
    """What a nova's API answered."""

    microversion: str
    answers: dict[str, Any]

    def read(self, path: str, *keys: str, shape: Any) -> Any:
        """Return a part of an answer, decoded from JSON as the poller does."""
        part = self.answers[path]
        for key in keys:
            part = part[key]
        return msgspec.json.decode(json.dumps(part), type=shape)

    def servers(self) -> dict[str, Server]:
        """Return all servers by id, deleted ones too."""
        found: list[Server] = []
        for path in (LISTED, f"{LISTED}&deleted=true"):
            found += self.read(path, "servers", shape=list[Server])
        return {server.id: server for server in found}

    def actions(self, server: str) -> list[ServerAction]:
        """Return a server's actions with their events."""
        path = f"/servers/{server}/os-instance-actions"
        return [
            msgspec.structs.replace(action, events=self.events(f"{path}/{action.request_id}"))
            for action in self.read(path, "instanceActions", shape=list[ServerAction])
        ]

    def events(self, path: str) -> list[ActionEvent]:
        """Return the events of one action."""
        found: list[ActionEvent] = self.read(
            path, "instanceAction", "events", shape=list[ActionEvent]
        )
        return found


@pytest.fixture
def api(run: str) -> Api:
    with gzip.open(DATA / f"{run}-api.json.gz") as file:
        return Api(**json.load(file))


def test_the_poller_would_be_given_the_microversion_that_it_wants(api: Api) -> None:
    assert tuple(map(int, api.microversion.split("."))) >= NEWEST_MICROVERSION


def test_each_server_is_in_the_state_that_its_notifications_told(run: str, api: Api) -> None:
    servers = api.servers()
    assert {server: found.state for server, found in servers.items()} == truth(run).states
    rows = play(notifications(run)).rows
    for server, found in servers.items():
        told = json.loads(bytes(rows[server].payload))
        assert found.name == told["display_name"]
        assert found.state == (told["state"], told["state_description"])


def test_the_actions_tell_each_kind_that_the_notifications_told(run: str, api: Api) -> None:
    by_api: Counter[tuple[str, str, str]] = Counter()
    rescheduled = set()
    for id_, server in api.servers().items():
        actions = api.actions(id_)
        for phase in found_phases(server, actions):
            by_api[id_, phase.kind, phase.phase] += 1
        builds = [event for action in actions for event in action.events if event.event == BUILD]
        if len(builds) > 1:
            rescheduled.add(id_)
    notified: Counter[tuple[str, str, str]] = Counter(
        (event.instance_id, event.kind, event.phase)
        for event in play(notifications(run)).events
        if event.kind != STATE
    )
    # A host that gives up a build leaves it to the next one: its event does not say that it failed.
    assert notified - by_api == Counter((server, "CREATE", "error") for server in rescheduled)
    assert by_api - notified == Counter()


def test_both_hosts_are_up(api: Api) -> None:
    services = api.read(HOSTS, "services", shape=list[ComputeService])
    assert {each.host for each in services} == {"compute", "host2"}
    assert {(each.binary, each.status, each.state) for each in services} == {
        ("nova-compute", "enabled", "up")
    }
    assert {each.forced_down for each in services} == {False}
