"""Two workers that all tests of the HTTP API share, each with a cloud of its own."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.stack import Stack
from vimfed.local.kafka import LocalKafka

INGEST_RATE = 500
REGIONS = (
    "queries",
    "ingest",
    "aodh",
    "openapi",
    "robustness",
    "live",
    "dashboard",
    "alerts",
    "onap",
    "neighbour",
)


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def served(
    tmp_path_factory: pytest.TempPathFactory, kafka: LocalKafka
) -> AsyncIterator[Stack]:
    """The workers ``one`` and ``two``; the clouds are ``Owner_`` and one of REGIONS."""
    folder = tmp_path_factory.mktemp("served")
    clouds = [
        {
            "cloud_owner": "Owner",
            "cloud_region_id": region,
            "samples": {"pushed": region == "dashboard"},
        }
        for region in REGIONS
    ]
    sections = f"[web]\ningest_rate = {INGEST_RATE}"
    async with Stack(folder, kafka.bootstrap, clouds, sections) as stack:
        for name in ("one", "two"):
            stack.start_worker(name)
        for name in ("one", "two"):
            await stack.ready(name)
        await stack.serving("one", "two")
        yield stack
