"""What the two Faust apps, worker and publisher, have in common."""

import asyncio
import contextlib
import gc
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import faust
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from faust.assignor.partition_assignor import PartitionAssignor
from faust.types import StreamT
from faust.types.auth import CredentialsT
from faust.web.base import BlueprintManager
from faust.web.drivers.aiohttp import Web

from streams.engine.assignor import TolerantAssignor
from streams.engine.batched_transport import BatchedConsumer, use_batched_transport
from streams.engine.flow_control import KeepingFlowControl
from streams.engine.lanes import BatchHandler, Lanes
from streams.engine.table_recovery import TableManager
from vimfed.errors import OperatorError
from vimfed.kafka.appending import RECORD_REFUSALS
from vimfed.kafka.before_kafka import Probes, StoppedError, once_there
from vimfed.kafka.clients import (
    AccessDeniedError,
    close_undelivered,
    idempotent_producer,
    no_broker,
    own_compression,
    refusal_of,
    wait_for_leaders,
)
from vimfed.kafka.rights import Need
from vimfed.kafka.topic_checks import ensure_topics
from vimfed.kafka.topic_watch import wrong_topic
from vimfed.process.log import tell_last_words
from vimfed.process.new_life import begin_anew, pause_before_work
from vimfed.process.tls import tls_context
from vimfed.settings import KafkaConnection, KafkaSettings, Settings, SettingsError

LOG = logging.getLogger(__name__)

App = faust.App
"""The Faust app."""

CRASH_DEADLINE = 10.0
"""Seconds that a process has to end in order after a crash."""
ANSWER_TIMEOUT = 10.0
"""Seconds that the brokers have to say which right is missing."""
MAX_HEARTBEAT_INTERVAL = 0.25
"""Seconds after which a member hears that others come or go: until the last one has, all wait."""
REBALANCE_DEADLINE = 4.0
"""Sessions that a rebalance may take here which the coordinator is done with."""
STOP_DEADLINE = 5.0
"""Seconds that a process has to stop in order while Kafka does not answer."""


def new_app(
    settings: Settings,
    group: str,
    source: str,
    data_dir: Path,
    *,
    max_poll_interval: float = 300.0,
    **options: Any,
) -> faust.App:
    """Return a Faust app of consumer group ``group`` that consumes ``source`` in batches.

    ``max_poll_interval``: seconds for which batches may wait without our leaving the group. The
    other options are those of :class:`faust.App`. Raises SettingsError where ``data_dir`` cannot be
    made.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"state_dir: cannot make {error.filename}: {error.strerror}") from None
    session_timeout = settings.worker.session_timeout
    app = faust.App(
        group,
        broker=[f"kafka://{address}" for address in settings.kafka.bootstrap.split(",")],
        broker_credentials=_credentials(settings.kafka),
        broker_session_timeout=session_timeout,
        broker_heartbeat_interval=min(session_timeout / 10, MAX_HEARTBEAT_INTERVAL),
        broker_rebalance_timeout=session_timeout,
        broker_request_timeout=max(20.0, session_timeout),
        broker_max_poll_records=settings.worker.poll_records,
        broker_max_poll_interval=max_poll_interval,
        broker_commit_every=4 * settings.worker.poll_records,
        # Counts fetches here, however many bytes they have: what waits waits in the lanes.
        stream_buffer_maxsize=2,
        broker_commit_interval=0.5,
        stream_wait_empty=True,
        topic_partitions=settings.kafka.partitions,
        topic_replication_factor=settings.kafka.replication,
        topic_allow_declare=False,  # they are there, and who may create none is refused
        topic_disable_leader=True,
        key_serializer="raw",
        value_serializer="raw",
        datadir=data_dir,
        worker_redirect_stdouts=False,
        TableManager=TableManager,
        PartitionAssignor=TolerantAssignor,
        **options,
    )
    app.flow_control = KeepingFlowControl()
    app.web.blueprints = BlueprintManager()  # Faust's own pages show tables and settings to all
    use_batched_transport(app, {source})
    return app


def _credentials(kafka: KafkaConnection) -> CredentialsT | None:
    context = tls_context(kafka) if kafka.is_tls else None
    if kafka.login is not None:
        return faust.SASLCredentials(
            username=kafka.login.username,
            password=kafka.login.password.reveal(),
            ssl_context=context,
            mechanism=kafka.sasl_mechanism,
        )
    return faust.SSLCredentials(context) if context else None


def consume(
    app: faust.App,
    source: str,
    kafka: KafkaSettings,
    new_handler: Callable[[AIOKafkaProducer], Awaitable[BatchHandler]],
) -> None:
    """Give every batch of ``source`` to a handler that is made for a started producer.

    What the handler raises ends the process: upstream would acknowledge the event and go on.
    """

    async def handle_batches(stream: StreamT[Any]) -> None:
        # The app closes it when everything that needs it has stopped.
        try:
            producer = await app.add_async_context(_started_producer(kafka))
            consumer_of(app).producer = producer
            handle = await new_handler(producer)
        except Exception as error:
            await app.crash(error)
            raise
        consumer = consumer_of(app)
        most_records = app.conf.broker_max_poll_records or 1
        lanes = Lanes(handle, most_records, app.crash, lambda: consumer.is_leaving)
        try:
            async for event in cast(faust.Stream[Any], stream).noack().events():
                await lanes.put(event)
        finally:
            lanes.close()

    topic = app.topic(source, key_type=bytes, value_type=bytes)
    app.agent(topic, name=source, concurrency=1)(handle_batches)


@contextlib.asynccontextmanager
async def _started_producer(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaProducer]:
    producer = idempotent_producer(kafka, request_timeout_ms=20_000, **own_compression(kafka))
    wait_for_leaders(producer)
    await producer.start()
    try:
        yield producer
    finally:
        # Whoever leaves awaits nothing any more: what is undelivered follows from a batch that is
        # not done, and is written again.
        await close_undelivered(producer)


def web_server_of(app: App) -> Web:
    """Return the app's web server."""
    server = app.web
    if not isinstance(server, Web):
        raise TypeError(f"Faust's web server is not aiohttp's, but {type(server)}")
    return server


