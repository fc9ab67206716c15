"""nova's compute API as the poller needs it: openstacksdk's calls, with typed failures.

Every method blocks: the poller has a thread of its own. Logging in, the catalogue, microversions
and logging in again after a 401 are openstacksdk's; decoding is ours, since the pages are large.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import msgspec
import requests
from keystoneauth1 import exceptions as ksa
from keystoneauth1.identity import v3
from keystoneauth1.plugin import BaseAuthPlugin
from keystoneauth1.session import Session
from msgspec import Struct, field
from openstack import exceptions as sdk
from openstack.config import cloud_region
from openstack.connection import Connection

from bridge.poller.api_error import CloudApiError, Reason
from bridge.poller.findings import ActionEvent, Server, ServerAction
from bridge.poller.guarded_http import guarded_session
from vimfed.model.decoding import UNREADABLE
from vimfed.nova.host_report import COMPUTE
from vimfed.process.bounded_answer import AnswerError
from vimfed.process.retry_after import retry_after
from vimfed.settings import PollSettings

PAGE = 500
"""Servers per page; nova gives fewer where its ``max_limit`` is lower."""

NEWEST_MICROVERSION = (2, 90)
"""The newest of which we know what it means; clouds that are older are asked for their newest.

What comes with them: 2.11 whether a service is forced down, 2.21 actions of deleted servers, 2.47
the flavor's content, 2.51 events for all users, 2.58 changes-since for actions, 2.62 the host of
events, 2.69 what is known of a cell that is down.
"""
_CHANGES_SINCE_FOR_ACTIONS = (2, 58)
_SERVICES_OF_DOWN_CELLS = (2, 69)
MAX_SERVICES = 10_000
"""Compute services of one cloud; nova gives them all in one answer."""


class Page(NamedTuple):
    """One page of a list of servers."""

    servers: Sequence[Server]
    next_marker: str
    """Where the next page begins; empty where there is none."""
    asked_at: datetime
    """By the cloud's clock, not later than when the list was read; earlier by less than a second
    and what the answer took."""


class ComputeService(Struct, frozen=True, kw_only=True):
    """A nova-compute as nova lists it; the names are nova's.

    Of one whose cell does not answer nova tells ``binary``, ``host`` and status UNKNOWN alone.
    """

    host: str
    binary: str = ""
    status: str = ""
    """enabled or disabled."""
    state: str = ""
    """up or down; down, too, while it is forced down."""
    forced_down: bool | None = None
    """None: nova is older than microversion 2.11."""
    disabled_reason: str | None = None


class ServiceList(NamedTuple):
    """All compute services of a cloud."""

    services: Sequence[ComputeService]
    is_whole: bool
    """Whether those of a cell that does not answer are among them; before 2.69 they are not."""
    asked_at: datetime
    """Like ``Page.asked_at``."""


class _Services(Struct):
    services: list[ComputeService]


class _Link(Struct):
    rel: str = ""


class _Servers(Struct):
    servers: list[Server]
    links: list[_Link] = field(name="servers_links", default_factory=list)


class _OneServer(Struct):
    server: Server


class _Fault(Struct):
    message: str


class _NotFound(Struct):
    """nova's own 404: ``{"itemNotFound": {"message": "Instance ... could not be found."}}``."""

    fault: _Fault = field(name="itemNotFound")


class _Actions(Struct):
    actions: list[ServerAction] = field(name="instanceActions")


class _ActionWithEvents(Struct):
    events: list[ActionEvent] = []


class _OneAction(Struct):
    action: _ActionWithEvents = field(name="instanceAction")


_decode_servers = msgspec.json.Decoder(_Servers).decode
_decode_server = msgspec.json.Decoder(_OneServer).decode
_decode_services = msgspec.json.Decoder(_Services).decode
_decode_fault = msgspec.json.Decoder(_NotFound).decode
_decode_actions = msgspec.json.Decoder(_Actions).decode
_decode_action = msgspec.json.Decoder(_OneAction).decode


