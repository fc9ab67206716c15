"""The output itself: what is asked of a receiver, and what its answers mean."""

import asyncio
import logging
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

import aiohttp

from streams.publisher.delivery import (
    DeliveryError,
    Message,
    PartlyTakenError,
    RefusedError,
)
from streams.publisher.outputs.http_session import http_session
from streams.publisher.outputs.webhook.binding import Request, requests_of
from streams.publisher.outputs.webhook.circuit import Circuit, CircuitOpenError
from streams.publisher.outputs.webhook.handshake import (
    ORIGIN,
    NotGrantedError,
    granted_rate,
    handshake_headers,
)
from streams.publisher.outputs.webhook.pace import Pace
from streams.publisher.outputs.webhook.signature import signed_headers
from vimfed.kafka.topic_settings import Finding
from vimfed.process.addresses import PublicAddresses
from vimfed.process.bounded_answer import failure_text, read_remark
from vimfed.process.retry_after import retry_after
from vimfed.settings import DmaapOutput, Settings, signing_key

LOG = logging.getLogger(__name__)

GONE = 410
TRY_AGAIN = frozenset({408, 425, 429})
"""Errors of the request that are none of what it carries: it may be taken later."""
MENDS = {
    401: "the receiver does not know webhook.token, or username and password, or the signature",
    403: "the receiver does not know webhook.token, or username and password, or the signature",
    404: "nobody listens at this path: name the right url",
    405: "nobody takes POST at this path: name the right url",
    407: "a proxy on the way asks for a login",
}
"""Errors that would meet every message: the stream waits until somebody mends what is said."""
_TEXT = 300
"""Maximum characters of what is repeated of an answer."""
_ANSWER_BYTES = 64 * 1024


