"""The archive of Kafka's classes is made by one run in order, and named by what it fits."""

from pathlib import Path

import pytest

from vimfed.local.class_archive import archive_of, make_archive, reading_options


def test_each_java_and_each_place_of_the_jars_has_an_archive_of_its_own(tmp_path: Path) -> None:
    java = tmp_path / "java"
    jars = tmp_path / "cache" / "kafka-1"
    found = [
        archive_of(jars, str(java), "17"),
        archive_of(jars, str(java), "21"),
        archive_of(jars, str(tmp_path / "other"), "17"),
        archive_of(tmp_path / "copy" / "kafka-1", str(java), "17"),
    ]
    assert len(set(found)) == len(found)
    assert [path.parent for path in found[:3]] == [jars.parent] * 3
    assert archive_of(jars, str(java), "17") == found[0]


def test_what_is_not_there_is_not_read(tmp_path: Path) -> None:
    assert reading_options(tmp_path / "classes.jsa") == ()


def test_it_is_made_once(tmp_path: Path) -> None:
    archive = tmp_path / "classes.jsa"
    written: list[Path] = []

    def run_broker(path: Path) -> None:
        written.append(path)
        path.write_bytes(b"classes")

    assert make_archive(archive, run_broker)
    assert make_archive(archive, run_broker)
    assert len(written) == 1
    assert written[0] != archive  # nobody reads what is half written
    assert list(tmp_path.iterdir()) == [archive]
    assert f"-XX:SharedArchiveFile={archive}" in reading_options(archive)


def test_of_two_that_make_it_at_once_both_are_well(tmp_path: Path) -> None:
    archive = tmp_path / "classes.jsa"

    def run_broker(path: Path) -> None:
        archive.write_bytes(b"of another process")
        path.write_bytes(b"ours")

    assert make_archive(archive, run_broker)
    assert list(tmp_path.iterdir()) == [archive]


def test_a_java_that_writes_none_leaves_none(tmp_path: Path) -> None:
    archive = tmp_path / "classes.jsa"
    assert not make_archive(archive, lambda _path: None)
    assert list(tmp_path.iterdir()) == []


def test_a_broker_that_fails_leaves_no_half_of_one(tmp_path: Path) -> None:
    def run_broker(path: Path) -> None:
        path.write_bytes(b"half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        make_archive(tmp_path / "classes.jsa", run_broker)
    assert list(tmp_path.iterdir()) == []
