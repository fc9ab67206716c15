"""Which instances each name of a state matches."""

import pytest

from streams.worker.instance_index import StateGroup
from web.queries.state_names import ACCEPTED_NAMES, canonical, matcher


@pytest.mark.parametrize(
    ("name", "matching", "not_matching"),
    [
        (
            "POWER_OFF",
            [("active", "powering-off", "POWER_OFF"), ("stopped", "", "REBUILD")],
            [("active", "", "POWER_OFF"), ("paused", "", "PAUSE")],
        ),
        ("PAUSE", [("active", "pausing", "PAUSE"), ("paused", "", "PAUSE")], [("active", "", "")]),
        ("REBOOT", [("active", "", "REBOOT"), ("active", "rebooting", "X")], [("active", "", "X")]),
        ("LOCK", [("active", "", "LOCK")], [("active", "", "UNLOCK")]),
        ("SHUTOFF", [("stopped", "", "POWER_OFF")], [("active", "", "X")]),
        ("HARD_REBOOT", [("active", "rebooting_hard", "REBOOT")], [("active", "rebooting", "R")]),
        ("powering_off", [("active", "powering-off", "X")], [("stopped", "", "X")]),
        ("active", [("active", "", "X"), ("active", "pausing", "X")], [("paused", "", "X")]),
        ("SOFT_DELETE", [("soft-delete", "", "X"), ("active", "soft-deleting", "X")], []),
        ("DELETE", [("deleted", "", "X"), ("active", "deleting", "X")], [("active", "", "X")]),
        ("DELETED", [("deleted", "", "DELETE")], [("active", "deleting", "DELETE")]),
        # Deleted instances match nothing else, whatever their last action was.
        ("SHUT_DOWN", [("active", "", "SHUT_DOWN")], [("deleted", "", "SHUT_DOWN")]),
        ("REBOOT", [], [("deleted", "", "REBOOT")]),
    ],
)
def test_a_name_matches(
    name: str, matching: list[tuple[str, str, str]], not_matching: list[tuple[str, str, str]]
) -> None:
    matches = matcher([canonical(name)])
    for group in matching:
        assert matches(StateGroup(*group)), group
    for group in not_matching:
        assert not matches(StateGroup(*group)), group


def test_names_are_ored() -> None:
    matches = matcher(["PAUSE", "REBOOT"])
    assert matches(StateGroup("paused", "", "PAUSE"))
    assert matches(StateGroup("active", "", "REBOOT"))
    assert not matches(StateGroup("active", "", "RESUME"))


@pytest.mark.parametrize(
    ("spelled", "name"),
    [
        ("shutdown", "SHUT_DOWN"),
        ("Shut_Down", "SHUT_DOWN"),
        ("powering-off", "POWERING_OFF"),
        (" soft-delete ", "SOFT_DELETE"),
    ],
)
def test_spellings_are_one_name(spelled: str, name: str) -> None:
    assert canonical(spelled) == name
    assert name in ACCEPTED_NAMES
