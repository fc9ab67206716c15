"""Which samples are refused for what they say: what is kept of a cloud's samples has bounds.

A record that cannot be decoded at all (names of more than 255 characters, volumes that are no
numbers) is a dead letter; of one that can be, each sample is taken or refused by itself.
"""

from vimfed.model.samples import Sample

MAX_NAMES = 255
"""UTF-8 bytes of a sample's meter, device and unit together. ceilometer's longest have 80. With it
and MAX_SERIES the row of an instance is within MAX_RECORD_BYTES."""
MAX_VOLUME = 1e24
"""Of either sign: no counter of 64 bits has more than 1.9e19, and sums of volumes stay finite."""

MAX_VCPUS = 1_000_000


def fault_of(sample: Sample) -> str:
    """Return why a sample is refused, ``name`` or ``volume``; empty: it is not."""
    names = f"{sample.meter}{sample.device}{sample.unit}"
    if not sample.meter or "@" in sample.meter or not names.isprintable():
        return "name"
    if len(names) > MAX_NAMES or len(names.encode()) > MAX_NAMES:
        return "name"
    # A comparison with NaN is false.
    is_within = -MAX_VOLUME <= sample.volume <= MAX_VOLUME and 0 <= sample.vcpus <= MAX_VCPUS
    return "" if is_within else "volume"
