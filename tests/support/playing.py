"""Plays notifications through the pure core, as the stream worker does, and in other ways."""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random

import msgspec

from streams.core.news import Passed
from streams.core.normalise import decode_notification, normalise
from streams.core.transition import transition
from vimfed.model.records import (
    InstanceState,
    Notification,
    VmEvent,
    decode_row,
    encode_event,
    encode_row,
)

Played = list[Notification]


@dataclass
class Outcome:
    """What was left after everything had been played."""

    rows: dict[str, InstanceState] = field(default_factory=dict)
    events: list[VmEvent] = field(default_factory=list)
    results: Counter[str] = field(default_factory=Counter)
    passed: Counter[str] = field(default_factory=Counter)

    def state(self, instance_id: str) -> tuple[str, str]:
        """Return (vm_state, task_state)."""
        row = self.rows[instance_id]
        return row.vm_state, row.task_state

    def told(self) -> dict[str, Counter[tuple[str, str]]]:
        """Return how often each (kind, phase) of an action was told, by instance."""
        counts: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
        for event in self.events:
            if event.kind != "STATE":
                counts[event.instance_id][event.kind, event.phase] += 1
        return dict(counts)

    def changes(self) -> Counter[tuple[str, str, str]]:
        """Return how often each (instance, old vm_state, new vm_state) was told as a STATE."""
        return Counter(
            (event.instance_id, event.old_state, event.new_state)
            for event in self.events
            if event.kind == "STATE"
        )


def play(notifications: Iterable[Notification]) -> Outcome:
    """Fold notifications, each row and event through its encoded form."""
    outcome = Outcome()
    deque(_played(outcome, notifications), maxlen=0)
    return outcome


def states_after_each(
    notifications: Iterable[Notification], instance_id: str
) -> list[tuple[str, str]]:
    """Return (vm_state, task_state) of an instance after each of the notifications."""
    outcome = Outcome()
    return [outcome.state(instance_id) for _each in _played(outcome, notifications)]


def _played(outcome: Outcome, notifications: Iterable[Notification]) -> Iterator[None]:
    """Yield after each notification, of which the outcome is in ``outcome`` then."""
    rows: dict[tuple[str, str], bytes] = {}
    for offset, notification in enumerate(notifications):
        news = normalise(decode_notification(msgspec.json.encode(notification)))
        if isinstance(news, Passed):
            outcome.passed[news.reason] += 1
            yield
            continue
        key = (notification.vim_id, news.instance_id)
        row = decode_row(rows[key]) if key in rows else None
        result = transition(row, news, offset)
        outcome.results[result.result] += 1
        if result.row is not None:
            rows[key] = encode_row(result.row)
            outcome.rows[news.instance_id] = decode_row(rows[key])
        outcome.events.extend(
            msgspec.json.decode(encode_event(event), type=VmEvent) for event in result.events
        )
        yield


def _sent(notification: Notification) -> datetime:
    return datetime.fromisoformat(notification.timestamp)


def _arriving(arrivals: list[tuple[datetime, Notification]]) -> Played:
    """Return the notifications in the order in which they arrive, each path numbered by arrival."""
    sequences: Counter[str] = Counter()
    played = []
    for arrival, notification in sorted(arrivals, key=lambda pair: pair[0]):
        sequences[notification.path] += 1
        played.append(
            msgspec.structs.replace(
                notification,
                sequence=sequences[notification.path],
                received_at=arrival.isoformat(timespec="microseconds") + "Z",
            )
        )
    return played


def is_versioned(notification: Notification) -> bool:
    """Return whether it came from the versioned topic."""
    return b"nova_object.data" in bytes(notification.payload)


def is_update(notification: Notification) -> bool:
    """Return whether it is an update, which nova sends only if told to."""
    return notification.event_type.endswith("instance.update")


def each_twice(notifications: Sequence[Notification], random: Random) -> Played:
    """Redeliver each message on the same path, up to 60 s late."""
    return _arriving(
        [(_sent(one), one) for one in notifications]
        + [(_sent(one) + timedelta(seconds=random.uniform(0, 60)), one) for one in notifications]
    )


