"""What of a cloud's Prometheus, and of what it is asked for, is not as the bridge needs it."""

import time
from collections.abc import Iterator, Mapping

from bridge.prometheus.api import PrometheusApi
from bridge.prometheus.built_in import queries_of
from vimfed.kafka.topic_settings import Finding
from vimfed.settings import PrometheusQuery, PrometheusSettings
from vimfed.telemetry.prometheus import Answer, PassedOver, QueryError, Window, promql, read_samples

LOOKBACK = 300.0
"""Seconds for which Prometheus shows a series after its last scrape, by default."""
_MOMENT = 0.001
"""Seconds from the question's time within which nothing is scraped by chance."""


def prometheus_findings(subject: str, prometheus: PrometheusSettings) -> list[Finding]:
    """Ask all queries, and return what is wrong. Raises CloudApiError where none is answered."""
    api = PrometheusApi(prometheus)
    at = time.time()
    findings = []
    try:
        for query in queries_of(prometheus):
            try:
                answer = api.ask(query, at)
            except QueryError as error:
                asked = " ".join(promql(query).split())
                text = f"query {query.meter}: mend it: {error}; asked: {asked}"
                findings.append(Finding(subject, text, refused=True))
            else:
                findings += [
                    Finding(subject, f"query {query.meter}: {text}", refused=False)
                    for text in doubts(query, answer, at)
                ]
    finally:
        api.close()
    return findings


def doubts(query: PrometheusQuery, answer: Answer, at: float) -> Iterator[str]:
    """Yield what is odd about an answer to a question as of ``at``, seconds since 1970."""
    if not answer.values:
        yield (
            "no series: does Prometheus scrape the exporter, is it the right one of built_in, do "
            "the labels of join fit?"
        )
        return
    found = read_samples(answer, query, Window(at - LOOKBACK, at + 1))
    labels = filter(None, (query.instance_label or query.host_label, query.device_label))
    shown = ", ".join(sorted(name for name, _value in next(iter(answer.values))))
    texts: Mapping[PassedOver, str] = {
        "stale": "were scraped at no time that is known: do they have the labels of time_of?",
        "unnamed": f"lack a fitting label {' or '.join(labels)}; the first one has {shown}",
        "unreadable": "are no finite numbers",
        "ambiguous": "are of the same instance and device as another: name device_label, or sum up",
    }
    for reason, text in texts.items():
        if count := found.passed_over[reason]:
            yield f"{count} of {len(answer.values)} series {text}"
    just_now = Window(at - _MOMENT, at + _MOMENT)
    if not (query.time_of or read_samples(answer, query, just_now).passed_over["stale"]):
        yield (
            "it calculates, so that Prometheus does not say when its values were scraped: what is "
            "gone lives on for as long as Prometheus looks back; name time_of"
        )
