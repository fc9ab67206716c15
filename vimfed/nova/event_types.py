"""Event types of nova's notifications: which are about one instance, and which anybody uses."""

from vimfed.nova.bare_state import EVENT_PREFIX

AUDIT_PREFIXES = ("compute.instance.exists", "instance.exists")
"""Snapshots for accounting, sent around some actions and in floods: they tell no change. What
verified them sent them on as ``compute.instance.exists.verified`` in old releases."""

INSTANCE_PREFIXES = ("compute.instance.", "instance.", "compute_task.", EVENT_PREFIX)
"""How all event types begin that are about one instance."""


def is_used(event_type: str) -> bool:
    """Return whether a worker looks further at a notification than at its event type.

    What is not used (keypairs, flavors, services, audits, failed calls) holds names and keys of
    users as well.
    """
    return event_type.startswith(INSTANCE_PREFIXES) and not event_type.startswith(AUDIT_PREFIXES)
