"""Errors as the HTTP API tells them: JSON, each with a sentence that says how to mend it."""

import logging
from collections.abc import Mapping, Sequence

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from vimfed.process.connections import http_problem

LOG = logging.getLogger(__name__)

_encode = msgspec.json.Encoder().encode

RETRY_AFTER = 2
"""Seconds after which asking again is worth it while partitions move."""


REASON: web.RequestKey[str] = web.RequestKey("reason", str)
"""Of a request: why it is not answered as asked."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """The body of an answer that is an error."""

    error: str
    """A sentence that says how to mend it."""


class TooFast(Problem, frozen=True, kw_only=True):
    """The caller asks too often, or has used up its rate; nothing of the request has been done."""

    retry_after: int
    """Seconds; the same as in the header ``Retry-After``, which ONAP's broker drops."""


class Unavailable(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a 503."""

    error: str
    reason: str
    retry_after: int
    """Seconds; the same as in the header ``Retry-After``, which ONAP's broker drops."""
    partitions: list[int]
    """Those that are missing."""


class ApiError(Exception):
    """A request that is not answered as asked: the status, and the body or what it says."""

    def __init__(
        self, status: int, problem: str | Problem, headers: Mapping[str, str] | None = None
    ) -> None:
        self.status = status
        self.problem = Problem(error=problem) if isinstance(problem, str) else problem
        self.headers = dict(headers or {})
        super().__init__(self.problem.error)


class UnavailableError(Exception):
    """A complete answer is not possible now. ``partitions`` are those that are missing.

    After ``retry_after`` seconds asking again is worth it.
    """

    def __init__(
        self, reason: str, partitions: Sequence[int] = (), retry_after: int = RETRY_AFTER
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.partitions = sorted(partitions)
        self.retry_after = retry_after


def json_response(value: object, status: int = 200, **headers: str) -> web.Response:
    """Return ``value`` as a JSON response."""
    return web.Response(
        body=_encode(value), status=status, content_type="application/json", headers=headers
    )


def unavailable_response(error: UnavailableError) -> web.Response:
    """Return a 503 that says all of it in the body: ONAP's broker drops the headers."""
    body = Unavailable(
        error=f"no complete answer is possible now: {error.reason}; try again",
        reason=error.reason,
        retry_after=error.retry_after,
        partitions=error.partitions,
    )
    return json_response(body, 503, **{"Retry-After": str(error.retry_after)})


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every error with ``{"error": ...}``."""
    try:
        return await handler(request)
    except ApiError as error:
        request[REASON] = str(error)
        return json_response(error.problem, error.status, **error.headers)
    except UnavailableError as error:
        return unavailable_response(error)
    except web.HTTPRequestEntityTooLarge:
        return json_response(Problem(error="the body is larger than 1 MiB"), 413)
    except web.HTTPException as error:
        return http_problem(request, error)
    except Exception:
        LOG.exception("%s %s failed", request.method, request.path)
        return json_response(Problem(error="an error of ours; the log says more"), 500)
