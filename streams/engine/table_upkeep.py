"""What the table needs from time to time: notes of how far it is, mended rows, a tidy disk."""

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from faust.types import TP

from streams.engine.batched_transport import BatchedConsumer
from streams.engine.row_table import RowTable

if TYPE_CHECKING:
    import faust

LOG = logging.getLogger(__name__)

EVERY = 1.0
"""Seconds between two looks."""
TIDY_EVERY = 600
"""Looks between two removals of what lies uselessly on disk."""


class TableUpkeep:
    """Looks after a worker's partitions, once a second."""

    def __init__(
        self,
        app: "faust.App",
        table: RowTable,
        mend: Callable[[int], Awaitable[None]],
        look: Callable[[int], Awaitable[None]],
    ) -> None:
        """``mend`` writes a partition's overwritten rows again; ``look`` looks after each of ours.

        What they raise ends the app.
        """
        self._app = app
        self._table = table
        self._mend = mend
        self._look = look

    async def run(self, consumer: BatchedConsumer) -> None:
        """Look until the app ends. What goes wrong ends it."""
        looks = 0
        try:
            while True:
                await self._app.sleep(EVERY)
                if self._app.should_stop:
                    return
                self.note_progress(consumer)
                self._table.stores.save()
                if looks % TIDY_EVERY == 0:
                    for path in self._table.stores.remove_useless():
                        LOG.info("removed %s", path)
                looks += 1
                for partition in sorted(self._table.active):
                    if self._table.partition(partition).overwritten:
                        await self._mend(partition)
                    await self._look(partition)
        except Exception as error:
            await self._app.crash(error)
            raise

    def note_progress(self, consumer: BatchedConsumer) -> None:
        """Note for each partition up to when it holds what was written to its changelog.

        One that we own holds all, as long as the coordinator says that we own it. A copy holds what
        lay on the changelog when it was last asked for. A process that was stopped may get answers
        that are old: it knows nothing that is younger than its membership.
        """
        table, member = self._table, consumer.membership.last
        is_current = member.generation == table.generation == self._app.consumer_generation_id
        for partition in table.stores.open_partitions():
            store = table.partition(partition)
            if partition in table.active:
                if is_current:
                    store.followed.until = max(store.followed.until, member.at)
                continue
            seen = consumer.seen_end(TP(table.changelog_topic_name, partition))
            if seen is not None:
                end, at = seen
                store.followed.saw(end, min(at, member.at))
                store.followed.reached(store.next_offset)
