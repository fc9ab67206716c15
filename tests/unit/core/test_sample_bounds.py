"""Which samples are refused for what they say."""

import math
from typing import Any

import pytest

from streams.core.sample_bounds import MAX_NAMES, MAX_VCPUS, MAX_VOLUME, fault_of
from tests.support.sample_log import sample


def fault(meter: str = "m", volume: float = 1.0, **fields: Any) -> str:
    return fault_of(sample(meter, volume, 0, **fields))


@pytest.mark.parametrize("volume", [0.0, -1.0, 5e-324, 1.9e19, MAX_VOLUME, -MAX_VOLUME])
def test_volumes_within_the_bounds_are_taken(volume: float) -> None:
    assert fault(volume=volume) == ""


@pytest.mark.parametrize("volume", [math.nan, math.inf, -math.inf, 1.1e24, -1.1e24, 1e308])
def test_volumes_that_are_none_are_refused(volume: float) -> None:
    assert fault(volume=volume) == "volume"


@pytest.mark.parametrize("vcpus", [-1, MAX_VCPUS + 1, 10**400])
def test_numbers_of_virtual_cpus_that_are_none_are_refused(vcpus: int) -> None:
    assert fault(vcpus=vcpus) == "volume"
    assert fault(vcpus=MAX_VCPUS) == ""


@pytest.mark.parametrize("name", ["", "a@b", "a\x00b", "a\nb", "m" * (MAX_NAMES + 1)])
def test_meters_that_cannot_be_called_so_are_refused(name: str) -> None:
    assert fault(name) == "name"


@pytest.mark.parametrize(
    ("device", "unit"),
    [("d" * 200, "u" * 55), ("é" * 128, ""), ("", "\x1b[2J"), ("\u202e", "B"), ("a\ud800", "B")],
)
def test_devices_and_units_that_cannot_be_called_so_are_refused(device: str, unit: str) -> None:
    assert fault(device=device, unit=unit) == "name"


@pytest.mark.parametrize(
    ("device", "unit"), [("vda", "B"), ("a@b/c d", "°C"), ("d" * 200, "u" * 54), ("é" * 127, "")]
)
def test_other_names_are_taken(device: str, unit: str) -> None:
    assert fault(device=device, unit=unit) == ""
