"""The worker process between real topics: bad input, foreign data, other workers, old rows."""

import json
from collections.abc import AsyncIterator
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streams.core.quota import quota_of_partition
from tests.e2e.notifications_topic import PARTITIONS, NotificationsTopic
from tests.e2e.stack import Stack, eventually
from tests.support.core_truth import Record, newest_values, records_on
from tests.support.nova_messages import spec_example
from vimfed.kafka.partitions import partition_of
from vimfed.local.kafka import LocalKafka
from vimfed.model.keys import instance_key
from vimfed.model.records import MAX_RECORD_BYTES, Notification

VIM_ID = "CloudOwner_RegionOne"
INSTANCES = "/api/multicloud/v1/CloudOwner/RegionOne/instances"
CLOUD = {"cloud_owner": "CloudOwner", "cloud_region_id": "RegionOne"}
SPEC_EXAMPLE = spec_example()


@pytest.fixture
def sections() -> str:
    """More lines of the settings file."""
    return ""


@pytest.fixture
async def stack(tmp_path: Path, kafka: LocalKafka, sections: str) -> AsyncIterator[Stack]:
    async with Stack(tmp_path, kafka.bootstrap, [CLOUD], sections) as stack:
        yield stack


def topic_of(stack: Stack) -> NotificationsTopic:
    return NotificationsTopic(stack, VIM_ID)


async def state_of(stack: Stack, instance_id: str, worker: str = "worker") -> Any:
    """Return an instance's vm_state, or the status of the answer."""
    status, answer = await stack.get(f"{INSTANCES}/{instance_id}", worker)
    return answer["vm_state"] if status == 200 else status


async def is_in(stack: Stack, instance_id: str, state: Any, worker: str = "worker") -> bool:
    return bool(await state_of(stack, instance_id, worker) == state)


async def dead_letters(stack: Stack, count: int) -> list[Record]:
    async def enough() -> list[Record]:
        letters = records_on(stack.bootstrap, stack.names.dead_letter)
        return letters if len(letters) >= count else []

    return await eventually(enough, within=30)


@pytest.mark.parametrize("sections", ["instances_per_cloud = 1"])
async def test_what_cannot_be_handled_goes_to_the_dead_letters_and_its_batch_goes_on(
    stack: Stack,
) -> None:
    stack.start_worker()
    await stack.ready()
    topic = topic_of(stack)
    key = instance_key(VIM_ID, "the-good")
    place = partition_of(key, PARTITIONS)
    topic.tell("the-good", state="active")
    topic.write(key, b"no notification")
    topic.write(key, b"")
    topic.write(key, b'{"padding": "' + b"x" * (MAX_RECORD_BYTES - 1000) + b'"}')
    topic.write(b"CloudOwner_RegionOne/another", good_value("the-good"), place)
    topic.tell("the-good", display_name=["no", "text"])
    topic.tell("the-good", "compute.instance.update", state="x" * 450_000)
    topic.tell("the-good", state="y" * 450_000)
    topic.write(key, good_value("the-good", received_at="no time"))
    # Nobody says that a newer version wrote it: neither this worker nor any other may end at it.
    newer = json.dumps({**json.loads(good_value("the-good")), "schema_version": 99}).encode()
    topic.write(key, newer)
    topic.write(key, newer, headers={"schema-version": "98"})
    neighbours = (f"beside-{n}" for n in count())
    beside = (n for n in neighbours if partition_of(instance_key(VIM_ID, n), PARTITIONS) == place)
    share = int(quota_of_partition(1, PARTITIONS))
    for name in islice(beside, share):
        topic.tell(name)
    topic.tell("the-good", state="paused")
    await eventually(partial(is_in, stack, "the-good", "paused"), within=30)
    # A display_name that is no text does not decide: it is left out.
    letters = sorted(await dead_letters(stack, 7), key=lambda one: int(one.headers["offset"]))
    offsets = [int(letter.headers["offset"]) for letter in letters]
    assert offsets == [1, 2, 3, 4, 9, 10, 10 + share]
    for letter, complaint in zip(
        letters,
        (
            "not a notification",
            "not a notification",
            "too large",
            "key is not",
            "schema version 99, and 1 is the newest",
            "without the header schema-version",
            f"{share} instances in this partition, its share of worker.instances_per_cloud",
        ),
        strict=True,
    ):
        assert complaint in letter.headers["error"]
        assert letter.headers["source"] == stack.names.notifications
        assert letter.headers["partition"] == str(place)
    assert letters[0].value == b"no notification"

    topic.write(key, newer, headers={"schema-version": "99"})

    async def has_ended() -> bool:
        return not stack.children["worker"].running

    await eventually(has_ended, within=30)
    assert stack.children["worker"].returncode == 1
    log = (stack.folder / "worker.log").read_text()
    assert "\nvimfed: a record has schema version 99, and 1 is the newest that is known here" in log


