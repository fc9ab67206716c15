"""What describes the messages, over HTTP: the AsyncAPI document, and the published schemas."""

from typing import Any, get_args

import msgspec
from aiohttp import web

from vimfed.model.schemas import SchemaName, schema_id
from vimfed.settings import Settings
from web.asyncapi import asyncapi_document, published_schema, without_servers
from web.http.errors import ApiError, Problem, json_response
from web.http.routes import Route


class PublishedSchema(msgspec.Struct, frozen=True, kw_only=True):
    """Where a schema is, and what messages call it."""

    id: str
    """The value of ``dataschema``."""
    path: str


class SchemaList(msgspec.Struct, frozen=True, kw_only=True):
    """All published schemas."""

    schemas: list[PublishedSchema]


class Messages:
    """The handlers of ``/asyncapi.json`` and ``/schemas/``."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._schemas = {name: published_schema(name) for name in get_args(SchemaName)}

    def routes(self) -> list[Route]:
        """Return all routes."""
        return [
            Route(
                method="GET",
                paths=("/asyncapi.json",),
                handler=self.document,
                role="reader",
                answers={200: dict[str, Any]},
            ),
            Route(
                method="GET",
                paths=("/schemas",),
                handler=self.list_all,
                role="anyone",
                answers={200: SchemaList},
            ),
            Route(
                method="GET",
                paths=("/schemas/{name}",),
                handler=self.get,
                role="anyone",
                answers={200: dict[str, Any], 404: Problem},
            ),
        ]

    async def document(self, _request: web.Request) -> web.Response:
        """Describe every topic and message in AsyncAPI 3.

        Where the brokers are, ``vimfed asyncapi`` alone says.
        """
        return json_response(without_servers(asyncapi_document(self._settings)))

    async def list_all(self, _request: web.Request) -> web.Response:
        """List the JSON Schemas of messages."""
        return json_response(
            SchemaList(
                schemas=[
                    PublishedSchema(id=schema_id(name), path=f"/schemas/{name}")
                    for name in self._schemas
                ]
            )
        )

    async def get(self, request: web.Request) -> web.Response:
        """Return the JSON Schema of a message; its name is the last part but one of its URN."""
        schema = self._schemas.get(request.match_info["name"])
        if schema is None:
            raise ApiError(404, f"there is no schema {request.match_info['name']}: see /schemas/")
        return json_response(schema)
