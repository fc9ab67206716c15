"""The dashboard as its users meet it: in Debian's Chromium, on a worker that runs."""

import aiohttp
import pytest

from tests.e2e.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")


def url_of(stack: Stack, worker: str = "one", path: str = "/") -> str:
    return f"http://127.0.0.1:{stack.ports[worker]}{path}"


async def test_the_files_are_kept_asked_about_and_allowed_to_load_nothing_else(
    served: Stack,
) -> None:
    async with aiohttp.ClientSession() as session:
        for path, media_type in (
            ("/", "text/html"),
            ("/static/app.js", "text/javascript"),
            ("/static/style.css", "text/css"),
            ("/static/icon.svg", "image/svg+xml"),
        ):
            async with session.get(url_of(served, path=path)) as answer:
                assert (answer.status, answer.content_type) == (200, media_type)
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                policy = answer.headers["Content-Security-Policy"]
                assert policy.startswith("default-src 'self';")
                assert "unsafe" not in policy
                assert answer.headers["Cache-Control"] == "no-cache"
                known = {"If-None-Match": answer.headers["ETag"]}
            async with session.get(url_of(served, path=path), headers=known) as answer:
                assert (answer.status, await answer.read()) == (304, b"")
        for path in ("/static/app.mjs", "/static/..%2fdashboard.py", "/static/"):
            async with session.get(url_of(served, path=path)) as answer:
                assert answer.status == 404, path


async def test_any_worker_tells_how_all_of_them_are(served: Stack) -> None:
    urls = [url_of(served, name, "") for name in ("one", "two")]
    for name, url in zip(("one", "two"), urls, strict=True):
        status, answer = await served.get("/api/multicloud/v1/workers", name)
        assert (status, answer["asked"], answer["unowned"]) == (200, url, [])
        assert [worker["url"] for worker in answer["workers"]] == sorted(urls)
        owned = [number for worker in answer["workers"] for number in worker["partitions"]]
        assert sorted(owned) == list(range(8))
        for worker in answer["workers"]:
            assert worker["wrong"] == {}
            assert worker["figures"]["lag"].keys() == set(map(str, worker["partitions"]))
            assert worker["figures"]["membership_age"] < 6