def good_value(instance_id: str, received_at: str = "") -> bytes:
    payload = json.dumps({**SPEC_EXAMPLE, "instance_id": instance_id}).encode()
    return msgspec.json.encode(
        Notification(
            message_id="m",
            event_type="compute.instance.pause.end",
            payload=msgspec.Raw(payload),
            vim_id=VIM_ID,
            received_at=received_at,
        )
    )


async def test_a_database_of_another_history_is_moved_aside_and_rebuilt(
    tmp_path: Path, kafka: LocalKafka
) -> None:
    async with Stack(tmp_path, kafka.bootstrap, [CLOUD]) as old:
        old.start_worker()
        await old.ready()
        for number in range(50):
            topic_of(old).tell(f"old-{number}")
        await eventually(partial(is_in, old, "old-49", "paused"), within=30)
        old.children["worker"].stop()
        ports = dict(old.ports)
    async with Stack(tmp_path, kafka.bootstrap, [CLOUD]) as new:
        new.ports["worker"] = ports["worker"]  # the data directory is named after the port
        new.start_worker()
        await new.ready()
        for number in range(50):
            topic_of(new).tell(f"new-{number}")
        await eventually(partial(is_in, new, "new-49", "paused"), within=30)
        assert await state_of(new, "old-49") == 404
        data = tmp_path / "state" / f"worker-{ports['worker']}"
        assert list(data.glob("*.foreign-*"))
        assert "does not fit the changelog's history" in new.children["worker"].log.read_text()  # type: ignore[union-attr]
        # What is right now stays.
        new.children["worker"].stop()
        aside = sorted(data.glob("*.foreign-*"))
        new.start_worker()
        await new.ready()
        assert sorted(data.glob("*.foreign-*")) == aside
        assert await state_of(new, "new-49") == "paused"


async def test_any_of_two_workers_answers_for_all_instances(stack: Stack) -> None:
    for name in ("one", "two"):
        stack.start_worker(name)
        await stack.ready(name)
    await stack.serving("one", "two")
    topic = topic_of(stack)
    for number in range(20):
        topic.tell(f"vm-{number:02}", second=number)
    for worker in ("one", "two"):
        for number in range(20):
            await eventually(partial(is_in, stack, f"vm-{number:02}", "paused", worker), within=30)
        status, answer = await stack.post(
            f"/{VIM_ID}/check_vim_status", {"states": ["PAUSE"], "limit": 5}, worker
        )
        assert (status, answer["count"]) == (200, 20)
        names = [one["instance_id"] for one in answer["instances"]]
        assert names == ["vm-19", "vm-18", "vm-17", "vm-16", "vm-15"]
        _, following = await stack.post(
            f"/{VIM_ID}/check_vim_status",
            {"states": ["PAUSE"], "limit": 5, "marker": answer["next_marker"]},
            worker,
        )
        assert following["instances"][0]["instance_id"] == "vm-14"
        assert await state_of(stack, "unheard-of", worker) == 404


async def test_while_an_owner_is_frozen_a_standby_answers_who_accepts_a_stale_answer(
    stack: Stack,
) -> None:
    for name in ("one", "two"):
        stack.start_worker(name)
        await stack.ready(name)
    await stack.serving("one", "two")
    _, answer = await stack.get("/readyz", "one")
    owned = answer["owners"][f"http://127.0.0.1:{stack.ports['two']}"]
    name = next(
        name
        for name in map(str, range(1000))
        if partition_of(instance_key(VIM_ID, name), PARTITIONS) in owned
    )
    topic_of(stack).tell(name)
    await eventually(partial(is_in, stack, name, "paused", "one"), within=30)
    stack.children["two"].freeze()
    try:
        # Sooner than its session ends: then "one" would be the owner itself.
        status, answer = await stack.get(f"{INSTANCES}/{name}?stale=ok", "one")
        assert (status, answer["vm_state"]) == (200, "paused")
        assert (answer["stale"], answer["lag"]) == (True, 0)
    finally:
        stack.children["two"].thaw()


