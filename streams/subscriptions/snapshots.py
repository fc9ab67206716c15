"""Snapshots: what is asked for, and how far each is, as told by the subscriptions topic.

``snapshot/NAME`` holds the request, ``snapshot/NAME/STEP`` that a step of it is done. A step of an
earlier snapshot of the same name says nothing.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from vimfed.model.decoding import decoded

MAX_SNAPSHOTS = 100
"""So many snapshots there may be, those that have ended among them."""

PREFIX = "snapshot"
BEGUN, OPEN, ENDED = "begun", "open", "ended"
"""Steps: the begin records are written; the output has them; the end records are written.

Between the last two there is one for each partition, its number: its instances are written.
"""

State = Literal["requested", "begun", "running", "delivering", "ended"]


class SnapshotRequest(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Of which instances an output is to be told the present state; an empty list: of all."""

    output: str
    clouds: tuple[str, ...] = ()
    """vim_ids."""
    tenants: tuple[str, ...] = ()


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot that was asked for."""

    id: str
    """Tells it from others that have had its name."""
    asked: SnapshotRequest
    clouds: tuple[str, ...]
    """All of those that it tells of."""
    requested_at: str
    """ISO 8601, UTC, microseconds, ``Z``."""


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """That a step is done."""

    snapshot: str
    """The snapshot's id."""
    ends: dict[int, int] = {}
    """By partition of the events topic, the offset after what the step has written."""
    told: dict[str, int] = {}
    """By cloud, how many instances it has told of."""
    at: str = ""
    """When the snapshot ended."""


_decode_snapshot = msgspec.json.Decoder(Snapshot).decode
_decode_step = msgspec.json.Decoder(Step).decode


class Course:
    """How far a snapshot is."""

    def __init__(self, name: str, snapshot: Snapshot) -> None:
        self.name = name
        self.snapshot = snapshot
        self.steps: dict[str, Step] = {}

    def left(self, partitions: int) -> list[int]:
        """Return the partitions whose instances are not written, of so many."""
        return [each for each in range(partitions) if str(each) not in self.steps]

    def state(self, partitions: int) -> State:
        """Return what is being done; the events topic has so many partitions."""
        if BEGUN not in self.steps:
            return "requested"
        if OPEN not in self.steps:
            return "begun"
        if self.left(partitions):
            return "running"
        return "ended" if ENDED in self.steps else "delivering"

    @property
    def ends(self) -> Mapping[int, int]:
        """By partition of the events topic, the offset after all that was written."""
        ends: dict[int, int] = {}
        for step in self.steps.values():
            for partition, end in step.ends.items():
                ends[partition] = max(end, ends.get(partition, 0))
        return ends

    @property
    def told(self) -> Mapping[str, int]:
        """By cloud, of how many instances it tells, as far as partitions are done."""
        told = dict.fromkeys(self.snapshot.clouds, 0)
        for step in self.steps.values():
            for vim_id, count in step.told.items():
                told[vim_id] = told.get(vim_id, 0) + count
        return told

    @property
    def ended_at(self) -> str:
        """When it ended; empty: it has not."""
        return self.steps[ENDED].at if ENDED in self.steps else ""


class SnapshotBook:
    """Knows all snapshots, by name."""

    prefix = PREFIX

    def __init__(self) -> None:
        self._courses: dict[str, Course] = {}

    def add(self, name: str, value: bytes | None, _taken_at: int = 0, /) -> None:
        """Note what lies on the topic of a snapshot. Raises ValueError where it cannot be read."""
        name, _, step = name.partition("/")
        if step:
            self._add_step(name, step, value)
        elif value is None:
            self._courses.pop(name, None)
        else:
            self._courses[name] = Course(name, decoded(_decode_snapshot, value))

    def _add_step(self, name: str, step: str, value: bytes | None) -> None:
        course = self._courses.get(name)
        told = None if value is None else decoded(_decode_step, value)
        if course is not None and told is not None and told.snapshot == course.snapshot.id:
            course.steps[step] = told

    def get(self, name: str) -> Course | None:
        """Return how far a snapshot is; None: there is none."""
        return self._courses.get(name)

    def all(self) -> Iterable[Course]:
        """Return how far each is, by name."""
        return [self._courses[name] for name in sorted(self._courses)]

    def is_current(self, course: Course) -> bool:
        """Return whether it is neither cancelled nor made anew."""
        return self._courses.get(course.name) is course


def snapshot_key(name: str, step: str = "") -> bytes:
    """Return the key of a snapshot's request, or of one of its steps."""
    return "/".join(filter(None, (PREFIX, name, step))).encode()
