"""What a real Prometheus has scraped becomes samples, and what it has not becomes none."""

import asyncio
import concurrent.futures
import gzip
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

import bridge.poller.guarded_http
from bridge.poller.api_error import CloudApiError
from bridge.prometheus.api import PrometheusApi
from bridge.prometheus.poller import WRITE_AT_ONCE, PrometheusPoller
from bridge.prometheus.progress import PrometheusCounters, PrometheusProgress
from tests.support import waiting
from tests.support.prometheus import Exporter, Prometheus
from tests.support.sections import vim_of
from tests.support.threaded_server import ThreadedServer
from vimfed.kafka.clients import OutgoingRecord
from vimfed.model.samples import Sample, decode_samples
from vimfed.settings import KafkaSettings, PrometheusQuery
from vimfed.telemetry.prometheus import TIME, Answer, promql

VM, GONE = "bc6a6306-a184-45fa-b269-41a18e01ba12", "0c6a6306-a184-45fa-b269-41a18e01ba12"
HASHED = "$2b$04$xSKignh0vTHUI44Leu/.CudY0YVNVQ/iIZWyjLeejcnHZFMwg5LTK"
"""Of secret: bcrypt."""
VMS = {"meter": "m", "query": "vms", "instance_label": "instance_id", "type": "cumulative"}
ONE = PrometheusQuery(meter="one", query="vector(1)", instance_label="instance_id")

Respond = Callable[[web.Request], Awaitable[web.StreamResponse]]


def api_at(url: str, **options: str) -> PrometheusApi:
    vim = vim_of(
        {
            "cloud_owner": "o",
            "cloud_region_id": "r",
            "samples": {"prometheus": {"url": url, "timeout": 60.0, **options}},
        }
    )
    return PrometheusApi(vim.samples.prometheus)


class Asking:
    """Asks a Prometheus in the test's own process, and keeps what it would write."""

    def __init__(self, url: str, **options: Any) -> None:
        vim = vim_of(
            {
                "cloud_owner": "o",
                "cloud_region_id": "r",
                "samples": {"prometheus": {"url": url, "delay": 0.2, "timeout": 60.0, **options}},
            }
        )
        self.registry = CollectorRegistry()
        self.progress = PrometheusProgress(vim.vim_id, 1, PrometheusCounters(self.registry))
        self.written: list[Sequence[OutgoingRecord]] = []
        self.poller = PrometheusPoller(vim, KafkaSettings(), 1, self._write, self.progress)

    def __enter__(self) -> Self:
        self.poller.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        assert asyncio.run(self.poller.stop())

    def _write(self, records: Sequence[OutgoingRecord]) -> concurrent.futures.Future[None]:
        done = concurrent.futures.Future[None]()
        self.written.append(records)
        done.set_result(None)
        return done

    def of(self, instance_id: str) -> list[Sample]:
        """Return the samples of an instance, in the order in which they were written."""
        records = [decode_samples(each.value or b"") for batch in self.written for each in batch]
        return [
            sample
            for record in records
            if record.instance_id == instance_id
            for sample in record.samples
        ]

    def passed_over(self, reason: str) -> float:
        labels = {"vim_id": "o_r", "reason": reason}
        return self.registry.get_sample_value("vimfed_prometheus_passed_over_total", labels) or 0


def scraped_at(sample: Sample) -> float:
    return datetime.fromisoformat(sample.at).timestamp()


def test_what_is_no_longer_scraped_lives_on_in_no_sample(tmp_path: Path) -> None:
    """What an exporter stamps itself, Prometheus shows for minutes after its end."""
    stamped: list[int] = []
    began = time.time()

    def text() -> str:
        at = stamped[0] if stamped else round(time.time() * 1000)
        count = time.time() - began
        return f'vms{{instance_id="{VM}"}} {count}\nvms{{instance_id="{GONE}"}} {count} {at}\n'

    with (
        Exporter(text) as exporter,
        Prometheus(tmp_path / "p", [exporter.address]) as prometheus,
        Asking(prometheus.url, queries=[VMS]) as asked,
    ):
        waiting.eventually(lambda: len(asked.of(GONE)) >= 2 <= len(asked.of(VM)), 60)
        stamped.append(round(time.time() * 1000))
        end = stamped[0] / 1000
        before = asked.passed_over("stale")
        waiting.eventually(
            lambda: asked.passed_over("stale") > before and scraped_at(asked.of(VM)[-1]) > end + 1,
            60,
        )
        assert max(map(scraped_at, asked.of(GONE))) <= end
        shown = {each["metric"]["instance_id"] for each in prometheus.query("vms")}
        assert shown == {VM, GONE}
        # Prometheus is away for a while. Nothing is made up for it, and counters go on.
        prometheus.child.stop()
        waiting.eventually(lambda: asked.progress.failing.startswith("down:"), 30)
        assert "down" in asked.progress.troubles["Prometheus of o_r"]
        known = asked.of(VM)
        prometheus.start()
        waiting.eventually(lambda: len(asked.of(VM)) > len(known), 60)
        waiting.eventually(lambda: not asked.progress.failing)
        told = asked.of(VM)
        assert [each.volume for each in told] == sorted(each.volume for each in told)
        scrapes = {
            float(at): float(value)
            for each in prometheus.query(f'vms{{instance_id="{VM}"}}[5m]')
            for at, value in each["values"]
        }
        for sample in told:
            assert scrapes[scraped_at(sample)] == sample.volume


