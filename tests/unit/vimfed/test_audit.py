"""The audit trail: one form, one file, a bound of its size, and nothing of others' but as text."""

import io
import json
import logging
import re
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from tests.support.paths import PROJECT
from tests.support.waiting import eventually
from vimfed.errors import OperatorError
from vimfed.process import audit
from vimfed.process.audit import BOUNDS, EVENTS, MAX_HEADER, MAX_VALUE, Trail, Who
from vimfed.process.log import configure_logging, release_audit
from vimfed.settings import LogSettings

ADA = Who("ada", "writer", "192.0.2.1")
FORGED = 'x\n2026-01-01 00:00:00,000 w INFO vimfed.audit: form=1 event="y\x1b]0;owned\x07\u202e\x9b'


def fields(line: str) -> dict[str, str]:
    """Read a line of the text form, as docs/audit.md says that it is read."""
    _, _, told = line.partition(" vimfed.audit: ")
    found = re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)(?: |$)', told)
    return {name: json.loads(value) if value[:1] == '"' else value for name, value in found}


@pytest.fixture
def configured() -> Iterator[Callable[[LogSettings], io.StringIO]]:
    """Configure the log, and return what goes to standard error."""
    root, logger = logging.getLogger(), audit.LOGGER
    before = (root.handlers, root.level, logger.level)

    def configure(settings: LogSettings) -> io.StringIO:
        configure_logging(settings, "worker")
        (handler,) = root.handlers
        assert isinstance(handler, logging.StreamHandler)
        stream = io.StringIO()
        handler.setStream(stream)
        return stream

    root.handlers = []
    try:
        yield configure
    finally:
        release_audit()
        root.handlers, root.level, logger.level = before


Configure = Callable[[LogSettings], io.StringIO]


def test_a_record_is_one_line_of_fields_that_others_cannot_forge(configured: Configure) -> None:
    log = configured(LogSettings(level="ERROR"))
    Trail().record("subscription.written", "done", ADA._replace(login=FORGED), object="-", status=1)
    Trail().record("request.refused", "refused", Who(), reason='say "so" größer', empty="")
    first, second = log.getvalue().splitlines()
    assert first.isprintable()
    assert second.isprintable()
    told = fields(first)
    assert told.pop("at").endswith("Z")
    assert told == {
        "form": "1",
        "event": "subscription.written",
        "result": "done",
        "login": FORGED,
        "role": "writer",
        "address": "192.0.2.1",
        "object": "-",
        "status": "1",
    }
    assert " INFO vimfed.audit: form=1 " in first
    assert " WARNING vimfed.audit: form=1 " in second
    assert ' login=- role=- address=- reason="say \\"so\\" größer"' in second


def test_in_json_a_record_has_the_same_fields(configured: Configure) -> None:
    log = configured(LogSettings(format="json"))
    Trail().record("states.pushed", "done", ADA._replace(login=FORGED), object="A_one", count=7)
    told = json.loads(log.getvalue())
    assert (told["logger"], told["message"], told["event"]) == (
        "vimfed.audit",
        "states.pushed",
        "states.pushed",
    )
    assert (told["login"], told["count"], told["object"]) == (FORGED, 7, "A_one")
    assert log.getvalue().strip().isprintable()


def test_what_others_chose_is_cut() -> None:
    text = str(audit._Fields({"a": audit._capped("x" * 10_000)}))
    assert len(text) < MAX_VALUE + 20
    for login in ("ü" * 10_000, "u@Default", "a\nb\udc80"):
        name, value = Who(login, "reader", "::1").header()
        assert name == "caller"
        assert len(value) <= MAX_HEADER
        assert value.decode().isprintable()
    assert Who("u@D/x", "reader", "::1").header()[1] == b"u@D/x/reader@::1"
    assert Who().header()[1] == b"-/-@-"


def test_a_file_of_its_own_is_its_owners_and_survives_a_rotation(
    configured: Configure, tmp_path: Path
) -> None:
    file = tmp_path / "audit.log"
    log = configured(LogSettings(audit_file=str(file)))
    trail = Trail()
    trail.record("topic.created", "done", ADA, object="one")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.rename(tmp_path / "audit.log.1")
    trail.record("topic.created", "done", ADA, object="two")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for name, told in (("audit.log.1", "one"), ("audit.log", "two")):
        (line,) = (tmp_path / name).read_text().splitlines()
        assert fields(line)["object"] == told
    assert log.getvalue() == ""
    configured(LogSettings(audit_file=str(file)))
    Trail().record("topic.created", "done", ADA, object="three")
    assert len(file.read_text().splitlines()) == 2


