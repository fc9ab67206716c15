"""The bridge process: its clouds' sources, the one writer they share, monitoring."""

import asyncio
import logging
import signal
from collections.abc import Callable, Sequence

import msgspec
from prometheus_client import CollectorRegistry

from bridge.heartbeats import beat
from bridge.kinds import makers, wanted
from bridge.progress import Progress
from bridge.source import Running, SourceKey, Surroundings
from vimfed.errors import OperatorError
from vimfed.kafka.aio import KafkaError
from vimfed.kafka.clients import OutgoingRecord, TopicMismatchError
from vimfed.kafka.notification_writer import NotificationWriter
from vimfed.kafka.rights import bridge_needs
from vimfed.kafka.topic_checks import ensure_topics
from vimfed.kafka.topic_watch import wrong_topic
from vimfed.kafka.topics import TopicNames
from vimfed.process.audit import Trail
from vimfed.process.backoff import Backoff
from vimfed.process.hangup import reread
from vimfed.process.metrics import MonitoringServer, new_registry
from vimfed.process.tracing import started_tracing
from vimfed.settings import Settings, VimSettings

LOG = logging.getLogger(__name__)


def run(settings: Settings, reload: Callable[[], Settings] | None = None) -> int:
    """Forward the clouds' notifications until SIGTERM or SIGINT; return the exit code.

    ``reload`` reads the settings again at SIGHUP: clouds are added, removed and changed, everything
    else needs a restart. Raises OperatorError.
    """
    asyncio.run(_Bridge(settings, reload).run())
    return 0


