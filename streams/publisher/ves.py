"""VES messages: faults, notifications and heartbeats of the VES event listener.

A message follows from its event and the output's settings alone, so that every replay and every
output tells the same. An alarm's steps share eventId and startEpochMicrosec; their sequence rises.

What is no fault is a notification. The domain stateChange does not fit: it is about a card or port
(``stateInterface`` must name one), and has three states where nova has twelve.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from streams.core.kinds import ALERT, HEARTBEAT
from streams.publisher.ves_header import (
    Happening,
    Json,
    Subject,
    cloud_subject,
    header,
    host_subject,
    microseconds,
    ves_message_of,
    vm_subject,
)
from vimfed.model.records import AlarmStep, VmEvent
from vimfed.nova.host_report import read_heartbeat
from vimfed.settings import DmaapOutput, Severity, VesDomain

FAULT = "Fault_MultiCloud_VMFailure"
"""The eventName that ONAP's closed loops know; ``Cleared`` at its end takes it back."""
NORMAL = "NORMAL"
"""VES's severity of an alarm that is cleared."""


class _Names(msgspec.Struct, gc=False):
    """What a VES header needs of a payload."""

    display_name: str | None = None
    tenant_id: str | None = None


_decode_names = msgspec.json.Decoder(_Names).decode


class _Fault(NamedTuple):
    """What a fault says of its alarm."""

    event_name: str
    """Without the ``Cleared`` of its end."""
    event_id: str
    started_at: str
    sequence: int
    severity: Severity | None
    """None: it is cleared."""
    condition: str
    """VES's alarmCondition: the same when raised and when cleared."""
    problem: str
    details: Mapping[str, str]


def ves_message(event: VmEvent, output: DmaapOutput) -> tuple[VesDomain, bytes] | None:
    """Return the domain of a message and its JSON, ``{"event": ...}``.

    None where the event has nothing to say in the domains of the output.
    """
    for domain, build in _DOMAINS.items():
        if domain in output.domains and (fields := build(event, output)) is not None:
            if output.ves_version == "5.4":
                fields = _as_5(fields)
            return domain, ves_message_of(fields)
    return None


# -- faults


def _fault(event: VmEvent, output: DmaapOutput) -> Json | None:
    subject = _subject(event)
    fault = (
        _of_alarm(event, event.alarm, subject, output) if event.alarm else _of_none(event, output)
    )
    if fault is None:
        return None
    is_active = fault.severity is not None
    head = {
        **_header(event, subject, "fault", _PRIORITIES[fault.severity], output),
        "eventId": fault.event_id,
        "eventName": fault.event_name if is_active else f"{fault.event_name}Cleared",
        "sequence": fault.sequence,
        "startEpochMicrosec": microseconds(fault.started_at),
    }
    fields = {
        "alarmAdditionalInformation": {**_about(event, subject), **fault.details},
        "alarmCondition": fault.condition,
        "eventSeverity": fault.severity or NORMAL,
        "eventSourceType": subject.source_type,
        "faultFieldsVersion": "4.0",
        "specificProblem": fault.problem,
        "vfStatus": "Active",
    }
    return {"commonEventHeader": head, "faultFields": fields}


def _of_alarm(event: VmEvent, step: AlarmStep, subject: Subject, output: DmaapOutput) -> _Fault:
    """Return what a step of an alarm says."""
    kind, _, detail = step.condition.partition("/")
    name = _CONDITIONS.get(kind) or f"Fault_MultiCloud_{_joined(subject.word, kind)}"
    condition = f"{name}/{detail}" if detail else name
    if kind == _ALERT:
        condition = step.name or step.condition
    details = {
        "condition": step.condition,
        "step": step.step,
        "severity": step.severity,
        "name": step.name,
        "summary": step.summary,
    }
    return _Fault(
        name,
        step.id,
        step.started_at,
        step.sequence,
        None if step.step == "cleared" else _severity(kind, step.severity, output),
        condition,
        step.summary or step.name or _problem(event),
        {key: value for key, value in details.items() if value},
    )


def _of_none(event: VmEvent, output: DmaapOutput) -> _Fault | None:
    """Return what an event without an alarm raises or clears: each by an id of its own.

    Release 0.1.0 knew no alarms: what its workers say of ``error`` is told as it was then.
    """
    if event.late or not event.instance_id:
        return None
    was_in_error, is_in_error = event.old_state == "error", event.new_state == "error"
    if is_in_error and not was_in_error:
        severity: Severity | None = output.ves_severities.vm_error
    elif was_in_error and not is_in_error and event.phase == "end":
        severity = None
    else:
        return None
    return _Fault(FAULT, event.id, event.changed_at, 0, severity, FAULT, _problem(event), {})


def _problem(event: VmEvent) -> str:
    """Return one line for people."""
    told = [f"{event.kind} {event.phase}"]
    told += [text for text in (event.reason, event.host, event.new_state) if text]
    return ": ".join(told)


_ALERT = "alert"
_CONDITIONS = {
    "vm_error": FAULT,
    "vm_unavailable": "Fault_MultiCloud_VMUnavailable",
    "host_down": "Fault_MultiCloud_HostDown",
    "action_failed": "Fault_MultiCloud_VMActionFailed",
    "action_ended": FAULT,
}
"""eventName by condition, without what follows its slash."""

