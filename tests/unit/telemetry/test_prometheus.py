"""What Prometheus answers, read as samples: whose, of when, and what is none."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.prometheus.built_in import BUILT_IN, queries_of
from bridge.prometheus.check import doubts
from bridge.prometheus.poller import window_of
from vimfed.alerts.subject import Subject
from vimfed.model.samples import Sample
from vimfed.settings import PrometheusQuery, PrometheusSettings
from vimfed.telemetry.prometheus import (
    TIME,
    Answer,
    NoAnswerError,
    QueryError,
    Window,
    read_answer,
    read_samples,
)

VM, OTHER = "bc6a6306-a184-45fa-b269-41a18e01ba12", "0c6a6306-a184-45fa-b269-41a18e01ba12"
END = 1795989600.0
WINDOW = Window(END - 60, END)
ASKED = END - 0.001
CPU = PrometheusQuery(
    meter="cpu",
    query="cpu",
    type="cumulative",
    factor=1e9,
    unit="ns",
    instance_label="instance_id",
)
DISK = PrometheusQuery(
    meter="disk.device.read.bytes",
    query="d",
    instance_label="instance_id",
    device_label="target_device",
)
HOST = PrometheusQuery(meter="compute.node.vcpus", query="h", host_label="hostname")


Series = Sequence[tuple[dict[str, str], str]]


def answer(*series: tuple[dict[str, str], str], kind: str = "vector") -> bytes:
    result = [{"metric": metric, "value": [ASKED, value]} for metric, value in series]
    return json.dumps(
        {"status": "success", "data": {"resultType": kind, "result": result}}
    ).encode()


def read(values: Series, times: Series) -> Answer:
    """Return an answer of these values and times, each by its labels."""
    marked = [({**labels, TIME: "1"}, value) for labels, value in times]
    return read_answer(answer(*marked, *values))


def of(instance_id: str = VM, **labels: str) -> dict[str, str]:
    return {"instance_id": instance_id, **labels}


def test_a_value_is_a_sample_of_when_it_was_scraped_in_the_unit_of_the_meter() -> None:
    told = read(
        [({"__name__": "cpu", **of(job="libvirt")}, "61.25")],
        [(of(job="libvirt"), "1795989583.038")],
    )
    found = read_samples(told, CPU, WINDOW)
    assert found.samples == {
        Subject(instance_id=VM): [
            Sample(
                meter="cpu",
                volume=61.25e9,
                at="2026-11-29T21:59:43.038000Z",
                kind="cumulative",
                unit="ns",
            )
        ]
    }
    assert not found.passed_over


@pytest.mark.parametrize(
    ("scraped", "is_taken"),
    [
        (f"{END - 60.001:.3f}", False),
        (f"{END - 60:.3f}", True),
        (f"{ASKED:.3f}", True),
        (f"{END:.3f}", False),
        ("NaN", False),
    ],
)
def test_what_was_not_scraped_within_the_window_is_no_sample(scraped: str, is_taken: bool) -> None:
    found = read_samples(read([(of(), "1")], [(of(), scraped)]), CPU, WINDOW)
    assert bool(found.samples) == is_taken
    assert found.passed_over["stale"] == (not is_taken)


def test_a_value_without_a_time_is_no_sample() -> None:
    told = read([(of(), "1"), (of(OTHER), "1")], [(of(), str(ASKED))])
    found = read_samples(told, CPU, WINDOW)
    assert list(found.samples) == [Subject(instance_id=VM)]
    assert found.passed_over == {"stale": 1}


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", "", "1e400", "one"])
def test_a_value_that_is_no_finite_number_is_none(value: str) -> None:
    found = read_samples(read([(of(), value)], [(of(), str(ASKED))]), CPU, WINDOW)
    assert (found.samples, found.passed_over) == ({}, {"unreadable": 1})


def test_whom_and_which_device_a_series_is_about_say_its_labels() -> None:
    disks = [of(target_device="vda"), of(target_device="vdb"), of(), {"target_device": "vda"}]
    told = read([(each, "5") for each in disks], [(each, str(ASKED)) for each in disks])
    found = read_samples(told, DISK, WINDOW)
    assert [each.device for each in found.samples[Subject(instance_id=VM)]] == ["vda", "vdb"]
    assert found.passed_over == {"unnamed": 2}
    hosts = [{"hostname": "compute-1:9180"}, {"hostname": "two words"}]
    told = read([(each, "5") for each in hosts], [(each, str(ASKED)) for each in hosts])
    found = read_samples(told, HOST, WINDOW)
    assert list(found.samples) == [Subject(host="compute-1")]
    assert found.passed_over == {"unnamed": 1}


def test_of_two_series_of_the_same_device_the_newer_one_counts() -> None:
    """While a VM moves, both hosts tell of it."""
    values = [(of(instance="a"), "9"), (of(instance="b"), "1")]
    times = [(of(instance="a"), f"{END - 20}"), (of(instance="b"), f"{END - 10}")]
    for each in (values, values[::-1]):
        found = read_samples(read(each, times), CPU, WINDOW)
        assert [each.volume for each in found.samples[Subject(instance_id=VM)]] == [1e9]
        assert found.passed_over == {"ambiguous": 1}


@pytest.mark.parametrize(
    ("body", "error", "text"),
    [
        (b"<html>", NoAnswerError, "not what Prometheus answers"),
        (b'{"status": "success"}', NoAnswerError, "without data"),
        (
            b'{"status": "error", "errorType": "internal", "error": "x"}',
            NoAnswerError,
            "internal: x",
        ),
        (
            b'{"status": "error", "errorType": "bad_data", "error": "1:3: parse error"}',
            QueryError,
            "1:3: parse error",
        ),
        (answer(kind="matrix"), NoAnswerError, "a matrix, where an instant vector"),
    ],
)
def test_what_is_no_answer_says_so(body: bytes, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as raised:
        read_answer(body)
    assert text in str(raised.value)


@given(st.recursive(st.none() | st.floats() | st.text(), lambda x: st.lists(x, max_size=3)))
def test_whatever_a_result_is_it_is_read_or_an_error(result: Any) -> None:
    told = {"status": "success", "data": {"resultType": "vector", "result": [result]}}
    with pytest.raises(NoAnswerError):
        read_answer(json.dumps(told).encode())


def test_the_window_is_the_newest_interval_that_has_ended() -> None:
    assert window_of(END, 60) == window_of(END + 59.9, 60) == WINDOW


def test_queries_of_the_settings_take_the_place_of_built_in_ones() -> None:
    own = PrometheusQuery(meter="cpu", query="mine", instance_label="id")
    queries = queries_of(
        PrometheusSettings(
            url="http://p",
            built_in=["libvirt_domain_info_meta"],
            queries=[own],
            matchers='region="One"',
        )
    )
    by_meter = {query.meter: query for query in queries}
    assert by_meter["cpu"] is own
    assert len(by_meter) == len(queries) == len(BUILT_IN["libvirt_domain_info_meta"])
    usage = by_meter["memory.usage"]
    available = 'libvirt_domain_memory_stats_available_bytes{region="One"}'
    assert usage.query == (
        f'{available} - libvirt_domain_memory_stats_usable_bytes{{region="One"}}'
    )
    assert usage.time_of == available
    assert usage.join.endswith('(libvirt_domain_info_meta{region="One"})')


@pytest.mark.parametrize(
    ("series", "query", "doubt"),
    [
        ([], CPU, "no series"),
        (
            [({"domain": "i"}, END - 9)],
            CPU,
            "lack a fitting label instance_id; the first one has domain",
        ),
        ([(of(target_device="a"), END - 9), (of(target_device="b"), END - 9)], CPU, "device_label"),
        ([(of(), ASKED)], CPU, "name time_of"),
    ],
)
def test_a_check_says_what_is_odd_about_an_answer(
    series: list[tuple[dict[str, str], float]], query: PrometheusQuery, doubt: str
) -> None:
    told = read(
        [(labels, "1") for labels, _at in series],
        [(labels, f"{at:.3f}") for labels, at in series],
    )
    (text,) = doubts(query, told, ASKED)
    assert doubt in text


def test_a_check_finds_values_without_a_time_and_nothing_odd_about_what_is_right() -> None:
    (text,) = doubts(CPU, read([(of(), "1")], [(of(job="other"), f"{END - 9}")]), ASKED)
    assert text.startswith("1 of 1 series were scraped at no time that is known")
    assert not list(doubts(CPU, read([(of(), "1")], [(of(), f"{END - 9}")]), ASKED))
