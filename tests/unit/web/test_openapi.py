"""The OpenAPI document says of every route what may be answered before its turn comes."""

from aiohttp import web

from web.http.errors import json_response
from web.http.openapi import document
from web.http.routes import Role, Route


async def answer(_request: web.Request) -> web.Response:
    """Answer."""
    return json_response({})


def told(role: Role) -> set[str]:
    route = Route(method="GET", paths=("/x",), handler=answer, role=role, answers={200: None})
    return set(document([route], {})["paths"]["/x"]["get"]["responses"])


def test_what_needs_a_login_may_also_be_refused_for_now() -> None:
    assert told("reader") == {"200", "401", "403", "429", "503"}
    assert told("anyone") == {"200"}
