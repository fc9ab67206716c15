"""A cloud that sends over RabbitMQ: one oslo.messaging batch listener, in a thread of its own.

Why not oslo's listener as it is: it sorts each batch by priority, although the queue's order is the
cloud's causal order; it acknowledges and drops what has an unknown priority; it hands over the
decoded message, while the dead-letter topic wants the bytes as they came; and most of its time goes
into contexts that we drop. So oslo keeps what it is needed for, the connection, the declarations as
nova makes them, the polling and the heartbeats, and a batch is taken as it arrived, in AMQP frames.
"""

import asyncio
import concurrent.futures
import functools
import itertools
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import oslo_messaging
import oslo_messaging.opts
from amqp import AMQPError
from oslo_config import cfg
from oslo_messaging._drivers import common as driver_common
from oslo_messaging._drivers.amqpdriver import NotificationAMQPListener
from oslo_messaging._drivers.base import PollStyleListenerAdapter
from oslo_messaging.notify.listener import BatchNotificationServer

from bridge.forwarding import Arrival, Converter, Listened, notifications_of
from bridge.listening import MAX_BYTES_IN_FLIGHT, Listener, Message, records_of
from bridge.progress import DEPTH_EVERY, DEPTH_TIMEOUT, STOP_TIMEOUT, Progress
from bridge.rabbit.bus import Bus, buses_of, sample_buses_of
from bridge.rabbit.frames import RawConsumer, body_of
from bridge.rabbit.queue import declared
from bridge.rabbit.queue_order import QueueOrder
from bridge.sampling import samples_of
from bridge.source import Delivery, Make, Surroundings
from vimfed.kafka.clients import OutgoingRecord
from vimfed.kafka.dead_letter import dead_letter_record
from vimfed.kafka.notification_writer import arrival_time
from vimfed.nova.oslo import PRIORITIES
from vimfed.process.tls import tls_context
from vimfed.settings import KafkaSettings, VimSettings

LOG = logging.getLogger(__name__)

Write = Callable[[Sequence[OutgoingRecord], Progress], Delivery]
"""Starts to write records; the future is done when Kafka has acknowledged all of them."""

GRACE = 4.0
"""Seconds that a batch on its way has left when the bridge is told to stop."""
TICK = 0.5
KNOCK_TIMEOUT = 3.0
STEADY = 5.0
"""Seconds after which a session that ends was none that cannot be had."""
IDLE_WAIT = 0.1
"""Seconds of one wait for a message while nothing is to be done; a stop waits as long."""
BUSY_WAIT = 0.002
"""The same while a batch is on its way: its acknowledgement and the next batch wait as long."""
GATHERS = 3.0
"""Times that the last batch took for which the next one gathers messages."""
MOST_INTERVALS = 4.0
"""Intervals for which a batch gathers messages at most."""


