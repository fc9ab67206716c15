"""``vimfed gateway``: the Message Router's REST API in front of a Kafka cluster.

Unlike the original it publishes durably, and commits only what a consumer has been given.
"""

import asyncio
import codecs
import logging
import random
import signal
import ssl
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web
from prometheus_client import Counter

from vimfed.errors import OperatorError
from vimfed.kafka.aio import (
    AIOKafkaConsumer,
    AIOKafkaProducer,
    ConsumerRecord,
    KafkaError,
    TopicPartition,
)
from vimfed.kafka.appending import append_all
from vimfed.kafka.before_kafka import Port, Probes, StoppedError, once_there
from vimfed.kafka.clients import OutgoingRecord, TopicMismatchError, new_admin, new_consumer
from vimfed.kafka.cluster_state import topic_exists
from vimfed.kafka.expiry import ExpiredUnread, ExpiryWatch
from vimfed.kafka.outputs import dmaap_cluster, kafka_outputs
from vimfed.kafka.partitions import partition_of
from vimfed.kafka.renewed_producer import RenewedProducer
from vimfed.kafka.topic_checks import ensure_topic
from vimfed.kafka.topics import TopicSpec, topic_specs
from vimfed.model.decoding import UNREADABLE
from vimfed.process.audit import Event, Trail
from vimfed.process.connections import ConnectionRunner, allow_many_connections
from vimfed.process.metrics import (
    MonitoringServer,
    health_response,
    metrics_response,
    new_registry,
)
from vimfed.process.neighbours import network_of
from vimfed.process.tls import server_context
from vimfed.settings import KafkaConnection, Settings
from web.gateway.access import GatewayAccess, refuse_open_gateway
from web.gateway.message_router import (
    MAX_BODY,
    MessageRouterError,
    parse_body,
    parse_filter,
)
from web.gateway.taken_answer import send_and_see_taken
from web.http.audit import COUNT, OBJECT, WHO, RequestAudit
from web.http.errors import REASON, ApiError
from web.http.request_metrics import RequestMetrics
from web.http.routes import route_name
from web.http.turns import Turns

LOG = logging.getLogger(__name__)

TIMEOUT = 20.0
READY_TIMEOUT, LOOK_EVERY = 4.0, 5.0
"""Seconds that Kafka has to answer, and between two looks whether it does."""
BODY_TIMEOUT = 60.0
"""Seconds that a request's body may take."""
MAX_POSTS = 4
"""Bodies of one address that are taken at once; the others wait in line."""
IDLE = 300.0
"""Seconds after which a consumer that nobody asks for leaves its group."""
MAX_CONSUMERS = 1000
"""Consumers at a time: each has connections of its own."""
MAX_EMPTY, EMPTY_WINDOW, EMPTY_PAUSE = 10, 60.0, 6.0
DEFAULT_TIMEOUT_MS, DEFAULT_LIMIT = 10_000, 4096


class _NewTopic(msgspec.Struct, rename="camel"):
    topic_name: str
    partition_count: int = 1
    replication_count: int = 1


