"""What workers ask each other, also while workers of two versions run side by side."""

import msgspec


class PeerQuery(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """A question to the owners of partitions.

    A field that a later version adds has a default, and travels only where it is used. A worker
    that does not know it refuses the question: an answer without the new condition would be wrong.
    """
