"""Answers of other HTTP servers, bounded in bytes: whoever answers decides how many it sends."""

from collections.abc import Mapping
from typing import Any

import aiohttp

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""Maximum size of an answer that may hold a list of instances or servers."""
MAX_SHORT_ANSWER_BYTES = 4 * 1024 * 1024
"""Maximum size of an answer that holds a few figures or a sentence."""
_PIECE = 64 * 1024
_PLAIN = {"Accept-Encoding": "identity"}


class AnswerError(Exception):
    """An answer, or the way to it, that is not to be trusted; the text says why.

    It is none of requests' errors: keystoneauth would take it for an endpoint that is away.
    """


class RefusedAnswerError(AnswerError, aiohttp.ClientError):
    """The same for those who handle what a session of aiohttp raises."""


class AnswerPieces:
    """Collects the pieces of an answer of ``most`` bytes at most."""

    def __init__(self, headers: Mapping[str, str], most: int) -> None:
        """Raise AnswerError where the answer is packed: its size says nothing of what it holds."""
        encoding = headers.get("Content-Encoding", "identity")
        if encoding.lower() != "identity":
            raise AnswerError(
                f"the answer is encoded ({encoding[:20]}), although none was asked for"
            )
        self._most = most
        self._pieces: list[bytes] = []
        self._size = 0

    def add(self, piece: bytes) -> None:
        """Add the next piece. Raises AnswerError where there are too many bytes."""
        self._size += len(piece)
        if self._size > self._most:
            raise AnswerError(f"the answer has more than {self._most} bytes")
        self._pieces.append(piece)

    def whole(self) -> bytes:
        """Return the answer."""
        return b"".join(self._pieces)


def bounded_session(
    headers: Mapping[str, str] | None = None, **options: Any
) -> aiohttp.ClientSession:
    """Return a session whose answers come as they are, for :func:`read_answer`.

    It keeps no cookies: whoever answers decides how many there are, and how long requests become.
    """
    return aiohttp.ClientSession(
        headers={**_PLAIN, **(headers or {})},
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        **options,
    )


async def read_answer(
    response: aiohttp.ClientResponse, most: int = MAX_SHORT_ANSWER_BYTES
) -> bytes:
    """Return the body of an answer of ``most`` bytes at most.

    Raises RefusedAnswerError, and what aiohttp raises.
    """
    try:
        pieces = AnswerPieces(response.headers, most)
        async for piece in response.content.iter_chunked(_PIECE):
            pieces.add(piece)
    except AnswerError as error:
        response.close()
        raise RefusedAnswerError(str(error)) from None
    return pieces.whole()


async def read_remark(response: aiohttp.ClientResponse, most: int) -> bytes:
    """Return the body of an answer whose status says all that counts; empty where it has too much.

    So it is, too, where the body is packed, cut off, or does not end in time.
    """
    try:
        return await read_answer(response, most)
    except (aiohttp.ClientError, TimeoutError, OSError):
        response.close()
        return b""


def failure_text(error: Exception) -> str:
    """Return in a line why there is no answer, without the path of the URL, which may hold a key.

    ``error`` is what a session of aiohttp has raised.
    """
    if isinstance(error, aiohttp.ClientResponseError):
        text = f"the answer is no HTTP: {error.message}"
    elif isinstance(error, aiohttp.InvalidURL):
        text = "the url is none"
    else:
        text = str(error)
    return " ".join(text.split()) or type(error).__name__
