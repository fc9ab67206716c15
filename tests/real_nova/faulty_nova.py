"""Real nova whose virt driver fails on demand: what a cloud does on its bad days.

Run by the interpreter of nova's own environment: ``faulty_nova.py FOLDER TRANSPORT_URL PART PARTS``
tells the stories PART, PART + PARTS, ... of STORIES, one server each. API, scheduler, conductor and
four computes run in nova's functional-test fixtures; casts are casts. At the end FOLDER/truth.json
holds nova's own word on its servers.

All is done through nova's API, but for two things: what the virt driver (or the claim of a host's
resources) is made to fail at, and which hosts are stopped.
"""

import functools
import inspect
import json
import logging
import sys
import threading
import time
import unittest
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

from nova.tests import functional  # noqa: F401 - makes threads what nova takes them for

# isort: split
from nova import context, exception, objects
from nova.compute import resource_tracker
from nova.tests import fixtures as nova_fixtures
from nova.tests.fixtures.manila import ManilaFixture
from nova.tests.functional import integrated_helpers
from nova.tests.functional.api.client import OpenStackApiException
from nova.virt import fake

from tests.real_nova.server import FOLDER, Notifications, Recorder

HOSTS = ("compute", "host2", "host3", "host4")
IMAGE = "155d900f-4e14-4e4c-a73d-069cbf4541e6"
QUIET = 0.6
"""Seconds without a notification after which an operation is over."""
PATIENCE = 40.0
"""Maximum seconds for an operation."""

Fault = Callable[[], None]


def made_to_fail() -> None:
    """Fail as a hypervisor does for which nova has no name."""
    raise exception.NovaException("made to fail")


def no_resources() -> None:
    """Fail so that nova tries another host."""
    raise exception.ComputeResourcesUnavailable(reason="made to fail")


def build_aborted() -> None:
    """Fail so that nova tries no other host."""
    raise exception.BuildAbortException(instance_uuid="", reason="made to fail")


def no_network() -> None:
    """Fail as a build does whose network does not come up."""
    raise exception.VirtualInterfaceCreateException


def not_migratable() -> None:
    """Refuse a live migration before it begins."""
    raise exception.MigrationPreCheckError(reason="made to fail")


class RolledBackError(Exception):
    """A live migration that the hypervisor undoes."""


def rolled_back() -> None:
    """Let the hypervisor undo a live migration."""
    raise RolledBackError


class Held:
    """A fault that holds a call of the driver until it is let go on."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.go_on = threading.Event()

    def __call__(self) -> None:
        """Wait."""
        self.reached.set()
        self.go_on.wait(PATIENCE)


ARMED: dict[tuple[str, str], list[Fault]] = defaultdict(list)
"""What shall happen at the next calls, by server's name and driver's method."""


def heed(name: str, method: str) -> None:
    """Let happen what was armed for a call, once."""
    armed = ARMED[name, method]
    if armed:
        armed.pop(0)()


class FaultyDriver(fake.FakeLiveMigrateDriver):  # type: ignore[misc]
    """nova's fake driver, heeding what was armed."""

    def live_migration(
        self,
        context: Any,
        instance: Any,
        dest: str,
        post_method: Any,
        recover_method: Any,
        block_migration: bool = False,
        migrate_data: Any = None,
    ) -> None:
        """Migrate at once, or undo it."""
        try:
            heed(instance.display_name, "live_migration")
        except RolledBackError:
            recover_method(context, instance, dest, migrate_data)
        else:
            post_method(context, instance, dest, block_migration, migrate_data)


def _heeding(method: str) -> Callable[..., Any]:
    real = getattr(fake.FakeLiveMigrateDriver, method)
    signature = inspect.signature(real)

    @functools.wraps(real)
    def called(*arguments: Any, **options: Any) -> Any:
        instance = signature.bind(*arguments, **options).arguments["instance"]
        heed(instance.display_name, method)
        return real(*arguments, **options)

    return called


for _method in (
    "attach_interface",
    "attach_volume",
    "check_can_live_migrate_destination",
    "confirm_migration",
    "destroy",
    "detach_volume",
    "finish_migration",
    "finish_revert_migration",
    "migrate_disk_and_power_off",
    "mount_share",
    "pause",
    "post_live_migration",
    "post_live_migration_at_destination",
    "power_off",
    "power_on",
    "pre_live_migration",
    "reboot",
    "rescue",
    "resume",
    "snapshot",
    "soft_delete",
    "spawn",
    "suspend",
    "swap_volume",
    "unpause",
    "unrescue",
):
    setattr(FaultyDriver, _method, _heeding(_method))