class RabbitListener(Listener):
    """Listens until it is stopped; an error of the cloud's only leads to another attempt."""

    def __init__(
        self,
        bus: Bus,
        kafka: KafkaSettings,
        converter: Converter,
        write: Write,
        progress: Progress,
    ) -> None:
        self._bus = bus
        super().__init__(bus.vim_id, bus.label, kafka, converter, progress, steady=STEADY)
        self._write = write
        self._order = QueueOrder()
        self._stop = threading.Event()
        self._left = concurrent.futures.Future[None]()
        self._listened = 0.0
        """Seconds that the last session lasted; 0 where there was none."""
        self.session: _Session | None = None
        # A daemon: a connection attempt inside oslo.messaging cannot be interrupted.
        self._thread = threading.Thread(
            target=self._run, name=f"{bus.label} supervisor", daemon=True
        )

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._thread.start()

    async def stop(self) -> bool:
        """Finish the batch that is on its way, if Kafka takes it, and leave the queue.

        Returns False where that takes more than STOP_TIMEOUT: the broker does not answer.
        """
        self._stop.set()
        await asyncio.wait([asyncio.wrap_future(self._left)], timeout=STOP_TIMEOUT)
        return self._left.done()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._listen()
            except Exception as error:
                self._stop.wait(self._pause_after(error, self._listened))
            finally:
                self.progress.connected = False
        self._left.set_result(None)

    def _listen(self) -> None:
        """Run one session, until the stop or until the listener has to be remade."""
        self._listened = 0.0
        LOG.info("cloud %s: connecting", self._bus.label, extra=self._known)
        session = _Session(
            self._bus, self._kafka, self._converter, self._write, self.progress, self._order
        )
        _knock(session.transport.conf, self._bus.url.reveal())
        try:
            session.start(override_pool_size=1)
        except BaseException:
            session.transport.cleanup()
            raise
        self.session = session
        LOG.info(
            "cloud %s: listening as pool %s",
            self._bus.label,
            self._bus.settings.pool,
            extra=self._known,
        )
        begun = time.monotonic()
        remake_after = self._bus.settings.consumer_timeout * 2 / 3
        held = False
        try:
            while not (held or self._stop.wait(min(TICK, remake_after / 10))):
                session.check()
                held = self.progress.waiting_seconds > remake_after
        finally:
            self._listened = time.monotonic() - begun
            self.session = None
            self.progress.connected = False
            delivery = session.leave(grace=0 if held else GRACE)
        if held and delivery is not None:
            LOG.warning(
                "cloud %s: Kafka did not take a batch for %.0f s: its messages are back in the "
                "queue, before RabbitMQ's consumer timeout; waiting for Kafka",
                self._bus.label,
                remake_after,
                extra=self._known,
            )
            while not (delivery.done() or self._stop.wait(TICK)):
                self.progress.alive_at = time.monotonic()


class _Arrived(NamedTuple):
    """A message as oslo's poller hands it over."""

    frame: Any
    """The BoundedMessage."""
    unique_id: str = ""
    """What the poller would log."""


class SessionOverError(Exception):
    """RabbitMQ gives this session nothing more; the text says why."""


class _EveryPriority:
    """What oslo's server asks of a dispatcher: which priorities to consume."""

    supported_priorities = PRIORITIES


def interval_after(took: float, least: float) -> float:
    """Return the seconds between the beginnings of a batch that took ``took`` seconds and the next.

    What all of Kafka's clients, brokers and the worker behind them do for a small batch they do
    once for a larger one, so where a batch takes long, because they are busy, the next one is
    larger: it gathers thrice as long, and never more than ``MOST_INTERVALS`` times ``least``.
    """
    return min(max(least, GATHERS * took), MOST_INTERVALS * least)


