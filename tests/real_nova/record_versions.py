"""Records older releases of nova: ``python -m tests.real_nova.record_versions 26 31``.

Writes tests/data/nova-NN-trace.jsonl.gz, nova-NN-truth.json and nova-NN-api.json.gz anew, in some
two minutes for each. What nova logs lies in .cache/recording-NN afterwards.
"""

import json
import shutil
import sys
from random import Random
from typing import Any

from tests.real_nova.cloud import RealNova
from tests.real_nova.environment import nova_python
from tests.real_nova.record_faults import (
    captured,
    declare,
    installed_for_all,
    split,
    write_packed,
    write_run,
)
from tests.support.brokers import RabbitMQ
from tests.support.paths import DATA, PROJECT

SERVERS = 24
SEED = 26

STEPS: tuple[tuple[str, ...], ...] = (
    ("stop", "start"),
    ("pause", "unpause"),
    ("suspend", "resume"),
    ("rebuild",),
    ("resize", "confirm"),
    ("resize further", "revert"),
    ("shelve", "unshelve"),
    ("rescue", "unrescue"),
    ("reboot",),
    ("soft reboot",),
    ("lock", "unlock"),
    ("snapshot",),
    ("reset to error", "reset to active"),
)
ENDS = (
    "",
    "stop",
    "pause",
    "suspend",
    "rescue",
    "shelve",
    "resize further",
    "delete",
    "soft delete",
)


def record(version: str) -> None:
    """Let a nova of this version run servers' lives, and write what it said."""
    folder = PROJECT / ".cache" / f"recording-{version}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    python = nova_python(print, version)
    with RabbitMQ(folder / "rabbitmq") as broker:
        declare(broker)
        (folder / "nova").mkdir()
        with RealNova(python, folder / "nova", broker.url, threads=False) as cloud:
            cloud.control(format="both")
            did = lives(cloud, Random(SEED))
            told = {"servers": words(cloud, did), "problems": []}
            answers = api_answers(cloud)
        lines = list(captured(broker))
    name = f"nova-{version}"
    write_run(name, lines, split(lines, told), python)
    text = installed_for_all(json.dumps(answers, indent=1) + "\n", python)
    write_packed(DATA / f"{name}-api.json.gz", text)


def lives(cloud: RealNova, random: Random) -> dict[str, list[str]]:
    """Let servers live one after the other; return what each did."""
    did: dict[str, list[str]] = {}
    for number in range(SERVERS):
        server = cloud.create(f"vm-{number:03}")
        steps = random.sample(STEPS, random.randint(2, 6))
        for step in steps:
            cloud.do(server, *step)
        end = ENDS[number % len(ENDS)]
        if "delete" in end:
            cloud.delete(server, soft=end == "soft delete")
        elif end:
            cloud.do(server, end)
        did[server] = [operation for step in steps for operation in step] + [end or "leave"]
    too_large = cloud.create_flavor("too large", ram=99_999_999)
    failed = cloud.create("vm-too-large", too_large)
    return did | {failed: ["create fails"]}


def words(cloud: RealNova, did: dict[str, list[str]]) -> dict[str, Any]:
    """Return nova's own word on every server."""
    told = {}
    for server, operations in did.items():
        found = cloud.get(f"/servers/{server}").get("server", {})
        told[server] = {
            "vm_state": found.get("OS-EXT-STS:vm_state", "deleted"),
            "task_state": found.get("OS-EXT-STS:task_state"),
            "power_state": found.get("OS-EXT-STS:power_state"),
            "status": found.get("status", "DELETED"),
            "launched_at": found.get("OS-SRV-USG:launched_at"),
            "host": found.get("OS-EXT-SRV-ATTR:host"),
            "updated": found.get("updated"),
            "did": operations,
        }
    return told


def api_answers(cloud: RealNova) -> dict[str, Any]:
    """Return what the API answers to the poller's requests, in the newest microversion."""
    newest = cloud.newest_microversion()
    listed = "/servers/detail?all_tenants=1"
    paths = [listed, f"{listed}&deleted=true", "/os-services?binary=nova-compute"]
    answers = {path: cloud.get(path, newest) for path in paths}
    for server in [each["id"] for path in paths[:2] for each in answers[path]["servers"]]:
        path = f"/servers/{server}/os-instance-actions"
        answers[path] = cloud.get(path, newest)
        for action in answers[path]["instanceActions"]:
            one = f"{path}/{action['request_id']}"
            answers[one] = cloud.get(one, newest)
    return {"microversion": newest, "answers": answers}


if __name__ == "__main__":
    for release in sys.argv[1:]:
        record(release)
