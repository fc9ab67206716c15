"""Workers of two versions side by side: the present one, and what a later one may be."""

import asyncio
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from tests.e2e.notifications_topic import PARTITIONS, NotificationsTopic
from tests.e2e.stack import Stack, eventually
from tests.support.core_truth import newest_values
from tests.support.paths import PROJECT
from tests.support.topics import read_topic, values
from vimfed.kafka.partitions import partition_of
from vimfed.local.kafka import LocalKafka
from vimfed.model.keys import instance_key
from vimfed.model.records import VmEvent, decode_event

VIM_ID = "CloudOwner_RegionOne"
INSTANCES = "/api/multicloud/v1/CloudOwner/RegionOne/instances"
ELSEWHERE = f"{INSTANCES}?not_host=compute99&limit=1"
"""A question that only the later version knows."""
CLOUD = {"cloud_owner": "CloudOwner", "cloud_region_id": "RegionOne"}
KINDS = ("PAUSE", "UNPAUSE")
NAMES = [f"vm-{number}" for number in range(2 * PARTITIONS)]

LATER = {
    # A condition of a search, which the peers are asked, too.
    "web/queries/instance_search.py": {
        '    changed_since: str = ""\n': '    changed_since: str = ""\n    not_host: str = ""\n',
        '    sort: SortField = "changed_at"\n    order: Annotated[': (
            '    not_host: str = ""\n    sort: SortField = "changed_at"\n    order: Annotated['
        ),
        "        sort=parameters.sort,\n": (
            "        sort=parameters.sort,\n        not_host=parameters.not_host,\n"
        ),
        "    if host is None and name is None and not available:\n        return None\n": "",
        "        return (host is None": (
            "        return entry.host != search.not_host and (host is None"
        ),
    },
    # A field of the rows that others may ignore, and a source that they do not know.
    "vimfed/model/records.py": {
        "    messages_forgotten: dict[int, int] = {}\n": (
            '    messages_forgotten: dict[int, int] = {}\n    note: str = ""\n'
        ),
    },
    "streams/core/transition.py": {
        '"schema_version": SCHEMA_VERSION,': '"schema_version": SCHEMA_VERSION, "note": "later",',
        '"source": news.notification.source': '"source": "elsewhere"',
        "source=news.notification.source": 'source="elsewhere"',
    },
}
"""What a later version may bring without a new schema version: by file, what stands for what."""


def later_version(folder: Path) -> dict[str, str]:
    """Make a copy of the packages that is a later version; return what makes a process run it."""
    for package in ("bridge", "streams", "web", "vimfed"):
        shutil.copytree(PROJECT / package, folder / package)
    shutil.copytree(PROJECT / "docs" / "schemas", folder / "docs" / "schemas")
    for file, changes in LATER.items():
        text = (folder / file).read_text()
        for present, later in changes.items():
            assert text.count(present) == 1, (file, present)
            text = text.replace(present, later)
        (folder / file).write_text(text)
    return {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}


async def counted(stack: Stack, worker: str, states: list[str]) -> Any:
    """Return how many instances there are, or the status of the answer."""
    status, answer = await stack.post(
        f"/{VIM_ID}/check_vim_status", {"states": states, "limit": 1}, worker
    )
    return answer["count"] if status == 200 else status


async def all_are(stack: Stack, states: list[str], *workers: str) -> None:
    """Wait until each worker counts all instances there; until then it may answer less, or 503."""

    async def each_counts() -> bool:
        answers = [await counted(stack, worker, states) for worker in workers]
        assert all(answer == 503 or answer <= len(NAMES) for answer in answers), answers
        return all(answer == len(NAMES) for answer in answers)

    await eventually(each_counts, within=30)


async def test_two_versions_answer_completely_or_not_at_all_and_one_replaces_the_other(
    tmp_path: Path, kafka: LocalKafka
) -> None:
    later = later_version(tmp_path / "later")
    async with Stack(tmp_path, kafka.bootstrap, [CLOUD]) as stack:
        topic = NotificationsTopic(stack, VIM_ID)

        def all_tell(action: str, second: int, state: str) -> None:
            for name in NAMES:
                topic.tell(name, f"compute.instance.{action}.end", second, state=state)

        stack.start_worker("present")
        stack.start("publisher")
        await stack.ready("present")
        stack.environment = later
        stack.start_worker("later")
        await stack.serving("present", "later")
        all_tell("pause", 1, "paused")
        await all_are(stack, ["PAUSE"], "present", "later")
        # Half of the rows are the other's: it refuses what it would ignore.
        _, answer = await stack.get("/readyz", "later")
        theirs = sorted(answer["owners"][f"http://127.0.0.1:{stack.ports['present']}"])
        status, answer = await stack.get(ELSEWHERE, "later")
        assert (status, answer.get("partitions")) == (503, theirs)
        assert (await stack.get(ELSEWHERE, "present"))[0] == 400
        # What the later one wrote, the present one answers.
        written = {key: msgspec.json.decode(row) for key, row in rows(stack).items()}
        of_later = [key for key in written if partition_of(key, PARTITIONS) not in theirs]
        assert {written[key]["note"] for key in of_later} == {"later"}
        name = written[of_later[0]]["instance_id"]
        status, answer = await stack.get(f"{INSTANCES}/{name}", "present")
        assert (status, answer["source"], answer["vm_state"]) == (200, "elsewhere", "paused")

        # The present one goes while things happen; all is the later one's, which another joins.
        stack.children["present"].stop()
        all_tell("unpause", 2, "active")
        await all_are(stack, ["ACTIVE"], "later")
        stack.start_worker("later-too")
        await stack.serving("later", "later-too")
        status, answer = await stack.get(ELSEWHERE, "later-too")
        assert (status, answer["count"]) == (200, len(NAMES))
        # And back: the present version goes on from the later one's rows.
        stack.children["later"].stop()
        all_tell("pause", 3, "paused")
        stack.start_worker("present")
        await stack.serving("present", "later-too")
        stack.children["later-too"].stop()
        await all_are(stack, ["PAUSE"], "present")
        told = {(name, kind): 2 if kind == "PAUSE" else 1 for name in NAMES for kind in KINDS}
        by_id = {event.id: event for event in await events(stack)}
        assert Counter((event.instance_id, event.kind) for event in by_id.values()) == told
        assert {event.source for event in by_id.values()} == {"oslo", "elsewhere"}

        async def all_published() -> bool:
            records = await asyncio.to_thread(values, stack.bootstrap, stack.dmaap_topic)
            return by_id.keys() == {record["vim_event"]["id"] for record in records}

        await eventually(all_published, within=30)


async def events(stack: Stack) -> list[VmEvent]:
    """Return what the workers have told."""
    records = await asyncio.to_thread(read_topic, stack.bootstrap, stack.names.events)
    return [decode_event(record.value() or b"") for record in records]


def rows(stack: Stack) -> dict[bytes, bytes]:
    """Return the newest row of each instance on the changelog."""
    table = newest_values(stack.bootstrap, stack.names.changelog)
    keys = {instance_key(VIM_ID, name) for name in NAMES}
    assert keys <= table.keys()
    return {key: table[key] for key in keys}
