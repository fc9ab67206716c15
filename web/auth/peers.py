"""The workers among themselves: who asks proves who it is, and so does who answers.

A member of the consumer group announces by which URL it is asked. What goes there proves that we
know the secret to the owner of that URL alone, and what comes back is worth nothing unsigned.
"""

import logging
import time
from collections.abc import Sequence

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler

from vimfed.process.bounded_answer import MAX_ANSWER_BYTES, bounded_session, read_answer
from vimfed.process.tls import tls_context
from vimfed.settings import Secret, Tls, WebAuthSettings, WebSettings
from web.auth.peer_signature import (
    ANSWER_HEADER,
    SCHEME,
    Admitted,
    PeerRequest,
    RefusedProofError,
    Signer,
    Verifier,
    answer_mac,
    digest_of,
    proof_in,
)
from web.http.routes import read_body

LOG = logging.getLogger(__name__)

DEADLINE = 2.0
"""Seconds that a worker has for its answer."""


class PeerError(Exception):
    """A worker that gives no answer of use; the text says what it does instead."""


def _secrets(auth: WebAuthSettings) -> Sequence[Secret]:
    """Return the secrets that the settings name; none where workers ask each other without."""
    return [each for each in (auth.peer_secret, auth.peer_secret_previous) if each]


def peers_session(settings: WebSettings) -> aiohttp.ClientSession:
    """Return a session for the client, with the workers' authority."""
    connector = aiohttp.TCPConnector(ssl=tls_context(Tls(ca_file=settings.ca_file)))
    timeout = aiohttp.ClientTimeout(total=DEADLINE)
    return bounded_session(connector=connector, timeout=timeout)


class PeerClient:
    """Asks other workers."""

    def __init__(self, session: aiohttp.ClientSession, auth: WebAuthSettings) -> None:
        self._session = session
        self._signer = Signer(_secrets(auth))
        self.unverified: dict[str, str] = {}
        """URLs whose servers' certificates are not taken, and why; each is told once."""

    async def ask(self, method: str, url: str, path: str, body: bytes = b"") -> bytes:
        """Return what the worker at ``url`` answers. Raises PeerError."""
        proof = self._signer.sign(PeerRequest(method, url, path), body, time.time())
        headers = {"Authorization": str(proof)} if proof.macs else {}
        try:
            async with self._session.request(
                method, url + path, data=body or None, headers=headers, allow_redirects=False
            ) as response:
                self.unverified.pop(url, None)
                if response.status != 200:
                    raise PeerError(_HINTS.get(response.status, f"answered {response.status}"))
                answer = await read_answer(response, MAX_ANSWER_BYTES)
        except aiohttp.ClientConnectorCertificateError as error:
            raise self._not_verified(url, error.certificate_error) from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise PeerError(f"does not answer: {type(error).__name__}") from None
        mac = response.headers.get(ANSWER_HEADER, "")
        if proof.macs and not self._signer.is_signed(proof, response.status, answer, mac):
            raise PeerError("does not prove that it knows web.auth.peer_secret")
        return answer

    def _not_verified(self, url: str, error: Exception) -> PeerError:
        """Return the error, and log it where it is new: no query is answered while it lasts."""
        why = getattr(error, "verify_message", "") or str(error)
        if url not in self.unverified:
            self.unverified[url] = f"its certificate is not taken: {why}"
            LOG.warning(
                "the worker at %s cannot be verified: %s. web.cert_file there must name it, "
                "web.ca_file here must have signed that; queries that need both get a 503",
                url,
                why,
            )
        return PeerError(f"cannot be verified: {why}")


_HINTS = {
    401: "answered 401: its web.auth.peer_secret is another one, its clock differs, or it is of a "
    "version that does not sign"
}


class PeerDoor:
    """Lets other workers in, which ask ``own_url``, and signs what they are answered."""

    def __init__(self, auth: WebAuthSettings, own_url: str) -> None:
        self._own_url = own_url
        self._verifier = Verifier(_secrets(auth), started=time.time())

    @staticmethod
    def is_asked(request: web.Request) -> bool:
        """Return whether a request says that it comes from a worker."""
        return request.headers.get("Authorization", "").lower().startswith(SCHEME + " ")

    async def admit(self, request: web.Request) -> Admitted:
        """Return by what a worker is known. Raises RefusedProofError.

        Its body is read when its head is known to be signed, and not before.
        """
        proof = proof_in(request.headers["Authorization"])
        if proof is None:
            raise RefusedProofError("malformed")
        asked = PeerRequest(request.method, self._own_url, request.raw_path, request.headers)
        admitted = self._verifier.admit(asked, proof, time.time())
        if digest_of(await read_body(request)) != proof.digest:
            raise RefusedProofError("its body is altered")
        return admitted

    @staticmethod
    async def answer(request: web.Request, handler: Handler, admitted: Admitted) -> web.Response:
        """Return the signed answer of ``handler``, which answers with bytes."""
        response = await handler(request)
        if not isinstance(response, web.Response) or not isinstance(response.body, bytes):
            raise TypeError(f"{request.path} answers peers with {type(response)}, not with bytes")
        response.headers[ANSWER_HEADER] = answer_mac(*admitted, response.status, response.body)
        return response