def test_a_file_that_cannot_be_had_is_said_at_the_start(
    configured: Configure, tmp_path: Path
) -> None:
    with pytest.raises(OperatorError, match=r"cannot write log\.audit_file .*No such file"):
        configured(LogSettings(audit_file=str(tmp_path / "none" / "audit.log")))


def test_what_the_file_does_not_take_goes_to_standard_error_and_is_counted(
    configured: Configure, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    configured(LogSettings(audit_file=str(folder / "audit.log")))
    registry = CollectorRegistry()
    trail = Trail(registry)
    (folder / "audit.log").unlink()
    folder.rmdir()
    trail.record("topic.created", "done", ADA, object="one")
    assert fields(capsys.readouterr().err.strip())["object"] == "one"
    assert b"vimfed_audit_unwritten_total 1.0" in generate_latest(registry)


def counted(registry: CollectorRegistry, name: str, **labels: str) -> float:
    return registry.get_sample_value(f"vimfed_audit_{name}_total", labels) or 0.0


def test_a_flood_is_bounded_and_counted(configured: Configure) -> None:
    log = configured(LogSettings())
    registry = CollectorRegistry()
    trail = Trail(registry)
    addresses = ["192.0.2.1"] * 2000
    addresses += [f"2001:db8:7:{n:x}::1" for n in range(2000)]  # one /48
    addresses += [f"198.{18 + n // 65536}.{n // 256 % 256}.{n % 256}" for n in range(20_000)]
    for address in addresses:
        trail.record("request.refused", "refused", Who(address=address))
    bound = BOUNDS["request.refused"]
    trail.record("subscription.deleted", "done", ADA, object="seen")
    trail.close()
    lines = log.getvalue().splitlines()  # among them may be what another test has left out
    told = [fields(line) for line in lines if " vimfed.audit: " in line]
    one_by_one = [each for each in told if each["event"] == "request.refused"]
    assert len(one_by_one) == bound.in_all
    for address in ("192.0.2.1", "2001:db8:7:0::1"):
        network = address[:10]
        assert sum(each["address"][:10] == network for each in one_by_one) <= bound.of_neighbour
    summaries = [each for each in told if each["event"] == "records.suppressed"]
    assert len(summaries) <= audit.MAX_NEIGHBOURS_TOLD + 1
    assert {each["of"] for each in summaries} == {"request.refused"}
    by_address = {each["address"]: int(each["count"]) for each in summaries}
    assert by_address["192.0.2.1"] == by_address["2001:db8:7::/48"] == 2000 - bound.of_neighbour
    assert sum(by_address.values()) + len(one_by_one) == len(addresses)
    assert counted(registry, "records", event="request.refused", result="refused") == len(addresses)
    assert counted(registry, "suppressed", event="request.refused") == sum(by_address.values())
    # One event's flood hides no other.
    assert [each["object"] for each in told if each["event"] == "subscription.deleted"] == ["seen"]


def test_what_was_left_out_is_told_when_the_flood_is_over(
    configured: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = configured(LogSettings())
    monkeypatch.setattr(audit, "WINDOW", 0.5)
    trail = Trail()
    for _ in range(BOUNDS["login.failed"].of_neighbour + 3):
        trail.record("login.failed", "refused", Who(address="192.0.2.1"))
    eventually(lambda: "event=records.suppressed" in log.getvalue())
    assert fields(log.getvalue().splitlines()[-1])["count"] == "3"
    trail.record("login.failed", "refused", Who(address="192.0.2.1"))
    assert fields(log.getvalue().splitlines()[-1])["event"] == "login.failed"


def test_an_operators_acts_are_all_told(configured: Configure) -> None:
    log = configured(LogSettings())
    trail = Trail()
    for n in range(7000):
        trail.record("dead_letter.dropped", "done", Who("root", "operator", "h"), object=f"0@{n}")
    assert len(log.getvalue().splitlines()) == 7000


def test_a_record_is_no_more_work_however_much_others_sent(configured: Configure) -> None:
    configured(LogSettings())

    def calls(size: int) -> int:
        """Return how many functions a failed login calls whose name has so many characters."""
        who = Who('"\x1b' * (size // 2), "reader", "192.0.2.1")
        count = 0

        def counted(_frame: object, event: str, _argument: object) -> None:
            nonlocal count
            count += event == "call"

        sys.setprofile(counted)
        try:
            Trail().record("login.failed", "refused", who, object=who.login)
            who.header()
        finally:
            sys.setprofile(None)
        return count

    assert calls(2_000_000) < 2 * calls(2_000)


def test_the_documentation_lists_every_event() -> None:
    page = (PROJECT / "docs" / "audit.md").read_text()
    told = dict(re.findall(r"^\| `([a-z_.]+)` \| ([^|]+) \|", page, re.MULTILINE))
    assert {event: told.get(event) for event in EVENTS} == EVENTS
    assert f"form={audit.FORM} " in page
