"""The output to a DMaaP Message Router, over its REST interface.

Only ``application/cambria`` carries a key with each message; content types are matched exactly. A
200 tells how many messages were taken, and that is not always all of them.
"""

import asyncio
import gzip
from collections.abc import Sequence
from functools import partial
from urllib.parse import urljoin

import aiohttp
import msgspec

from streams.publisher.delivery import DeliveryError, Message, RefusedError
from streams.publisher.outputs.http_session import http_session
from vimfed.kafka.topic_settings import Finding
from vimfed.model.decoding import UnreadableError, decoded
from vimfed.process.bounded_answer import read_answer
from vimfed.process.retry_after import retry_after
from vimfed.process.trace_carriers import REQUEST_HEADERS
from vimfed.settings import DmaapOutput, Settings

CAMBRIA = "application/cambria"
CAMBRIA_ZIP = "application/cambria-zip"
PUT_OFF = (429, 503)
REFUSALS = (400, 413)


class _Answer(msgspec.Struct):
    count: int


def cambria(messages: Sequence[Message]) -> bytes:
    """Return messages as ``<keyLen>.<msgLen>.<key><msg>`` lines, lengths in bytes."""
    return b"".join(
        b"%d.%d.%b%b\n" % (len(message.key), len(message.value), message.key, message.value)
        for message in messages
    )


class MessageRouterOutput:
    """Posts messages to a Message Router's topic."""

    request_bytes = 1_000_000

    def __init__(self, _settings: Settings, output: DmaapOutput) -> None:
        self._output = output
        self._session: aiohttp.ClientSession | None = None
        self._headers = {"Content-Type": CAMBRIA_ZIP if output.gzip else CAMBRIA}
        if output.login.username:
            self._headers["Authorization"] = aiohttp.encode_basic_auth(
                output.login.username, output.login.password.reveal()
            )

    async def deliver(self, messages: Sequence[Message]) -> None:
        """Post messages in one request; return when the server says that it took all of them.

        Raises DeliveryError or RefusedError.
        """
        body = cambria(messages)
        if self._output.gzip:
            body = await asyncio.to_thread(gzip.compress, body, 1)
        try:
            async with self._opened().post(
                self._output.url,
                data=body,
                headers={**self._headers, **REQUEST_HEADERS.get()},
                allow_redirects=False,
            ) as response:
                self._judge(response, await read_answer(response), len(messages))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise DeliveryError(
                f"{self._output.url}: {str(error) or type(error).__name__}",
                too_slow=isinstance(error, TimeoutError)
                and not isinstance(error, aiohttp.ConnectionTimeoutError),
            ) from error

    def _judge(self, response: aiohttp.ClientResponse, body: bytes, sent: int) -> None:
        told = f"{self._output.url}: {response.status} {_text(body)}"
        if response.status in REFUSALS:
            raise RefusedError(told)
        if response.status != 200:
            raise DeliveryError(
                told,
                retry_after(response.headers.get("Retry-After", ""))
                if response.status in PUT_OFF
                else None,
            )
        try:
            count = decoded(partial(msgspec.json.decode, type=_Answer), body).count
        except UnreadableError as error:
            raise DeliveryError(f"{told}: {error}") from error
        if count != sent:
            short = f"{told}: {count} of {sent} messages taken"
            # Which of them nobody knows: smaller requests find out.
            raise RefusedError(short) if sent > 1 else DeliveryError(short)

    async def check(self) -> None:
        """Ask the server for its topics. Raises aiohttp.ClientError, TimeoutError or OSError."""
        url = urljoin(self._output.url, "/topics")
        async with self._opened().get(url, headers=self._headers, allow_redirects=False):
            pass

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = http_session(self._output, self._output.url)
        return self._session


async def probe(settings: Settings, output: DmaapOutput) -> list[Finding]:
    """Return nothing: any answer will do. Raises OSError and its like where no server answers."""
    router = MessageRouterOutput(settings, output)
    try:
        await router.check()
    finally:
        await router.close()
    return []


def _text(body: bytes) -> str:
    return body[:300].decode(errors="replace").strip()