class _Bridge:
    def __init__(self, settings: Settings, reload: Callable[[], Settings] | None) -> None:
        self._settings = settings
        self._reload = reload
        self._stop = asyncio.Event()
        self._failure: OperatorError | None = None
        self._writer = NotificationWriter(settings.kafka)
        # Of its own: what becomes of samples costs no event its batch, nor its producer.
        self._sample_writer = NotificationWriter(settings.kafka)
        self._samples = TopicNames(settings.kafka.topic_prefix).samples
        registry = new_registry()
        self._tracing = started_tracing(settings.tracing, "vimfed-bridge")
        self._surroundings = self._new_surroundings(registry)
        self._running = self._surroundings.running
        self._trail = Trail(registry)
        self._vims: Sequence[VimSettings] = settings.vims
        self._makers = makers(self._surroundings)
        self._monitoring = MonitoringServer(
            registry,
            live=self._stuck,
            ready=self._waiting_for,
            degraded=self._troubles,
            allowed_hosts=settings.web.allowed_hosts,
        )

    def _new_surroundings(self, registry: CollectorRegistry) -> Surroundings:
        if self._tracing is None:
            return Surroundings(self._settings, registry, self._write)
        from bridge.tracing import BridgeTracing

        names = TopicNames(self._settings.kafka.topic_prefix)
        traced = BridgeTracing(self._tracing, names.notifications)
        write = traced.write(self._write)
        return Surroundings(self._settings, registry, write, traced.converter)

    async def run(self) -> None:
        """Work until a signal ends it."""
        self._surroundings.begin()
        loop = asyncio.get_running_loop()
        hangup = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, hangup.set)
        await self._open_monitoring()
        background = [
            asyncio.create_task(self._make_topics_ready()),
            asyncio.create_task(self._heed(hangup)),
        ]
        if self._settings.bridge.heartbeat_interval:
            beating = beat(self._surroundings, self._settings.bridge.heartbeat_interval)
            background.append(asyncio.create_task(beating))
        try:
            await self._apply(self._settings.vims)
            await self._stop.wait()
            LOG.info("stopping")
            await self._apply([])
        finally:
            for task in background:
                task.cancel()
            await self._writer.close()
            await self._sample_writer.close()
            await self._monitoring.close()
            self._trail.close()
            if self._tracing is not None:
                self._tracing.close()
        LOG.info("stopped")
        if self._failure is not None:
            raise self._failure

    async def _open_monitoring(self) -> None:
        host, port = self._settings.bridge.host, self._settings.bridge.port
        try:
            port = await self._monitoring.start(host, port)
        except OSError as error:
            raise OperatorError(
                f"bridge: cannot listen on {host}:{port}: {error.strerror}; choose another "
                "bridge.port"
            ) from None
        LOG.info("metrics and health: http://%s:%d/metrics, /healthz, /readyz", host, port)

    async def _make_topics_ready(self) -> None:
        """Create or check the job's topics before the first write, and watch them from then on.

        One that is gone, or was made anew with other partitions, ends the bridge: what it would
        write there, no worker would look for where it lies.
        """
        kafka = self._settings.kafka
        compares = any(
            vim.poll.is_used and vim.poll.compare_interval for vim in self._settings.vims
        )
        needs = bridge_needs(kafka, compares=compares, samples=self._settings.takes_samples)
        backoff = Backoff(0.5, 5.0)
        while True:
            try:
                await ensure_topics(kafka, needs)
            except TopicMismatchError as error:
                self._end(error)
                return
            except (KafkaError, OSError) as error:
                pause = backoff.pause()
                LOG.warning("Kafka is away, trying again in %.1f s: %s", pause, error)
                await asyncio.sleep(pause)
            else:
                self._surroundings.topics_ready.set()
                self._writer.available = self._sample_writer.available = True
                self._end(await wrong_topic(kafka, needs))
                return

    def _end(self, failure: OperatorError) -> None:
        self._failure = failure
        self._stop.set()

    async def _heed(self, hangup: asyncio.Event) -> None:
        while await hangup.wait():
            hangup.clear()
            if self._reload is None:
                LOG.warning("SIGHUP: started without a settings file, nothing to read again")
                continue
            now = msgspec.structs.replace(self._settings, vims=list(self._vims))
            self._vims = reread(self._reload, now, ("kafka", "bridge"), self._trail).vims
            await self._apply(self._vims)

    async def _apply(self, vims: Sequence[VimSettings]) -> None:
        """Make what runs that of ``vims``; sources of a changed cloud are remade."""
        asked_for = wanted(vims)
        going = [key for key, (vim, _) in self._running.items() if asked_for.get(key) != vim]
        await asyncio.gather(*map(self._remove, going))
        for key, vim in asked_for.items():
            if key not in self._running:
                source = self._makers[key.kind](vim, key.part)
                self._running[key] = Running(vim, source)
                source.start()

    async def _remove(self, key: SourceKey) -> None:
        if not await self._running[key].source.stop():
            LOG.warning("cloud %s: %s: still busy, left alone", key.vim_id, key.kind)
        self._running.pop(key, None)
        LOG.info("cloud %s: %s: stopped", key.vim_id, key.kind, extra={"vim_id": key.vim_id})

    async def _write(self, records: Sequence[OutgoingRecord], progress: Progress | None) -> None:
        await self._surroundings.topics_ready.wait()
        told = [progress.retried, progress.refused] if progress else []
        by_writer: dict[NotificationWriter, list[OutgoingRecord]] = {}
        for record in records:
            is_sample = record.topic == self._samples
            writer = self._sample_writer if is_sample else self._writer
            by_writer.setdefault(writer, []).append(record)
        await asyncio.gather(*(writer.write(own, *told) for writer, own in by_writer.items()))

    def _stuck(self) -> dict[str, str]:
        stuck_after = self._settings.bridge.stuck_after
        return {
            ": ".join(filter(None, [key.vim_id, key.part])): why
            for key, (_vim, source) in self._running.items()
            if (why := source.progress.wrong(stuck_after))
        }

    def _waiting_for(self) -> dict[str, str]:
        """Return why nothing can flow. One cloud that is down among others is no reason."""
        waiting = {}
        if not self._writer.available:
            waiting["kafka"] = f"does not take records: {self._writer.trouble}".removesuffix(": ")
        flows = [source.progress.flows for _vim, source in self._running.values()]
        if flows and not any(flows):
            waiting["clouds"] = "none is connected"
            waiting |= self._troubles()
        return waiting

    def _troubles(self) -> dict[str, str]:
        """Return which sources bring nothing, so that what is known grows old, and why."""
        troubles: dict[str, str] = {}
        if self._settings.takes_samples and not self._sample_writer.available:
            trouble = f"does not take samples: {self._sample_writer.trouble}".removesuffix(": ")
            troubles["kafka, samples"] = trouble
        for _vim, source in self._running.values():
            troubles |= source.progress.troubles
        return troubles