fake.FaultyDriver = FaultyDriver


class HeedingTracker(resource_tracker.ResourceTracker):  # type: ignore[misc]
    """The claim of a host's resources for a resize, heeding what was armed."""

    def resize_claim(self, context: Any, instance: Any, *arguments: Any, **options: Any) -> Any:
        """Claim, or lose the race for the resources."""
        heed(instance.display_name, "resize_claim")
        return super().resize_claim(context, instance, *arguments, **options)


ACTIONS: dict[str, dict[str, Any]] = {
    "stop": {"os-stop": None},
    "start": {"os-start": None},
    "pause": {"pause": None},
    "unpause": {"unpause": None},
    "suspend": {"suspend": None},
    "resume": {"resume": None},
    "soft reboot": {"reboot": {"type": "SOFT"}},
    "reboot": {"reboot": {"type": "HARD"}},
    "rebuild": {"rebuild": {"imageRef": IMAGE}},
    "rescue": {"rescue": {}},
    "unrescue": {"unrescue": None},
    "shelve": {"shelve": None},
    "shelve offload": {"shelveOffload": None},
    "unshelve": {"unshelve": None},
    "snapshot": {"createImage": {"name": "snapshot"}},
    "resize": {"resize": {"flavorRef": "2"}},
    "migrate": {"migrate": None},
    "confirm": {"confirmResize": None},
    "revert": {"revertResize": None},
    "live migration": {"os-migrateLive": {"host": None, "block_migration": "auto"}},
    "evacuate": {"evacuate": {}},
    "force delete": {"forceDelete": None},
    "restore": {"restore": None},
    "reset to error": {"os-resetState": {"state": "error"}},
    "reset to active": {"os-resetState": {"state": "active"}},
    "lock": {"lock": {}},
    "unlock": {"unlock": None},
}
"""Operations that are one request for an action of the server."""

FAILING: dict[str, tuple[str, str, list[Fault]]] = {
    "stop fails": ("stop", "power_off", [made_to_fail]),
    "start fails": ("start", "power_on", [made_to_fail]),
    "pause fails": ("pause", "pause", [made_to_fail]),
    "unpause fails": ("unpause", "unpause", [made_to_fail]),
    "suspend fails": ("suspend", "suspend", [made_to_fail]),
    "resume fails": ("resume", "resume", [made_to_fail]),
    "soft reboot fails": ("soft reboot", "reboot", [made_to_fail]),
    "reboot fails": ("reboot", "reboot", [made_to_fail]),
    "rebuild fails": ("rebuild", "spawn", [made_to_fail]),
    "rebuild fails to destroy": ("rebuild", "destroy", [made_to_fail]),
    "rescue fails": ("rescue", "rescue", [made_to_fail]),
    "unrescue fails": ("unrescue", "unrescue", [made_to_fail]),
    "shelve fails": ("shelve", "snapshot", [made_to_fail]),
    "unshelve fails": ("unshelve", "spawn", [made_to_fail]),
    "snapshot fails": ("snapshot", "snapshot", [made_to_fail]),
    "resize rescheduled": ("resize", "resize_claim", [no_resources]),
    "resize rescheduled twice": ("resize", "resize_claim", [no_resources] * 2),
    "resize rescheduled to no host": ("resize", "resize_claim", [no_resources] * 3),
    "resize fails": ("resize", "migrate_disk_and_power_off", [made_to_fail]),
    "resize fails to finish": ("resize", "finish_migration", [made_to_fail]),
    "confirm fails": ("confirm", "confirm_migration", [made_to_fail]),
    "revert fails": ("revert", "destroy", [made_to_fail]),
    "revert fails to finish": ("revert", "finish_revert_migration", [made_to_fail]),
    "live migration refused": (
        "live migration",
        "check_can_live_migrate_destination",
        [not_migratable] * 3,
    ),
    "live migration fails to begin": ("live migration", "pre_live_migration", [made_to_fail]),
    "live migration rolled back": ("live migration", "live_migration", [rolled_back]),
    "live migration fails": ("live migration", "live_migration", [made_to_fail]),
    "live migration fails at the source's end": (
        "live migration",
        "post_live_migration",
        [made_to_fail],
    ),
    "live migration fails at the destination's end": (
        "live migration",
        "post_live_migration_at_destination",
        [made_to_fail],
    ),
    "evacuate fails": ("evacuate", "spawn", [made_to_fail]),
    "attach volume fails": ("attach volume", "attach_volume", [made_to_fail]),
    "detach volume fails": ("detach volume", "detach_volume", [made_to_fail]),
    "attach interface fails": ("attach interface", "attach_interface", [made_to_fail]),
    "delete fails": ("delete", "destroy", [made_to_fail]),
    "soft delete fails": ("soft delete", "soft_delete", [made_to_fail]),
}
"""Operations that fail: which one, at which method of the driver, how often."""

