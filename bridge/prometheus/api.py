"""Prometheus's HTTP API as its poller needs it: instant queries, with typed failures.

Every method blocks: the poller has a thread of its own.
"""

import contextlib
from collections.abc import Iterator, Mapping

import requests
from requests.auth import AuthBase, HTTPBasicAuth

from bridge.poller.api_error import CloudApiError, Reason
from bridge.poller.guarded_http import guarded_session
from vimfed.process.bounded_answer import AnswerError
from vimfed.process.retry_after import retry_after
from vimfed.settings import PrometheusQuery, PrometheusSettings
from vimfed.telemetry.prometheus import Answer, NoAnswerError, QueryError, promql, read_answer

_PATH = "/api/v1/query"
_MAX_TEXT = 500
"""Characters of an answer's error that are told."""
_LOGIN = "set username and password, or bearer_token, in its [vims.samples.prometheus]"


class PrometheusApi:
    """One Prometheus; it connects at the first question, and anew after a failure."""

    def __init__(self, settings: PrometheusSettings) -> None:
        self._settings = settings
        self._url = settings.url.rstrip("/") + _PATH
        self._session: requests.Session | None = None
        self._requests = 0

    def ask(self, query: PrometheusQuery, at: float) -> Answer:
        """Return the values of a query as of a time, seconds since 1970, and when they were so.

        Raises CloudApiError, and QueryError where other queries may well be answered.
        """
        timeout = self._settings.timeout
        parameters = {
            "query": promql(query),
            "time": f"{at:.3f}",
            # Prometheus is to give up first: then it says so, and the other queries go on.
            "timeout": f"{0.9 * timeout:.3f}",
        }
        with _typed_failures(timeout):
            response = self._get(parameters)
        try:
            return read_answer(response.content)
        except NoAnswerError as error:
            if response.status_code != 200:
                raise _failure(response) from None
            raise CloudApiError("garbage", _short(str(error))) from None
        except QueryError as error:
            raise QueryError(_short(str(error))) from None

    def take_requests(self) -> int:
        """Return how many requests it was sent since this was asked."""
        sent, self._requests = self._requests, 0
        return sent

    def close(self) -> None:
        """Close the connections; the next question opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _get(self, parameters: Mapping[str, str]) -> requests.Response:
        settings = self._settings
        if self._session is None:
            is_clear = settings.insecure or not settings.has_login
            self._session = guarded_session(settings.url, (), settings.timeout, insecure=is_clear)
            self._session.auth = _Login(settings)
        self._requests += 1
        return self._session.get(
            self._url,
            params=parameters,
            allow_redirects=False,  # it would take the password to wherever the answer says
            timeout=settings.timeout,
            verify=settings.ca_file or True,
            cert=_certificate(settings),
        )


class _Login(AuthBase):
    """What the settings say, and nothing else: not what ``.netrc`` has for the host."""

    def __init__(self, settings: PrometheusSettings) -> None:
        self._settings = settings

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the login to a request."""
        settings = self._settings
        if settings.bearer_token:
            request.headers["Authorization"] = f"Bearer {settings.bearer_token.reveal()}"
        elif settings.username:
            password = settings.password.reveal().encode()
            HTTPBasicAuth(settings.username.encode(), password)(request)
        return request


def _certificate(settings: PrometheusSettings) -> str | tuple[str, str] | None:
    if settings.cert_file and settings.key_file:
        return settings.cert_file, settings.key_file
    return settings.cert_file or None


@contextlib.contextmanager
def _typed_failures(timeout: float) -> Iterator[None]:
    try:
        yield
    except (requests.Timeout, TimeoutError) as error:
        raise CloudApiError("slow", f"no answer within {timeout:g} s") from error
    except AnswerError as error:
        raise CloudApiError("garbage", str(error)) from error
    except (requests.RequestException, OSError) as error:
        raise CloudApiError("down", str(error)) from error


_REASONS: Mapping[int, tuple[Reason, str]] = {
    401: ("unauthorised", _LOGIN),
    403: ("forbidden", _LOGIN),
    404: ("refused", f"url names no Prometheus: it is what stands before {_PATH}"),
    429: ("throttled", ""),
}


def _failure(response: requests.Response) -> CloudApiError:
    status = response.status_code
    where = response.headers.get("Location", "")
    is_moved = 300 <= status < 400
    mend = f"it is moved to {where[:200]!a}: name that in url" if is_moved else ""
    reason, text = _REASONS.get(status, ("failing" if status >= 500 else "refused", mend))
    told = f"{_PATH}: {status} {response.reason}"
    asked_for = retry_after(response.headers.get("Retry-After", "")) or 0.0
    return CloudApiError(reason, f"{told}: {text}" if text else told, asked_for)


def _short(text: str) -> str:
    """Return an answer's own words in one line of bounded length."""
    return " ".join(text.split())[:_MAX_TEXT]
