"""The record types that travel through the topics.

All are frozen msgspec structs, encoded as JSON so that any Kafka consumer can read them.
Behaviour over them lives elsewhere, as functions.
"""

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

from vimfed.errors import OperatorError

Source = str
"""Who told: ``oslo``, ``poller`` or ``ingest``. Open: what a later version writes is carried along
(docs/decisions/0015-versions-side-by-side.md)."""
Phase = Literal["start", "end", "error"]
Word = Annotated[str, msgspec.Meta(max_length=255)]
"""An id or a name, of which rows and memories keep something; longer ones are not nova's."""

SCHEMA_VERSION = 1
"""Of what lies on the topics. It grows when older versions could no longer read it rightly.

A field that may be ignored by whoever does not know it comes without a new schema version.
"""


SCHEMA = "schema-version"
"""Header of a record, as text, from schema version 2 on: by it alone a newer version is known to
have written the record (docs/decisions/0017-newer-versions-say-so.md)."""


class NewerSchemaError(OperatorError):
    """A record is of a newer schema version than is known here."""

    def __init__(self, version: int) -> None:
        super().__init__(
            f"a record has schema version {version}, and {SCHEMA_VERSION} is the newest that is "
            "known here: a newer version wrote it; see docs/upgrade.md"
        )
        self.version = version


def schema_headers(version: int) -> tuple[tuple[str, bytes], ...]:
    """Return the headers of a record that is written with this schema version."""
    return () if version == 1 else ((SCHEMA, b"%d" % version),)


def stray_schema(error: NewerSchemaError, headers: Iterable[tuple[str, bytes | None]]) -> str:
    """Return why a record is not one of a newer version; empty: it is, and says so."""
    if (SCHEMA, b"%d" % error.version) in headers:
        return ""
    return (
        f"schema version {error.version}, and {SCHEMA_VERSION} is the newest that is known here, "
        f"without the header {SCHEMA} by which a newer version of vimfed says that it wrote it"
    )


