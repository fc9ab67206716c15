"""The log: what strangers cause does not fill it."""

import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.waiting import eventually
from vimfed.process import log as module
from vimfed.process.log import MOST_ALIKE, MOST_OF_LIBRARIES, MOST_REPEATED, configure_logging
from vimfed.settings import LogSettings

Configure = Callable[[LogSettings], io.StringIO]


@pytest.fixture
def configured() -> Iterator[Configure]:
    """Configure the log, and return what goes to standard error."""
    root = logging.getLogger()
    before, level = root.handlers, root.level

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
        root.handlers = before
        root.setLevel(level)


@pytest.mark.parametrize(
    "name", ["web.auth.backends.keystone_client", "vimfed.process.connections"]
)
def test_what_a_stranger_goes_on_causing_is_told_as_a_number(
    configured: Configure, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(module, "WINDOW", 2.0)
    log = configured(LogSettings())
    logger = logging.getLogger(name)
    for number in range(1000):
        logger.warning("Keystone does not answer: %s", number)
    logger.error("another line of code")
    eventually(lambda: "left out" in log.getvalue())
    lines = log.getvalue().splitlines()
    assert len(lines) == MOST_ALIKE + 2
    assert lines[MOST_ALIKE].endswith("another line of code")
    assert lines[-1].endswith(
        f"WARNING {name}: {1000 - MOST_ALIKE} more like the following were left out: "
        "Keystone does not answer: 999"
    )
    logger.warning("Keystone does not answer: %s", "again")
    assert log.getvalue().endswith("again\n")


@pytest.mark.parametrize("name", ["aiokafka", "aiokafka.consumer.group_coordinator"])
def test_what_a_library_repeats_while_a_broker_is_away_is_told_as_a_number(
    configured: Configure, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(module, "WINDOW", 2.0)
    log = configured(LogSettings())
    for _again in range(45):
        logging.getLogger(name).error("Unable connect to node")
    eventually(lambda: "left out" in log.getvalue())
    lines = log.getvalue().splitlines()
    assert len(lines) == MOST_REPEATED + 1
    left_out = f"{45 - MOST_REPEATED} more like the following were left out: Unable connect to node"
    assert lines[-1].endswith(left_out)


def test_all_libraries_together_have_a_bound_while_a_broker_is_away(
    configured: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What each line of code tells first is told at once, the others as numbers."""
    monkeypatch.setattr(module, "WINDOW", 4.0)
    log = configured(LogSettings())
    places = [f"aiokafka.part{number}" for number in range(20)]
    for _again in range(45):
        for place in places:
            logging.getLogger(place).error("Unable connect to node")
    eventually(lambda: log.getvalue().count("left out") == len(places))
    told = [line for line in log.getvalue().splitlines() if "left out" not in line]
    assert len(told) == MOST_OF_LIBRARIES
    assert all(any(f" {place}:" in line for line in told) for place in places)
    left_out = re.findall(r"(\d+) more like the following", log.getvalue())
    assert sum(map(int, left_out)) == 45 * len(places) - MOST_OF_LIBRARIES


def test_a_line_of_code_that_has_not_told_anything_yet_is_heard(configured: Configure) -> None:
    log = configured(LogSettings())
    for number in range(2 * MOST_OF_LIBRARIES):
        logging.getLogger(f"aiokafka.part{number}").error("Unable connect to node")
    logging.getLogger("aiokafka.another").error("Topic authorization failed")
    assert log.getvalue().endswith("Topic authorization failed\n")


def test_what_comes_from_clouds_and_kafka_is_all_told(configured: Configure) -> None:
    log = configured(LogSettings())
    for number in range(3 * MOST_ALIKE):
        logging.getLogger("streams.worker.worker").warning("a record: %s", number)
        logging.getLogger("vimfed.audit").warning("a record: %s", number)
    assert len(log.getvalue().splitlines()) == 6 * MOST_ALIKE


def test_in_json_the_number_is_a_field(
    configured: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WINDOW", 2.0)
    log = configured(LogSettings(format="json"))
    for _ in range(MOST_ALIKE + 7):
        logging.getLogger("web.gateway.service").warning("Kafka is unavailable")
    eventually(lambda: "left_out" in log.getvalue())
    assert json.loads(log.getvalue().splitlines()[-1])["left_out"] == 7


def test_the_time_of_json_is_that_of_rfc_3339(configured: Configure) -> None:
    log = configured(LogSettings(format="json"))
    before = datetime.now(UTC)
    logging.getLogger("bridge").warning("now")
    told = json.loads(log.getvalue())["time"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", told)
    assert abs((datetime.fromisoformat(told) - before).total_seconds()) < 5


def test_the_last_words_of_a_process_are_json_where_its_log_is(tmp_path: Path) -> None:
    config = tmp_path / "vimfed.toml"
    config.write_text('[log]\nformat = "json"\n[web]\nprot = 1\n')
    command = [sys.executable, "-m", "vimfed", "--config", str(config), "bridge"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    record = json.loads(line)
    assert (record["level"], record["process"]) == ("CRITICAL", "bridge")
    assert record["message"].startswith("unknown key")
