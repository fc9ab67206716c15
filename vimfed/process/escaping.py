"""Text of others for a log or a terminal: nothing in it begins a line, or commands the terminal."""

import json
import re
import sys

import click

_COMMANDS = (
    "\x00-\x1f\x7f-\x9f"  # C0 and C1: line ends, ESC, CSI
    "\u2028\u2029"  # line and paragraph separators
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what turns the direction of writing
    "\ud800-\udfff"  # bytes that are not UTF-8
)
_IN_A_LINE = re.compile(f"[{_COMMANDS}]")
_IN_LINES = re.compile(f"(?![\n\t])[{_COMMANDS}]")


def escaped(text: str, *, lines: bool = False) -> str:
    """Return ``text`` with ``\\x1b`` for ESC and the like.

    ``lines``: it has several lines, and tabs, of its own.
    """
    pattern = _IN_LINES if lines else _IN_A_LINE
    return pattern.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def quoted(text: str) -> str:
    """Return ``text`` as JSON has it, and in it ``\\u001b`` for ESC and the like."""
    told = json.dumps(text, ensure_ascii=False)
    return _IN_A_LINE.sub(lambda found: f"\\u{ord(found.group()):04x}", told)


def echo(*fields: str, separator: str = "\t", err: bool = False) -> None:
    """Print a line of fields, which others may have chosen."""
    click.echo(separator.join(map(escaped, fields)), err=err)


def echo_bytes(text: bytes) -> None:
    """Print bytes of others: as they are, unless to a terminal."""
    if sys.stdout.isatty():
        click.echo(escaped(text.decode(errors="backslashreplace"), lines=True))
    else:
        click.echo(text)
