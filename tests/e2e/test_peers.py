"""Two real workers that know each other by a secret, and a member of their group that is none."""

from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from tests.e2e.stack import Stack, eventually
from vimfed.local.kafka import LocalKafka

OLD, NEW = "the old secret of the workers", "the new secret of the workers"
PREVIOUS = "VIMFED_WEB__AUTH__PEER_SECRET_PREVIOUS"
PRESENT = "VIMFED_WEB__AUTH__PEER_SECRET"
VIMS = "/api/multicloud/v1/vims"


async def test_workers_get_a_new_secret_one_after_the_other_and_know_each_other(
    tmp_path: Path, kafka: LocalKafka
) -> None:
    async with Stack(tmp_path, kafka.bootstrap, []) as stack:

        def start(worker: str, **secrets: str) -> None:
            stack.environment = secrets
            stack.start_worker(worker)

        async def all_answer(*workers: str) -> None:
            await stack.serving(*workers)
            for worker in workers:
                status, answer = await stack.get("/api/multicloud/v1/workers", worker)
                assert (status, [each["wrong"] for each in answer["workers"]]) == (200, [{}, {}])
                assert await stack.get(VIMS, worker) == (200, {"vims": []})

        start("old", **{PRESENT: OLD})
        await stack.ready("old")
        start("both", **{PRESENT: NEW, PREVIOUS: OLD})
        await all_answer("old", "both")
        stack.children["old"].stop()
        start("new", **{PRESENT: NEW})
        await all_answer("both", "new")


async def test_a_member_of_the_group_that_announces_a_foreign_url_learns_no_secret(
    tmp_path: Path, kafka: LocalKafka
) -> None:
    heard: list[tuple[str, str, dict[str, str], bytes]] = []

    async def listen(request: web.Request) -> web.Response:
        heard.append((request.method, request.path, dict(request.headers), await request.read()))
        return web.json_response({"generation": 2, "partitions": [], "found": {"vims": []}})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", listen)
    async with (
        TestServer(app) as foreign,
        Stack(tmp_path, kafka.bootstrap, []) as stack,
        ClientSession() as session,
    ):
        url = str(foreign.make_url("")).rstrip("/")
        stack.environment = {PRESENT: OLD}
        stack.start_worker("one")
        await stack.ready("one")
        stack.environment = {PRESENT: OLD, "VIMFED_WEB__CANONICAL_URL": url}
        stack.start_worker("stranger")

        async def owned_elsewhere() -> Any:
            return (await stack.get("/readyz", "one"))[1].get("owners", {}).get(url)

        theirs = sorted(await eventually(owned_elsewhere, within=60))

        async def is_asked() -> bool:
            status, answer = await stack.get(VIMS, "one")
            assert status == 503
            return bool(heard) and answer["partitions"] == theirs

        await eventually(is_asked, within=20)
        for method, path, headers, body in heard:
            assert OLD not in f"{headers}{body!r}"
            send = partial(session.request, method, data=body)
            own = f"http://127.0.0.1:{stack.ports['one']}"
            login = {"Authorization": headers["Authorization"]}
            async with send(own + path, headers=login) as answer:
                assert answer.status in (401, 429)
