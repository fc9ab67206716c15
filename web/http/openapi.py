"""The OpenAPI document, made from the table of routes, and the pages on which it can be read."""

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Union, get_args, get_origin

import msgspec
from aiohttp import web
from swagger_ui_bundle import swagger_ui_path

from web.http.errors import ApiError, Problem, TooFast, Unavailable
from web.http.routes import Handler, Route
from web.http.type_schemas import Schema, markdown, type_schemas

DOCUMENT_PATH = "/openapi.json"
ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}
START = """\
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
});
"""
PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>vim-event-federation: HTTP API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
PAGE_HEADERS = {
    # Swagger UI sets styles on its elements and shows its icons from data URLs.
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class Documentation:
    """Serves the document under every name that is asked for, and Swagger UI at ``/docs``."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._document = b""
        self._assets = {
            name: ((swagger_ui_path / name).read_bytes(), media_type)
            for name, media_type in ASSETS.items()
        }
        self._assets["start.js"] = (START.encode(), "text/javascript")

    def describe(self, routes: Iterable[Route], logins: Mapping[str, Schema]) -> None:
        """Document ``routes``, those that are here among them, and ``logins``: security schemes."""
        self._document = msgspec.json.encode(document(routes, logins))

    def routes(self) -> list[Route]:
        """Return all routes."""
        return [
            Route(
                method="GET",
                paths=(
                    DOCUMENT_PATH,
                    f"{self._prefix}/v0/swagger.json",
                    f"{self._prefix}/v1/swagger.json",
                ),
                handler=self.document,
                role="anyone",
                answers={200: dict[str, Any]},
            ),
            Route(
                method="GET",
                paths=("/docs",),
                handler=self.page,
                role="anyone",
                answers={200: None},
                media_type="text/html",
            ),
            Route(
                method="GET",
                paths=("/docs/{name}",),
                handler=self.asset,
                role="anyone",
                answers={200: None, 404: Problem},
                media_type="*/*",
            ),
        ]

    async def document(self, _request: web.Request) -> web.Response:
        """Tell this document."""
        return web.Response(body=self._document, content_type="application/json")

    async def page(self, _request: web.Request) -> web.Response:
        """Show the API's documentation in Swagger UI."""
        return web.Response(text=PAGE, content_type="text/html", headers=PAGE_HEADERS)

    async def asset(self, request: web.Request) -> web.Response:
        """Return a part of the documentation's page."""
        asset = self._assets.get(request.match_info["name"])
        if asset is None:
            raise ApiError(404, f"there is nothing at {request.path}")
        body, media_type = asset
        return web.Response(body=body, content_type=media_type, headers=PAGE_HEADERS)


def document(routes: Iterable[Route], logins: Mapping[str, Schema]) -> Schema:
    """Return the OpenAPI 3.1 document of what others than workers may ask.

    ``logins`` are the security schemes by name: a request needs one of them, or none where the
    settings demand no login.
    """
    told = [route for route in routes if route.role != "peer"]
    schemas = _Schemas(told)
    paths: dict[str, Schema] = {}
    for route in told:
        for number, path in enumerate(route.paths):
            operation = _operation(route, path, number, schemas)
            if route.role != "anyone":
                operation["security"] = [{}, *({name: []} for name in logins)]
            paths.setdefault(_template(path), {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "vim-event-federation",
            "summary": "The states of VMs in many clouds, and their events.",
            "description": "An answer is complete or it is a 503: never a part of the instances. "
            "Every path takes a slash at its end, and HEAD where it takes GET. All errors are JSON "
            "with a sentence in `error`.",
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
            "version": version("vim-event-federation"),
        },
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": logins,
        },
    }


ERRORS = (Problem, TooFast, Unavailable)
"""The bodies of what is told of every route."""
ACCESS_ANSWERS: dict[int, Any] = {401: Problem, 403: Problem, 429: TooFast, 503: Unavailable}
"""What is told of every route that needs a login before it has its turn."""
BODY_ANSWERS: dict[int, Any] = {408: Problem, 413: Problem, 415: Problem}
"""What is told before the handler has the request's body."""
DESCRIPTIONS = {
    401: "No login, or a wrong one; `WWW-Authenticate` names the ways that are open.",
    403: "The login does not allow this.",
    408: "The body did not come in time.",
    413: "The body is larger than 1 MiB.",
    429: "Too much from this address, or too many failed logins; `Retry-After` says when to go on.",
    415: "The body has a `Content-Encoding`.",
    503: "No complete answer is possible now; the header `Retry-After` says when to ask again.",
}


