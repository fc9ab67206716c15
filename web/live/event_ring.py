"""The newest events of all partitions, in one order that every reader of them shares.

Decides, and does nothing: no Kafka, no clock. A reader's place is a number; across connections and
workers it is the offset that follows in each partition, as text.
"""

from collections import defaultdict, deque
from collections.abc import Collection, Sequence
from operator import ge, gt

import msgspec
from msgspec import UNSET, UnsetType

from vimfed.model.records import AlarmStep, Phase, Source


class LiveEvent(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One event as the HTTP API tells it: a VmEvent without the payload."""

    id: str
    """UUIDv5 of the event's identity: a repetition has the same id."""
    vim_id: str
    instance_id: str
    display_name: str | None = None
    kind: str
    phase: Phase
    old_state: str
    old_task_state: str
    new_state: str
    new_task_state: str
    changed_at: str
    """ISO 8601, UTC, microseconds, ``Z``."""
    late: bool
    """Told after newer news of the instance; the table's state was left alone."""
    inferred: bool = False
    """Seen in a state that was found or pushed; which action made it, nobody told."""
    source: Source
    host: str | UnsetType = UNSET
    """Of UNAVAILABLE, HOST_DOWN, HOST_DISABLED, and of an ALERT about a host: the host. An event
    without an instance is about it; without a host, too, about the cloud."""
    reason: str | UnsetType = UNSET
    """Why: of UNAVAILABLE and HOST_DOWN, and of the end of an ALERT."""
    alarm: AlarmStep | UnsetType = UNSET
    """What the event does to an alarm, where it does anything to one."""


class RingEntry(msgspec.Struct, frozen=True, gc=False):
    """An event, where it lies in Kafka, and how it is sent."""

    partition: int
    offset: int
    taken_at: int
    """When Kafka took it, in ms since 1970."""
    event: LiveEvent
    tenant_id: str
    frame: bytes
    """The event as server-sent text, without the blank line at its end."""


class EventRing:
    """Holds the newest ``most`` events, or fewer where they take more than ``most_bytes``.

    ``begins`` are the offsets at which the partitions are read first, ``now`` the time (ms since
    1970), ``first`` the number of the first entry.
    """

    def __init__(
        self, begins: Sequence[int], *, now: int, most: int, most_bytes: int, first: int = 0
    ) -> None:
        self._entries: dict[int, RingEntry] = {}
        self._by_instance: defaultdict[tuple[str, str], deque[RingEntry]] = defaultdict(deque)
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0
        self.first = self.next = first
        """Numbers of the oldest entry that is held, and of the one that will be added next."""
        self._floor = list(begins)
        self._ends = list(begins)
        self._since: list[int | None] = [None] * len(begins)
        self._begun_at = now

    def __getitem__(self, number: int) -> RingEntry:
        """Return an entry by its number, ``first`` to ``next`` - 1."""
        return self._entries[number]

    def add(self, entry: RingEntry) -> None:
        """Add the event that follows in its partition, and let the oldest go where it must."""
        self._entries[self.next] = entry
        self.next += 1
        self._ends[entry.partition] = entry.offset + 1
        if self._since[entry.partition] is None:
            self._since[entry.partition] = entry.taken_at
        self._by_instance[entry.event.vim_id, entry.event.instance_id].append(entry)
        self._bytes += len(entry.frame)
        while self.next - self.first > self._most or self._bytes > self._most_bytes:
            self._forget_oldest()

    def skip(self, partition: int, offset: int) -> None:
        """Note that nothing is told at ``offset`` of a partition."""
        self._ends[partition] = offset + 1

    def _forget_oldest(self) -> None:
        entry = self._entries.pop(self.first)
        self.first += 1
        self._bytes -= len(entry.frame)
        self._floor[entry.partition] = entry.offset + 1
        self._since[entry.partition] = entry.taken_at + 1
        instance = entry.event.vim_id, entry.event.instance_id
        own = self._by_instance[instance]
        own.popleft()
        if not own:
            del self._by_instance[instance]

    def recent(
        self,
        vim_id: str,
        instance_id: str,
        limit: int,
        tenants: Collection[str] | None = None,
    ) -> list[LiveEvent]:
        """Return an instance's events, each once, the newest first; of some tenants alone."""
        held = self._by_instance.get((vim_id, instance_id), ())
        newest: dict[str, LiveEvent] = {}
        for entry in reversed(held):
            if tenants is not None and entry.tenant_id not in tenants:
                continue
            newest.setdefault(entry.event.id, entry.event)
            if len(newest) == limit:
                break
        return list(newest.values())

    def since(self, partition: int) -> int:
        """Return from when on all events of a partition are held, in ms since 1970."""
        since = self._since[partition]
        return self._begun_at if since is None else since

    def place(self, number: int) -> str:
        """Return, as text, the place of a reader who has read everything before ``number``."""
        offsets = list(self._ends)
        for later in range(self.next - 1, number - 1, -1):
            entry = self._entries[later]
            offsets[entry.partition] = entry.offset
        return ".".join(map(str, offsets))

    def resume(self, place: str) -> int | None:
        """Return the number at which a reader goes on who is at ``place``, missing nothing.

        None where what follows is not held any more, or the place is none of this topic's. The
        reader may be told some again, where the partitions were read in another order before.
        """
        offsets = self._held_offsets(place)
        if not offsets or any(map(gt, offsets, self._ends)):
            return None
        number = self.next
        missing = sum(self._ends) - sum(offsets)
        for candidate in range(self.next - 1, self.first - 1, -1):
            if missing <= 0:
                break
            entry = self._entries[candidate]
            if entry.offset >= offsets[entry.partition]:
                missing -= 1
                number = candidate
        return number

    def is_ahead(self, place: str) -> bool:
        """Return whether a reader who is at ``place`` misses nothing once more has been read."""
        offsets = self._held_offsets(place)
        return any(map(gt, offsets, self._ends))

    def _held_offsets(self, place: str) -> list[int]:
        """Return the offsets of a place; none where it is not one, or what follows was let go."""
        offsets = _parsed_place(place)
        is_held = len(offsets) == len(self._floor) and all(map(ge, offsets, self._floor))
        return offsets if is_held else []


def _parsed_place(place: str) -> list[int]:
    """Return the offsets of a place; none where it is not one."""
    parts = place.split(".")
    if not all(part.isascii() and part.isdecimal() and len(part) < 20 for part in parts):
        return []
    return list(map(int, parts))