class NovaApi:
    """One cloud's compute API; it connects at the first call, and anew after a failure."""

    def __init__(self, poll: PollSettings) -> None:
        self._poll = poll
        self._connection: Connection | None = None
        self._microversion: tuple[int, int] | None = None
        self._requests = 0

    def page(
        self, *, since: datetime | None = None, deleted: bool = False, marker: str = ""
    ) -> Page:
        """Return one page of the servers: all, or those that changed ``since``, deleted ones too.

        ``deleted`` asks for these alone, which only an admin is given. Raises CloudApiError.
        """
        query: dict[str, str] = {"limit": str(PAGE)}
        if self._poll.all_projects:
            query["all_tenants"] = "1"
            if deleted:
                query["deleted"] = "true"
        if since is not None:
            query["changes-since"] = since.strftime("%Y-%m-%dT%H:%M:%SZ")
        if marker:
            query["marker"] = marker
        body, asked_at = self._get("/servers/detail", query)
        page = _decoded(_decode_servers, body)
        more = page.servers and any(link.rel == "next" for link in page.links)
        return Page(page.servers, page.servers[-1].id if more else "", asked_at)

    def server(self, server_id: str) -> tuple[Server | None, datetime]:
        """Return a server, None where it is gone, and a time like ``Page.asked_at``.

        Raises CloudApiError.
        """
        body, asked_at = self._get(f"/servers/{server_id}", {})
        return _decoded(_decode_server, body).server if body else None, asked_at

    def there(self, server_id: str) -> tuple[Server | None, datetime]:
        """Return like ``server``, but None only where nova itself says that there is none.

        The 404 of a proxy, or of a path that nova does not know, raises CloudApiError.
        """
        response, asked_at = self._respond(f"/servers/{server_id}", {})
        if response.status_code == 200:
            return _decoded(_decode_server, response.content).server, asked_at
        if server_id not in _decoded(_decode_fault, response.content).fault.message:
            raise CloudApiError("garbage", f"a 404 that is not about the server {server_id}")
        return None, asked_at

    def project_id(self) -> str:
        """Return the project to which we have logged in; log in first. Raises CloudApiError."""
        with _typed_failures(self._poll):
            return self._compute().get_project_id() or ""

    def actions(self, server_id: str, since: datetime) -> Sequence[ServerAction]:
        """Return a server's actions that changed since then, without their events.

        Raises CloudApiError.
        """
        query = {}
        if (self._microversion or (2, 0)) >= _CHANGES_SINCE_FOR_ACTIONS:
            query["changes-since"] = since.strftime("%Y-%m-%dT%H:%M:%SZ")
        body, _asked_at = self._get(f"/servers/{server_id}/os-instance-actions", query)
        if not body:
            return []
        oldest = since.strftime("%Y-%m-%dT%H:%M:%S")
        found = _decoded(_decode_actions, body).actions
        return [action for action in found if action.changed_at >= oldest]

    def with_events(self, server_id: str, action: ServerAction) -> ServerAction:
        """Return an action with its events. Raises CloudApiError."""
        path = f"/servers/{server_id}/os-instance-actions/{action.request_id}"
        body, _asked_at = self._get(path, {})
        events = _decoded(_decode_action, body).action.events if body else []
        return msgspec.structs.replace(action, events=events)

    def compute_services(self) -> ServiceList:
        """Return all compute services; only an admin may see them. Raises CloudApiError."""
        try:
            body, asked_at = self._get("/os-services", {"binary": COMPUTE})
        except CloudApiError as error:
            if error.reason != "forbidden":
                raise
            text = f"{error}: give the user nova's role admin, or set poll.hosts_interval = 0"
            raise CloudApiError("forbidden", text) from None
        if not body:
            raise CloudApiError("refused", "GET /os-services: 404: nova does not know this path")
        services = _decoded(_decode_services, body).services
        if len(services) > MAX_SERVICES:
            raise CloudApiError("garbage", f"more than {MAX_SERVICES} compute services")
        is_whole = (self._microversion or (2, 0)) >= _SERVICES_OF_DOWN_CELLS
        return ServiceList(
            [each for each in services if each.binary == COMPUTE], is_whole, asked_at
        )

    def check(self) -> None:
        """Log in and list one server. Raises CloudApiError."""
        query = {"limit": "1"}
        if self._poll.all_projects:
            query["all_tenants"] = "1"
        body, _asked_at = self._get("/servers/detail", query)
        servers = _decoded(_decode_servers, body).servers
        if servers and servers[0].status != "UNKNOWN" and not servers[0].is_known:
            raise CloudApiError("forbidden", "the user may not see OS-EXT-STS:vm_state")

    def take_requests(self) -> int:
        """Return how many requests nova was sent since this was asked; Keystone's do not count."""
        requests, self._requests = self._requests, 0
        return requests

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _get(self, path: str, query: dict[str, str]) -> tuple[bytes, datetime]:
        """Return (body, asked at); no body where the answer is 404."""
        response, asked_at = self._respond(path, query)
        return response.content if response.status_code == 200 else b"", asked_at

    def _respond(self, path: str, query: dict[str, str]) -> tuple[requests.Response, datetime]:
        """Return (answer, asked at); its status is 200 or 404."""
        with _typed_failures(self._poll):
            compute = self._compute()
            begun = time.monotonic()
            self._requests += 1
            response = compute.get(
                path,
                params=query,
                microversion=self._microversion and "{}.{}".format(*self._microversion),
                raise_exc=False,
            )
            took = time.monotonic() - begun
        _expect(response, 200, 404)
        return response, _asked_at(response, took)

    def _compute(self) -> Any:
        if self._connection is None:
            connection = _connect(self._poll)
            try:
                # What is wrong shows here, where openstacksdk itself would only warn. An endpoint
                # with a project in its URL has nothing there.
                _expect(connection.compute.get("/", raise_exc=False), 200, 300, 404)
                endpoint: Any = connection.compute.get_endpoint_data()
                newest = endpoint.max_microversion
            except BaseException:
                connection.close()
                raise
            self._microversion = min(newest, NEWEST_MICROVERSION) if newest else None
            self._connection = connection
        return self._connection.compute


