"""How the local Kafka is fetched and run: what Maven says in its versions, what Docker is told."""

import os
import stat
from pathlib import Path

import pytest

from vimfed.local import kafka as local_kafka
from vimfed.local.kafka import FetchError, LocalKafka, fetch_jars
from vimfed.process import project_files

CAUSE = (
    "org.apache.kafka:kafka_2.13:jar:4.1.2.x was not found in https://repo.example/maven2 during a "
    "previous attempt. This failure was cached in the local repository"
)
BEGIN = (
    "[ERROR] Failed to execute goal on project local-kafka: Could not resolve dependencies for "
    "project vimfed:local-kafka:pom:1"
)
END = """[ERROR]
[ERROR] To see the full stack trace of the errors, re-run Maven with the -e switch.
[ERROR] For more information about the errors and possible solutions, please read these articles:
[ERROR] [Help 1] http://cwiki.apache.org/confluence/display/MAVEN/DependencyResolutionException
"""
TOLD = {
    "3.8.7": f"\x1b[0m\x1b[0m{BEGIN}: {CAUSE} -> [Help 1]\n{END}",
    "3.9.9": f"{BEGIN}\n[ERROR] dependency: org.apache.kafka:kafka_2.13:jar:4.1.2.x (compile)\n"
    f"[ERROR] \t{CAUSE}\n[ERROR] -> [Help 1]\n{END}",
}


@pytest.mark.parametrize("version", TOLD)
def test_why_an_artifact_cannot_be_fetched_is_told_by_each_maven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    (tmp_path / "told").write_text(TOLD[version])
    maven = tmp_path / "mvn"
    maven.write_text(f"#!/bin/sh\n/bin/cat {tmp_path}/told\nexit 1\n")
    maven.chmod(maven.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FetchError) as refused:
        fetch_jars(cache=tmp_path / "cache")
    told = str(refused.value)
    assert CAUSE in told
    assert "Help" not in told
    assert "\n" not in told


def test_a_maven_that_says_nothing_of_an_error_is_no_riddle() -> None:
    assert local_kafka.told_by_maven("") == ""


def test_by_docker_the_user_may_write_what_the_image_writes_at_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The image's folders are its user's, 1000: as another, it ends with "file not writable"."""
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "getuid", lambda: 1234)
    monkeypatch.setattr(os, "getgid", lambda: 4321)
    (tmp_path / "kafka").mkdir()
    command = LocalKafka(tmp_path / "kafka", 19092, 19093)._docker_command()
    assert "--user=1234:4321" in command
    for folder in ("config", "logs"):
        assert f"--tmpfs=/opt/kafka/{folder}:uid=1234,gid=4321" in command


def test_maven_makes_no_folder_for_a_user_whom_the_machine_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Java calls the home of such a user "?", and Maven would make that where it is started."""
    maven = tmp_path / "mvn"
    maven.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\n')
    maven.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    fetch_jars(cache=tmp_path / "known")
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    jars = fetch_jars(cache=tmp_path / "unknown")
    known, unknown = (tmp_path / "asked").read_text().splitlines()
    assert "maven.repo.local" not in known
    assert f"-Dmaven.repo.local={tmp_path}/unknown/maven" in unknown
    assert stat.S_IMODE(jars.stat().st_mode) == 0o755, "other users may run what is fetched"


@pytest.mark.parametrize("home", ["", "/home/somebody"])
def test_an_installed_package_finds_a_cache_without_a_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    monkeypatch.setattr(project_files, "CHECKOUT", tmp_path)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    if home:
        monkeypatch.setenv("HOME", home)
    else:
        monkeypatch.delenv("HOME", raising=False)
    assert project_files.cache_dir() == Path(home or tmp_path) / ".cache" / "vimfed"
