"""Alerts that monitors push: Alertmanager's webhook and aodh's alarm actions.

Alertmanager sends again what is answered with 5xx, and drops for good, with the whole group, what
is answered with 4xx; aodh sends nothing again. So one alert that cannot be read does not cost the
others: it becomes a dead letter. Who pushes too fast is answered 503 instead of 429.
"""

import logging
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta, Struct, field

from vimfed.alerts.bounds import MAX_ALERTS
from vimfed.alerts.formats import read_alerts
from vimfed.alerts.reading import BatchError, Context, Reading, Unread
from vimfed.alerts.subject import Subject, SubjectLabels, is_host, is_instance_id
from vimfed.kafka.clients import OutgoingRecord
from vimfed.kafka.dead_letter import dead_letter_record
from vimfed.kafka.notification_writer import RecordTooLargeError, alert_record, arrival_time
from vimfed.model.keys import home_key
from vimfed.nova.alert_report import AlertReport, alert_notification
from vimfed.nova.bare_state import MAX_ID
from vimfed.nova.host_report import MAX_HOST
from web.http.audit import COUNT, WHO
from web.http.errors import (
    ApiError,
    Problem,
    TooFast,
    Unavailable,
    UnavailableError,
    json_response,
)
from web.http.routes import Route, parse_query
from web.pushing import Pushing

LOG = logging.getLogger(__name__)


class PushedAlert(Struct, frozen=True, kw_only=True):
    """One alert of Alertmanager's."""

    status: Annotated[str, Meta(extra_json_schema={"enum": ["firing", "resolved"]})]
    labels: dict[str, str]
    """``alertname`` and ``severity`` are its name and severity."""
    annotations: dict[str, str] | None = None
    """``summary``, or else ``description`` or ``message``, is its summary."""
    started_at: Annotated[str, Meta(extra_json_schema={"format": "date-time"})] = field(
        name="startsAt", default=""
    )
    ended_at: Annotated[str, Meta(extra_json_schema={"format": "date-time"})] = field(
        name="endsAt", default=""
    )
    """In the year 1 while it fires."""
    fingerprint: str | None = None
    """The same as long as it is the same alert; by default that follows from the labels."""


class PushedWebhook(Struct, frozen=True, kw_only=True):
    """Alertmanager's webhook; further fields are passed over."""

    version: Annotated[str, Meta(extra_json_schema={"enum": ["4"]})]
    group_key: str = field(name="groupKey")
    alerts: Annotated[list[PushedAlert], Meta(max_length=MAX_ALERTS)]
    truncated: int = field(name="truncatedAlerts", default=0)
    """How many alerts Alertmanager has left out."""


class PushedAction(Struct, frozen=True, kw_only=True):
    """aodh's alarm action."""

    alarm_id: str
    current: Annotated[str, Meta(extra_json_schema={"enum": ["alarm", "ok", "insufficient data"]})]
    """``insufficient data`` leaves an alarm as it is."""
    alarm_name: str | None = None
    severity: str | None = None
    previous: str | None = None
    reason: str | None = None
    reason_data: Any = None
    """Of an alarm by events: the event, whose traits name the instance or the host."""


class AboutQuery(Struct, frozen=True, kw_only=True):
    """What all alerts of the request are about; by default their labels say so."""

    instance_id: Annotated[str, Meta(max_length=MAX_ID)] = ""
    host: Annotated[str, Meta(max_length=MAX_HOST)] = ""
    """As nova calls it."""


class UnreadAlert(Struct, frozen=True, kw_only=True):
    """Why one alert of a request is a dead letter."""

    index: int
    """From 0."""
    error: str


class AlertsAccepted(Struct, frozen=True, kw_only=True):
    """All alerts are written and acknowledged, those that cannot be read as dead letters."""

    accepted: int
    """How many say that something begins, goes on or ends."""
    unread: tuple[UnreadAlert, ...] = ()


