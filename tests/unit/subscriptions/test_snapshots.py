"""How far a snapshot is follows from what lies on the subscriptions topic."""

import msgspec
import pytest

from streams.subscriptions.snapshots import (
    BEGUN,
    ENDED,
    OPEN,
    Course,
    Snapshot,
    SnapshotBook,
    SnapshotRequest,
    Step,
    snapshot_key,
)
from vimfed.model.decoding import UnreadableError

PARTITIONS = 2
CLOUDS = ("Owner_a", "Owner_b")


def encoded(snapshot_id: str = "1") -> bytes:
    asked = SnapshotRequest(output="onap")
    snapshot = Snapshot(id=snapshot_id, asked=asked, clouds=CLOUDS, requested_at="2026-01-01")
    return msgspec.json.encode(snapshot)


def step(snapshot: str = "1", at: str = "", **fields: dict[int, int] | dict[str, int]) -> bytes:
    return msgspec.json.encode({"snapshot": snapshot, "at": at, **fields})


def course_of(book: SnapshotBook) -> Course:
    course = book.get("a")
    assert course is not None
    return course


def test_a_snapshot_goes_from_step_to_step() -> None:
    book = SnapshotBook()
    book.add("a", encoded())
    course = course_of(book)
    states = [course.state(PARTITIONS)]
    for name, told in (
        (BEGUN, step(ends={1: 7})),
        (OPEN, step()),
        ("1", step(ends={1: 20}, told={"Owner_a": 3})),
        ("0", step(told={"Owner_a": 1})),
        (ENDED, step(at="2026-01-02")),
    ):
        book.add(f"a/{name}", told)
        states.append(course.state(PARTITIONS))
    assert states == ["requested", "begun", "running", "running", "delivering", "ended"]
    assert course.ends == {1: 20}
    assert course.told == {"Owner_a": 4, "Owner_b": 0}
    assert course.ended_at == "2026-01-02"


def test_steps_of_another_snapshot_of_the_name_say_nothing() -> None:
    book = SnapshotBook()
    book.add("a", encoded("1"))
    first = course_of(book)
    book.add("a/begun", step("1"))
    book.add("a", None)
    assert not book.is_current(first)
    book.add("a/open", step("1"))
    book.add("a", encoded("2"))
    book.add("a/0", step("1"))
    book.add("a/begun", None)
    course = course_of(book)
    assert (course.state(PARTITIONS), course.left(PARTITIONS)) == ("requested", [0, 1])
    assert [each.snapshot.id for each in book.all()] == ["2"]
    assert (snapshot_key("a"), snapshot_key("a", "0")) == (b"snapshot/a", b"snapshot/a/0")


def test_what_is_no_snapshot_is_refused_and_changes_nothing() -> None:
    book = SnapshotBook()
    for name, value in (("a", b"{}"), ("a/0", b"{}"), ("a", b"\xff")):
        with pytest.raises(UnreadableError):
            book.add(name, value)
    assert list(book.all()) == []
    assert msgspec.json.decode(step(), type=Step).ends == {}
