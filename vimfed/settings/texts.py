"""The text of each key: the docstring below its field."""

import ast
import inspect
import itertools
from collections.abc import Iterator

import msgspec


def texts_of(section: type[msgspec.Struct]) -> dict[str, str]:
    """Return the text of each key of a section, those that it inherits too."""
    texts: dict[str, str] = {}
    for base in reversed(section.__mro__):
        if issubclass(base, msgspec.Struct) and base.__struct_fields__:
            texts |= _own_texts(base)
    return texts


def _own_texts(section: type[msgspec.Struct]) -> Iterator[tuple[str, str]]:
    source = ast.parse(inspect.getsource(section))
    for field, below in itertools.pairwise(
        statement
        for node in source.body
        if isinstance(node, ast.ClassDef)
        for statement in node.body
    ):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, " ".join(text.split())