class PushedAlerts:
    """The handler of ``POST …/alerts``."""

    def __init__(self, pushing: Pushing) -> None:
        self._pushing = pushing
        self._kafka = pushing.settings.kafka
        labels = pushing.settings.alerts
        self._names = SubjectLabels(labels.instance_labels, labels.host_labels)

    def routes(self) -> list[Route]:
        """Return the route."""
        prefix = self._pushing.settings.web.prefix
        return [
            Route(
                method="POST",
                paths=(
                    f"{prefix}/v1/{{owner}}/{{region}}/alerts",
                    f"{prefix}/v0/{{vim_id}}/alerts",
                ),
                handler=self.push,
                role="writer",
                audit="alerts.pushed",
                query=AboutQuery,
                body=PushedWebhook | PushedAction,
                answers={
                    200: AlertsAccepted,
                    400: Problem,
                    404: Problem,
                    413: Problem,
                    503: Unavailable,
                },
            )
        ]

    async def push(self, request: web.Request) -> web.Response:
        """Take Alertmanager's webhook (version 4) or aodh's alarm action.

        It is answered when Kafka has acknowledged it; the same alerts may be sent again. What
        cannot be read of some alerts does not refuse the others. Too many alerts a second are
        answered 503, which Alertmanager sends again, other than 429.
        """
        about = _about(parse_query(request, AboutQuery))
        try:
            vim_id, body = await self._pushing.received(request)
            self._pushing.take(request, 1, len(body))
        except ApiError as error:
            raise _retried(error) from None
        reading = _read(body, Context(arrival_time(), self._names, about))
        request[COUNT] = count = len(reading.reports) + len(reading.unread)
        self._pushing.take_more(request, max(0, count - 1))
        _tell(vim_id, reading)
        caller = request[WHO].header()
        await self._pushing.commit(self._records(vim_id, reading, caller))
        unread = tuple(UnreadAlert(index=each.place, error=each.error) for each in reading.unread)
        return json_response(AlertsAccepted(accepted=len(reading.reports), unread=unread))

    def _records(
        self, vim_id: str, reading: Reading, caller: tuple[str, bytes]
    ) -> Sequence[OutgoingRecord]:
        records = [self._record(vim_id, report) for report in reading.reports]
        records += (self._letter(vim_id, unread) for unread in reading.unread)
        return [
            msgspec.structs.replace(record, headers=(*record.headers, caller)) for record in records
        ]

    def _record(self, vim_id: str, report: AlertReport) -> OutgoingRecord:
        now = arrival_time()
        notification = alert_notification(
            vim_id, report, source="ingest", timestamp=now, received_at=now
        )
        home = home_key(vim_id, report.instance_id, report.host)
        try:
            return alert_record(self._kafka, notification, home)
        except RecordTooLargeError as error:  # its bounds are far below that
            raise ApiError(400, str(error)) from None

    def _letter(self, vim_id: str, unread: Unread) -> OutgoingRecord:
        return dead_letter_record(
            self._kafka, unread.alert, unread.error, source="alerts", vim_id=vim_id
        )


def _about(query: AboutQuery) -> Subject:
    """Return what a request's query names. Raises ApiError (400)."""
    if query.instance_id and query.host:
        raise ApiError(400, "query: give instance_id or host, not both")
    if query.instance_id and not is_instance_id(query.instance_id):
        raise ApiError(400, "query: instance_id is no instance's id")
    if query.host and not is_host(query.host):
        raise ApiError(400, "query: host is no host's name")
    return Subject(query.instance_id, query.host)


def _read(body: bytes, context: Context) -> Reading:
    """Return what a body says. Raises ApiError (400, 413)."""
    try:
        return read_alerts(body, context)
    except BatchError as error:
        raise ApiError(413 if error.is_too_large else 400, str(error)) from None


def _retried(error: ApiError) -> Exception:
    """Return an error by which Alertmanager tries again where that helps."""
    if isinstance(error.problem, TooFast):
        return UnavailableError(error.problem.error, retry_after=error.problem.retry_after)
    return error


def _tell(vim_id: str, reading: Reading) -> None:
    """Say in the log what is lost of a request unless somebody sees to it."""
    if reading.left_out:
        LOG.warning(
            "cloud %s: Alertmanager has left out %d alerts of a group: max_alerts of its webhook",
            vim_id,
            reading.left_out,
        )
    if reading.unread:
        LOG.warning(
            "cloud %s: %d alerts cannot be read and are dead letters, the first: %s",
            vim_id,
            len(reading.unread),
            reading.unread[0].error,
        )