async def stopping(app: App) -> None:
    """Return when the app has begun to stop, before anything of it is."""
    await app._stopped.wait()


def owners_of(app: App, changelog: str) -> dict[str, set[int]]:
    """Return which member, by its URL, owns which partitions of a changelog.

    As of the last assignment; members that own none are left out.
    """
    assignor = app.assignor
    if not isinstance(assignor, PartitionAssignor):
        raise TypeError(f"the app does not assign by Faust's own assignor, but {type(assignor)}")
    return {
        url.rstrip("/"): set(topics[changelog])
        for url, topics in assignor.changelog_distribution.items()
        if topics.get(changelog)
    }


def recovery_seconds(app: App) -> float:
    """Return how long the last recovery from the changelogs took; 0 where there was none."""
    recovery = cast(TableManager, app.tables).recovery
    if recovery._recovery_started_at is None or recovery._recovery_ended_at is None:
        return 0.0
    return max(0.0, recovery._recovery_ended_at - recovery._recovery_started_at)


def consumer_of(app: faust.App) -> BatchedConsumer:
    """Return the app's consumer; it exists once the app has started."""
    consumer = app.consumer
    if not isinstance(consumer, BatchedConsumer):
        raise TypeError(f"the app does not consume in batches, but by {type(consumer)}")
    return consumer


class _Worker(faust.Worker):
    """Runs an app to its end."""

    async def _sentinel_task(self) -> None:
        """Let what was cancelled end, for a second at most, before the loop is closed.

        Upstream always sleeps that second, at the end of a process of which nothing is left.
        """
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:
            await asyncio.wait(left, timeout=1.0)
        await asyncio.sleep(0)  # transports that were closed tell so in the loop's next round


def run_app(
    app: faust.App,
    kafka: KafkaSettings,
    needs: Sequence[Need],
    probes: Probes,
    prepare: Callable[[], Awaitable[None]] | None = None,
) -> int:
    """Run the app until SIGTERM or SIGINT; return the exit code, not 0 after a crash.

    What it ``needs`` of Kafka is created and checked first, once that is there: Faust never picks
    up a topic that appears later. Then ``prepare`` is awaited. Raises OperatorError, also where the
    app crashed of one, or because Kafka refuses something. Where it crashed since Kafka is away,
    this process begins anew in its place, and waits.
    """
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)

    async def begin() -> None:
        try:
            created = await ensure_topics(kafka, needs)
        except KafkaConnectionError as error:
            is_silent = "bootstrap" in str(error)  # aiokafka names no reason
            raise ConnectionError(no_broker(kafka) if is_silent else str(error)) from None
        for name in created:
            LOG.info("created topic %s", name)
        if prepare is not None:
            await prepare()

    try:
        loop.run_until_complete(once_there(begin, probes, pause_before_work()))
    except StoppedError:
        return 0

    async def watch_topics() -> None:
        await app.crash(await wrong_topic(kafka, needs))

    app.task(watch_topics)
    for handler in logging.getLogger().handlers:
        handler.addFilter(_refusals_without_traceback(app))
    worker = _Worker(app, loop=loop, override_logging=False, quiet=True)
    worker.spinner = None
    work = _Work(app, worker, kafka, needs, time.monotonic())
    threading.Thread(target=_end_for_sure, args=[work], name="last resort", daemon=True).start()
    # What was loaded stays: to look through it for garbage stops the process for 50 ms each time.
    gc.collect()
    gc.freeze()
    code = 1
    try:
        worker.execute_from_commandline()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except Exception:
        LOG.exception("ended by an error")
    reason = _operators_reason(work)
    if reason is not None:
        raise reason
    _begin_anew_without_kafka(work)
    return code


