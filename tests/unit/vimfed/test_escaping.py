"""What others chose forges no line of a log, and commands no terminal."""

import io
import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
import pytest

from tests.support.vm_events import vm_event
from vimfed.cli import dead_letter, events
from vimfed.kafka.settling_dead_letters import DeadLetter
from vimfed.process.escaping import escaped
from vimfed.process.log import configure_logging
from vimfed.settings import LogSettings, Settings

ESC = "\x1b]0;owned\x07\x1b[2J"
FORGED = "x\n2026-01-01 00:00:00,000 worker ERROR web: all is lost"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = root.handlers, root.level
    root.handlers = []
    configure_logging(LogSettings(), "worker")
    (handler,) = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    stream = io.StringIO()
    handler.setStream(stream)
    try:
        yield stream
    finally:
        root.handlers = before
        root.setLevel(level)


def test_a_message_is_one_line_whatever_is_in_it(log: io.StringIO) -> None:
    logging.getLogger("web").warning("login failed: %s", FORGED + ESC + "\u202e\u2028\x9b")
    (line,) = log.getvalue().splitlines()
    assert "x\\n2026-01-01 00:00:00,000 worker ERROR" in line
    assert line.isprintable()


def fail() -> None:
    raise ValueError(FORGED + ESC)


def test_no_line_of_a_traceback_looks_like_a_record(log: io.StringIO) -> None:
    try:
        fail()
    except ValueError:
        logging.getLogger("web").exception("failed")
    first, *others = log.getvalue().splitlines()
    assert first.endswith("ERROR web: failed")
    assert all(line.startswith("  ") and line.isprintable() for line in others)
    assert any("all is lost" in line for line in others)


def test_what_is_printable_stays() -> None:
    for text in ("compute-1 größer 仮想 🙂", ""):
        assert escaped(text) == text
    assert escaped("a\tb\n", lines=True) == "a\tb\n"
    assert escaped("a\tb\n") == "a\\tb\\n"


def test_an_event_is_one_line_of_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    event = msgspec.structs.replace(vm_event("vm-1" + ESC), old_state=ESC)
    payload = events._decode_payload(msgspec.json.encode({"display_name": FORGED + ESC}))
    events._show_line(b"", event, payload)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.isprintable()
    assert "all is lost" in line


@pytest.fixture
def letter(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = DeadLetter(
        partition=1,
        offset=1,
        at=datetime.now(UTC),
        key=ESC.encode(),
        value=b"{\n\xff" + ESC.encode(),
        headers={"error": FORGED + ESC},
    )

    async def find(*_arguments: object) -> DeadLetter:
        return kept

    monkeypatch.setattr(dead_letter, "find", find)


@pytest.mark.usefixtures("letter")
def test_a_dead_letter_commands_no_terminal_and_its_bytes_go_into_a_file_as_they_are(
    capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    dead_letter.show(Settings(), "1-1")
    told = capfdbinary.readouterr().out
    headers, _, value = told.partition(b"\n\n")
    assert value == b"{\n\xff" + ESC.encode() + b"\n"
    assert all(line.decode().isprintable() for line in headers.splitlines())
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    dead_letter.show(Settings(), "1-1")
    told = capfdbinary.readouterr().out
    assert all(line.decode().isprintable() for line in told.splitlines())
