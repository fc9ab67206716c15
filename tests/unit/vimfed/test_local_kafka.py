"""What Maven says of an artifact that it cannot fetch, in the words of its versions."""

import stat
from pathlib import Path

import pytest

from vimfed.local import kafka as local_kafka
from vimfed.local.kafka import FetchError, fetch_jars

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