class Recorded(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A record with a schema version. Decoding a newer one raises NewerSchemaError.

    Who meets one that a newer version is known to have written must end: it may be neither handled
    nor passed over. Any other is a dead letter (``stray_schema``).
    """

    schema_version: int = msgspec.field(default_factory=lambda: SCHEMA_VERSION)
    """Always written: a factory's values are not omitted as defaults."""

    def __post_init__(self) -> None:
        if self.schema_version > SCHEMA_VERSION:
            raise NewerSchemaError(self.schema_version)


class Notification(Recorded, frozen=True, gc=False, kw_only=True):
    """One oslo notification as it lies on the notifications topic.

    The names are oslo's own (see the notification body that oslo.messaging's ``messagingv2`` driver
    sends); below them stands what the bridge stamps, since no message names its cloud.
    Of the oslo context nothing is kept but the two request ids: older notifiers leak tokens in it.
    """

    message_id: Word
    event_type: Word
    payload: msgspec.Raw
    """The payload's JSON text, as nova sent it."""
    publisher_id: str = ""
    priority: str = "INFO"
    timestamp: str = ""
    """The sender's clock in its own spelling, e.g. ``2026-01-01 12:00:00.123456``, naive UTC."""
    request_id: Word | None = None
    global_request_id: Word | None = None

    vim_id: Word
    source: Source = "oslo"
    path: str = ""
    """Names one queue, or one partition of a cloud's Kafka topic: within a session on it, arrival
    order is the cloud's causal order."""
    sequence: int = 0
    """The position in the session; it grows by at least one with each notification."""
    session: str = ""
    """When the listener's session on the path's queue began: ISO 8601, UTC, microseconds, Z; empty
    where the path is one stream for ever."""
    redelivered: bool = False
    """RabbitMQ delivered it before, and it can come after what is newer."""
    received_at: str = ""
    """When the bridge received it: ISO 8601, UTC, microseconds, ``Z``."""


class Version(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """How new something is that a notification told: what is newer replaces what is older."""

    path: str
    sequence: int
    timestamp: str
    """The sender's clock, spelled like ``InstanceState.changed_at``."""
    rank: int
    """Order among equal timestamps of different paths: 0 start, 1 update, 2 end or error, 3 a
    deletion."""
    session: str = ""
    received_at: str = ""
    is_redelivered: bool = False
    """``path``, ``session``, ``sequence``, ``received_at``, ``redelivered``: see Notification."""


class Inference(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """An event that was told from a bare state: the real one, if it comes, is the same news."""

    kind: str
    phase: Phase
    after: str
    """The real one is not older than the state before; empty where none was known."""
    until: str
    """When the state was seen that it made."""


class Alarm(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """An alarm of one source (an instance, a host or a cloud) and one condition.

    It is raised once, perhaps changed, and cleared once; then the same condition raises a new one,
    with a new id.
    """

    id: str
    """UUIDv5 of its source, its condition and what raised it."""
    condition: str
    """``vm_error``, ``vm_unavailable``, ``host_down``, ``action_failed/<KIND>``, or
    ``alert/<fingerprint>`` of an alert from outside."""
    started_at: str
    """When it was raised; times here: ISO 8601, UTC, microseconds, ``Z``."""
    changed_at: str
    """Of its last step."""
    sequence: int = 0
    """Number of its last step: 0 raised it."""
    cleared_at: str = ""
    """Empty while it is active."""
    severity: str = ""
    """What an alert from outside says; empty of our own conditions, which have it by settings."""
    name: str = ""
    """What an alert from outside is called; empty of our own conditions."""
    summary: str = ""
    """One line for people."""


class AlarmStep(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What an event does to an alarm: the fields are those of the alarm after it."""

    step: Literal["raised", "changed", "cleared"]
    id: str
    condition: str
    started_at: str
    sequence: int = 0
    severity: str = ""
    name: str = ""
    summary: str = ""


class Outage(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Why an instance is unavailable although nova may call it active."""

    since: str
    """When the news of its host was true by the cloud's clock: ISO 8601, UTC, microseconds, Z."""
    reason: str
    """``host_down`` or ``host_forced_down``."""
    host: str


class InstanceState(Recorded, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A row of the instances table: what is known of one instance, and what has been told of it."""

    vim_id: str
    instance_id: str
    vm_state: str
    """nova's vm_state; empty as long as no notification has told it."""
    task_state: str
    """nova's task_state; empty at rest."""
    power_state: str = ""
    """Told by versioned notifications only; empty where unknown."""
    kind: str
    """The last action's kind, e.g. ``POWER_OFF``; ``STATE`` where updates alone told of it."""
    phase: Phase
    changed_at: str
    """Time of the last change of state or action: ISO 8601, UTC, microseconds, ``Z``."""
    source: Source = "oslo"
    """Where the state was learned."""
    payload: msgspec.Raw
    """The specification's flat payload as JSON text, of the newest notification of this state."""

    state_version: Version | None = None
    """Of the notification that told the state; None as long as no notification has."""
    operation: str = ""
    """Of the notification that brought about the state: nova's request id, where it told one."""
    action_version: Version | None = None
    """Of the notification that told ``kind`` and ``phase``; None where no action has been told."""
    told: bytes = b""
    """Identities of the newest events that were told, the newest last (streams/core/memory.py)."""
    told_forgotten: int = -1
    """Time of the newest identity that had to be forgotten, in ms since 1970; -1: none was."""
    inferences: tuple[Inference, ...] = ()
    """The newest events that were told without knowing the action, as long as it is not known."""
    outage: Outage | None = None
    """Set while the instance is unavailable."""
    alarms: tuple[Alarm, ...] = ()
    """The active alarms, and the newest cleared ones."""
    messages: bytes = b""
    """The newest message ids, updates included (streams/core/memory.py)."""
    messages_forgotten: dict[int, int] = {}
    """By publisher: time of its newest message id that had to be forgotten, in ms since 1970."""

    received_at: str = ""
    """When the bridge received the notification that last wrote this row."""
    source_offset: int = -1
    """Offset in the notifications topic of the record that last wrote this row."""
    revision: int = 0
    """Grows with each row of the instance (streams/core/revision.py); 0: version 0.1.0 wrote it."""


class RowAge(Recorded, frozen=True, gc=False, kw_only=True):
    """As much of a row as decides which of two is newer."""

    revision: int = 0
    source_offset: int = -1


class HostState(Recorded, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A row of the instances table: a host (a nova-compute service) of a cloud.

    It lies, the same, in every partition: under ``host_key``, which no instance can have.
    """

    vim_id: str
    host: str
    is_up: bool = True
    """nova's ``state``."""
    forced_down: bool = False
    disabled: bool = False
    """nova's ``status``."""
    disabled_reason: str = ""
    down_since: str = ""
    """Empty while it is up and not forced down."""
    disabled_since: str = ""
    unknown_since: str = ""
    """Since when nova itself does not know how it is; empty: it does."""
    told_at: dict[str, str] = {}
    """By field, the sender's time of the newest news of it: older news changes nothing."""
    source: Source = "poller"
    alarms: tuple[Alarm, ...] = ()
    received_at: str = ""
    source_offset: int = -1
    revision: int = 0


class CloudState(Recorded, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A row of the instances table: what is known of a cloud itself, in every partition alike."""

    vim_id: str
    hosts_unknown_since: str = ""
    """Since when the cloud does not tell how its hosts are; empty: it tells, or was never asked."""
    told_at: str = ""
    received_at: str = ""
    source_offset: int = -1
    revision: int = 0


class SourceAlerts(Recorded, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A row of the instances table: the alerts from outside about one source, under
    ``alerts_key``, in the partition of the source's own key (``home_key``).
    """

    vim_id: str
    instance_id: str = ""
    host: str = ""
    """Neither: the alerts are about the cloud."""
    alarms: tuple[Alarm, ...] = ()
    expires: dict[str, str] = {}
    """By condition of an active alarm: when it ages out unless it is told again. Without an active
    alarm, under the empty text: when the row is removed."""
    told_at: dict[str, str] = {}
    """By condition of an alarm that stands here: when its newest report was true. An older report
    changes nothing."""
    newest_start: dict[str, str] = {}
    """By condition of an alarm that stands here: the newest start that a report has named."""
    source: Source = "ingest"
    """Who brought the newest report."""
    received_at: str = ""
    source_offset: int = -1
    revision: int = 0


class VmEvent(Recorded, frozen=True, gc=False, kw_only=True):
    """One told action or state change, as it lies on the events topic."""

    id: str
    """UUIDv5 of the event's identity: a repetition has the same id."""
    vim_id: str
    instance_id: str
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
    payload: msgspec.Raw
    """The specification's flat payload as JSON text; of what is not about an instance, an object
    with what is told."""
    host: str | UnsetType = UNSET
    """Of UNAVAILABLE, HOST_DOWN, HOST_DISABLED, and of an ALERT about a host: the host."""
    reason: str | UnsetType = UNSET
    """Of UNAVAILABLE and HOST_DOWN, at the start: ``host_down`` or ``host_forced_down``; at the
    end: ``host_up``, ``host_gone``, ``moved``, ``deleted`` or ``shelved_offloaded``. Of an ALERT at
    the end: ``resolved`` or ``expired``."""
    alarm: AlarmStep | UnsetType = UNSET
    """What the event does to an alarm, where it does anything to one."""
    snapshot: str | UnsetType = UNSET
    """Of STATE_SNAPSHOT: the snapshot's name."""


MAX_RECORD_BYTES = 1_000_000
"""Maximum bytes of a record that we produce: below the broker's default (1,048,588)."""

encode_row = msgspec.json.Encoder().encode
decode_row = msgspec.json.Decoder(InstanceState).decode
decode_age = msgspec.json.Decoder(RowAge).decode
encode_event = msgspec.json.Encoder().encode
decode_event = msgspec.json.Decoder(VmEvent).decode
decode_notification = msgspec.json.Decoder(Notification).decode
