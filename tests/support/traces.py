"""Recorded runs of real nova, as notifications, and nova's own word on how they ended."""

import gzip
import json
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import msgspec

from tests.support.paths import DATA
from vimfed.model.records import Notification
from vimfed.nova import oslo

PLAIN, ROUGH, FAULTS = NEWEST = ("nova-34", "nova-34-rough", "nova-34-faults")
OLDER = ("nova-31", "nova-26")
"""The releases of Debian trixie and bookworm."""
RUNS = (*NEWEST, *OLDER)
VIM = "openstack_nova34"


class Truth(NamedTuple):
    """What nova's API said about the servers of a run when all was at rest."""

    states: dict[str, tuple[str, str]]
    """(vm_state, task_state or "") by instance id."""
    did: dict[str, list[str]]
    """The operations of each server in order; ``error`` alone where its flow broke off."""
    unreachable: frozenset[str]
    """Servers whose last state nova never notified."""


@cache
def notifications(run: str) -> Sequence[Notification]:
    """Return a run's messages as the bridge stamps them: one path, received as they were sent."""
    with gzip.open(DATA / f"{run}-trace.jsonl.gz", "rb") as lines:
        return tuple(
            _notification(json.loads(line)["body"].encode(), sequence)
            for sequence, line in enumerate(lines)
        )


def _notification(body: bytes, sequence: int) -> Notification:
    message = oslo.decode(body)
    return oslo.stamp(
        message,
        vim_id=VIM,
        path="queue",
        sequence=sequence,
        received_at=message.timestamp.replace(" ", "T") + "Z",
    )


@cache
def truth(run: str) -> Truth:
    """Return nova's own word on how a run ended."""
    told = msgspec.json.decode((DATA / f"{run}-truth.json").read_bytes())
    states = {
        instance_id: (server["vm_state"], server["task_state"] or "")
        for instance_id, server in told["servers"].items()
    }
    did = {instance_id: server["did"] for instance_id, server in told["servers"].items()}
    return Truth(states, did, frozenset(told.get("unreachable", {})))
