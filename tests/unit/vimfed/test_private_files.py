"""What is kept between runs is for the user who runs it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import vimfed.cli
import web.service
from vimfed.cli import main
from vimfed.process.private_files import keep_files_private


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_nobody_else_may_read_what_is_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = tmp_path / "state"
    keep_files_private(state)
    (state / "worker").mkdir(parents=True)
    (state / "worker" / "rows").write_text("x")
    assert [mode(state), mode(state / "worker"), mode(state / "worker" / "rows")] == [
        0o700,
        0o700,
        0o600,
    ]
    keep_files_private(state)
    assert caplog.records == []


def test_an_open_folder_of_an_earlier_version_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = tmp_path / "the state"
    (state / "worker").mkdir(parents=True)
    keep_files_private(state)
    assert [record.getMessage() for record in caplog.records] == [
        f"state_dir: others may read {state}, which holds rows or logs: chmod -R go= '{state}'"
    ]


def test_in_a_volume_of_the_system_only_what_is_ours_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "volume"
    for name in ("open", "closed"):
        (state / name).mkdir(parents=True)
    (state / "closed").chmod(0o700)
    (state / "lost+found").touch()
    keep = Path.stat

    def stat(path: Path, **options: bool) -> os.stat_result:
        found = keep(path, **options)
        if path != state:
            return found
        return os.stat_result((*found[:4], os.geteuid() + 1, *found[5:]))

    monkeypatch.setattr(Path, "stat", stat)
    keep_files_private(state)
    (record,) = caplog.records
    assert f"others may read {state / 'open'}, which" in record.getMessage()


def test_a_process_sees_to_it_when_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vimfed.cli, "configure_logging", lambda *_: None)  # pytest has its own

    def run(_settings: object, _reload: object) -> int:
        (tmp_path / "made").touch()
        return 0

    monkeypatch.setattr(web.service, "run", run)
    config = tmp_path / "vimfed.toml"
    config.write_text(f'state_dir = "{tmp_path}/state"\n')
    assert CliRunner().invoke(main, ["--config", str(config), "worker"]).exit_code == 0
    assert mode(tmp_path / "made") == 0o600