def test_who_logs_in_is_answered(tmp_path: Path) -> None:
    users = {"basic_auth_users": {"us": HASHED}}
    with Prometheus(tmp_path / "p", [], web=users, login=("us", "secret")) as prometheus:

        def asked(**login: str) -> Answer:
            api = api_at(prometheus.url, **login)
            try:
                return api.ask(ONE, time.time())
            finally:
                api.close()

        for login in ({}, {"username": "us", "password": "wrong"}, {"bearer_token": "secret"}):
            with pytest.raises(CloudApiError, match="401 Unauthorized: set username and password"):
                asked(**login)
        assert asked(username="us", password="secret").values == {frozenset(): "1"}


class Stub(ThreadedServer):
    """Answers queries as the test says, and knows what it was asked."""

    def __init__(self, answer: Respond) -> None:
        self._answer = answer
        self.asked: list[web.Request] = []
        super().__init__()

    async def _application(self) -> web.Application:
        app = web.Application()
        app.add_routes([web.get("/prefix/api/v1/query", self._query)])
        return app

    async def _query(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        return await self._answer(request)


async def moved(_request: web.Request) -> web.Response:
    return web.Response(status=307, headers={"Location": "http://127.0.0.2:1/api/v1/query"})


async def page(_request: web.Request) -> web.Response:
    return web.Response(text="<html>log in</html>")


async def packed(_request: web.Request) -> web.Response:
    body = gzip.compress(b" " * 1_000_000) * 600
    return web.Response(body=body, headers={"Content-Encoding": "gzip"})


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" " * 1_000_000)


async def throttled(_request: web.Request) -> web.Response:
    return web.Response(status=429, headers={"Retry-After": "7"})


async def out_of_order(_request: web.Request) -> web.Response:
    return web.json_response({"status": "error", "errorType": "internal", "error": "x"}, status=500)


@pytest.mark.parametrize(
    ("answer", "reason", "text"),
    [
        (moved, "refused", "it is moved to 'http://127.0.0.2:1/api/v1/query': name that in url"),
        (page, "garbage", "not what Prometheus answers"),
        (packed, "garbage", "encoded"),
        (endless, "garbage", "more than"),
        (throttled, "throttled", "429"),
        (out_of_order, "failing", "500"),
    ],
)
def test_an_answer_that_is_none_is_an_error_with_a_reason(
    answer: Respond, reason: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.poller.guarded_http, "MAX_ANSWER_BYTES", 2_000_000)
    with Stub(answer) as stub:
        api = api_at(f"{stub.url}/prefix/", bearer_token="secret")
        with pytest.raises(CloudApiError, match=re.escape(text)) as raised:
            api.ask(ONE, 1795989599.999)
        assert raised.value.reason == reason
        api.close()
    (request,) = stub.asked
    assert request.headers["Authorization"] == "Bearer secret"
    assert dict(request.query) == {
        "query": promql(ONE),
        "time": "1795989599.999",
        "timeout": "54.000",
    }


def test_a_url_that_names_no_prometheus_is_told() -> None:
    with Stub(page) as stub, pytest.raises(CloudApiError, match="404 Not Found: url names no Prom"):
        api_at(stub.url).ask(ONE, 1.0)


def test_an_answer_of_many_instances_is_written_in_pieces() -> None:
    """The event loop, which writes them, is left to others in between."""
    count = 10_000

    async def all_of_them(request: web.Request) -> web.Response:
        at = float(request.query["time"])
        both: list[tuple[dict[str, str], str]] = [({}, "5"), ({TIME: "1"}, f"{at:.3f}")]
        series = [
            {"metric": {"instance_id": f"vm-{number}"} | label, "value": [at, value]}
            for label, value in both
            for number in range(count)
        ]
        data = {"resultType": "vector", "result": series}
        return web.json_response({"status": "success", "data": data})

    rows = [{**VMS, "meter": meter} for meter in ("one", "two")]
    with Stub(all_of_them) as stub, Asking(f"{stub.url}/prefix", queries=rows) as asked:
        waiting.eventually(lambda: asked.progress.succeeded_at is not None, 60)
        written = list(asked.written[: count // WRITE_AT_ONCE])
    assert [len(batch) for batch in written] == [WRITE_AT_ONCE] * (count // WRITE_AT_ONCE)
    records = [decode_samples(each.value or b"") for batch in written for each in batch]
    assert {each.instance_id for each in records} == {f"vm-{number}" for number in range(count)}
    assert {tuple(sample.meter for sample in each.samples) for each in records} == {("one", "two")}