@pytest.mark.parametrize("sections", ["deleted_retention = 5"])
async def test_a_deleted_instance_is_swept_after_its_retention(stack: Stack) -> None:
    stack.start_worker()
    await stack.ready()
    topic = topic_of(stack)
    gone = {"state": "deleted", "deleted_at": "2026-01-01T12:00:01.000000"}
    topic.tell("gone", "compute.instance.delete.end", second=1, **gone)
    await eventually(partial(is_in, stack, "gone", "deleted"), within=30)
    # Another instance of the same partition, heard of later.
    place = partition_of(instance_key(VIM_ID, "gone"), PARTITIONS)
    other = next(
        name
        for name in map(str, range(1000))
        if partition_of(instance_key(VIM_ID, name), PARTITIONS) == place
    )
    topic.tell(other, second=3)
    await eventually(partial(is_in, stack, other, "paused"), within=30)
    assert await state_of(stack, "gone") == "deleted"
    topic.tell(other, second=10, state="active")
    await eventually(partial(is_in, stack, "gone", 404), within=30)
    table = newest_values(stack.bootstrap, stack.names.changelog)
    assert table[instance_key(VIM_ID, "gone")] == b""


@pytest.mark.parametrize("sections", ["deleted_retention = 1"])
async def test_a_tenants_data_are_deleted_as_the_documentation_says(stack: Stack) -> None:
    """docs/security.md, Personal data."""
    stack.start_worker()
    await stack.ready()
    push = INSTANCES.replace("/instances", "/notifications")
    place = partition_of(instance_key(VIM_ID, "private"), PARTITIONS)
    names = (f"other-{number}" for number in count())
    other = next(n for n in names if partition_of(instance_key(VIM_ID, n), PARTITIONS) == place)

    async def tell(instance_id: str, tenant: str, **said: Any) -> None:
        state = {"instance_id": instance_id, "state": "active", "tenant_id": tenant, **said}
        assert (await stack.post(push, state))[0] == 200

    async def of_tenant(tenant: str) -> list[str]:
        status, answer = await stack.get(f"{INSTANCES}?tenant_id={tenant}")
        assert status == 200
        return [each["instance_id"] for each in answer["instances"]]

    async def has_one() -> bool:
        return await of_tenant("left") == ["private"] and await of_tenant("here") == [other]

    await tell("private", "left", display_name="Jane Doe", metadata={"phone": "555"})
    await tell(other, "here", display_name="stays")
    await eventually(has_one, within=30)

    for name in await of_tenant("left"):
        await tell(name, "left", state="deleted", display_name="", hostname="", metadata={})
    await eventually(partial(is_in, stack, "private", "deleted"), within=30)
    assert (
        b"Jane Doe"
        not in newest_values(stack.bootstrap, stack.names.changelog)[
            instance_key(VIM_ID, "private")
        ]
    )

    async def is_swept() -> bool:
        await tell(other, "here")
        return await is_in(stack, "private", 404)

    await eventually(is_swept, within=30, every=0.5)
    table = newest_values(stack.bootstrap, stack.names.changelog)
    assert table[instance_key(VIM_ID, "private")] == b""
    assert b"stays" in table[instance_key(VIM_ID, other)]


@pytest.mark.parametrize("sections", ['store = "memory"'])
async def test_rows_in_memory_come_back_from_the_changelog(stack: Stack, tmp_path: Path) -> None:
    stack.start_worker()
    await stack.ready()
    topic_of(stack).tell("kept")
    await eventually(partial(is_in, stack, "kept", "paused"), within=30)
    stack.children["worker"].kill()
    stack.start_worker()
    await stack.ready()
    assert await state_of(stack, "kept") == "paused"
    assert not list((tmp_path / "state").rglob("*.rocksdb"))


async def test_fausts_own_pages_are_not_served_and_ours_are(stack: Stack) -> None:
    stack.start_worker()
    await stack.ready()
    topic_of(stack).tell("seen")
    await eventually(partial(is_in, stack, "seen", "paused"), within=30)
    for path in ("/router", "/table", "/router/instances/", "/table/instances/x", "/graph"):
        assert (await stack.get(path))[0] == 404, path
    assert await stack.get("/healthz") == (200, {"status": "ok"})
    metrics = await stack.text("/metrics")
    for line in (
        "vimfed_worker_records_total 1.0",
        "vimfed_worker_rows 1.0",
        f'vimfed_worker_instances{{vim_id="{VIM_ID}"}} 1.0',
        "vimfed_worker_instances_quota 200000.0",
        f'vimfed_worker_quota_used_ratio{{vim_id="{VIM_ID}"}}',
        'vimfed_worker_outcomes_total{outcome="changed"} 1.0',
        'vimfed_worker_lag{partition="0"} 0.0',
        "vimfed_worker_recovery_seconds",
        "vimfed_web_request_seconds_count",
    ):
        assert line in metrics