@dataclass(frozen=True)
class _Work:
    """What a process does between having found Kafka and its end."""

    app: faust.App
    worker: faust.Worker
    kafka: KafkaSettings
    needs: Sequence[Need]
    since: float
    """When it began, by the monotonic clock."""

    @property
    def crash_reason(self) -> BaseException | None:
        """Why it ends without having been told to; None where that is not so."""
        start = self.worker._starting_fut  # what fails then is no crash to upstream
        if self.app.crash_reason or start is None or not start.done() or start.cancelled():
            return self.app.crash_reason
        return start.exception()


def _is_kafka_away(error: BaseException | None) -> bool:
    """Return whether an error is Kafka's, and goes away without anybody's doing.

    A topic that is gone does not come back: what starts makes it anew, and that is told first.
    """
    if not isinstance(error, KafkaError) or isinstance(error, UnknownTopicOrPartitionError):
        return False
    return bool(error.retriable) or isinstance(error, KafkaTimeoutError)


def _begin_anew_without_kafka(work: _Work) -> None:
    """Begin anew where Kafka is why this process ends, unless it was told to end as well."""
    reason = work.crash_reason
    if not _is_kafka_away(reason) or work.worker._signal_stop_time:
        return
    LOG.warning("Kafka went away: %r; this process begins anew, and waits for it", reason)
    try:
        begin_anew(work.since)
    except OSError:
        LOG.exception("cannot begin anew")


def _refusals_without_traceback(app: faust.App) -> Callable[[logging.LogRecord], bool]:
    """Return a filter that keeps every log record, but no traceback of what an operator can mend.

    Nor one where Kafka is away. Upstream has one in the log for each service that ends of it.
    """
    refused = (
        TopicAuthorizationFailedError,
        GroupAuthorizationFailedError,
        OperatorError,
        *RECORD_REFUSALS,
    )

    def keep(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        reasons = (error, app.crash_reason)
        if any(isinstance(each, refused) or _is_kafka_away(each) for each in reasons):
            record.exc_info = record.exc_text = None
        return True

    return keep


def _operators_reason(work: _Work) -> OperatorError | None:
    """Return why the app has crashed, where an operator can mend it.

    An error by which Kafka refuses something does not tell which right is missing: the brokers do,
    when they are asked.
    """
    reason, kafka = work.app.crash_reason, work.kafka
    if reason is None or isinstance(reason, OperatorError):
        return reason
    refused = refusal_of(kafka, reason, "Read or Write")
    if isinstance(reason, RECORD_REFUSALS):
        refused = f"Kafka does not take what we write: {reason!r}"
    if refused is None:
        return None
    try:
        asyncio.run(asyncio.wait_for(ensure_topics(kafka, work.needs), ANSWER_TIMEOUT))
    except (OperatorError, KafkaError, TimeoutError) as error:
        return AccessDeniedError(str(error) if isinstance(error, OperatorError) else refused)
    return AccessDeniedError(refused)  # which has been granted again


def _end_for_sure(work: _Work) -> None:
    """End the process where Faust neither goes on nor ends: to be killed at any moment is safe.

    That is so when it has crashed and something does not stop; when it was told to stop, and waits
    for what Kafka does not answer; and when a rebalance does not end though the coordinator
    confirms that we are a member: whoever wakes up in the middle of one, after having been frozen,
    may wait for an answer that has been given.
    """
    app = work.app
    limit = max(30.0, REBALANCE_DEADLINE * app.conf.broker_session_timeout)
    crashed = stuck = held_up = 0.0
    while crashed < CRASH_DEADLINE and stuck < limit and held_up < STOP_DEADLINE:
        time.sleep(0.5)
        crashed = crashed + 0.5 if app.crashed else 0.0
        stuck = stuck + 0.5 if _is_stuck(app) else 0.0
        held_up = held_up + 0.5 if _is_held_up(app) else 0.0
    if held_up:
        LOG.warning("Kafka does not answer: this process ends now; what is undone is read again")
        os._exit(0)
    what = "a rebalance" if stuck else "a crash"
    LOG.critical("%s does not end: this process ends at once", what)
    reason = _operators_reason(work)
    if reason is not None:
        tell_last_words(str(reason))
    else:
        _begin_anew_without_kafka(work)
    os._exit(1)


def _is_held_up(app: faust.App) -> bool:
    """Return whether the app was told to stop and Kafka, or the leader of a partition, is away."""
    if app.crashed or not app._stopped.is_set():
        return False
    consumer = consumer_of(app)
    silence = 0.3 * app.conf.broker_session_timeout
    return consumer.membership.age > silence or bool(consumer.leaderless())


def _is_stuck(app: faust.App) -> bool:
    return (
        app.rebalancing
        and not app.in_recovery
        and not cast(TableManager, app.tables).recovery.is_handing_over
        and consumer_of(app).membership.age < app.conf.broker_session_timeout
    )
