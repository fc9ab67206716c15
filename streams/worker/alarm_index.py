"""In memory: the alarms of each cloud, for the partitions that a worker owns.

They lie in the rows of what they are about: active ones, and the newest cleared ones. Few rows have
any, so a query looks at all alarms of a cloud, in chunks.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from heapq import nlargest
from itertools import chain, islice
from typing import NamedTuple

from vimfed.model.keys import alerts_key, home_key
from vimfed.model.records import Alarm

CHUNK = 1000
"""So many alarms are looked at before others have their turn."""

CLASSES = ("vm_error", "vm_unavailable", "host_down", "action_failed", "alert")
"""The classes of conditions: what stands before the slash of one."""
OTHER = "other"


class AlarmSource(NamedTuple):
    """What an alarm is about: an instance, a host or, where both are empty, the cloud."""

    instance_id: str = ""
    host: str = ""


class PlacedAlarm(NamedTuple):
    """An alarm, and what it is about."""

    alarm: Alarm
    source: AlarmSource
    partition: int


Position = tuple[str, str]
"""Where an alarm stands in the order by time: its start, and its id."""


class AlarmSelection(NamedTuple):
    """What a query asks for; the newest come first."""

    vim_id: str
    passes: Callable[[PlacedAlarm], bool]
    after: Position | None = None
    """The position of the last alarm already seen."""
    limit: int = 100


class AlarmPage(NamedTuple):
    """What :meth:`AlarmIndex.query` found."""

    total: int
    """How many match in all."""
    found: list[tuple[Position, PlacedAlarm]]
    more: bool
    """Whether others follow these."""


class _Cloud:
    """The alarms of one cloud in one partition."""

    def __init__(self) -> None:
        self.rows: dict[bytes, tuple[AlarmSource, tuple[Alarm, ...]]] = {}
        self.active: Counter[str] = Counter()
        """By class of condition."""


def class_of(condition: str) -> str:
    """Return the class of a condition."""
    name = condition.partition("/")[0]
    return name if name in CLASSES else OTHER


class AlarmIndex:
    """The alarms in all partitions that this worker owns."""

    def __init__(self) -> None:
        self._partitions: dict[int, dict[str, _Cloud]] = {}

    def add_partition(self, partition: int) -> None:
        """Begin to index a partition that becomes ours."""
        self._partitions[partition] = {}

    def drop_partition(self, partition: int) -> None:
        """Forget a partition that is no longer ours."""
        self._partitions.pop(partition, None)

    def put(
        self,
        partition: int,
        vim_id: str,
        key: bytes,
        source: AlarmSource,
        alarms: tuple[Alarm, ...],
    ) -> None:
        """Note the alarms of a row that was written; ``key`` is the row's."""
        clouds = self._partitions[partition]
        cloud = clouds.get(vim_id)
        if cloud is None:
            if not alarms:
                return
            cloud = clouds[vim_id] = _Cloud()
        known = cloud.rows.pop(key, None)
        if known is not None:
            cloud.active.subtract(_active_classes(known[1]))
        if alarms:
            cloud.rows[key] = source, alarms
            cloud.active.update(_active_classes(alarms))
        elif not cloud.rows:
            del clouds[vim_id]

    def remove(self, partition: int, vim_id: str, key: bytes) -> None:
        """Forget a row that was deleted."""
        self.put(partition, vim_id, key, AlarmSource(), ())

    def knows(self, vim_id: str) -> bool:
        """Return whether a cloud has any alarms here, active or cleared."""
        return any(vim_id in clouds for clouds in self._partitions.values())

    def counts(self) -> dict[str, dict[str, int]]:
        """Return for each cloud how many active alarms there are of which class."""
        counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for clouds in list(self._partitions.values()):
            for vim_id, cloud in list(clouds.items()):
                counts[vim_id].update(cloud.active)
        return {vim_id: dict(+classes) for vim_id, classes in counts.items()}

    def alarms(self, vim_id: str) -> Iterator[PlacedAlarm]:
        """Iterate over the alarms of a cloud as they are when the iteration begins."""
        held = [
            (partition, list(clouds[vim_id].rows.values()))
            for partition, clouds in self._partitions.items()
            if vim_id in clouds
        ]
        return (
            PlacedAlarm(alarm, source, partition)
            for partition, rows in held
            for source, alarms in rows
            for alarm in alarms
        )

    async def like(self, vim_id: str, alarm_id: str) -> list[PlacedAlarm]:
        """Return all alarms of the source and condition of one alarm, the newest first.

        Empty where the alarm is not here.
        """
        alarms = self.alarms(vim_id)
        while chunk := list(islice(alarms, CHUNK)):
            for one in chunk:
                if one.alarm.id == alarm_id:
                    return self._of(vim_id, one)
            await asyncio.sleep(0)
        return []

    def _of(self, vim_id: str, one: PlacedAlarm) -> list[PlacedAlarm]:
        """Return the alarms of a source and a condition, which lie in one row or in two."""
        keys = (
            home_key(vim_id, *one.source),
            alerts_key(vim_id, *one.source),
        )
        cloud = self._partitions.get(one.partition, {}).get(vim_id)
        rows = [cloud.rows[key][1] for key in keys if key in cloud.rows] if cloud else []
        same = [
            PlacedAlarm(alarm, one.source, one.partition)
            for alarms in rows
            for alarm in alarms
            if alarm.condition == one.alarm.condition
        ]
        return sorted(same, key=lambda each: _placed(each)[0], reverse=True)

    async def query(self, selection: AlarmSelection) -> AlarmPage:
        """Return how many alarms match, and a page of them."""
        total = 0
        found: list[tuple[Position, PlacedAlarm]] = []
        alarms = self.alarms(selection.vim_id)
        while chunk := list(islice(alarms, CHUNK)):
            matching = [_placed(each) for each in chunk if selection.passes(each)]
            total += len(matching)
            following = (
                each for each in matching if selection.after is None or each[0] < selection.after
            )
            found = nlargest(
                selection.limit + 1, chain(found, following), key=lambda placed: placed[0]
            )
            await asyncio.sleep(0)
        return AlarmPage(total, found[: selection.limit], len(found) > selection.limit)


def _placed(each: PlacedAlarm) -> tuple[Position, PlacedAlarm]:
    return (each.alarm.started_at, each.alarm.id), each


def _active_classes(alarms: Iterable[Alarm]) -> list[str]:
    return [class_of(alarm.condition) for alarm in alarms if not alarm.cleared_at]