BUILDS: dict[str, list[Fault]] = {
    "build": [],
    "build rescheduled": [no_resources],
    "build rescheduled twice": [no_resources] * 2,
    "build rescheduled to no host": [no_resources] * 3,
    "build rescheduled, then aborted": [no_resources, build_aborted],
    "build aborted": [build_aborted],
    "build without network": [no_network],
}
"""How a server is built: what happens at the calls of the driver's spawn."""

VOLUMES = " with volumes"
"""Added to a build: with two volumes beside the image."""

STORIES: Sequence[tuple[int, str]] = (
    (2, "build rescheduled"),
    (1, "build rescheduled; stop; delete"),
    (2, "build rescheduled twice"),
    (1, "build rescheduled twice; delete"),
    (2, "build rescheduled to no host"),
    (1, "build rescheduled to no host; delete"),
    (1, "build rescheduled with volumes; rebuild; delete"),
    (1, "build rescheduled to no host with volumes; delete"),
    (1, "build rescheduled, then aborted"),
    (1, "build aborted"),
    (1, "build aborted; delete"),
    (1, "build aborted with volumes"),
    (1, "build without network; delete"),
    (2, "build too large"),
    (1, "build too large; delete"),
    (2, "delete while building"),
    (3, "delete before it has a host"),
    (2, "suspend fails"),
    (1, "suspend fails; reset to active; suspend; resume fails"),
    (1, "suspend; resume fails; reboot; delete"),
    (1, "pause fails; pause; unpause fails; unpause"),
    (1, "stop fails; stop; start fails; start"),
    (2, "rebuild fails"),
    (1, "rebuild fails; reset to active; reboot"),
    (1, "rebuild fails to destroy; delete"),
    (1, "soft reboot fails; stop"),
    (2, "reboot fails"),
    (1, "reboot fails; reboot; delete"),
    (1, "rescue fails; delete"),
    (1, "rescue; unrescue fails; reset to active; stop"),
    (1, "shelve fails; shelve"),
    (1, "shelve; shelve offload; unshelve fails"),
    (1, "snapshot fails; snapshot; pause"),
    (2, "resize rescheduled; confirm"),
    (1, "resize rescheduled twice; revert"),
    (2, "resize rescheduled to no host"),
    (1, "resize rescheduled to no host; reset to active; resize; confirm"),
    (1, "resize fails; delete"),
    (1, "resize fails"),
    (2, "resize fails to finish"),
    (1, "resize; confirm fails"),
    (1, "resize; revert fails"),
    (1, "resize; revert fails to finish; delete"),
    (1, "migrate; confirm"),
    (1, "live migration; stop"),
    (1, "live migration; live migration; delete"),
    (2, "live migration refused; pause"),
    (2, "live migration fails to begin; suspend"),
    (3, "live migration rolled back; live migration"),
    (1, "live migration rolled back"),
    (2, "live migration fails"),
    (2, "live migration fails at the source's end"),
    (2, "live migration fails at the destination's end"),
    (1, "live migration fails; reset to active; stop"),
    (3, "host down; force delete"),
    (1, "attach volume; attach volume; host down; force delete"),
    (1, "stop; host down; force delete"),
    (2, "shelve; shelve offload; force delete"),
    (2, "host down; delete"),
    (1, "attach volume; host down; delete"),
    (1, "suspend fails; host down; force delete"),
    (1, "force delete"),
    (2, "soft delete; force delete"),
    (2, "soft delete; restore; pause"),
    (1, "soft delete"),
    (1, "host down; soft delete"),
    (1, "soft delete; host down; force delete"),
    (1, "soft delete fails"),
    (1, "delete fails"),
    (1, "delete fails; delete"),
    (2, "host down; evacuate; host up; pause"),
    (1, "stop; host down; evacuate; host up"),
    (2, "attach volume; attach volume; host down; evacuate; host up"),
    (2, "host down; evacuate fails; host up; delete"),
    (1, "attach volume; attach volume fails; detach volume"),
    (1, "attach volume; detach volume fails; stop"),
    (1, "attach volume; attach volume; attach volume; delete"),
    (2, "attach volume; attach volume; rebuild; stop"),
    (2, "attach volume slowly beside pause"),
    (2, "attach volume slowly beside suspend"),
    (1, "attach volume slowly beside suspend; resume; delete"),
    (1, "swap volume; delete"),
    (1, "attach interface; detach interface; pause"),
    (1, "attach interface fails; attach interface; delete"),
    (2, "stop; attach share; attach share; detach share; delete"),
    (1, "stop; attach share; attach share; start; delete"),
    (2, "reset to error; reset to active"),
    (1, "reset to error; delete"),
    (1, "lock; unlock; shelve; shelve offload; unshelve; lock"),
)
"""How many servers do what."""


