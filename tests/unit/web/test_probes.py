"""What a worker that answers queries says besides."""

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from web.auth.caller import CALLER
from web.probes import Probes

URL, WHY = "https://worker-1:6066", "certificate has expired"


async def readyz(role: str, unverified: dict[str, str], wrong: dict[str, str]) -> tuple[int, Any]:
    """Return status and JSON of /readyz for a caller of this role."""
    own = SimpleNamespace(not_ready=lambda: wrong, known_owners=lambda: {URL: {1, 0}})
    probes = Probes(cast(Any, SimpleNamespace()), cast(Any, own), lambda: unverified)
    request = cast(Any, {CALLER: SimpleNamespace(role=role)})
    answer = await probes.readyz(request)
    return answer.status, json.loads(cast(bytes, answer.body))


@pytest.mark.parametrize(
    ("role", "told"),
    [
        ("anyone", {"workers": "the certificates of 1 cannot be verified; the log names them"}),
        ("reader", {URL: WHY}),
    ],
)
async def test_a_worker_whose_peers_cannot_be_verified_is_ready_and_degraded(
    role: str, told: dict[str, str]
) -> None:
    status, body = await readyz(role, {URL: WHY}, {})
    assert (status, body["status"], body["degraded"]) == (200, "ready", told)
    assert ("owners" in body) == (role == "reader")
    status, body = await readyz(role, {}, {})
    assert (status, "degraded" in body) == (200, False)


async def test_who_is_not_ready_says_so_first() -> None:
    wrong = {"kafka": "Kafka has not confirmed our membership for 7 s"}
    assert await readyz("reader", {URL: WHY}, wrong) == (
        503,
        {"status": "failing", "wrong": wrong},
    )
