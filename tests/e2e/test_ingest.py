"""What plug-ins push is in Kafka when it is answered, all of it or nothing."""

import asyncio
import json
from functools import partial
from typing import Any

import pytest

from tests.e2e.conftest import INGEST_RATE
from tests.e2e.stack import Stack, eventually
from tests.support.core_truth import records_on
from tests.support.notifications import body
from vimfed.model.keys import host_key
from vimfed.settings import KafkaSettings

pytestmark = pytest.mark.asyncio(loop_scope="package")

VIM_ID = "Owner_ingest"
PATH = "/api/multicloud/v1/Owner/ingest/notifications"
INSTANCES = "/api/multicloud/v1/Owner/ingest/instances"


def bare(instance_id: str, state: str = "paused", second: int = 0, **fields: Any) -> dict[str, Any]:
    timestamp = f"2026-01-01T12:00:{second:02}Z"
    return {"instance_id": instance_id, "state": state, "timestamp": timestamp, **fields}


def written(stack: Stack) -> list[str]:
    """Return the ids of the messages that were pushed, in no order."""
    records = records_on(stack.bootstrap, stack.names.notifications)
    keys = [record for record in records if record.key.startswith(f"{VIM_ID}/".encode())]
    return [json.loads(record.value)["message_id"] for record in keys]


async def state_of(stack: Stack, instance_id: str) -> tuple[str, str | None] | None:
    status, answer = await stack.get(f"{INSTANCES}/{instance_id}", "two")
    return (answer["vm_state"], answer["task_state"]) if status == 200 else None


async def is_in(stack: Stack, instance_id: str, *state: str | None) -> bool:
    return await state_of(stack, instance_id) == state


async def test_bare_states_and_notifications_end_in_the_table(served: Stack) -> None:
    oslo = json.loads(
        body(
            instance_id="told",
            event_type="compute.instance.pause.end",
            payload={"state": "paused", "state_description": ""},
        )
    )
    message = json.loads(oslo["oslo.message"])
    message |= {"message_id": "plain", "payload": {**message["payload"], "instance_id": "plain"}}
    pushed = [bare("bare", "active", state_description="pausing"), oslo, message]
    assert await served.post(PATH, pushed, "one") == (200, {"accepted": 3})
    single = bare("single", "stopped")
    v0 = f"/api/multicloud/v0/{VIM_ID}/notifications/"
    assert await served.post(v0, single, "two") == (200, {"accepted": 1})
    for instance_id, state in {
        "bare": ("active", "pausing"),
        "told": ("paused", None),
        "plain": ("paused", None),
        "single": ("stopped", None),
    }.items():
        await eventually(partial(is_in, served, instance_id, *state), within=30)


async def test_what_is_pushed_names_who_pushed_it(served: Stack) -> None:
    # Others flood the first worker, whose trail is then bounded.
    assert (await served.post(PATH, [bare("whose-1"), bare("whose-2")], "two"))[0] == 200
    records = records_on(served.bootstrap, served.names.notifications)
    pushed = [each for each in records if each.key.startswith(f"{VIM_ID}/whose-".encode())]
    assert [each.headers for each in pushed] == [{"caller": "everybody/admin@127.0.0.1"}] * 2
    # It is read as any other.
    await eventually(partial(is_in, served, "whose-2", "paused", None), within=30)
    log = served.children["two"].log.read_text()  # type: ignore[union-attr]
    assert " event=states.pushed result=done login=everybody role=admin " in log
    assert f"object={VIM_ID} status=200 count=2" in log


async def test_only_the_source_tells_that_a_state_was_pushed(served: Stack) -> None:
    assert (await served.post(PATH, bare("source", "stopped"), "one"))[0] == 200
    await eventually(partial(is_in, served, "source", "stopped", None), within=30)
    _, answer = await served.get(f"{INSTANCES}/source", "one")
    assert (answer["source"], answer["status"]) == ("ingest", "SHUTOFF")


