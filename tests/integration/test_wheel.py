"""The wheel in an environment of its own, outside the checkout."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from email import message_from_bytes
from pathlib import Path
from typing import get_args

import pytest

from tests.support.paths import PROJECT
from vimfed.local.kafka import LocalKafka
from vimfed.model.schemas import SchemaName


def run(*command: str, cwd: Path, **environment: str) -> str:
    """Return the output of a command that must succeed."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("VIMFED_", "PYTHON"))}
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = ("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder))
    run(sys.executable, "-m", "pip", *build, str(PROJECT), cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def vimfed(wheel: Path) -> str:
    """Return the installed command; its dependencies are those of the tests' own environment."""
    environment = wheel.parent / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", str(environment), cwd=wheel.parent)
    python = str(environment / "bin" / "python")
    install = ("--python", python, "install", "--quiet", "--no-deps", str(wheel))
    run(sys.executable, "-m", "pip", *install, cwd=wheel.parent)
    (packages,) = environment.glob("lib/python*/site-packages")
    # A line of a .pth file names a folder; .pth files in there, such as that of our own editable
    # install, are not heeded.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    found = run(python, "-c", "import vimfed; print(vimfed.__file__)", cwd=wheel.parent)
    assert Path(found.strip()).is_relative_to(environment)
    return str(environment / "bin" / "vimfed")


def test_it_holds_the_four_packages_whole_and_the_files_that_they_read(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for package in ("bridge", "streams", "web", "vimfed"):
        for file in (PROJECT / package).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                assert str(file.relative_to(PROJECT)) in names
    assert {name for name in names if name.startswith("vimfed/files/")} == {
        f"vimfed/files/{path}"
        for path in (
            "vimfed.toml",
            "deploy/kafka/pom.xml",
            "deploy/kafka/log4j2.properties",
            "tests/data/nova-34-trace.jsonl.gz",
            "tests/data/nova-34-truth.json",
            "docs/schemas/README.md",
            *(f"docs/schemas/{name}.schema.json" for name in get_args(SchemaName)),
        )
    }
    strangers = {name.partition("/")[0] for name in names} - {"bridge", "streams", "web", "vimfed"}
    assert all(name.endswith(".dist-info") for name in strangers)


def test_its_metadata_are_what_an_index_shows(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith("/METADATA"))
        told = message_from_bytes(archive.read(name))
        assert any(each.endswith("/licenses/LICENSE") for each in archive.namelist())
    assert told["License-Expression"] == "Apache-2.0"
    assert told["License-File"] == "LICENSE"
    assert told["Description-Content-Type"] == "text/markdown"
    assert told.get_payload(decode=True) == (PROJECT / "README.md").read_bytes()


def test_it_runs_outside_the_checkout(vimfed: str, tmp_path: Path, kafka: LocalKafka) -> None:
    assert run(vimfed, "--version", cwd=tmp_path) == "vimfed, version 0.1.0\n"
    assert "check_vim_status" in run(vimfed, "--help", cwd=tmp_path)
    sample = run(vimfed, "sample-settings", cwd=tmp_path)
    assert sample == (PROJECT / "vimfed.toml").read_text()
    (tmp_path / "vimfed.toml").write_text(sample)
    checked = run(
        vimfed,
        "check",
        cwd=tmp_path,
        VIMFED_KAFKA__BOOTSTRAP=kafka.bootstrap,
        VIMFED_VIMS__CLOUDOWNER_REGIONONE__KAFKA__BOOTSTRAP=kafka.bootstrap,
    )
    assert checked.startswith(
        "kafka: ok\nstate_dir: ok\noutput dmaap: ok\ncloud CloudOwner_RegionOne: "
    )
    assert checked.endswith("\ncloud CloudOwner_RegionOne: ok\n")


def test_what_the_demo_and_the_local_kafka_read_is_found(vimfed: str, tmp_path: Path) -> None:
    python = str(Path(vimfed).with_name("python"))
    program = (
        "from vimfed.cli.demo import TRACE, TRUTH\n"
        "from vimfed.local.kafka import CACHE, LOG4J, POM\n"
        "assert all(file.exists() for file in (TRACE, TRUTH, LOG4J, POM))\n"
        "print(CACHE)\n"
    )
    ignore_eventlet = ("-W", "ignore")
    told = run(python, *ignore_eventlet, "-c", program, cwd=tmp_path, XDG_CACHE_HOME="/cache")
    assert told == "/cache/vimfed\n"