def with_skewed_clocks(notifications: Sequence[Notification], random: Random) -> Played:
    """Move each publisher's clock by up to 5 s; the order on the queue stays."""
    skews: dict[str, timedelta] = {}
    played = []
    for one in notifications:
        if one.publisher_id not in skews:
            skews[one.publisher_id] = timedelta(seconds=random.uniform(-5, 5))
        moved = _sent(one) + skews[one.publisher_id]
        played.append(msgspec.structs.replace(one, timestamp=str(moved)))
    return played


def on_two_paths(
    notifications: Sequence[Notification], random: Random, *, lagging_versioned: bool
) -> Played:
    """Let legacy and versioned messages come on a queue each, one of which lags up to 60 s."""
    arrivals = []
    last = datetime.min
    for one in notifications:
        versioned = is_versioned(one)
        arrival = _sent(one)
        if versioned == lagging_versioned:
            arrival = last = max(last, arrival + timedelta(seconds=random.uniform(0, 60)))
        path = "versioned" if versioned else "legacy"
        arrivals.append((arrival, msgspec.structs.replace(one, path=path)))
    return _arriving(arrivals)


def each_on_its_own_path(notifications: Sequence[Notification], random: Random) -> Played:
    """Deliver every message for itself, up to 2 s late."""
    return _arriving(
        [
            (
                _sent(one) + timedelta(seconds=random.uniform(0, 2)),
                msgspec.structs.replace(one, path=f"path-{number}"),
            )
            for number, one in enumerate(notifications)
        ]
    )


def in_sessions(
    notifications: Sequence[Notification],
    random: Random,
    *,
    longest: int = 50,
    repeated: bool = False,
    unwritten: bool = False,
) -> Played:
    """Deliver on one queue to a listener that reconnects after at most ``longest`` messages.

    Each session counts from 0. ``repeated``: the last messages of a session were written, but not
    acknowledged, and come again first in the next. ``unwritten``: some were delivered when the
    connection broke, and are written in the next session only. Both are marked as redelivered.
    Senders' clocks may be wrong: messages arrive at their ``received_at``.
    """
    played: Played = []
    clock = _received(notifications[0])
    redelivered: list[Notification] = []
    at = 0
    while at < len(notifications):
        begin = clock = clock + timedelta(milliseconds=1)
        end = at + random.choice([longest, random.randint(1, longest)])
        batch = [msgspec.structs.replace(one, redelivered=True) for one in redelivered]
        batch += notifications[at:end]
        at = end
        for sequence, one in enumerate(batch):
            clock = max(clock + timedelta(microseconds=1), _received(one))
            played.append(
                msgspec.structs.replace(
                    one, session=_stamp(begin), sequence=sequence, received_at=_stamp(clock)
                )
            )
        redelivered = batch[-random.randint(1, 5) :] if repeated else []
        if unwritten and at + 1 < len(notifications):
            lost = random.randint(0, min(5, len(notifications) - at - 1))
            redelivered += notifications[at : at + lost]
            at += lost
    return played


def by_two_listeners(notifications: Sequence[Notification], random: Random) -> Played:
    """Deliver on one queue to two listeners at a time, each of which lags up to 1 s."""
    begin = _received(notifications[0]) - timedelta(seconds=1)
    sessions = [_stamp(begin), _stamp(begin + timedelta(milliseconds=500))]
    last = dict.fromkeys(sessions, begin)
    sequences: Counter[str] = Counter()
    played: Played = []
    for one in notifications:
        session = random.choice(sessions)
        lag = timedelta(seconds=random.uniform(0, 1))
        last[session] = max(last[session] + timedelta(microseconds=1), _received(one) + lag)
        sequences[session] += 1
        played.append(
            msgspec.structs.replace(
                one,
                session=session,
                sequence=sequences[session],
                received_at=_stamp(last[session]),
            )
        )
    return sorted(played, key=lambda one: one.received_at)


def _received(notification: Notification) -> datetime:
    return datetime.fromisoformat(notification.received_at)


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