class _Session(BatchNotificationServer):  # type: ignore[misc]
    """One consumer's life on the pool's queue.

    oslo would go on with another channel or connection when this one breaks, and py-amqp opens a
    channel again that the server has closed. Then deliveries come once more, delivery tags begin
    anew, and what one of the two does not notice leaves no consumer at all. So a session has one
    channel, and ends with it.
    """

    def __init__(
        self,
        bus: Bus,
        kafka: KafkaSettings,
        converter: Converter,
        write: Write,
        progress: Progress,
        order: QueueOrder,
    ) -> None:
        self._bus = bus
        self._rabbit = bus.settings
        self._kafka = kafka
        self._converter = converter
        self._write = write
        self._progress = progress
        self._order = order
        self._leaving = threading.Event()
        self._busy = threading.Event()
        """Set while a batch is being handled."""
        self._handed_on_at = 0.0
        """When (monotonic) the last one began to be."""
        self._hand_on_at = 0.0
        """From when on (monotonic) the next one may be handled."""
        self._give_up_at = 0.0
        self._failure: Exception | None = None
        self._delivery: Delivery | None = None
        self._path = bus.path
        self._incoming_bytes = 0
        self._batch_bytes = 0
        self._sequence = 0
        self._session = ""
        """When the session began, as records carry it."""
        self._depth_at = 0.0
        super().__init__(
            transport_of(bus),
            [
                oslo_messaging.Target(topic=topic, exchange=self._rabbit.exchange)
                for topic in self._rabbit.topics
            ],
            _EveryPriority(),
            pool=self._rabbit.pool,
            batch_size=self._rabbit.prefetch // 2,
            batch_timeout=self._rabbit.batch_interval,
        )

    def check(self) -> None:
        """Ask the polling thread for a sign of life; raise what ended the session."""
        poller = self.listener._poll_style_listener
        if self._failure is not None:
            raise self._failure
        connection = poller.conn.connection
        is_open = bool(connection.connection.connected)
        # oslo keeps a consumer's tag here until RabbitMQ has answered basic.consume. A quorum queue
        # without a majority answers nothing, for as long as that lasts.
        waits = bool(connection._new_tags)
        if is_open and waits:
            self._progress.away = (
                f"RabbitMQ does not let us consume from queue {self._rabbit.pool} yet: a quorum "
                "queue needs a majority of its nodes"
            )
        self._progress.connected = is_open and not waits
        poller._message_operations_handler.do(self._sign_of_life)
        if time.monotonic() >= self._depth_at:
            self._depth_at = time.monotonic() + DEPTH_EVERY
            poller._message_operations_handler.do(self._look_at_queue)

    def leave(self, *, grace: float) -> Delivery | None:
        """End the session; what is not acknowledged goes back to the queue, in its order.

        A batch on its way has ``grace`` seconds left. Returns its delivery if it was given up.
        """
        self._give_up_at = time.monotonic() + grace
        self._leaving.set()
        self.stop()
        # oslo closes the connection without looking whether the last acknowledgements are sent.
        sent = threading.Event()
        operations = self.listener._poll_style_listener._message_operations_handler
        self._work_executor.submit(operations.do, sent.set)
        sent.wait(grace + 2.0)
        self.wait()
        self.transport.cleanup()
        # Upstream leaves the socket of a connection open that has ended before it is closed.
        self._wire.collect()
        return self._delivery

    def _create_listener(self) -> Any:
        """Declare what is needed and return oslo's listener, which does not consume yet."""
        driver = self.transport._driver
        poller = NotificationAMQPListener(
            driver, driver._get_connection(driver_common.PURPOSE_LISTEN)
        )
        connection = poller.conn.connection
        self._wire = connection.connection.connection
        # A second channel, for looks at the queue: what the server refuses there costs no consumer.
        self._looks = connection.connection.channel()
        is_durable = declared(self._looks, connection, self._bus)
        self._declare_consumers(poller, connection, is_durable=is_durable)
        self._channel = connection.channel
        for channel in (self._channel, self._looks):
            channel._do_revive = functools.partial(setattr, channel, "is_open", False)
        connection.ensure = functools.partial(connection.ensure, retry=0)
        # Of heartbeats that are missed oslo would make another attempt on the same connection, and
        # wait for a broker that hangs: they are looked at here (_check_heartbeats).
        connection._heartbeat_check = lambda: None
        poller.poll = functools.partial(self._poll, poller)
        listener = PollStyleListenerAdapter(poller, self._batch_size, self._batch_timeout)
        listener._listen_thread.name = self._bus.label
        # oslo begins to consume at the first poll: the queue's other consumers are all there are,
        # and what is delivered comes after this moment.
        self._order.begin(self._asked_queue().consumer_count)
        self._session = arrival_time()
        return listener

    def _declare_consumers(self, poller: Any, connection: Any, *, is_durable: bool) -> None:
        """Bind the queue to every topic and priority, as oslo's ``listen_for_notifications`` does.

        The difference: the exchange is taken as it is, and what comes is not looked into
        (``frames``). oslo's own callback copies the context deeply, which is half of all the work,
        and keeps a message back for ever that it takes for a repetition of one of the last sixteen.
        """

        def arrived(message: Any) -> None:
            poller.incoming.append(_Arrived(message))
            self._incoming_bytes += len(message.body)

        for topic, priority in itertools.product(self._rabbit.topics, PRIORITIES):
            consumer = RawConsumer(
                exchange_name=self._rabbit.exchange,
                queue_name=self._rabbit.pool,
                routing_key=f"{topic}.{priority}",
                type="topic",
                durable=is_durable,
                exchange_auto_delete=False,
                queue_auto_delete=False,
                callback=arrived,
                rabbit_ha_queues=connection.rabbit_ha_queues,
                enable_cancel_on_failover=connection.enable_cancel_on_failover,
                rabbit_quorum_queue=connection.rabbit_quorum_queue,
                rabbit_quorum_queue_config=connection.rabbit_quorum_queue_config,
            )
            consumer.exchange.passive = True
            connection.declare_consumer(consumer)

    def _poll(self, poller: Any, *, batch_size: int, batch_timeout: float) -> list[_Arrived]:
        """Return the next batch: what has arrived since the one before, once that is done.

        Batches begin ``batch_timeout`` seconds apart at least (see ``interval_after``), so that
        messages which come in quick succession share one; a message that comes alone goes on at
        once. oslo's own poll lets every message wait for the timeout, and any number of small
        batches queue behind one that waits for Kafka.
        """
        while not poller._shutdown.is_set():
            poller._message_operations_handler.process()
            now = time.monotonic()
            if self._failure is not None:
                poller._shutdown.wait(IDLE_WAIT)
                continue
            if self._busy.is_set():
                # Not for as long as Kafka is away: that costs a tenth of a core.
                wait = BUSY_WAIT if self._progress.waiting_seconds < TICK else IDLE_WAIT
            elif not poller.incoming:
                wait = IDLE_WAIT
            elif (
                len(poller.incoming) >= batch_size
                or now >= self._hand_on_at
                or not self._has_room()
            ):
                break
            else:
                wait = min(self._hand_on_at - now, IDLE_WAIT)
            if self._has_room():
                self._consume(poller.conn, wait)
            else:
                self._beat(poller, wait)
        else:
            # As upstream: the rest is handed on, and the stop goes on when nothing is left.
            poller._message_operations_handler.process()
            if not poller.incoming:
                poller._shutoff.set()
        batch: list[_Arrived] = poller.incoming[:batch_size]
        del poller.incoming[:batch_size]
        if batch:
            self._batch_bytes = sum(len(arrived.frame.body) for arrived in batch)
            self._incoming_bytes -= self._batch_bytes
            self._handed_on_at = time.monotonic()
            self._busy.set()
        return batch

    def _has_room(self) -> bool:
        """Return whether another message may be read: ``prefetch`` bounds messages, not bytes."""
        in_flight = self._batch_bytes if self._busy.is_set() else 0
        return self._incoming_bytes + in_flight < MAX_BYTES_IN_FLIGHT

    def _beat(self, poller: Any, timeout: float) -> None:
        """Wait without reading, and show RabbitMQ that we live.

        What it sends meanwhile waits in the buffers of TCP. Where that takes it too long it ends
        the connection, and gives everything out once more.
        """
        poller._shutdown.wait(timeout)
        self._check_heartbeats(poller.conn.connection)

    def _consume(self, poller_connection: Any, timeout: float) -> None:
        try:
            poller_connection.consume(timeout=timeout)
        except driver_common.Timeout:
            pass  # what follows is not done here: the timeout would be taken for its cause
        except Exception as error:
            self._end(f"the session is over: {_first_cause(error)}")
            return
        self._check_heartbeats(poller_connection.connection)

    def _check_heartbeats(self, connection: Any) -> None:
        """Send a heartbeat where it is time; end the session where RabbitMQ has missed two."""
        try:
            if connection._heartbeat_supported_and_enabled():
                connection.connection.heartbeat_check(rate=connection.heartbeat_rate)
        except Exception as error:
            self._end(f"the session is over: {_first_cause(error)}")

    def _end(self, why: str) -> None:
        """End the session; the listener makes the next. Run by the polling thread."""
        self._progress.connected = False
        self._progress.away = why
        if self._failure is None:
            self._failure = SessionOverError(why)

    def _sign_of_life(self) -> None:
        self._progress.alive_at = time.monotonic()

    def _look_at_queue(self) -> None:
        """Note how many messages wait in the queue. Run by the polling thread, as all that talks.

        A broker that does not answer is the poller's to deal with; here it must not hold it up.
        While one channel is waited for, errors of the other, and its consumer's end, come here.
        """
        if not self._has_room():
            return  # the answer would come after more messages
        depth = consumers = None
        connection = self.listener._poll_style_listener.conn.connection
        try:
            connection.set_transport_socket_timeout(DEPTH_TIMEOUT)
            told = self._asked_queue()
            depth, consumers = told.message_count, told.consumer_count
        except AMQPError as error:
            self._end(f"the session is over: {error}")
        except OSError as error:
            LOG.debug("cloud %s: RabbitMQ does not tell the queue: %s", self._bus.label, error)
        finally:
            connection.set_transport_socket_timeout()
        self._progress.queue_depth = depth
        self._order.look(consumers)

    def _asked_queue(self) -> Any:
        """Return what RabbitMQ says of the queue: message_count and consumer_count."""
        return self._looks.queue_declare(self._rabbit.pool, passive=True)

    def _process_incoming(self, incoming: list[_Arrived]) -> None:
        """Take a batch from oslo's poller; acknowledge it if Kafka did, else leave it alone."""
        try:
            if not self._leaving.is_set() and self._deliver(incoming):
                self._acknowledge(incoming)
        except Exception as error:
            # Whoever lets a later batch pass this one breaks the order: the session is over.
            known = {"vim_id": self._bus.vim_id}
            LOG.exception("cloud %s: cannot handle a batch", self._bus.label, extra=known)
            self._failure = error
            self._leaving.set()
        finally:
            took = time.monotonic() - self._handed_on_at
            self._hand_on_at = self._handed_on_at + interval_after(took, self._batch_timeout)
            self._busy.clear()

    def _acknowledge(self, incoming: list[_Arrived]) -> None:
        """Acknowledge a batch with one frame: a frame for each message costs a sixth of all work.

        It stands for every earlier delivery of the session, and those are all done with: batches
        are handled one after the other, and after one that failed none is acknowledged any more.
        """
        frame, _unique_id = incoming[-1]
        operations = self.listener._poll_style_listener._message_operations_handler
        operations.do(functools.partial(self._acknowledge_up_to, frame))

    def _acknowledge_up_to(self, frame: Any) -> None:
        """Run by the polling thread, which alone may use the connection."""
        why: object = "its channel is closed"
        if self._channel.is_open:
            try:
                self._channel.basic_ack(frame.delivery_tag, multiple=True)
            except Exception as error:
                why = error
            else:
                return
        # The broker gives the messages out once more: duplicates, which the core recognises.
        LOG.warning(
            "cloud %s: the connection was lost before a batch could be acknowledged: %s",
            self._bus.label,
            why,
            extra={"vim_id": self._bus.vim_id},
        )

    def _deliver(self, incoming: list[_Arrived]) -> bool:
        """Write a batch; False where it had to be given up."""
        self._progress.received(len(incoming))
        batch = records_of(self._converter, self._messages(incoming))
        self._delivery = self._write(batch.records, self._progress)
        while True:
            try:
                self._delivery.result(TICK)
            except TimeoutError:
                self._progress.handled_at = time.monotonic()
                if self._leaving.is_set() and time.monotonic() > self._give_up_at:
                    self._progress.settled()
                    return False
            except concurrent.futures.CancelledError as error:  # the process ends
                self._failure = error
                self._leaving.set()  # an acknowledgement of a later batch would be this one's, too
                self._progress.settled()
                return False
            else:
                self._delivery = None
                self._order.written()
                self._progress.written(
                    len(batch.records) - batch.dead, batch.dead, batch.passed_over
                )
                self._progress.told_of(batch.hosts)
                return True

    def _messages(self, incoming: list[_Arrived]) -> Iterator[Message]:
        """Return a batch in its order, each message stamped with where and when it came."""
        received_at = arrival_time()
        vim_id = self._bus.vim_id
        for frame, _unique_id in incoming:
            body = body_of(frame)
            redelivered = bool(frame.delivery_info.get("redelivered"))
            source = str(frame.delivery_info.get("routing_key", self._rabbit.pool))
            self._sequence += 1
            arrival = Arrival(
                vim_id,
                self._path,
                self._sequence,
                received_at,
                self._session,
                self._order.can_be_late(redelivered=redelivered),
            )
            dead_letter = functools.partial(
                dead_letter_record, self._kafka, vim_id=vim_id, source=source
            )
            yield Message(body, arrival, dead_letter, frame.refused)


