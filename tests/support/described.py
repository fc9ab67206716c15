"""Whether what an API takes and answers is what its OpenAPI document says."""

import re
from functools import cached_property
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker


class Described:
    """An API as its document describes it; what is not described fails an assertion."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document

    def check(
        self, method: str, path: str, request: Any, status: int, media_type: str, answer: Any
    ) -> None:
        """Check a request, None where it has no JSON body, and its answer."""
        where = f"{method} {path} -> {status}"
        operations = self._operations(path.partition("?")[0])
        if operations is None:
            assert status == 404, f"{where}: the path is not described"
            self._validate({"$ref": "#/components/schemas/Problem"}, answer, where)
            return
        operation = operations.get(method.lower())
        if operation is None:
            assert status == 405, f"{where}: the method is not described"
            self._validate({"$ref": "#/components/schemas/Problem"}, answer, where)
            return
        described = operation["responses"].get(str(status))
        assert described is not None, f"{where}: the status is not described: {answer}"
        content = described["content"]
        assert media_type in content, f"{where}: {media_type} is not described"
        self._validate(content[media_type]["schema"], answer, where)
        if request is not None and status < 300:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            self._validate(schema, request, f"{where}: request")

    def _operations(self, path: str) -> dict[str, Any] | None:
        for pattern, operations in self._patterns:
            if pattern.fullmatch(path):
                return operations
        return None

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], dict[str, Any]]]:
        """Return all paths, those with the fewest parameters first."""
        paths = sorted(self.document["paths"].items(), key=lambda item: item[0].count("{"))
        return [
            (re.compile(re.sub(r"{\w+}", "[^/]+", path) + "/?"), operations)
            for path, operations in paths
        ]

    @cached_property
    def _components(self) -> Any:
        """Return the schemas, with objects that have no other fields than those described."""
        return _closed(self.document["components"])

    def _validate(self, schema: Any, value: Any, where: str) -> None:
        whole = {**schema, "components": self._components}
        validator = Draft202012Validator(whole, format_checker=FormatChecker())
        errors = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]
        assert not errors, f"{where}: {errors[:3]}"


OPEN = {"PushedState", "PushedNotification", "Enveloped"}
"""Schemas of requests that may have more fields than they name."""


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("title") not in OPEN:
        closed.setdefault("additionalProperties", False)
    return closed
