"""How a worker proves to another that it knows their secret, which itself is never sent.

A request is signed with HMAC-SHA-256 over its method, the URL of the worker that is asked, path and
query, our own headers, the digest of its body, and its time, sender and number. The answer is
signed, too, over the request's signature, its status and its body. Decides, and does no I/O.
"""

import hashlib
import hmac
import itertools
import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from vimfed.settings import Secret
from web.http.bounded_map import BoundedMap

SCHEME = "vimfed-peer"
"""Of the header Authorization, in lower case."""
OUR_HEADERS = "vimfed-"
"""How the names of headers begin that mean something to a worker's route: they are signed."""
ANSWER_HEADER = "Vimfed-Peer-Answer"
"""Of an answer: its signature."""
FRESH = 30.0
"""Seconds by which the time of a request may differ from ours: the clocks of two machines do."""
MAX_OVERTAKEN = 4096
"""Maximum number of later requests of the same sender that may arrive before a request."""
MAX_SENDERS = 1000
"""Senders whose numbers are remembered: those that asked last."""

_PROOF = re.compile(
    r"(?i:vimfed-peer) (?P<time>\d{1,15}) (?P<sender>[0-9a-f]{16}) (?P<number>\d{1,15})"
    r" (?P<digest>[0-9a-f]{64}) (?P<macs>[0-9a-f]{64}(?:,[0-9a-f]{64})?)",
    re.ASCII,
)


class PeerRequest(NamedTuple):
    """What is signed of a request, beside when and by whom it is sent."""

    method: str
    url: str
    """That of the worker that is asked, as it announces it: no other one accepts the request."""
    path: str
    """With the query, as it is sent."""
    headers: Mapping[str, str] = {}
    """All; those of OUR_HEADERS are signed."""


class Proof(NamedTuple):
    """What the header Authorization of a request says."""

    time: int
    """Milliseconds since 1970."""
    sender: str
    number: int
    digest: str
    """SHA-256 of the body."""
    macs: Sequence[str]
    """One for each secret of the sender."""

    def __str__(self) -> str:
        return (
            f"{SCHEME} {self.time} {self.sender} {self.number} {self.digest} {','.join(self.macs)}"
        )


def proof_in(header: str) -> Proof | None:
    """Return what a header Authorization says; None where it is none of a worker."""
    found = _PROOF.fullmatch(header)
    if found is None:
        return None
    time, sender, number, digest, macs = found.groups()
    return Proof(int(time), sender, int(number), digest, macs.split(","))


def digest_of(body: bytes) -> str:
    """Return what is signed of a body."""
    return hashlib.sha256(body).hexdigest()


def answer_mac(secret: Secret, request_mac: str, status: int, body: bytes) -> str:
    """Return the signature of the answer to the request that has ``request_mac``."""
    return _mac(secret, ("vimfed peer answer 1", request_mac, str(status), digest_of(body)))


def _request_mac(secret: Secret, request: PeerRequest, proof: Proof) -> str:
    ours = sorted(
        f"{name.lower()}: {value}"
        for name, value in request.headers.items()
        if name.lower().startswith(OUR_HEADERS)
    )
    when_and_who = (str(proof.time), proof.sender, str(proof.number), proof.digest)
    what = (request.method, request.url, request.path, *ours)
    return _mac(secret, ("vimfed peer request 1", *what, *when_and_who))


def _mac(secret: Secret, lines: Sequence[str]) -> str:
    """Return the HMAC of lines; no line has a line feed, which HTTP knows in no part of a head."""
    key = secret.reveal().encode(errors="surrogateescape")
    text = "\n".join(lines).encode(errors="surrogateescape")
    return hmac.new(key, text, hashlib.sha256).hexdigest()


class Signer:
    """Signs what one process asks, with each of its secrets: others may know but one of them."""

    def __init__(self, secrets: Sequence[Secret]) -> None:
        self._secrets = secrets
        self._sender = os.urandom(8).hex()
        self._numbers = itertools.count(1)

    def sign(self, request: PeerRequest, body: bytes, now: float) -> Proof:
        """Return the proof that goes with a request; ``now`` in seconds since 1970."""
        bare = Proof(int(now * 1000), self._sender, next(self._numbers), digest_of(body), ())
        return bare._replace(macs=[_request_mac(each, request, bare) for each in self._secrets])

    def is_signed(self, proof: Proof, status: int, body: bytes, mac: str) -> bool:
        """Return whether the answer to a request comes from one who knows a secret of ours."""
        given = mac.encode(errors="surrogateescape")
        return any(
            hmac.compare_digest(answer_mac(secret, request_mac, status, body).encode(), given)
            for secret, request_mac in zip(self._secrets, proof.macs, strict=True)
        )


class Admitted(NamedTuple):
    """A request whose proof holds: by which secret, and which of its signatures."""

    secret: Secret
    mac: str


class RefusedProofError(Exception):
    """A proof that does not hold; the text says why."""


class Verifier:
    """Tells whether proofs hold. ``started``: when the process began, in seconds since 1970.

    What was sent before that is refused: it may have been answered by the process before this one.
    """

    def __init__(self, secrets: Sequence[Secret], started: float) -> None:
        self._secrets = secrets
        self._started = int(started * 1000)
        self._seen: BoundedMap[str, _Numbers] = BoundedMap(MAX_SENDERS)

    def admit(self, request: PeerRequest, proof: Proof, now: float) -> Admitted:
        """Return by what a proof holds, which it does once. Raises RefusedProofError."""
        admitted = self._admitted(request, proof)
        age = now - proof.time / 1000
        if abs(age) > FRESH or proof.time < self._started:
            raise RefusedProofError(
                f"sent {age:.0f} s ago by its clock: before this worker began, or by more than "
                f"{FRESH:.0f} s another time than ours"
            )
        seen = self._seen.get(proof.sender) or _Numbers(0, 0)
        if not seen.may_come(proof.number):
            raise RefusedProofError("sent a second time")
        self._seen[proof.sender] = seen.with_number(proof.number)
        return admitted

    def _admitted(self, request: PeerRequest, proof: Proof) -> Admitted:
        for secret in self._secrets:
            right = _request_mac(secret, request, proof)
            for mac in proof.macs:
                if hmac.compare_digest(mac, right):
                    return Admitted(secret, mac)
        raise RefusedProofError("signed with no secret of ours, for another worker, or altered")


class _Numbers(NamedTuple):
    """Numbers of one sender that have come: the highest, and a bit for each of those below it."""

    highest: int
    bits: int

    def may_come(self, number: int) -> bool:
        behind = self.highest - number
        return behind < 0 or (behind < MAX_OVERTAKEN and not self.bits >> behind & 1)

    def with_number(self, number: int) -> "_Numbers":
        if number <= self.highest:
            return self._replace(bits=self.bits | 1 << (self.highest - number))
        ahead = min(number - self.highest, MAX_OVERTAKEN)
        kept = (1 << MAX_OVERTAKEN) - 1
        return _Numbers(number, (self.bits << ahead | 1) & kept)
