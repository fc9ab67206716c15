"""The OpenAPI and the AsyncAPI document as Markdown."""

from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]


def http_reference(document: Schema) -> str:
    """Return the page of an OpenAPI document."""
    return "\n".join(_http(document)) + "\n"


def message_reference(document: Schema) -> str:
    """Return the page of an AsyncAPI document."""
    return "\n".join(_messages(document)) + "\n"


def _http(document: Schema) -> Iterator[str]:
    yield "# HTTP API reference\n"
    yield f"{document['info']['description']}\n"
    yield "Made from the routes; every worker serves it as OpenAPI 3.1 at `/openapi.json`, and"
    yield "shows it at `/docs`. What is behind it: [the HTTP API](docs/http-api.md).\n"
    by_tag: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            lines = by_tag.setdefault(operation["tags"][0], [])
            lines += _operation(f"{method.upper()} {path}", operation)
    for tag, lines in by_tag.items():
        yield f"## {tag.capitalize()}\n"
        yield from lines
    yield from _schemas(document)


def _operation(title: str, operation: Schema) -> Iterator[str]:
    yield f"### `{title}`\n"
    yield f"{operation['summary']}\n"
    if "description" in operation:
        yield f"{operation['description']}\n"
    if "x-role" in operation:
        yield f"Needs the role `{operation['x-role']}`, where callers have to log in.\n"
    if operation["parameters"]:
        yield "| parameter | in | type | |\n|---|---|---|---|"
        for each in operation["parameters"]:
            text = _cell(each.get("description", each["schema"].get("description", "")))
            yield f"| `{each['name']}` | {each['in']} | {_type(each['schema'])} | {text} |"
        yield ""
    if "requestBody" in operation:
        (content,) = operation["requestBody"]["content"].values()
        yield f"Body: {_type(content['schema'])}\n"
    yield "| status | body | |\n|---|---|---|"
    for status, answer in operation["responses"].items():
        body = ", ".join(_type(each["schema"]) for each in answer.get("content", {}).values())
        yield f"| {status} | {body} | {_cell(answer['description'])} |"
    yield ""


def _messages(document: Schema) -> Iterator[str]:
    yield "# Messages reference\n"
    yield f"{document['info']['description']}\n"
    yield "Made for an output of events and one of measurements; `vimfed asyncapi` prints it for"
    yield "your settings, as AsyncAPI 3. What is behind it: [outputs](docs/outputs.md).\n"
    yield "## Channels\n\n| address | messages | |\n|---|---|---|"
    for channel in document["channels"].values():
        names = ", ".join(f"[{name}](#message-{name.lower()})" for name in channel["messages"])
        yield f"| `{channel['address']}` | {names} | {_cell(channel['summary'])} |"
    yield "\n## Messages\n"
    for name, message in document["components"]["messages"].items():
        yield f"### Message {name}\n"
        yield f"{message.get('title') or message['summary']}\n"
        yield f"Content type `{message['contentType']}`, payload: {_type(message['payload'])}.\n"
        if "headers" in message:
            yield from _properties("header", message["headers"])
    yield from _schemas(document)


def _schemas(document: Schema) -> Iterator[str]:
    yield "## Schemas\n"
    for name, schema in document["components"]["schemas"].items():
        yield f"### Schema {name}\n"
        text = schema.get("description") or schema.get("title", "")
        yield f"{_cell(text)}\n"
        if "properties" in schema:
            yield from _properties("field", schema)
        elif "prefixItems" in schema:
            listed = ", ".join(map(_type, schema["prefixItems"]))
            yield f"A list of: {listed}.\n"
        else:
            yield f"{_type(schema)}\n"


def _properties(what: str, schema: Schema) -> Iterator[str]:
    required = schema.get("required", ())
    yield f"| {what} | type | |\n|---|---|---|"
    for name, each in schema["properties"].items():
        must = "" if name in required else "optional. "
        yield f"| `{name}` | {_type(each)} | {must}{_cell(each.get('description', ''))} |"
    yield ""


def _type(schema: Schema) -> str:
    """Return what a schema allows, in words."""
    match schema:
        case {"$ref": reference}:
            name = reference.rpartition("/")[2]
            return f"[{name}](#schema-{name.lower()})"
        case {"const": value}:
            return f"`{value}`"
        case {"enum": values}:
            return " or ".join(f"`{value}`" for value in values)
        case {"anyOf": [*choices]} if "type" not in schema:
            return " or ".join(map(_type, choices))
        case {"type": "array", "items": items} if items:
            return f"list of {_type(items)}"
        case {"type": "object", "additionalProperties": dict(items)} if items:
            return f"object of {_type(items)}"
        case {"type": str(name)}:
            return name
    return "anything"


def _cell(text: str) -> str:
    """Return a text for a cell of a table."""
    parts = " ".join(text.split()).replace("|", "\\|").split("`")
    return "`".join(
        part.replace("<", "&lt;") if number % 2 == 0 else part for number, part in enumerate(parts)
    )
