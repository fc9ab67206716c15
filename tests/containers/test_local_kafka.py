"""`make run` by Docker, where there is no Java: the local Kafka in the engine."""

import os
import shutil
from pathlib import Path

import pytest

from tests.support.brokers import new_kafka

ANOTHER_USER = 1234
"""Neither root's nor the image's own."""


def test_the_local_kafka_runs_as_any_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "java" else which(name))
    monkeypatch.setattr(os, "getuid", lambda: ANOTHER_USER)
    monkeypatch.setattr(os, "getgid", lambda: ANOTHER_USER)
    data = tmp_path / "data"
    data.mkdir()
    os.chown(data, ANOTHER_USER, ANOTHER_USER)
    kafka = new_kafka(tmp_path)
    try:
        kafka.start(timeout=180)
        assert {each.stat().st_uid for each in data.iterdir()} == {ANOTHER_USER}
    finally:
        kafka.stop()
