"""The output to VES collectors, over their REST interface.

One event is posted to ``/eventListener/v7``, several to ``/eventListener/v7/eventBatch``: all of
one domain, as the collector wants it (streams/publisher/delivery.py sees to that). What a collector
says in a 200 or 202 beside that, its commands included, changes nothing here.
"""

import logging
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec

from streams.publisher.delivery import DeliveryError, Message, RefusedError
from streams.publisher.outputs.http_session import http_session
from streams.publisher.ves_header import ves_batch
from vimfed.kafka.topic_settings import Finding
from vimfed.model.decoding import UnreadableError, decoded
from vimfed.process.bounded_answer import read_answer
from vimfed.process.retry_after import retry_after
from vimfed.process.trace_carriers import REQUEST_HEADERS
from vimfed.settings import DmaapOutput, Settings

LOG = logging.getLogger(__name__)

TAKEN = (200, 202)
REFUSALS = (400, 413)
PUT_OFF = (429, 503)
LOGINS = (401, 403)
_TEXT = 300
"""Maximum characters of what is repeated of an answer."""


class _Commands(msgspec.Struct):
    commandList: msgspec.Raw = msgspec.Raw(b"")  # noqa: N815 - VES's name


class _RequestError(msgspec.Struct):
    """What an error of a collector says: one of the two has messageId, text and variables."""

    ServiceException: dict[str, Any] = {}
    PolicyException: dict[str, Any] = {}


class _Refusal(msgspec.Struct):
    requestError: _RequestError  # noqa: N815 - VES's name


_decode_commands = msgspec.json.Decoder(_Commands).decode
_decode_refusal = msgspec.json.Decoder(_Refusal).decode


def collectors_of(output: DmaapOutput) -> list[str]:
    """Return the URL of each collector's event listener."""
    parts = urlsplit(output.url)
    scheme = parts.scheme.removeprefix("ves+")
    return [f"{scheme}://{host.strip()}{parts.path}" for host in parts.netloc.split(",")]


class CollectorOutput:
    """Posts messages to the first collector that takes them, and stays with it."""

    request_bytes = 500_000

    def __init__(self, _settings: Settings, output: DmaapOutput) -> None:
        self._output = output
        self._collectors = collectors_of(output)
        """The one that is asked first is the first."""
        self._session: aiohttp.ClientSession | None = None
        self._headers = {"Content-Type": "application/json"}
        self._commands = b""
        """The last that a collector sent."""
        if output.login.username:
            self._headers["Authorization"] = aiohttp.encode_basic_auth(
                output.login.username, output.login.password.reveal()
            )

    async def deliver(self, messages: Sequence[Message]) -> None:
        """Post messages in one request; return when a collector says that it took all of them.

        Each collector is asked once. Raises DeliveryError or RefusedError.
        """
        failures: list[DeliveryError] = []
        for _ in self._collectors:
            try:
                await self._post(self._collectors[0], messages)
            except DeliveryError as error:
                self._collectors.append(self._collectors.pop(0))
                failures.append(error)
                if error.too_slow:  # the time for one attempt is over
                    break
            else:
                return
        pauses = [error.retry_after for error in failures if error.retry_after is not None]
        raise DeliveryError(
            "; ".join(map(str, failures)),
            min(pauses) if len(pauses) == len(failures) else None,
            too_slow=failures[-1].too_slow,
        )

    async def _post(self, collector: str, messages: Sequence[Message]) -> None:
        if len(messages) == 1:
            url, body = collector, messages[0].value
        else:
            url = f"{collector}/eventBatch"
            body = ves_batch(message.value for message in messages)
        try:
            async with self._opened().post(
                url,
                data=body,
                headers={**self._headers, **REQUEST_HEADERS.get()},
                allow_redirects=False,
            ) as response:
                self._judge(url, response, await read_answer(response))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise DeliveryError(
                f"{url}: {str(error) or type(error).__name__}",
                too_slow=isinstance(error, TimeoutError)
                and not isinstance(error, aiohttp.ConnectionTimeoutError),
            ) from error

    def _judge(self, url: str, response: aiohttp.ClientResponse, body: bytes) -> None:
        status = response.status
        if status in TAKEN:
            self._note_commands(url, body)
            return
        told = f"{url}: {status} {_refusal_text(body)}".strip()
        if status in REFUSALS:
            raise RefusedError(told)
        if status in LOGINS:
            raise DeliveryError(
                f"{told}: the collector does not know username and password, or the certificate, "
                f"of output {self._output.name}"
            )
        if 300 <= status < 400:
            raise DeliveryError(f"{told}: redirects are not followed: name the right url")
        asked = retry_after(response.headers.get("Retry-After", "")) if status in PUT_OFF else None
        raise DeliveryError(told, asked)

    def _note_commands(self, url: str, body: bytes) -> None:
        """Log what a collector wants of us, where it is another wish than its last one."""
        try:
            commands = bytes(decoded(_decode_commands, body).commandList)
        except UnreadableError:  # ONAP's own says "Successfully send event", which is no JSON
            return
        if commands and commands != self._commands:
            LOG.info("%s sends commands, which are not heeded: %s", url, _text(commands))
        self._commands = commands

    async def check(self) -> list[Finding]:
        """Return which collectors do not answer their health check, or not well.

        Raises aiohttp.ClientError, TimeoutError or OSError where none answers.
        """
        found: list[Finding] = []
        failures: list[Exception] = []
        for collector in self._collectors:
            url = f"{collector.rpartition('/eventListener/')[0]}/healthcheck"
            try:
                async with self._opened().get(
                    url, headers=self._headers, allow_redirects=False
                ) as response:
                    if response.status != 200:
                        found.append(Finding(url, f"{url} answers {response.status}", False))
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                failures.append(error)
                text = f"{url}: {str(error) or type(error).__name__}"
                found.append(Finding(url, text, refused=False))
        if len(failures) == len(self._collectors):
            raise failures[0]
        return found

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = http_session(self._output, self._collectors[0])
        return self._session


async def probe(settings: Settings, output: DmaapOutput) -> list[Finding]:
    """Return which collectors are not well. Raises OSError and its like where none answers."""
    collector = CollectorOutput(settings, output)
    try:
        return await collector.check()
    finally:
        await collector.close()


def _refusal_text(body: bytes) -> str:
    """Return what a collector says of its error: messageId and text, with the variables in it."""
    try:
        error = decoded(_decode_refusal, body).requestError
    except UnreadableError:
        return _text(body)
    told = error.ServiceException or error.PolicyException
    text = str(told.get("text", ""))
    variables = told.get("variables")
    for number, value in enumerate(variables if isinstance(variables, list) else [], start=1):
        text = text.replace(f"%{number}", str(value))
    return f"{told.get('messageId', '')} {text}".strip()[:_TEXT]


def _text(body: bytes) -> str:
    return body[:_TEXT].decode(errors="replace").strip()