def rabbit_listeners(surroundings: Surroundings) -> Make:
    """Return what makes the listener to a cloud's RabbitMQ."""
    return _listeners(surroundings, buses_of, notifications_of)


def rabbit_sample_listeners(surroundings: Surroundings) -> Make:
    """Return what makes the listener to the RabbitMQ on which a cloud's ceilometer sends."""
    return _listeners(surroundings, sample_buses_of, samples_of, "samples ")


def _listeners(
    surroundings: Surroundings,
    buses: Callable[[VimSettings], Mapping[str, Bus]],
    converter: Callable[[KafkaSettings, VimSettings], Converter],
    prefix: str = "",
) -> Make:
    """``prefix`` stands before the bus's name where the progress names it."""
    kafka = surroundings.settings.kafka

    def make(vim: VimSettings, part: str) -> RabbitListener:
        bus = buses(vim)[part]
        listened = Listened("rabbitmq", bus.settings.pool)
        return RabbitListener(
            bus,
            kafka,
            surroundings.traced(converter(kafka, vim), listened),
            surroundings.write_from_thread,
            surroundings.new_progress(vim, f"{prefix}{part}"),
        )

    return make


def _first_cause(error: BaseException) -> BaseException:
    """Return why oslo.messaging raised ``error``, in which it only says "unable to connect"."""
    while error.__context__ is not None:
        error = error.__context__
    return error


