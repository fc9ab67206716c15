"""What is counted of the requests."""

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from web.http.errors import errors_as_json
from web.http.request_metrics import RequestMetrics
from web.http.routes import Route, add_routes


async def answer(_request: web.Request) -> web.Response:
    return web.Response()


async def test_a_route_is_counted_by_its_path_with_a_slash_at_its_end_and_without() -> None:
    registry = CollectorRegistry()
    metrics = RequestMetrics(registry, "seconds")
    app = web.Application(middlewares=[metrics.observe, errors_as_json])
    paths = ("/v1/{name}/instances", "/")
    add_routes(app, [Route(method="GET", paths=paths, handler=answer, role="anyone", answers={})])
    async with TestClient(TestServer(app)) as client:
        for path in ("/v1/a/instances", "/v1/b/instances/", "/", "/nothing"):
            await client.get(path)
    counts = {
        (sample.labels["route"], sample.labels["status"]): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "seconds_count"
    }
    assert counts == {
        ("/v1/{name}/instances", "200"): 2,
        ("/", "200"): 1,
        ("unknown", "404"): 1,
    }