_WORDS: Mapping[str, Severity] = {
    "critical": "CRITICAL",
    "page": "CRITICAL",
    "major": "MAJOR",
    "error": "MAJOR",
    "moderate": "MAJOR",
    "minor": "MINOR",
    "low": "MINOR",
    "warning": "WARNING",
    "info": "WARNING",
}
"""VES's severity by the words of Alertmanager's usual rules, of aodh, and of VES itself."""

_PRIORITIES: Mapping[Severity | None, str] = {
    "CRITICAL": "High",
    "MAJOR": "Medium",
    "MINOR": "Normal",
    "WARNING": "Normal",
    None: "Normal",
}


def _severity(kind: str, word: str, output: DmaapOutput) -> Severity:
    """Return how bad an active alarm is: by the settings, or by its monitor's own word."""
    severities = output.ves_severities
    if kind in _CONDITIONS:
        severity: Severity = getattr(severities, kind)
        return severity
    return _WORDS.get(word.lower(), severities.alert)


# -- the other domains


def _notification(event: VmEvent, output: DmaapOutput) -> Json | None:
    """Return what a change that is no fault says; None of what is late, and of heartbeats."""
    if event.late or event.kind in (HEARTBEAT, ALERT):
        return None
    subject = _subject(event)
    head = {
        **_header(event, subject, "notification", "Normal", output),
        "eventName": f"Notification_MultiCloud_{_joined(subject.word, event.kind)}",
    }
    states = {"oldState": event.old_state, "newState": event.new_state}
    fields = {
        "additionalFields": _about(event, subject),
        "changeIdentifier": event.id,
        "changeType": f"{event.kind} {event.phase}",
        "notificationFieldsVersion": "2.0",
        **{name: state for name, state in states.items() if state},
    }
    return {"commonEventHeader": head, "notificationFields": fields}


def _heartbeat(event: VmEvent, output: DmaapOutput) -> Json | None:
    """Return that a bridge listens to a cloud, through which sources, and how late it is."""
    if event.kind != HEARTBEAT:
        return None
    beat = read_heartbeat(event.payload)
    head = {
        **_header(event, _subject(event), "heartbeat", "Normal", output),
        "eventName": "Heartbeat_MultiCloud_Cloud",
    }
    sources = {f"source.{kind}": "up" if is_up else "down" for kind, is_up in beat.sources.items()}
    fields = {
        "additionalFields": {"vimId": event.vim_id, "lagSeconds": f"{beat.lag:.3f}", **sources},
        "heartbeatFieldsVersion": "3.0",
        "heartbeatInterval": max(1, math.ceil(beat.interval)),
    }
    return {"commonEventHeader": head, "heartbeatFields": fields}


_DOMAINS: Mapping[VesDomain, Callable[[VmEvent, DmaapOutput], Json | None]] = {
    "fault": _fault,
    "heartbeat": _heartbeat,
    "notification": _notification,
}
"""The first that has something to say is sent."""


# -- what all have


def _subject(event: VmEvent) -> Subject:
    if event.instance_id:
        names = _decode_names(event.payload)
        return vm_subject(event.instance_id, names.display_name or "", names.tenant_id or "")
    return host_subject(event.vim_id, event.host) if event.host else cloud_subject(event.vim_id)


def _header(
    event: VmEvent, subject: Subject, domain: VesDomain, priority: str, output: DmaapOutput
) -> Json:
    """Return a header, of which a domain overrides what it says otherwise."""
    told = Happening(event.id, event.vim_id, event.changed_at, event.changed_at)
    return header(told, subject, domain, priority, output)


def _about(event: VmEvent, subject: Subject) -> dict[str, str]:
    """Return what consumers may want to know beside VES's own fields."""
    about = {"vimId": event.vim_id, "kind": event.kind, "phase": event.phase}
    if event.instance_id:
        about |= {
            "tenantId": subject.tenant_id,
            "vmState": event.new_state,
            "taskState": event.new_task_state,
        }
    about |= {"host": event.host or "", "reason": event.reason or ""}
    about |= {"snapshot": event.snapshot or ""}
    return {name: value for name, value in about.items() if value}


def _joined(word: str, name: str) -> str:
    """Return a word before a name, ``POWER_OFF``, in VES's spelling, ``VMPowerOff``."""
    spelled = "".join(part.capitalize() for part in name.split("_"))
    return spelled if spelled.startswith(word) else f"{word}{spelled}"


_VERSIONS_OF_5 = {
    "version": 3.0,
    "faultFieldsVersion": 2.0,
    "heartbeatFieldsVersion": 1.0,
}
_MAPS = ("alarmAdditionalInformation", "additionalFields")


def _as_5(fields: Json) -> Json:
    """Return a message in the form of VES 5.4: versions are numbers, maps are lists of pairs."""
    return {name: dict(_block_as_5(block)) for name, block in fields.items()}


def _block_as_5(block: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    for name, value in block.items():
        if name in _MAPS:
            yield name, [{"name": key, "value": text} for key, text in value.items()]
        elif name != "vesEventListenerVersion":
            yield name, _VERSIONS_OF_5.get(name, value)
