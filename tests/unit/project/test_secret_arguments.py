"""No documented command has a secret among its arguments: everybody on a machine can read them."""

import re

import pytest

from tests.support.paths import PROJECT

DOCUMENTS = sorted(
    path
    for pattern in (
        "*.md",
        "docs/**/*.md",
        "examples/*",
        "deploy/**/*.y*ml",
        "deploy/**/*.txt",
        "deploy/**/*.tpl",
        "docker-compose.yml",
        "Makefile",
        "vimfed/cli/*.py",
    )
    for path in PROJECT.glob(pattern)
    if path.is_file()
)
SECRET = re.compile(
    r"--url[ =]\S*//[^/\s]*:[^/\s]*@"
    r"|--from-literal=\S*(?:://\S*@|password|secret|token)"
    r"|-H ['\"]?(?:Authorization|X-Auth-Token)"
    r"|curl\b.* (?:-u|--user) \S+:\S+"
    r"|--(?:password|token|secret)[ =]",
    re.IGNORECASE,
)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_no_documented_command_has_a_secret_among_its_arguments(path: object) -> None:
    text = path.read_text(encoding="utf-8")  # type: ignore[attr-defined]
    assert [found.group() for found in SECRET.finditer(text)] == []


def test_such_commands_are_known() -> None:
    for command in (
        "vimfed replay TRACE --url rabbit://guest:guest@127.0.0.1:5672/",
        "vimfed status --url http://USER:PASSWORD@HOST:PORT",
        "kubectl create secret generic x --from-literal=urls=rabbit://vimfed:secret@rabbit1:5672",
        "curl -H 'Authorization: Bearer TOKEN' https://worker:6066/",
        "curl -s -u plugin:secret https://worker:6066/",
        "vimfed x --password=y",
    ):
        assert SECRET.search(command), command
    for command in ("curl -u plugin-one https://w/", "curl -H @header https://w/"):
        assert not SECRET.search(command), command
