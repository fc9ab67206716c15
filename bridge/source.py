"""What the bridge asks of a source of a cloud's notifications, and what it gives to each.

A source is one way of access to one cloud: a queue in RabbitMQ, topics in Kafka, nova's API. The
table of their kinds is ``bridge/kinds.py``.
"""

import asyncio
import concurrent.futures
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from prometheus_client import CollectorRegistry

from bridge.forwarding import Traced, untraced
from bridge.progress import Counters, Progress, ProgressCollector
from vimfed.kafka.clients import OutgoingRecord
from vimfed.settings import Settings, VimSettings

P = TypeVar("P")

Delivery = concurrent.futures.Future[None]
"""A write on its way; it is done when Kafka has acknowledged all of its records."""


class SourceKey(NamedTuple):
    """Names a source within the bridge."""

    vim_id: str
    kind: str
    """A key of ``KINDS``."""
    part: str = ""
    """Which one, where a cloud has several of the kind."""

    @property
    def tells_events(self) -> bool:
        """Whether events of the cloud come through it, and not samples alone."""
        return not self.kind.startswith("samples-")


class Health(Protocol):
    """How a source is doing; asked in the event loop, so it answers at once."""

    @property
    def flows(self) -> bool:
        """Whether news of the cloud come in, as far as there are any."""

    @property
    def troubles(self) -> Mapping[str, str]:
        """What keeps no other source from its work, as ``/readyz`` names it: why, by what."""

    @property
    def lag(self) -> float:
        """Seconds by which what is known of the cloud through this source is behind it, as far as
        that can be told; 0: it is not."""

    def wrong(self, stuck_after: float) -> str:
        """Return why the process needs a restart; empty where it does not.

        ``stuck_after``: seconds without a sign of life. A cloud or a Kafka that is down is no
        reason: a restart would not bring it back.
        """


class Source(Protocol):
    """One way of access to one cloud, from start to stop; used once."""

    @property
    def progress(self) -> Health:
        """How it is doing; its metrics are read from it."""

    def start(self) -> None:
        """Begin; returns at once. Called in the event loop.

        An error of the cloud's is told in the log and leads to another attempt, without end.
        """

    async def stop(self) -> bool:
        """Finish what is on its way, and leave the cloud.

        Returns False where that takes more than STOP_TIMEOUT seconds; it is then left alone.
        """


class Running(NamedTuple):
    """A source that runs, and the settings by which it was made."""

    vim: VimSettings
    source: Source


Write = Callable[[Sequence[OutgoingRecord], Progress | None], Coroutine[Any, Any, None]]


class Surroundings:
    """What the bridge gives to its sources."""

    def __init__(
        self,
        settings: Settings,
        registry: CollectorRegistry,
        write: Write,
        traced: Traced = untraced,
    ) -> None:
        """Register the metrics of listeners. ``write``: writes in the event loop."""
        self.traced = traced
        self.settings = settings
        self.registry = registry
        """Where a kind registers metrics of its own."""
        self.topics_ready = asyncio.Event()
        """Set once the job's own topics are there, and as they must be."""
        self.running: dict[SourceKey, Running] = {}
        """The sources that run now."""
        self._write = write
        self._loop: asyncio.AbstractEventLoop
        self._counters = Counters(registry)
        registry.register(ProgressCollector(lambda: self.of(Progress)))

    def begin(self) -> None:
        """Take the running event loop as the one that writes; before the first source."""
        self._loop = asyncio.get_running_loop()

    def of(self, progress: type[P]) -> Iterator[P]:
        """Return the progress of every source that runs and has one of this type."""
        for each in list(self.running.values()):
            if isinstance(each.source.progress, progress):
                yield each.source.progress

    def new_progress(self, vim: VimSettings, bus: str = "") -> Progress:
        """Return the progress of a listener to a cloud's message bus; its counters begin to show.

        ``bus``: which one, where a cloud can have several.
        """
        self._counters.show(vim.vim_id, bus)
        return Progress(vim.vim_id, self._counters, bus)

    async def write(
        self, records: Sequence[OutgoingRecord], progress: Progress | None = None
    ) -> None:
        """Write records of one source in their order; returns when Kafka has all of them."""
        await self._write(records, progress)

    def write_from_thread(
        self, records: Sequence[OutgoingRecord], progress: Progress | None = None
    ) -> Delivery:
        """Begin to write like ``write``, from a source's own thread."""
        return asyncio.run_coroutine_threadsafe(self._write(records, progress), self._loop)


Make = Callable[[VimSettings, str], Source]
"""Makes the source of a cloud, and of one of its parts; it does not start it."""


class SourceKind(NamedTuple):
    """One kind of source."""

    parts: Callable[[VimSettings], Sequence[str]]
    """Which sources of the kind a cloud's settings ask for: one for each part.

    A part is named where a cloud can have several of the kind; else it is an empty string.
    """
    prepare: Callable[[Surroundings], Make]
    """Makes what all sources of the kind share, such as metrics; once, before the first source."""
