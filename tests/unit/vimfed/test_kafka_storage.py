"""A fresh data directory of the local Kafka is formatted once per cache."""

from pathlib import Path

from vimfed.local.kafka_storage import format_as, is_formatted


class Format:
    """Kafka's format of a directory; ``runs`` counts the JVMs that it would take."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.runs = 0

    def __call__(self) -> None:
        self.runs += 1
        self.data.mkdir(parents=True)
        (self.data / "bootstrap.checkpoint").write_bytes(b"\x00features")
        (self.data / "meta.properties").write_text("node.id=1\n")


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_second_directory_is_a_copy_of_the_first(tmp_path: Path) -> None:
    template = tmp_path / "template"
    first, second = Format(tmp_path / "a" / "data"), Format(tmp_path / "b" / "data")
    format_as(template, first.data, first)
    format_as(template, second.data, second)
    assert (first.runs, second.runs) == (1, 0)
    assert files(second.data) == files(first.data)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "template"]


def test_a_copy_that_was_cut_off_is_not_formatted_and_is_made_anew(tmp_path: Path) -> None:
    template = tmp_path / "template"
    first = Format(tmp_path / "a" / "data")
    format_as(template, first.data, first)
    cut_off = Format(tmp_path / "b" / "data")
    cut_off.data.mkdir(parents=True)
    (cut_off.data / "bootstrap.checkpoint").write_bytes(b"\x00fea")
    assert not is_formatted(cut_off.data)
    format_as(template, cut_off.data, cut_off)
    assert files(cut_off.data) == files(first.data)


def test_where_another_process_was_faster_its_template_stays(tmp_path: Path) -> None:
    template = tmp_path / "template"
    mine, other = Format(tmp_path / "a" / "data"), Format(template)

    def format_while_another_does() -> None:
        mine()
        other()
        (template / "meta.properties").write_text("the other's\n")

    format_as(template, mine.data, format_while_another_does)
    assert files(template)["meta.properties"] == b"the other's\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "template"]


def test_where_the_cache_cannot_be_written_the_directory_is_formatted_all_the_same(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    first = Format(tmp_path / "a" / "data")
    format_as(tmp_path / "file" / "template", first.data, first)
    assert is_formatted(first.data)
