"""The systemd units: each runs a command that there is, none may do more than it needs."""

from pathlib import Path

import click
import pytest

from tests.support.paths import PROJECT
from vimfed.cli import main
from vimfed.errors import OperatorError
from vimfed.settings import SettingsError

UNITS = sorted((PROJECT / "deploy" / "systemd").iterdir())
HARDENING = {
    "User": "vimfed",
    "CapabilityBoundingSet": "",
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    "UMask": "0077",
}
PROCESSES = {"bridge", "worker", "publisher", "gateway"}


def service(unit: Path) -> dict[str, list[str]]:
    """Return the values of each key of a unit's section [Service]."""
    section = unit.read_text().partition("[Service]\n")[2].partition("\n[")[0]
    values: dict[str, list[str]] = {}
    for line in section.splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            values.setdefault(key, []).append(value)
    return values


def test_there_is_a_unit_for_each_process() -> None:
    names = {unit.stem.removeprefix("vimfed-").removesuffix("@") for unit in UNITS}
    assert names == PROCESSES


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_runs_a_command_that_takes_its_options(unit: Path) -> None:
    (line,) = service(unit)["ExecStart"]
    program, name, *arguments = line.split()
    assert program == "/usr/bin/vimfed"
    assert isinstance(main, click.Group)
    command = main.commands[name]
    given = [each.replace("%i", "6066") for each in arguments]
    command.make_context(name, given)  # an option that there is not ends it
    assert ("%i" in line) == unit.stem.endswith("@")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_may_write_its_state_and_nothing_else(unit: Path) -> None:
    told = service(unit)
    assert {key: told[key] for key in HARDENING} == {
        key: [value] for key, value in HARDENING.items()
    }
    assert told["StateDirectory"] == ["vimfed"]
    assert "VIMFED_STATE_DIR=/var/lib/vimfed" in told["Environment"][0].split()
    assert "ReadWritePaths" not in told


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_process_that_ends_is_started_again_unless_its_settings_are_wrong(unit: Path) -> None:
    told = service(unit)
    assert told["Restart"] == ["always"]
    assert told["RestartPreventExitStatus"] == [str(SettingsError.exit_code)]
    assert OperatorError.exit_code != SettingsError.exit_code


def test_who_reads_the_clouds_anew_at_sighup_can_be_told_to() -> None:
    reloading = {unit.stem for unit in UNITS if "ExecReload" in service(unit)}
    assert reloading == {"vimfed-bridge", "vimfed-worker@"}