def _knock(conf: cfg.ConfigOpts, url: str) -> None:
    """Raise OSError where no host takes connections: oslo.messaging would try for ever."""
    refusals = []
    for host in oslo_messaging.TransportURL.parse(conf, url).hosts:
        address = host.hostname or "localhost", host.port or 5672
        try:
            socket.create_connection(address, timeout=KNOCK_TIMEOUT).close()
        except OSError as error:
            refusals.append(f"{address[0]}:{address[1]}: {error.strerror or error}")
        else:
            return
    raise ConnectionError("; ".join(refusals))


def transport_of(bus: Bus) -> Any:
    """Return the oslo transport; options in the URL's query go before those of the settings.

    Raises CertificateError.
    """
    rabbit = bus.settings
    if rabbit.tls:
        tls_context(rabbit)  # oslo would not name the file
    conf = cfg.ConfigOpts()
    conf([], project="vimfed", default_config_files=[], default_config_dirs=[])
    for group, options in oslo_messaging.opts.list_opts():
        conf.register_opts(options, group=group)
    chosen = {
        "rabbit_qos_prefetch_count": rabbit.prefetch,
        "heartbeat_timeout_threshold": rabbit.heartbeat,
        "amqp_durable_queues": rabbit.durable_queues,
        "rabbit_quorum_queue": rabbit.quorum_queues,
        "rabbit_interval_max": 10,
        "ssl": rabbit.tls,
        "ssl_ca_file": rabbit.ca_file,
        "ssl_cert_file": rabbit.cert_file,
        "ssl_key_file": rabbit.key_file,
    }
    for name, value in chosen.items():
        conf.set_override(name, value, group="oslo_messaging_rabbit")
    return oslo_messaging.get_notification_transport(conf, url=bus.url.reveal())
