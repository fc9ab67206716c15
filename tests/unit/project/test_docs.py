"""The documentation: links lead somewhere, and what stands in code blocks is right."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from tests.support.paths import PROJECT
from vimfed.cli import main
from vimfed.settings import load_settings

PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/*.md", "tests/**/*.md", "deploy/**/*.md")
    for page in PROJECT.glob(pattern)
)
FENCE = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A code block: what stands behind the fence, and what in it."""

    page: Path
    info: str
    text: str


def blocks(*infos: str) -> list[Block]:
    return [
        Block(page, info.strip(), text)
        for page in PAGES
        for _indent, info, text in FENCE.findall(page.read_text())
        if info.strip().partition(" ")[0] in infos
    ]


def by_page(block: Block) -> str:
    return str(block.page.relative_to(PROJECT))


def prose(page: Path) -> str:
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text()))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    texts = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", text).replace(" ", "-") for text in texts}


def links(page: Path) -> Iterator[str]:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if not re.match(r"[a-z]+:", target):
            yield target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_link_leads_to_a_page_and_a_heading_that_is_there(page: Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(found), target


def test_every_page_of_the_documentation_is_in_its_index() -> None:
    docs = PROJECT / "docs"
    told = {(docs / target.partition("#")[0]).resolve() for target in links(docs / "README.md")}
    for page in docs.glob("*.md"):
        assert page.name == "README.md" or page in told, page.name
    listed = set(links(docs / "decisions" / "README.md"))
    assert listed == {page.name for page in (docs / "decisions").glob("0*.md")}


@pytest.mark.parametrize("block", blocks("json"), ids=by_page)
def test_json_is_json(block: Block) -> None:
    """An ellipsis outside of a string stands for what was left out."""
    strings = r'"(?:[^"\\]|\\.)*"'
    whole = re.sub(rf"({strings})|,?\s*…", lambda found: found[1] or "", block.text)
    json.loads(whole)


@pytest.mark.parametrize("block", blocks("yaml"), ids=by_page)
def test_yaml_is_yaml(block: Block) -> None:
    assert yaml.safe_load(block.text)


@pytest.mark.parametrize("block", blocks("toml"), ids=by_page)
def test_settings_are_taken(block: Block, tmp_path: Path) -> None:
    """Files with secrets are those of the reader."""
    file = tmp_path / "vimfed.toml"
    secret, signing = tmp_path / "secret", tmp_path / "signing"
    secret.write_text("kafka://host:9092")
    signing.write_text(f"whsec_{'A' * 32}")
    text = re.sub(r'(\w+_file) = "[^"]*"', rf'\1 = "{secret}"', block.text)
    signs = re.compile(r'^(secret\w*_file) = "[^"]*"', re.MULTILINE)
    file.write_text(signs.sub(rf'\1 = "{signing}"', text))
    load_settings(file, {})


def test_every_command_that_is_told_of_exists() -> None:
    for page in PAGES:
        if page.name == "CHANGELOG.md":
            continue
        for command in re.findall(
            r"(?:^|[`/ ])vimfed ([a-z][a-z-]+)", page.read_text(), re.MULTILINE
        ):
            assert command in main.commands, f"{page.name}: vimfed {command}"


def test_every_target_of_make_that_is_told_of_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        for target in re.findall(r"`make ([a-z]+)`", page.read_text()):
            assert target in targets, f"{page.name}: make {target}"


def test_every_test_that_security_names_exists() -> None:
    text = (PROJECT / "docs" / "security.md").read_text()
    named = set(re.findall(r"`(test_\w+)`", text))
    there = {
        name
        for file in (PROJECT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE)
    }
    assert len(named) > 10
    assert named <= there


def test_the_assessment_has_every_chapter_and_names_files_that_are_there() -> None:
    text = (PROJECT / "docs" / "asvs.md").read_text()
    assert re.findall(r"^## V(\d+) ", text, re.MULTILINE) == [str(n) for n in range(1, 15)]
    rows = re.findall(r"^\| (\d+\.\d[^|]*) \| ([^|]*) \| ([^|]*) \|$", text, re.MULTILINE)
    assert len(rows) > 40
    for section, verdict, why in rows:
        assert verdict in ("met", "partly", "not met", "does not apply"), section
        assert len(why.split()) > 2, section
    for path in re.findall(r"`([a-z_]+/[a-z_/]+(?:\.py)?)`", text):
        assert any((PROJECT / room / path).exists() for room in ("", "tests")), path
