"""The bridge process: its clouds' listeners and pollers, the one writer they share, monitoring."""

import asyncio
import logging
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aiokafka.errors import KafkaError

from bridge.kafka.listener import KafkaListener
from bridge.poller.known_instances import KnownInstances
from bridge.poller.progress import PollerCollector, PollerCounters, PollerProgress
from bridge.progress import Counters, Progress, ProgressCollector
from bridge.rabbit.listener import Delivery, RabbitListener, RejectionFilter
from vimfed.errors import OperatorError
from vimfed.kafka.clients import OutgoingRecord, TopicMismatchError
from vimfed.kafka.notification_writer import NotificationWriter
from vimfed.kafka.rights import bridge_needs
from vimfed.kafka.topic_checks import ensure_topics
from vimfed.process.backoff import Backoff
from vimfed.process.metrics import MonitoringServer, new_registry
from vimfed.settings import Settings, SettingsError, VimSettings

if TYPE_CHECKING:
    from bridge.poller.poller import Poller

LOG = logging.getLogger(__name__)

Vims = Mapping[str, VimSettings]


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
        registry = new_registry()
        self._counters = Counters(registry)
        self._progresses: dict[str, Progress] = {}
        registry.register(ProgressCollector(self._progresses))
        self._listeners: dict[str, tuple[VimSettings, RabbitListener | KafkaListener]] = {}
        self._poller_counters = PollerCounters(registry)
        self._polled: dict[str, PollerProgress] = {}
        registry.register(PollerCollector(self._polled))
        self._pollers: dict[str, tuple[VimSettings, Poller]] = {}
        self._stop = asyncio.Event()
        self._failure: OperatorError | None = None
        self._topics_ready = asyncio.Event()
        self._known = KnownInstances(
            settings.kafka, lambda: list(self._polled), self._topics_ready.is_set
        )
        self._writer = NotificationWriter(settings.kafka)
        self._monitoring = MonitoringServer(
            registry, live=self._stuck, ready=self._waiting_for, degraded=self._not_polled
        )

    async def run(self) -> None:
        """Work until a signal ends it."""
        self._loop = asyncio.get_running_loop()
        hangup = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop.set)
        self._loop.add_signal_handler(signal.SIGHUP, hangup.set)
        await self._open_monitoring()
        rejections = RejectionFilter(self._progresses)
        rejections.install()
        background = [
            asyncio.create_task(self._make_topics_ready()),
            asyncio.create_task(self._heed(hangup)),
        ]
        try:
            await self._apply(self._settings.vims)
            await self._stop.wait()
            LOG.info("stopping")
            await self._apply([])
        finally:
            for task in background:
                task.cancel()
            await self._writer.close()
            rejections.remove()
            await self._monitoring.close()
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
        """Create or check the job's topics before the first write: it could make wrong ones."""
        kafka = self._settings.kafka
        compares = any(vim.auth_url and vim.compare_interval for vim in self._settings.vims)
        needs = bridge_needs(kafka, compares=compares)
        backoff = Backoff(0.5, 5.0)
        while True:
            try:
                await ensure_topics(kafka, needs)
            except TopicMismatchError as error:
                self._failure = error
                self._stop.set()
                return
            except (KafkaError, OSError) as error:
                pause = backoff.pause()
                LOG.warning("Kafka is away, trying again in %.1f s: %s", pause, error)
                await asyncio.sleep(pause)
            else:
                self._topics_ready.set()
                self._writer.available = True
                return

    async def _heed(self, hangup: asyncio.Event) -> None:
        while await hangup.wait():
            hangup.clear()
            if self._reload is None:
                LOG.warning("SIGHUP: started without a settings file, nothing to read again")
                continue
            try:
                settings = self._reload()
            except SettingsError as error:
                LOG.warning("SIGHUP: the settings stay as they were: %s", error)
                continue
            if settings.kafka != self._settings.kafka or settings.bridge != self._settings.bridge:
                LOG.warning("SIGHUP: changes in [kafka] and [bridge] need a restart")
            await self._apply(settings.vims)

    async def _apply(self, vims: Sequence[VimSettings]) -> None:
        """Make what runs that of ``vims``; a changed cloud is stopped and started."""
        listened = {vim.vim_id: vim for vim in vims if vim.transport_url}
        polled = {vim.vim_id: vim for vim in vims if vim.auth_url}
        await asyncio.gather(
            *map(self._remove, _going(self._listeners, listened)),
            *map(self._remove_poller, _going(self._pollers, polled)),
        )
        for vim_id, vim in listened.items():
            if vim_id not in self._listeners:
                self._add(vim)
        for vim_id, vim in polled.items():
            if vim_id not in self._pollers:
                self._add_poller(vim)

    def _add(self, vim: VimSettings) -> None:
        progress = self._progresses[vim.vim_id] = Progress(vim.vim_id, self._counters)
        self._counters.show(vim.vim_id)
        listener: RabbitListener | KafkaListener
        if urlsplit(vim.transport_url.reveal()).scheme.startswith("kafka"):
            listener = KafkaListener(vim, self._settings.kafka, self._write, progress)
        else:
            listener = RabbitListener(vim, self._settings.kafka, self._write_from_thread, progress)
        self._listeners[vim.vim_id] = vim, listener
        listener.start()

    async def _remove(self, vim_id: str) -> None:
        _vim, listener = self._listeners.pop(vim_id)
        if not await listener.stop():
            LOG.warning("cloud %s: still busy with its broker, left alone", vim_id)
        del self._progresses[vim_id]
        LOG.info("cloud %s: stopped", vim_id, extra={"vim_id": vim_id})

    def _add_poller(self, vim: VimSettings) -> None:
        from bridge.poller.poller import Poller  # openstacksdk: half a second, and 20 MB

        interval = vim.seconds_between_polls
        progress = PollerProgress(vim.vim_id, interval, self._poller_counters)
        self._polled[vim.vim_id] = progress
        retention = self._settings.worker.deleted_retention
        write = self._write_from_thread
        poller = Poller(vim, self._settings.kafka, retention, write, progress, known=self._known)
        self._pollers[vim.vim_id] = vim, poller
        poller.start()

    async def _remove_poller(self, vim_id: str) -> None:
        _vim, poller = self._pollers.pop(vim_id)
        if not await poller.stop():
            LOG.warning("cloud %s: its API still does not answer, left alone", vim_id)
        del self._polled[vim_id]
        LOG.info("cloud %s: no longer polled", vim_id, extra={"vim_id": vim_id})

    async def _write(
        self, records: Sequence[OutgoingRecord], progress: Progress | None = None
    ) -> None:
        await self._topics_ready.wait()
        await self._writer.write(
            records, *([progress.retried, progress.refused] if progress else [])
        )

    def _write_from_thread(
        self, records: Sequence[OutgoingRecord], progress: Progress | None = None
    ) -> Delivery:
        return asyncio.run_coroutine_threadsafe(self._write(records, progress), self._loop)

    def _stuck(self) -> dict[str, str]:
        stuck_after = self._settings.bridge.stuck_after
        wrong = {vim_id: each.wrong(stuck_after) for vim_id, each in self._progresses.items()}
        return {vim_id: why for vim_id, why in wrong.items() if why}

    def _waiting_for(self) -> dict[str, str]:
        """Return why nothing can flow. One cloud that is down among others is no reason."""
        waiting = {}
        if not self._writer.available:
            waiting["kafka"] = f"does not take records: {self._writer.trouble}".removesuffix(": ")
        flows = [each.connected for each in self._progresses.values()]
        flows += [each.is_current for each in self._polled.values()]
        if flows and not any(flows):
            waiting["clouds"] = "none is connected"
            waiting |= self._not_polled()
        return waiting

    def _not_polled(self) -> dict[str, str]:
        """Return which clouds' states grow old, and why."""
        polled = self._polled.items()
        return {f"polling {vim_id}": each.trouble for vim_id, each in polled if each.trouble} | {
            f"comparing {vim_id}": each.why_not_compared
            for vim_id, each in polled
            if each.why_not_compared
        }


def _going(running: Mapping[str, tuple[VimSettings, object]], wanted: Vims) -> list[str]:
    return [vim_id for vim_id, (vim, _) in running.items() if wanted.get(vim_id) != vim]