class WebhookOutput:
    """Posts messages to a receiver, several at once, those of each key one after the other."""

    request_bytes = 500_000

    def __init__(self, _settings: Settings, output: DmaapOutput) -> None:
        self._output = output
        self._webhook = output.webhook
        self._url = output.url.removeprefix("webhook+")
        parts = urlsplit(self._url)
        self._shown = f"{parts.scheme}://{parts.netloc}"
        """Without its path, which may hold a key."""
        self._keys = [
            signing_key(secret)
            for secret in (self._webhook.secret, self._webhook.secret_previous)
            if secret
        ]
        self._addresses = PublicAddresses(self._webhook.allowed_networks)
        self._circuit = Circuit()
        self._failure = ""
        """Why the last request failed."""
        self._pace = Pace()
        self._slots = asyncio.Semaphore(self._webhook.parallel)
        self._asking = asyncio.Lock()
        self._is_granted = not self._webhook.handshake
        self._gone = ""
        """What was said by a receiver that wants nothing any more; empty of one that does."""
        self._session: aiohttp.ClientSession | None = None

    async def deliver(self, messages: Sequence[Message]) -> None:
        """Post messages; return when the receiver has taken each.

        It ends after some time, too, with what is taken until then. Raises DeliveryError,
        RefusedError, or PartlyTakenError.
        """
        try:
            await self._deliver(messages)
        except DeliveryError as error:
            if self._circuit.is_open:
                error.retry_after = self._circuit.pause
                error.is_circuit_open = True
            raise

    async def _deliver(self, messages: Sequence[Message]) -> None:
        await self._ask_once()
        ends = time.monotonic() + self._output.timeout
        begun: list[Request] = []
        taken: list[Message] = []
        failures: list[DeliveryError] = []
        refusals: list[RefusedError] = []

        def is_over(moment: float) -> bool:
            return bool(failures or (begun and moment >= ends))

        async def post_all(requests: Sequence[Request]) -> None:
            for request in requests:
                async with self._slots:
                    if not await self._pace.turn(is_over):
                        return
                    begun.append(request)
                    try:
                        await self._post(request)
                    except DeliveryError as error:
                        failures.append(error)
                        return
                    except RefusedError as error:
                        refusals.append(error)
                        return
                    taken.extend(request.messages)

        await asyncio.gather(*map(post_all, requests_of(messages, self._webhook.mode)))
        for error in (*failures, *refusals):
            error.taken = taken
            raise error
        if len(taken) < len(messages):
            raise PartlyTakenError("the time for one attempt is over", taken)

    async def _post(self, request: Request) -> None:
        """Make a request. Raises DeliveryError or RefusedError."""
        signed = signed_headers(self._keys, request.id, int(time.time()), request.body)
        headers = {**request.headers, **signed, **self._headers()}
        try:
            await self._ask("POST", headers, request.body)
        except DeliveryError as error:
            error.too_slow = error.too_slow and len(request.messages) > 1
            raise

    async def _ask_once(self) -> None:
        """Ask for the receiver's permission where that is not done. Raises DeliveryError."""
        async with self._asking:
            if self._is_granted:
                return
            rate = await self._ask("OPTIONS", handshake_headers(self._webhook), b"")
            self._is_granted = True
            self._pace.allow(rate)
            LOG.info(
                "output %s: %s allows %s requests a minute",
                self._output.name,
                self._shown,
                "any number of" if rate is None else rate,
            )

    async def _ask(self, method: str, headers: dict[str, str], body: bytes) -> int | None:
        """Make a request through the circuit; return the rate that OPTIONS allow.

        Raises DeliveryError or RefusedError.
        """
        if self._gone:
            raise DeliveryError(self._gone, is_circuit_open=True)
        try:
            with self._circuit.request():
                try:
                    rate = await self._answer(method, headers, body)
                except DeliveryError as error:
                    self._note_failure(error)
                    raise
                except RefusedError:
                    self._note_success()
                    raise
                self._note_success()
                return rate
        except CircuitOpenError as error:
            raise DeliveryError(self._failure, error.pause, is_circuit_open=True) from None

    async def _answer(self, method: str, headers: dict[str, str], body: bytes) -> int | None:
        try:
            async with self._opened().request(
                method, self._url, data=body, headers=headers, allow_redirects=False
            ) as response:
                # Whatever the status: servers answer OPTIONS who know nothing of webhooks.
                if method == "OPTIONS" and not _is_away(response.status):
                    return granted_rate(response.status, response.headers, self._webhook)
                self._judge(response, await read_remark(response, _ANSWER_BYTES))
        except NotGrantedError as error:
            raise DeliveryError(f"{self._shown}: {error}") from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise DeliveryError(
                f"{self._shown}: {failure_text(error)}",
                too_slow=isinstance(error, TimeoutError)
                and not isinstance(error, aiohttp.ConnectionTimeoutError),
            ) from error
        return None

    def _judge(self, response: aiohttp.ClientResponse, body: bytes) -> None:
        status = response.status
        if 200 <= status < 300:
            return
        told = f"{self._shown}: {status} {body[:_TEXT].decode(errors='replace')}".strip()
        if status == GONE:
            self._gone = (
                f"{told}: the receiver wants nothing any more: take the output out of the "
                "settings, or name its new url, or start this publisher anew"
            )
            LOG.error("output %s: %s", self._output.name, self._gone)
            raise DeliveryError(self._gone, is_circuit_open=True)
        if 300 <= status < 400:
            raise DeliveryError(f"{told}: redirects are not followed: name the right url")
        if mend := MENDS.get(status):
            raise DeliveryError(f"{told}: {mend}")
        if 400 <= status < 500 and status not in TRY_AGAIN:
            raise RefusedError(told)
        raise DeliveryError(told, retry_after(response.headers.get("Retry-After", "")))

    def _note_failure(self, error: DeliveryError) -> None:
        self._failure = str(error)
        if self._circuit.failed(error.retry_after) and not self._gone:
            LOG.warning(
                "output %s is left alone for %.1f s, then one request tries: %s",
                self._output.name,
                self._circuit.pause,
                error,
            )

    def _note_success(self) -> None:
        if self._circuit.succeeded():
            LOG.warning("output %s: the circuit is closed again", self._output.name)

    def _headers(self) -> dict[str, str]:
        """Return what each delivery has beside what is delivered."""
        headers = {ORIGIN: self._webhook.origin}
        login = self._output.login
        if self._webhook.token:
            headers["Authorization"] = f"Bearer {self._webhook.token.reveal()}"
        elif login.username:
            headers["Authorization"] = aiohttp.encode_basic_auth(
                login.username, login.password.reveal()
            )
        return headers

    async def check(self) -> list[Finding]:
        """Return whether the receiver has not agreed, where it is to be asked.

        Raises aiohttp.ClientError, TimeoutError or OSError where none answers.
        """
        headers = handshake_headers(self._webhook)
        try:
            async with self._opened().options(
                self._url, headers=headers, allow_redirects=False
            ) as response:
                if self._webhook.handshake:
                    granted_rate(response.status, response.headers, self._webhook)
        except NotGrantedError as error:
            return [Finding(self._shown, str(error), refused=False)]
        except (aiohttp.ClientResponseError, aiohttp.InvalidURL) as error:
            raise aiohttp.ClientError(failure_text(error)) from None
        return []

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = http_session(
                self._output,
                self._url,
                socket_factory=self._addresses.socket,
                limit=self._webhook.parallel,
            )
        return self._session


async def probe(settings: Settings, output: DmaapOutput) -> list[Finding]:
    """Return whether the receiver has not agreed. Raises OSError and its like without an answer."""
    webhook = WebhookOutput(settings, output)
    try:
        return await webhook.check()
    finally:
        await webhook.close()


def _is_away(status: int) -> bool:
    """Return whether a status is no word of the receiver on who asks, or its last one."""
    return status >= 500 or status == GONE or status in TRY_AGAIN
