"""JSON Schemas of our types, with what the source says of them: for OpenAPI and AsyncAPI."""

import ast
import inspect
import itertools
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import msgspec

Schema = dict[str, Any]


def type_schemas(types: Sequence[Any]) -> tuple[dict[Any, Schema], dict[str, Schema]]:
    """Return the schema of each type, and the components by name that they refer to.

    Classes and fields are described by their docstrings.
    """
    schemas, components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    for struct in _structs(types):
        _describe_fields(struct, components)
    return dict(zip(types, schemas, strict=True)), components


def markdown(text: str) -> str:
    """Return a docstring as the readers of JSON understand it."""
    return text.replace("``", "`").replace("None", "null")


def _structs(types: Iterable[Any]) -> set[type[msgspec.Struct]]:
    """Return all structs that types are made of."""
    found: set[type[msgspec.Struct]] = set()

    def visit(info: Any) -> None:
        if isinstance(info, msgspec.inspect.StructType):
            if info.cls in found:
                return
            found.add(info.cls)
        if isinstance(info, msgspec.Struct):
            for name in info.__struct_fields__:
                visit(getattr(info, name))
        elif isinstance(info, tuple):
            for each in info:
                visit(each)

    for info in msgspec.inspect.multi_type_info(types):
        visit(info)
    return found


def _describe_fields(struct: type[msgspec.Struct], components: Mapping[str, Schema]) -> None:
    """Write what the fields' own docstrings say into a struct's schema."""
    component = components.get(struct.__name__)
    if component is None:
        return
    component["description"] = markdown(inspect.cleandoc(component.get("description", "")))
    for base in reversed(struct.__mro__):
        if not issubclass(base, msgspec.Struct) or base is msgspec.Struct:
            continue
        for name, text in _field_texts(base).items():
            schema = component.get("properties", {}).get(name)
            if schema is not None:
                schema.setdefault("description", text)


@cache
def _field_texts(struct: type[msgspec.Struct]) -> dict[str, str]:
    """Return the strings that stand below a struct's fields in its source."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(struct))).body
    body = definition.body if isinstance(definition, ast.ClassDef) else []
    texts = {}
    for field, following in itertools.pairwise(body):
        match field, following:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                texts[name] = markdown(" ".join(text.split()))
    return texts