class _Consumer:
    """One consumer of a group, between its calls."""

    def __init__(self, consumer: AIOKafkaConsumer, watch: ExpiryWatch) -> None:
        self.kafka = consumer
        self._watch = watch
        self.lock = asyncio.Lock()
        """Held until what was answered is committed."""
        self.asked_by: web.Request | None = None
        """The call that has not got its answer yet."""
        self.started = False
        self.leaving = False
        """Whether a call is to be answered now, with what there is."""
        self.used_at = time.monotonic()
        self.empty: deque[float] = deque(maxlen=MAX_EMPTY + 1)
        self._pinned: set[TopicPartition] = set()

    async def pin(self) -> None:
        """Commit where a new group begins, at the end, so that it goes on there however it ends."""
        assigned = set(self.kafka.assignment())
        new = [each for each in assigned - self._pinned if await self.kafka.committed(each) is None]
        if new:
            ends = await self.kafka.end_offsets(new)
            await self.kafka.commit(ends)
            self.go_to(ends)
        self._pinned = assigned

    async def read(
        self, patience: float, limit: int
    ) -> dict[TopicPartition, Sequence[ConsumerRecord]]:
        """Return up to ``limit`` records that come within ``patience`` seconds."""
        fetched: dict[TopicPartition, Sequence[ConsumerRecord]] = await self.kafka.getmany(
            timeout_ms=int(patience * 1000), max_records=limit
        )
        try:
            await self._watch.look(fetched)
        except BaseException:
            self.go_to({each: records[0].offset for each, records in fetched.items()})
            raise
        unpinned = {each: fetched.pop(each)[0].offset for each in fetched.keys() - self._pinned}
        self.go_to(unpinned)  # came by a rebalance meanwhile
        return fetched

    def go_to(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Go on at these offsets, in the partitions that are still ours."""
        for partition in offsets.keys() & self.kafka.assignment():
            self.kafka.seek(partition, offsets[partition])

    @property
    def is_asked(self) -> bool:
        """Whether somebody still waits for an answer."""
        return self.asked_by is not None and not _is_gone(self.asked_by)

    def answered(self, request: web.Request) -> None:
        """Let others ask: this call has its answer, or none will come."""
        if self.asked_by is request:
            self.asked_by = None

    def asks_too_often(self) -> bool:
        """Return whether too many calls of the last minute brought nothing."""
        return len(self.empty) > MAX_EMPTY and time.monotonic() - self.empty[0] < EMPTY_WINDOW


class Gateway:
    """The handlers, and the connections behind them."""

    def __init__(self, settings: Settings) -> None:
        self._access = GatewayAccess(settings)
        self._turns = Turns(MAX_POSTS)
        self._kafka = gateway_cluster(settings)
        self._own_topics = {spec.name for spec in topic_specs(settings.kafka)}
        self._producers = RenewedProducer(self._kafka, TIMEOUT)
        self._consumers: dict[tuple[str, str, str], _Consumer] = {}
        self._admin = new_admin(self._kafka)
        self._registry = new_registry()
        self._expired = Counter(
            "vimfed_gateway_expired_unread",
            "messages that retention has removed before their consumer group read them",
            ["topic"],
            registry=self._registry,
        )
        self._trail = Trail(self._registry)
        self._wrong: dict[str, str] = {}
        """Which part is not ready, and why."""
        self.monitoring = MonitoringServer(
            self._registry,
            live=dict,
            ready=lambda: self._wrong,
            allowed_hosts=settings.web.allowed_hosts,
        )
        """For a port of its own, where the settings name one."""
        self._serves_metrics = not settings.gateway.monitoring_port

    def application(self) -> web.Application:
        """Return the aiohttp application."""
        observe = RequestMetrics(self._registry, "vimfed_gateway_request_seconds").observe
        audit = RequestAudit(self._trail, _change_of).keep
        app = web.Application(
            client_max_size=MAX_BODY, middlewares=[observe, audit, _errors, self._access.check]
        )
        app.add_routes(
            [
                web.post("/events/{topic}", self.publish),
                # No HEAD: it would take messages and show none of them.
                web.get("/events/{topic}/{group}/{id}", self.consume, allow_head=False),
                web.get("/events{rest:.*}", self.refuse_anonymous, allow_head=False),
                web.post("/topics/create", self.create_topic),
                web.get("/topics", self.topics),
                web.get("/topics/listAll", self.list_all),
                web.get("/topics/{topic}", self.topic),
                web.get("/healthz", self.healthz),
                web.get("/readyz", self.readyz),
            ]
        )
        if self._serves_metrics:
            app.router.add_get("/metrics", self.metrics)
        return app

    async def start(self) -> None:
        """Connect. Raises KafkaError."""
        await self._admin.start()
        self._background = [
            asyncio.create_task(each) for each in (self._sweep(), self._watch_kafka())
        ]

    def leave(self) -> None:
        """Let nobody wait for messages any more: the stop would wait for it."""
        for consumer in self._consumers.values():
            consumer.leaving = True

    async def close(self) -> None:
        """Leave all groups and close the connections."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*(each.kafka.stop() for each in self._consumers.values()))
        await self._producers.close()
        await self._admin.close()
        self._trail.close()

    async def publish(self, request: web.Request) -> web.Response:
        """Publish the body's messages; answered once Kafka has acknowledged all of them."""
        topic = request.match_info["topic"]
        self._access.authorize(request, topic, publish=True)
        await self._known(topic)
        # Bodies take memory: of one address only so many are held at once.
        async with self._turns.turn(network_of(self._access.door.client_address(request))):
            return await self._publish(request, topic)

    async def _publish(self, request: web.Request, topic: str) -> web.Response:
        messages = parse_body(
            request.headers.get("Content-Type", ""),
            await _body(request),
            request.query.get("partitionKey"),
        )
        request[COUNT] = len(messages)
        caller = request[WHO].header()
        producer: AIOKafkaProducer | None = None
        try:
            producer = await self._producers.started()
            count = len(await producer.partitions_for(topic))
            records = [
                OutgoingRecord(
                    topic,
                    random.randrange(count) if key is None else partition_of(key, count),  # noqa: S311
                    key,
                    value,
                    (caller,),
                )
                for key, value in messages
            ]
            async with asyncio.timeout(TIMEOUT):
                await append_all(producer, records)
        except BaseException:
            self._producers.abandon(producer)
            raise
        return _json({"count": len(messages), "serverTimeMs": int(time.time() * 1000)})

    async def consume(self, request: web.Request) -> web.StreamResponse:
        """Answer with messages, and commit them once the answer has left."""
        topic, group, member = (request.match_info[name] for name in ("topic", "group", "id"))
        self._access.authorize(request, topic, publish=False)
        await self._known(topic)
        key = (topic, group, member)
        if key not in self._consumers:
            if len(self._consumers) >= MAX_CONSUMERS:
                raise MessageRouterError(503, 5012, "there are too many consumers: try again")
            self._consumers[key] = self._new_consumer(*key)
        consumer = self._consumers[key]
        if consumer.is_asked:
            raise MessageRouterError(409, 5012, "this consumer is being asked already")
        consumer.asked_by = request
        try:
            # A client may ask again before what it has just got is committed, or its last call has
            # noticed that it is gone.
            async with consumer.lock:
                if not consumer.started:
                    await self._start(key, consumer)
                return await self._answer(request, consumer)
        finally:
            consumer.answered(request)

    async def _answer(self, request: web.Request, consumer: _Consumer) -> web.StreamResponse:
        passes = parse_filter(request.query.get("filter"))
        timeout = _number(request, "timeout", DEFAULT_TIMEOUT_MS) / 1000
        limit = max(1, _number(request, "limit", DEFAULT_LIMIT))
        consumer.used_at = time.monotonic()
        if consumer.asks_too_often():
            await asyncio.sleep(EMPTY_PAUSE)
            consumer.empty.clear()
            raise MessageRouterError(429, 5012, "too many calls that bring nothing")
        begin: dict[TopicPartition, int] = {}
        try:
            messages, end = await _fetch(request, consumer, passes, timeout, limit, begin)
            if not messages:
                consumer.empty.append(time.monotonic())
            body = msgspec.json.encode(messages)
            response = await send_and_see_taken(request, body, lambda: consumer.answered(request))
        except BaseException:
            consumer.go_to(begin)
            raise
        if end:
            try:
                await consumer.kafka.commit(end)
            except KafkaError as error:
                LOG.warning("%s: cannot commit, messages may come again: %r", request.path, error)
        return response

    async def refuse_anonymous(self, _request: web.Request) -> web.Response:
        """Say what is missing."""
        raise MessageRouterError(404, 5008, "name a topic, a consumer group and a consumer id")

    async def topics(self, request: web.Request) -> web.Response:
        """List the names of the topics that who asks may use."""
        return _json({"topics": await self._names(request)})

    async def list_all(self, request: web.Request) -> web.Response:
        """List the topics with the original's further fields."""
        topics = [
            {"topicName": name, "owner": "", "txenabled": False}
            for name in await self._names(request)
        ]
        return _json({"topics": topics})

    async def topic(self, request: web.Request) -> web.Response:
        """Tell one topic."""
        name = request.match_info["topic"]
        self._access.look_at_login(request)
        if not self._access.may_see(request, name) or not await self._is_there(name):
            raise MessageRouterError(404, 6002, f"there is no topic {name}")
        return _json({"name": name, "owner": "", "description": "", "txenabled": False})

    async def create_topic(self, request: web.Request) -> web.Response:
        """Create a topic."""
        try:
            body = (await _body(request)).removeprefix(codecs.BOM_UTF8)
            new = msgspec.json.decode(body, type=_NewTopic)
        except UNREADABLE as error:
            raise MessageRouterError(400, 5007, f"not a topic: {error}") from None
        request[OBJECT] = new.topic_name
        self._access.authorize(request, new.topic_name, publish=True)
        if self._is_hidden(new.topic_name):
            raise MessageRouterError(401, 5009, f"{new.topic_name} is reserved")
        spec = TopicSpec(new.topic_name, new.partition_count, new.replication_count)
        await ensure_topic(self._kafka, spec)
        return _json({"topicName": new.topic_name, "partitionCount": new.partition_count})

    async def healthz(self, _request: web.Request) -> web.Response:
        """Say that the process answers: whatever else is wrong, a restart would not mend it."""
        return health_response(dict)

    async def readyz(self, _request: web.Request) -> web.Response:
        """Say whether Kafka answers."""
        return health_response(lambda: self._wrong)

    async def _watch_kafka(self) -> None:
        """Keep knowing whether Kafka answers."""
        while True:
            try:
                async with asyncio.timeout(READY_TIMEOUT):
                    await self._admin.list_topics()
            except (KafkaError, OSError) as error:
                self._wrong = {"kafka": f"does not answer: {error!r}"}
            else:
                self._wrong = {}
            await asyncio.sleep(LOOK_EVERY)

    async def metrics(self, request: web.Request) -> web.Response:
        """Show the metrics in Prometheus' format."""
        return metrics_response(self._registry, request)

    def _is_hidden(self, topic: str) -> bool:
        """Return whether a topic is the job's own, Kafka's or Faust's, or not to be served."""
        return topic in self._own_topics or "__" in topic or not self._access.is_served(topic)

    async def _names(self, request: web.Request) -> list[str]:
        """Return the topics that the request may use."""
        self._access.look_at_login(request)
        names = sorted(await self._admin.list_topics())
        return [
            each
            for each in names
            if not self._is_hidden(each) and self._access.may_see(request, each)
        ]

    async def _known(self, topic: str) -> None:
        if not await self._is_there(topic):
            raise MessageRouterError(404, 3001, f"there is no topic {topic}")

    async def _is_there(self, topic: str) -> bool:
        """Return whether clients may know of a topic."""
        return not self._is_hidden(topic) and await topic_exists(self._admin, topic)

    def _new_consumer(self, topic: str, group: str, member: str) -> _Consumer:
        consumer = new_consumer(
            self._kafka,
            topic,
            group_id=f"{group}--{topic}",
            client_id=member,
            max_poll_interval_ms=int(2 * IDLE * 1000),
        )

        def count(expired: ExpiredUnread) -> None:
            self._expired.labels(topic).inc(expired.lost)

        return _Consumer(consumer, ExpiryWatch(consumer, f"group {group}--{topic}", count))

    async def _start(self, key: tuple[str, str, str], consumer: _Consumer) -> None:
        try:
            await consumer.kafka.start()
        except BaseException:
            del self._consumers[key]
            await consumer.kafka.stop()
            raise
        consumer.started = True

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(IDLE / 10)
            for key, consumer in list(self._consumers.items()):
                if time.monotonic() - consumer.used_at > IDLE and not consumer.lock.locked():
                    del self._consumers[key]
                    await consumer.kafka.stop()


def gateway_cluster(settings: Settings) -> KafkaConnection:
    """Return the cluster behind the gateway: the named output's, or the first Kafka output's."""
    for output in kafka_outputs(settings):
        if settings.gateway.output in ("", output.name):
            return dmaap_cluster(settings, output)
    return settings.kafka


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code. Raises OperatorError."""
    refuse_open_gateway(settings)
    allow_many_connections()
    asyncio.run(_serve(settings))
    return 0


async def _serve(settings: Settings) -> None:
    context = server_context("gateway", settings.gateway)
    gateway = Gateway(settings)
    try:
        await once_there(gateway.start, _probes(settings, context))
    except StoppedError:
        return
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    host, port = settings.gateway.host, settings.gateway.port
    runner = ConnectionRunner(
        gateway.application(), proxies=settings.web.trusted_proxies, shutdown_timeout=5.0
    )
    await runner.setup()
    try:
        async with gateway.monitoring.beside(settings.gateway, "gateway.monitoring_port"):
            await web.TCPSite(runner, host, port, ssl_context=context).start()
            LOG.info("Message Router API: %s://%s:%d", settings.gateway.scheme, host, port)
            await stop.wait()
            gateway.leave()
    except OSError as error:
        raise OperatorError(
            f"gateway: cannot listen on {host}:{port}: {error.strerror}; choose another "
            "gateway.port"
        ) from None
    finally:
        await runner.cleanup()
        await gateway.close()


def _probes(settings: Settings, context: ssl.SSLContext | None) -> Probes:
    """Return where the gateway answers probes while it has no Kafka."""
    own = settings.gateway
    ports = [Port(own.host, own.port, "gateway.port", context)]
    if own.monitoring_port:
        ports.append(Port(own.host, own.monitoring_port, "gateway.monitoring_port"))
    return Probes(ports, settings.web.allowed_hosts)


CLIENT_GONE = 499
"""The status of what a client did not wait for, as nginx has it."""
CHANGES: dict[str, Event] = {
    "/events/{topic}": "messages.published",
    "/topics/create": "topic.created",
}
"""What the audit trail calls a POST, by its route."""


def _change_of(request: web.Request) -> Event | None:
    return CHANGES.get(route_name(request)) if request.method == "POST" else None


def _is_gone(request: web.Request) -> bool:
    """Return whether a client has closed its connection."""
    return request.transport is None or request.transport.is_closing()


async def _fetch(
    request: web.Request,
    consumer: _Consumer,
    passes: Callable[[bytes], bool],
    patience: float,
    limit: int,
    begin: dict[TopicPartition, int],
) -> tuple[list[str], dict[TopicPartition, int]]:
    """Return messages, and for each partition read the offset after the last.

    Waits ``patience`` seconds at most. Notes in ``begin`` the first offset that is read of each
    partition. Raises OSError where the client has gone.
    """
    messages: list[str] = []
    end: dict[TopicPartition, int] = {}
    deadline = time.monotonic() + patience
    while not messages:
        await consumer.pin()
        left = deadline - time.monotonic()
        if left <= 0 or consumer.leaving:
            break
        if _is_gone(request):
            raise ConnectionResetError("the consumer has gone")
        for partition, records in (await consumer.read(min(left, 0.2), limit)).items():
            begin.setdefault(partition, records[0].offset)
            end[partition] = records[-1].offset + 1
            values = (record.value or b"" for record in records)
            messages.extend(value.decode(errors="replace") for value in values if passes(value))
    return messages, end


def _number(request: web.Request, name: str, default: int) -> int:
    value = request.query.get(name, str(default))
    return int(value) if value.isdecimal() and len(value) < 10 else default


def _json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(value),
        status=status,
        content_type="application/json",
        headers=headers,
    )


async def _body(request: web.Request) -> bytes:
    """Return a request's body, as it is. Raises MessageRouterError (408, 415)."""
    if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise MessageRouterError(
            415, 5007, "a body is taken as it is: send application/cambria-zip"
        )
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            return await request.read()
    except TimeoutError:
        text = f"the body has not come within {BODY_TIMEOUT:.0f} s"
        raise MessageRouterError(408, 5007, text) from None


@web.middleware
async def _errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except MessageRouterError as error:
        request[REASON] = str(error)
        return _json(error.body, error.status, error.headers)
    except ApiError as error:
        request[REASON] = str(error)
        return _json(MessageRouterError(error.status, 5008, str(error)).body, error.status)
    except TopicMismatchError as error:
        return _json(MessageRouterError(400, 5007, str(error)).body, 400)
    except web.HTTPRequestEntityTooLarge:
        return _json(MessageRouterError(413, 5004, "the body is too large").body, 413)
    except (KafkaError, TimeoutError, AssertionError) as error:
        LOG.warning("%s %s: %r", request.method, request.path, error)
        return _json(MessageRouterError(503, 3002, f"Kafka is unavailable: {error!r}").body, 503)
    except web.HTTPException as error:
        headers = {name: error.headers[name] for name in ("Allow",) if name in error.headers}
        return _json(
            MessageRouterError(error.status, 3000, error.reason).body, error.status, headers
        )
    except ConnectionError as error:
        # Nobody gets this answer; the metrics count it apart from our own errors.
        LOG.info("%s %s: %s", request.method, request.path, error)
        return web.Response(status=CLIENT_GONE)
    except Exception:
        LOG.exception("%s %s failed", request.method, request.path)
        return _json(MessageRouterError(500, 3000, "an error of ours; the log says more").body, 500)
