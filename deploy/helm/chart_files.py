"""Writes what of the chart is made from something else.

values.schema.json   the keys of `settings`, from the types of vimfed's settings
README.md            every value, from the comments of values.yaml that begin with `# -- `

    .venv/bin/python deploy/helm/chart_files.py            writes both
    .venv/bin/python deploy/helm/chart_files.py --check    ends with 1 where one is out of step
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from msgspec import inspect

from vimfed.settings import Settings

CHART = Path(__file__).parent / "vim-event-federation"
PREFIX = "settings."
"""Of the names of definitions that are made here."""

HEAD = """\
# {name}

{description}. Kafka is not part
of the chart. How it is used, with logins, HTTPS, networks, scaling and updates:
[docs/kubernetes.md](../../../docs/kubernetes.md); every key of `settings`:
[docs/configuration.md](../../../docs/configuration.md).

    helm install federation deploy/helm/vim-event-federation --values my-values.yaml
    helm test federation

Kubernetes {kubernetes}. This page is made from values.yaml: `python deploy/helm/chart_files.py`.

| value | default | |
|---|---|---|
"""


def schema(present: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values' schema with the settings as vimfed takes them now."""
    made = settings_definitions()
    own = {
        name: definition
        for name, definition in present["definitions"].items()
        if not name.startswith(PREFIX)
    }
    return {**present, "definitions": {**own, **made}}


def settings_definitions() -> dict[str, Any]:
    """Return the definition of each section of the settings, by name.

    None has required keys: what is left out of the values may come from the environment.
    """
    found: dict[str, Any] = {}
    _of(inspect.type_info(Settings), found)
    return dict(sorted(found.items()))


def _of(kind: inspect.Type, found: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a type; add those of the sections in it to ``found``."""
    match kind:
        case inspect.StructType(cls=cls, fields=fields):
            name = f"{PREFIX}{cls.__name__}"
            if name not in found:
                found[name] = {"type": "object", "additionalProperties": False}
                found[name]["properties"] = {
                    field.encode_name: _of(field.type, found) for field in fields
                }
            return {"$ref": f"#/definitions/{name}"}
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            return {"type": "array", "items": _of(item, found), **_bounds(kind)}
        case inspect.LiteralType(values=values):
            return {"enum": list(values)}
        case inspect.BoolType():
            return {"type": "boolean"}
        case inspect.IntType():
            return {"type": "integer", **_bounds(kind)}
        case inspect.FloatType():
            return {"type": "number", **_bounds(kind)}
        case inspect.StrType() | inspect.CustomType():
            return {"type": "string", **_bounds(kind)}
    raise NotImplementedError(kind)


_BOUNDS = {
    "ge": "minimum",
    "le": "maximum",
    "gt": "exclusiveMinimum",
    "lt": "exclusiveMaximum",
    "pattern": "pattern",
}


def _bounds(kind: inspect.Type) -> dict[str, Any]:
    size = "Items" if isinstance(kind, inspect.ListType | inspect.VarTupleType) else "Length"
    names = {**_BOUNDS, "min_length": f"min{size}", "max_length": f"max{size}"}
    return {
        word: value
        for name, word in names.items()
        if (value := getattr(kind, name, None)) is not None
    }


def readme() -> str:
    """Return the page of all values."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    head = HEAD.format(
        name=chart["name"],
        description=chart["description"],
        kubernetes=chart["kubeVersion"].replace(">=", "").replace("-0", " and later"),
    )
    text = (CHART / "values.yaml").read_text()
    rows = _rows(yaml.compose(text), text.splitlines(), "")
    return head + "".join(f"| `{key}` | {default} | {said} |\n" for key, default, said in rows)


def _rows(
    node: yaml.MappingNode, lines: Sequence[str], above: str
) -> Iterator[tuple[str, str, str]]:
    """Yield path, default and text of each value; a map in block style is told by its keys."""
    for key, value in node.value:
        path = f"{above}{key.value}"
        said = _comment(lines, key.start_mark.line)
        if isinstance(value, yaml.MappingNode) and not value.flow_style:
            if said:
                yield path, "", said
            yield from _rows(value, lines, f"{path}.")
        else:
            written = json.dumps(_value(value), ensure_ascii=False)
            yield path, f"`{written}`".replace("|", "\\|"), said


def _value(node: yaml.Node) -> Any:
    return yaml.safe_load(yaml.serialize(node))


def _comment(lines: Sequence[str], line: int) -> str:
    """Return the comment right above a line, from its last `# -- ` on; empty without one."""
    found: list[str] = []
    while line and lines[line - 1].lstrip().startswith("#"):
        line -= 1
        text = lines[line].lstrip().removeprefix("#").strip()
        found.insert(0, text.removeprefix("-- "))
        if text.startswith("-- "):
            return " ".join(found).replace("|", "\\|").replace("<", "\\<")
    return ""


def main(arguments: Sequence[str]) -> int:
    """Write the files, or say which differ; return the exit code."""
    file = CHART / "values.schema.json"
    made = {
        file: json.dumps(schema(json.loads(file.read_text())), indent=2) + "\n",
        CHART / "README.md": readme(),
    }
    if "--check" not in arguments:
        for path, text in made.items():
            path.write_text(text)
        return 0
    differing = [
        path.name for path, text in made.items() if not path.exists() or path.read_text() != text
    ]
    if differing:
        print(f"out of step: {', '.join(differing)}: python deploy/helm/chart_files.py")
    return int(bool(differing))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