async def test_it_is_on_kafka_when_it_is_answered_and_a_repetition_changes_nothing(
    served: Stack,
) -> None:
    before = len(written(served))
    pushed = [bare(f"repeated-{number}", second=number) for number in range(20)]
    for _ in range(2):
        assert (await served.post(PATH, pushed, "one"))[0] == 200
    ids = written(served)[:]
    assert len(ids) - before == 40
    assert len(ids) - len(set(ids)) == 20
    newer = [bare(f"repeated-{number}", "active", second=30) for number in range(20)]
    assert (await served.post(PATH, newer, "two"))[0] == 200
    assert (await served.post(PATH, pushed, "two"))[0] == 200
    for number in range(20):
        await eventually(partial(is_in, served, f"repeated-{number}", "active", None), within=30)
    last = bare("after-the-repetition", second=31)
    assert (await served.post(PATH, last, "two"))[0] == 200
    await eventually(partial(is_in, served, last["instance_id"], "paused", None), within=30)
    assert await state_of(served, "repeated-7") == ("active", None)


async def test_what_is_pushed_of_hosts_is_on_kafka_in_every_partition(served: Stack) -> None:
    path = "/api/multicloud/v1/Owner/ingest/hosts"
    pushed = [{"host": "pushed-1", "is_up": False}, {"host": "pushed-2", "is_gone": True}]
    assert await served.post(path, pushed, "two") == (200, {"accepted": 2})
    status, answer = await served.post(path, [*pushed, {"host": "pushed-3"}], "two")
    assert (status, [each["index"] for each in answer["refused"]]) == (400, [2])
    records = records_on(served.bootstrap, served.names.notifications)
    for host in ("pushed-1", "pushed-2", "pushed-3"):
        told = [each for each in records if each.key == host_key(VIM_ID, host)]
        count = 0 if host == "pushed-3" else KafkaSettings().partitions
        assert sorted(each.partition for each in told) == list(range(count))
        assert all(each.headers["caller"].startswith("everybody/") for each in told)
    log = served.children["two"].log.read_text()  # type: ignore[union-attr]
    assert " event=hosts.pushed result=done login=everybody role=admin " in log


REFUSED: list[tuple[Any, int, str, list[int] | None]] = [
    (b"", 400, "not JSON", []),
    (b"{", 400, "not JSON", []),
    (b"[1,", 400, "not JSON", []),
    (b'{"instance_id": "\xff"}', 400, "not JSON", []),
    (b"[" * 100_000, 400, "not JSON", []),
    (b"7", 400, "1 of 1 entries", [0]),
    ([bare("good"), bare("bad", "flying"), bare("good"), 1], 400, "2 of 4 entries", [1, 3]),
    ([bare("good"), bare("other", vim_id="Owner_queries")], 400, "1 of 2 entries", [1]),
    ([{"event_type": "compute.instance.pause.end", "message_id": "m", "payload": {"state": 1}}],
     400, "1 of 1 entries", [0]),
    ([bare(f"{n}") for n in range(1001)], 413, "at most 1000", None),
    (b'"' + b"x" * 2**20 + b'"', 413, "1 MiB", None),
]  # fmt: skip


async def test_what_is_refused_says_why_and_leaves_nothing_behind(served: Stack) -> None:
    before = len(written(served))
    for pushed, status, complaint, indexes in REFUSED:
        told, answer = await served.post(PATH, pushed, "one")
        assert (told, complaint in answer["error"]) == (status, True), answer
        if indexes is not None:
            assert [entry["index"] for entry in answer["refused"]] == indexes
            assert all(entry["error"] for entry in answer["refused"])
    assert len(written(served)) == before


async def test_only_configured_clouds_are_pushed_to(served: Stack) -> None:
    path = "/api/multicloud/v1/No/where/notifications"
    status, answer = await served.post(path, bare("x"), "one")
    assert (status, "unknown VIM No_where" in answer["error"]) == (404, True)


async def test_who_pushes_too_fast_is_told_when_to_go_on(served: Stack) -> None:
    pushed = [bare(f"fast-{number}") for number in range(1000)]
    answers = await asyncio.gather(*(served.post(PATH, pushed, "one") for _ in range(5)))
    refused = [answer for status, answer in answers if status == 429]
    assert {status for status, _ in answers} == {200, 429}
    answer = refused[-1]
    assert 1 <= answer["retry_after"] <= 5000 / INGEST_RATE

    async def is_taken() -> bool:
        return (await served.post(PATH, bare("fast"), "one"))[0] == 200

    await eventually(is_taken, within=answer["retry_after"] + 10)
