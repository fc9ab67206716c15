"""`make containers` says what it lacks; where it is optional, that is one line and no failure."""

from pathlib import Path

import pytest
import yaml

from tests.containers import __main__ as containers
from tests.support.paths import PROJECT

ENGINE = """#!/bin/sh
case "$*" in
    "--version") echo Docker version 28.2.2 ;;
    "compose version --short") echo v2.26.1-4 ;;
    "version "*) echo 20.10.24 ;;
    "images "*) echo python:3.11.14-slim-bookworm ;;
    *) echo "registry: no route to host" >&2; exit 1 ;;
esac
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only docker on the PATH: an engine without images of brokers, and without a registry."""
    path = tmp_path / "docker"
    path.write_text(ENGINE)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return path


def told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Return exit code and the one line that is printed."""
    code = containers.main(arguments)
    (line,) = capsys.readouterr().out.splitlines()
    return code, line


@pytest.mark.parametrize(
    ("engine", "why"),
    [
        (None, "there is no command docker: install Docker Engine"),
        (ENGINE.replace("v2.26.1-4", "1.29.2"), "Compose 1.29.2 is too old: install"),
        (ENGINE.replace('"version "', '"nothing "'), "no route to host: start it (dockerd)"),
        (ENGINE, "docker pull --quiet apache/kafka:4.1.2: registry: no route to host: "),
    ],
)
def test_what_is_missing_is_said_with_the_cure(
    engine: str | None,
    why: str,
    docker: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if engine is None:
        monkeypatch.setenv("PATH", str(docker.parent / "empty"))
    else:
        docker.write_text(engine)
    code, line = told([], capsys)
    assert (code, why in line) == (2, True), line
    code, line = told(["--if-possible"], capsys)
    assert (code, line.startswith("make containers: left out: ")) == (0, True), line


def test_an_engine_that_hangs_holds_up_nothing_for_long(
    docker: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    docker.write_text("#!/bin/sh\nexec sleep 30\n")
    monkeypatch.setattr(containers, "ANSWER_TIMEOUT", 0.3)
    code, line = told(["--if-possible"], capsys)
    assert (code, "no answer in 0 s" in line) == (0, True)


def test_what_lands_is_checked_in_containers_and_beside_others_where_that_can_be() -> None:
    run = (PROJECT / ".ci" / "run").read_text().splitlines()
    assert run[run.index("make test") + 1 :] == [
        ".venv/bin/python -W ignore -m tests.compiled --if-possible",
        ".venv/bin/python -W ignore -m tests.containers --if-possible",
        ".venv/bin/python -W ignore -m tests.ecosystem --if-possible",
    ]


def test_the_workflow_checks_the_containers_in_a_job_of_its_own() -> None:
    workflow = yaml.safe_load((PROJECT / ".github" / "workflows" / "test.yml").read_text())
    steps = workflow["jobs"]["containers"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == ["make containers"]
    assert "if" not in workflow["jobs"]["containers"]