class FaultyNova(integrated_helpers._IntegratedTestBase):  # type: ignore[misc]
    """A small cloud whose driver fails on demand."""

    ADMIN_API = True
    microversion = "2.90"
    CAST_AS_CALL = False

    def setUp(self) -> None:
        """Start the services."""
        self.flags(compute_driver="fake.FaultyDriver")
        tracker = mock.patch.object(resource_tracker, "ResourceTracker", HeedingTracker)
        tracker.start()
        self.addCleanup(tracker.stop)
        with mock.patch.object(nova_fixtures, "NotificationFixture", Notifications):
            super().setUp()
        self.useFixture(ManilaFixture())
        for host in HOSTS[1:]:
            self._start_compute(host)
        # In nova's tests a notification of an unknown type is an error; a cloud warns and sends it.
        self.stub_out("nova.rpc.LegacyValidatingNotifier.fatal", False)
        logging.getLogger().setLevel(logging.WARNING)  # half of the time it would write logs
        self.flags(instances=-1, cores=-1, ram=-1, group="quota")
        self.flags(shelved_offload_time=-1)
        self.flags(notification_format="both", group="notifications")
        self.flags(notify_on_state_change="vm_and_task_state", group="notifications")
        self.volumes: dict[str, list[str]] = defaultdict(list)
        self.shares: dict[str, list[str]] = defaultdict(list)
        self.problems: list[tuple[str, str]] = []

    def test_record(self) -> None:
        """Let every server go through its story, then ask nova."""
        part, parts = map(int, sys.argv[3:5])
        stories = [story for count, story in STORIES for _ in range(count)]
        did = {}
        for number, story in list(enumerate(stories))[part::parts]:
            name = f"vm-{number:03}"
            began = time.monotonic()
            server = ""
            words = story.split("; ")
            if not words[0].startswith(("build", "delete while", "delete before")):
                words.insert(0, "build")
            for word in words:
                try:
                    server = self.do(server, name, word)
                except Exception as error:  # the next story is told all the same
                    self.problems.append((f"{name}: {word}", repr(error)))
            left = {str(at): len(faults) for at, faults in ARMED.items() if faults}
            ARMED.clear()
            self.host_up()
            did[server] = words[1:] if words[0] == "build" else words
            state = self.state(server)
            print(name, story, *state, f"{time.monotonic() - began:.1f} s", left or "", flush=True)
        truth = {server: {**self.truth(server), "did": words} for server, words in did.items()}
        told = {"servers": truth, "problems": self.problems}
        (FOLDER / "truth.json").write_text(json.dumps(told, indent=1) + "\n")

    def do(self, server: str, name: str, word: str) -> str:
        """Do one operation until it is over, and return the server's id."""
        fails = FAILING.get(word)
        if fails is not None:
            word, method, faults = fails
            ARMED[name, method].extend(faults)
        if not server:
            server = self.build(name, word)
        elif word in ACTIONS:
            self.api.post_server_action(server, ACTIONS[word])
        else:
            method = word.replace(" ", "_")
            getattr(self, method)(server, name)
        self.rest(server)
        return server

    def rest(self, server: str) -> None:
        """Wait until nova has no task with a server and tells nothing more."""
        until = time.monotonic() + PATIENCE
        count, since = Recorder.count, time.monotonic()
        while time.monotonic() < until:
            time.sleep(0.05)
            is_quiet = Recorder.count == count and time.monotonic() - since > QUIET
            if is_quiet and self.is_idle(server):
                return
            if is_quiet or Recorder.count != count:
                count, since = Recorder.count, time.monotonic()
        self.problems.append((server, f"not at rest: {self.state(server)}"))

    def state(self, server: str) -> tuple[str, str]:
        """Return (vm_state, task_state or nothing)."""
        told = self.truth(server)
        return told["vm_state"], told["task_state"] or ""

    def is_idle(self, server: str) -> bool:
        """Return whether nova is not about to do something with a server."""
        state, task = self.state(server)
        return state != "building" and not task

    def truth(self, server: str) -> dict[str, Any]:
        """Return nova's own word on a server."""
        try:
            told = self.api.get_server(server)
        except OpenStackApiException as error:
            if error.response.status_code != 404:
                raise
            assert not self.lives(server), f"the API does not know {server}, a cell does"
            return {"vm_state": "deleted", "task_state": None, "status": "DELETED"}
        return {
            "vm_state": told["OS-EXT-STS:vm_state"],
            "task_state": told["OS-EXT-STS:task_state"],
            "power_state": told["OS-EXT-STS:power_state"],
            "status": told["status"],
            "launched_at": told["OS-SRV-USG:launched_at"],
            "host": told.get("OS-EXT-SRV-ATTR:host"),
            "updated": told["updated"],
        }

    def lives(self, server: str) -> bool:
        """Return whether a cell's database has a server that was not deleted."""
        for cell in self.cell_mappings.values():
            with context.target_cell(context.get_admin_context(read_deleted="no"), cell) as there:
                try:
                    objects.Instance.get_by_uuid(there, server)
                except exception.InstanceNotFound:
                    continue
                return True
        return False

    # Builds

    def build(self, name: str, word: str) -> str:
        """Build a server as the word says, and return its id."""
        if word == "build too large":
            return self.post(name, flavor_id=self.large_flavor())
        if word == "delete while building":
            return self.delete_while_building(name)
        if word == "delete before it has a host":
            return self.delete_before_it_has_a_host(name)
        ARMED[name, "spawn"].extend(BUILDS[word.removesuffix(VOLUMES)])
        return self.post(name, volumes=2 if word.endswith(VOLUMES) else 0)

    def post(self, name: str, *, volumes: int = 0, **options: Any) -> str:
        """Ask for a server and return its id."""
        wanted = self._build_server(name=name, networks="none", **options)
        if volumes:
            image = {
                "boot_index": 0,
                "uuid": IMAGE,
                "source_type": "image",
                "destination_type": "local",
            }
            wanted["block_device_mapping_v2"] = [image] + [
                {
                    "boot_index": -1,
                    "uuid": self.new_volume(),
                    "source_type": "volume",
                    "destination_type": "volume",
                    "delete_on_termination": False,
                }
                for _ in range(volumes)
            ]
        server: str = self.api.post_server({"server": wanted})["id"]
        return server

    def large_flavor(self) -> str:
        """Return a flavor for which there is no host."""
        flavor: str = self._create_flavor(memory_mb=99_999_999)
        return flavor

    def delete_while_building(self, name: str) -> str:
        """Delete a server that its host is building."""
        held = Held()
        ARMED[name, "spawn"].append(held)
        server = self.post(name)
        assert held.reached.wait(PATIENCE), "nothing is built"
        self.api.delete_server(server)
        time.sleep(QUIET)
        held.go_on.set()
        return server

    def delete_before_it_has_a_host(self, name: str) -> str:
        """Delete a server whose build lies in the queue of a host that has stopped."""
        self.computes["host4"].stop()
        server = self.post(name, az="nova:host4")
        self.wait_until(lambda: self.lives(server))
        time.sleep(QUIET)
        self.api.delete_server(server)
        self.rest(server)
        self.computes["host4"] = self.restart_compute_service(self.computes["host4"])
        return server

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Wait for a condition."""
        until = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < until, "it does not come"
            time.sleep(0.05)

    # Hosts

    def host_down(self, server: str, _name: str) -> None:
        """Say that a server's host is down."""
        self.set_forced_down(self.api.get_server(server)["OS-EXT-SRV-ATTR:host"], True)

    def host_up(self, _server: str = "", _name: str = "") -> None:
        """Say that all hosts are up, after each had its restart that cleans it up."""
        for host in HOSTS:
            service = self.api.get_services(binary="nova-compute", host=host)[0]
            if service["forced_down"]:
                self.computes[host] = self.restart_compute_service(self.computes[host])
                self.set_forced_down(host, False)

    def set_forced_down(self, host: str, forced_down: bool) -> None:
        """Say whether a host is down."""
        service = self.api.get_services(binary="nova-compute", host=host)[0]
        self.api.put_service(service["id"], {"forced_down": forced_down})

    # Deletions

    def delete(self, server: str, _name: str) -> None:
        """Delete it for good."""
        self.api.delete_server(server)

    def soft_delete(self, server: str, _name: str) -> None:
        """Delete it so that it can be restored."""
        self.flags(reclaim_instance_interval=3600)
        self.api.delete_server(server)
        self.flags(reclaim_instance_interval=0)

    # Volumes, interfaces, shares

    def new_volume(self) -> str:
        """Return the id of a volume."""
        volume: str = self.cinder.fake_vol_create(None, 1, "", "")["id"]
        return volume

    def attach_volume(self, server: str, _name: str) -> None:
        """Attach another volume."""
        volume = self.new_volume()
        self.volumes[server].append(volume)
        self.api.post_server_volume(server, {"volumeAttachment": {"volumeId": volume}})

    def detach_volume(self, server: str, _name: str) -> None:
        """Detach the first volume."""
        self.api.delete_server_volume(server, self.volumes[server].pop(0))

    def swap_volume(self, server: str, _name: str) -> None:
        """Swap a volume as cinder does in a migration: nova's fixture knows the two."""
        old, new = self.cinder.SWAP_OLD_VOL, self.cinder.SWAP_NEW_VOL
        self.api.post_server_volume(server, {"volumeAttachment": {"volumeId": old}})
        self.rest(server)
        self.cinder.swap_volume_instance_uuid = server
        self.api.put_server_volume(server, old, new)

    def attach_volume_slowly_beside(self, server: str, name: str, word: str) -> None:
        """Let another action begin and end while a volume is being attached."""
        held = Held()
        ARMED[name, "attach_volume"].append(held)
        self.attach_volume(server, name)
        assert held.reached.wait(PATIENCE), "nothing is attached"
        self.api.post_server_action(server, ACTIONS[word])
        self.rest(server)
        held.go_on.set()

    def attach_volume_slowly_beside_pause(self, server: str, name: str) -> None:
        """Let a pause begin and end while a volume is being attached."""
        self.attach_volume_slowly_beside(server, name, "pause")

    def attach_volume_slowly_beside_suspend(self, server: str, name: str) -> None:
        """Let a suspension begin and end while a volume is being attached."""
        self.attach_volume_slowly_beside(server, name, "suspend")

    def attach_interface(self, server: str, _name: str) -> None:
        """Attach a port, which neutron makes."""
        network = {"net_id": self.neutron.network_1["id"]}
        self.api.attach_interface(server, {"interfaceAttachment": network})

    def detach_interface(self, server: str, _name: str) -> None:
        """Detach the server's first port."""
        ports = self.api.get_port_interfaces(server)
        self.api.detach_interface(server, ports[0]["port_id"])

    def attach_share(self, server: str, _name: str) -> None:
        """Attach another share."""
        share = self.new_volume()  # any id
        self.shares[server].append(share)
        with self.newer_api():
            self.api.post_server_share(server, {"share": {"share_id": share}})

    def detach_share(self, server: str, _name: str) -> None:
        """Detach the first share."""
        with self.newer_api():
            self.api.delete_server_share(server, self.shares[server].pop(0))

    def newer_api(self) -> Any:
        """Speak the version that knows shares."""
        return mock.patch.object(self.api, "microversion", "2.97")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]])