def _operation(route: Route, path: str, number: int, schemas: "_Schemas") -> Schema:
    summary, text = _docstring(route.handler)
    names = re.findall(r"{(\w+)", path)
    operation: Schema = {
        "operationId": _operation_id(route, number),
        "summary": summary,
        "tags": [_tag(route)],
        "parameters": [
            *(_parameter("path", name, {"type": "string"}, required=True) for name in names),
            *schemas.query_parameters(route),
            *(
                _parameter("header", name, {"type": "string"}) | {"description": meaning}
                for name, meaning in route.headers.items()
            ),
        ],
        "responses": _responses(route, schemas),
    }
    if text:
        operation["description"] = text
    if route.role != "anyone":
        operation["x-role"] = route.role
    if route.body is not None:
        content = {"application/json": {"schema": schemas.of(route.body)}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _parameter(where: str, name: str, schema: Schema, *, required: bool = False) -> Schema:
    return {"in": where, "name": name, "required": required, "schema": schema}


def _responses(route: Route, schemas: "_Schemas") -> Schema:
    answers = dict(route.answers)
    others = ACCESS_ANSWERS if route.role != "anyone" else {}
    if route.body is not None:
        others = others | BODY_ANSWERS
    for status, answer in others.items():
        answers[status] = answers.get(status, answer) | answer
    return {
        str(status): _response(route, status, answers[status], schemas)
        for status in sorted(answers)
    }


def _response(route: Route, status: int, answer: Any, schemas: "_Schemas") -> Schema:
    description = DESCRIPTIONS.get(status) or _class_text(answer) or HTTPStatus(status).phrase
    response: Schema = {"description": description}
    if status == HTTPStatus.NOT_MODIFIED:
        return response
    if answer is None:
        response["content"] = {route.media_type: {"schema": {}}}
    else:
        response["content"] = {"application/json": {"schema": schemas.of(answer)}}
    if status == HTTPStatus.UNAUTHORIZED:
        response["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        response["headers"] = {"Retry-After": {"schema": {"type": "integer"}}}
    return response


def _template(path: str) -> str:
    """Return a path without the patterns of its parameters."""
    return re.sub(r"{(\w+):[^}]*}", r"{\1}", path)


def _operation_id(route: Route, number: int) -> str:
    """Return a name that no other operation has: that of the handler, and which of its paths."""
    words = [*_tag(route).split(), route.handler.__name__]
    return "_".join(words + [str(number + 1)] * (number > 0))


def _tag(route: Route) -> str:
    """Return the group in which the documentation shows a route: the class that serves it."""
    owner = getattr(route.handler, "__self__", None)
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(owner).__name__).lower()


def _docstring(handler: Handler) -> tuple[str, str]:
    """Return a handler's first sentence, and the rest in Markdown."""
    summary, _, text = inspect.cleandoc(handler.__doc__ or "").partition("\n\n")
    return summary.replace("\n", " "), markdown(text)


def _class_text(answer: Any) -> str:
    if answer is Problem or not (inspect.isclass(answer) and issubclass(answer, msgspec.Struct)):
        return ""
    return markdown(inspect.cleandoc(answer.__doc__ or ""))


class _Schemas:
    """The JSON schemas of all types that the routes speak of."""

    def __init__(self, routes: Sequence[Route]) -> None:
        spoken = [
            each
            for route in routes
            for each in (route.query, route.body, *route.answers.values(), *ERRORS)
            if each is not None
        ]
        types = list(dict.fromkeys(leaf for each in spoken for leaf in _leaves(each)))
        self._schemas, self.components = type_schemas(types)
        self._queries = {
            route.query: self.components.pop(self._name(route.query))
            for route in routes
            if route.query is not None
        }

    def of(self, spoken: Any) -> Schema:
        """Return the schema of a type."""
        if get_origin(spoken) is list:
            return {"type": "array", "items": self.of(get_args(spoken)[0])}
        if _is_union(spoken):
            return {"anyOf": [self.of(each) for each in get_args(spoken)]}
        schema: Schema = self._schemas[spoken]
        return schema

    def query_parameters(self, route: Route) -> list[Schema]:
        """Return the parameters of a route's query string."""
        if route.query is None:
            return []
        parameters = []
        for name, schema in self._queries[route.query]["properties"].items():
            parameter = _parameter("query", name, schema)
            if "description" in schema:
                parameter["description"] = schema["description"]
            parameters.append(parameter)
        return parameters

    def _name(self, struct: type[msgspec.Struct]) -> str:
        name: str = self._schemas[struct]["$ref"].rpartition("/")[2]
        return name


def _is_union(spoken: Any) -> bool:
    return get_origin(spoken) in (Union, type(int | str))


def _leaves(spoken: Any) -> list[Any]:
    """Return the types that a type is made of by lists and unions.

    msgspec has no schema for unions of structs without tags, since it would not read them.
    """
    if get_origin(spoken) is list or _is_union(spoken):
        return [leaf for each in get_args(spoken) for leaf in _leaves(each)]
    return [spoken]