def _connect(poll: PollSettings) -> Connection:
    # Keystone's v3 by name: its discovery would hide what fails behind an error of its own.
    auth_url = poll.auth_url.rstrip("/").removesuffix("/v3") + "/v3"
    auth: BaseAuthPlugin
    if poll.application_credential_id:
        auth = v3.ApplicationCredential(
            auth_url=auth_url,
            application_credential_id=poll.application_credential_id,
            application_credential_secret=poll.application_credential_secret.reveal(),
        )
    else:
        auth = v3.Password(
            auth_url=auth_url,
            username=poll.username,
            password=poll.password.reveal(),
            project_name=poll.project_name,
            user_domain_name=poll.user_domain_name,
            project_domain_name=poll.project_domain_name,
        )
    session = Session(
        auth=auth,
        session=guarded_session(auth_url, poll.hosts, poll.timeout, insecure=poll.insecure),
        redirect=False,  # it would take the password, or the token, to wherever the answer says
        verify=poll.ca_file or True,
        timeout=poll.timeout,
        app_name="vim-event-federation",
    )
    region = cloud_region.from_session(
        session, region_name=poll.region_name or None, interface=poll.interface
    )
    return Connection(config=region)


_STUMBLES = (ValueError, KeyError, TypeError, AttributeError)
"""What the libraries raise over an answer of Keystone's, or of a catalogue's, that is none."""


@contextlib.contextmanager
def _typed_failures(poll: PollSettings) -> Iterator[None]:
    try:
        yield
    except (ksa.ConnectTimeout, requests.Timeout) as error:
        raise CloudApiError("slow", f"no answer within {poll.timeout:g} s") from error
    except AnswerError as error:
        raise CloudApiError("garbage", str(error)) from error
    except ksa.Unauthorized as error:
        raise CloudApiError("unauthorised", f"Keystone refuses the login: {error}") from error
    except ksa.HttpError as error:
        if error.response is not None:
            raise _failure(error.response) from error
        raise CloudApiError("failing", str(error)) from error
    except (ksa.ConnectionError, requests.RequestException) as error:
        raise CloudApiError("down", str(error)) from error
    except (ksa.ClientException, sdk.SDKException, *_STUMBLES) as error:
        raise CloudApiError("garbage", f"{type(error).__name__}: {error}") from error


def _expect(response: requests.Response, *statuses: int) -> None:
    if response.status_code not in statuses:
        raise _failure(response)


def _failure(response: requests.Response) -> CloudApiError:
    status = response.status_code
    text = f"{response.request.method} {response.request.path_url}: {status} {response.reason}"
    asked_for = retry_after(response.headers.get("Retry-After", "")) or 0.0
    reasons: dict[int, Reason] = {401: "unauthorised", 403: "forbidden", 413: "throttled"}
    reason = reasons.get(status, "failing" if status >= 500 else "refused")
    return CloudApiError("throttled" if status == 429 else reason, text, asked_for)


def _asked_at(response: requests.Response, took: float) -> datetime:
    """Return a time at which the answer had not been made yet, by the cloud's clock.

    ``Date`` is of when it was sent, in whole seconds. Nothing more is cut off: what is told late of
    before this time must not pass for newer than the answer. Raises CloudApiError where there is
    none.
    """
    try:
        date = parsedate_to_datetime(response.headers.get("Date", "")).astimezone(UTC)
        return date - timedelta(seconds=took)
    except (ValueError, TypeError, OverflowError):
        raise CloudApiError("garbage", "the answer has no Date") from None


def _decoded(decode: Any, body: bytes) -> Any:
    try:
        return decode(body)
    except UNREADABLE as error:
        raise CloudApiError("garbage", f"not what nova answers: {error}") from None
