"""Makes the folder from which Sphinx builds the site: python deploy/site/pages.py FOLDER.

In it are all pages to which README.md leads, from page to page, and what they name beside pages;
and the references of the HTTP API and of the messages, made from the code. The list of pages is the
table of docs/README.md.
"""

import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
from references import http_reference, message_reference

from streams.worker.worker import StreamWorker
from vimfed.settings import (
    DmaapOutput,
    DmaapSettings,
    SamplesSettings,
    Settings,
    VimSettings,
)
from web.asyncapi import asyncapi_document, without_servers
from web.auth.backends.kinds import security_schemes
from web.http import openapi
from web.http.routes import ROUTES
from web.service import serve

PROJECT = Path(__file__).resolve().parents[2]
CODE = re.compile(r"^( *)```[^\n]*\n.*?^\1```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s#]+)(#[^)\s]*)?\)")
HOME = Path("README.md")
INDEX = Path("docs/README.md")
REFERENCES = ["reference-http.md", "reference-messages.md"]
OUTPUTS = [
    DmaapOutput(name="events", url="kafka://dmaap:9092/unauthenticated.VIM_VM_EVENTS"),
    DmaapOutput(name="metrics", url="kafka://dmaap:9092/metrics", carries="measurements"),
]


def main(folder: Path) -> None:
    """Fill ``folder``; what is as it was is not written, so that Sphinx reads it no more."""
    made = dict(_pages())
    made |= _references()
    for name in [name for name in made if Path(name).name == HOME.name and name != str(INDEX)]:
        siblings = [
            Path(other).stem
            for other in made
            if other.endswith(".md") and other != name and Path(other).parent == Path(name).parent
        ]
        made[name] += _toctree("", sorted(siblings)).encode()
    made["index.md"] += _contents(made).encode()
    for name, content in made.items():
        file = folder / name
        if not file.exists() or file.read_bytes() != content:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    for file in folder.rglob("*"):
        if file.is_file() and str(file.relative_to(folder)) not in made:
            file.unlink()


def _pages() -> Iterator[tuple[str, bytes]]:
    """Yield name and content of all that the pages lead to, themselves first."""
    seen, waiting = {HOME}, [HOME]
    while waiting:
        path = waiting.pop(0)
        content = (PROJECT / path).read_bytes()
        if path.suffix == ".md":
            text, targets = _rewritten(path, content.decode())
            content = text.encode()
            new = [target for target in dict.fromkeys(targets) if target not in seen]
            seen.update(new)
            waiting += new
        yield _name(path), content


def _name(path: Path) -> str:
    return "index.md" if path == HOME else str(path)


def _rewritten(path: Path, text: str) -> tuple[str, list[Path]]:
    """Return a page with links to files alone, and the files."""
    targets = []

    def link(found: re.Match[str]) -> str:
        if re.match(r"[a-z]+:", found[1]):
            return found[0]
        target = (PROJECT / path.parent / found[1]).resolve()
        target = target / HOME if target.is_dir() else target
        relative = target.relative_to(PROJECT)
        targets.append(relative)
        up = "../" * len(path.parent.parts)
        return f"]({up}{_name(relative)}{found[2] or ''})"

    parts, at = [], 0
    for code in CODE.finditer(text):
        parts += [LINK.sub(link, text[at : code.start()]), code[0]]
        at = code.end()
    # A link's text may be code: what is left of it begins with the bracket's end.
    return "".join([*parts, LINK.sub(link, text[at:])]), targets


def _contents(made: dict[str, bytes]) -> str:
    """Return the table of contents: by docs/README.md's rows, then the references and the rest."""
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", (PROJECT / INDEX).read_text(), re.MULTILINE)
    listed: dict[str, list[str]] = {}
    for whom, pages in rows:
        _, targets = _rewritten(INDEX, pages)
        listed[whom] = [str(path) for path in targets if path.suffix == ".md"]
    listed["references"] = REFERENCES
    known = {"index.md", *(name for names in listed.values() for name in names)}
    below = {str(Path(name).parent) for name in made if Path(name).name == HOME.name}
    listed["more"] = [str(INDEX)] + [
        name
        for name in made
        if name.endswith(".md")
        and name not in known | {str(INDEX)}
        and (Path(name).name == HOME.name or str(Path(name).parent) not in below - {"docs"})
    ]
    return "".join(
        _toctree(whom, [name.removesuffix(".md") for name in names])
        for whom, names in listed.items()
        if names
    )


def _toctree(caption: str, pages: list[str]) -> str:
    if not pages:
        return ""
    lines = "\n".join(pages)
    title = f":caption: {caption}\n" if caption else ""
    return f"\n```{{toctree}}\n:hidden:\n{title}\n{lines}\n```\n"


def _references() -> dict[str, bytes]:
    """Return the pages that are made from the code."""
    cloud = VimSettings(
        cloud_owner="CloudOwner",
        cloud_region_id="RegionOne",
        samples=SamplesSettings(pushed=True),
    )
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            state_dir=Path(folder), vims=[cloud], dmaap=DmaapSettings(outputs=OUTPUTS)
        )
        worker = StreamWorker(settings)
        serve(worker)
        # Each path of a route has an entry there, with the same route.
        routes = {id(route): route for route in worker.app.web.web_app[ROUTES].values()}
        described = openapi.document(routes.values(), security_schemes())
    messages = msgspec.json.encode(without_servers(asyncapi_document(settings)))
    return {
        "reference-http.md": http_reference(described).encode(),
        "reference-messages.md": message_reference(json.loads(messages)).encode(),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
