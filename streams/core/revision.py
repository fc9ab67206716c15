"""Which of two rows of an instance is the newer one. Decides, and does nothing."""

from vimfed.model.records import decode_age
from vimfed.model.times import milliseconds

TOMBSTONE_HEADER = "revision"
"""Header of a tombstone: the revision of the row that it deletes, as decimal text."""


def next_revision(known: int, received_at: str) -> int:
    """Return the revision of the row that follows one with the revision ``known``; 0: none.

    It grows with every row, whatever becomes of the topic that the notifications lie on. Where it
    can, it is the time at which the notification was received (ms since 1970): the row of an
    instance that was swept, and is heard of again, has a higher one than those before.
    """
    received = milliseconds(received_at)
    if received is None:  # no bridge has stamped the notification
        return known + 1
    return max(known + 1, received)


def revision_of(row: bytes) -> int:
    """Return an encoded row's revision; 0 where version 0.1.0 wrote it."""
    return decode_age(row).revision


def is_older(row: bytes, known: bytes) -> bool:
    """Return whether an encoded row was written before ``known``, also where it came behind it.

    Version 0.1.0 wrote no revision. While old and new workers run side by side, its rows are
    compared as it did: by the offset of the notification.
    """
    mine, other = decode_age(row), decode_age(known)
    if mine.revision and other.revision:
        return mine.revision < other.revision
    return not mine.revision and mine.source_offset < other.source_offset


def is_stale_tombstone(revision: str | None, known: bytes) -> bool:
    """Return whether a tombstone deletes an earlier row than ``known``.

    ``revision`` is what its header says; None where it has none.
    """
    return revision is not None and revision.isdecimal() and int(revision) < revision_of(known)
