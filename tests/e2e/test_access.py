"""Two workers that demand a login, over TLS: who may call what, and what becomes of the others."""

import asyncio
import base64
import json
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import trustme
from confluent_kafka.admin import AdminClient

from streams.subscriptions.filters import HOLDS_AFTER
from streams.worker.worker import StreamWorker
from tests.e2e.notifications_topic import NotificationsTopic
from tests.e2e.stack import Stack, eventually
from tests.support.keystone import Keystone
from tests.support.server_sent import event_stream
from tests.support.topics import values
from tests.support.vm_events import vm_event, write_events
from vimfed.local.kafka import LocalKafka
from vimfed.model.records import VmEvent
from vimfed.process.ports import free_ports
from vimfed.settings import Secret, Settings, SettingsError
from web.auth.passwords import Cost, hash_password
from web.auth.peer_signature import PeerRequest, Signer
from web.http.routes import ROUTES, Route
from web.service import serve

pytestmark = pytest.mark.asyncio(loop_scope="package")

PREFIX = "/api/multicloud"
CLOUDS = ("Owner_one", "Owner_two")
OF_PROJECT = f"t{uuid.uuid4().hex[:8]}.{{project_id}}.vm-events"
"""Topics of projects."""
READER, WRITER = "token-of-the-reader", "token-of-the-writer"
ADMIN, LIMITED = "token-of-the-admin", "token-of-the-limited-writer"
TENANTS = "token-of-the-reader-of-two-tenants"
SECRET = "the secret of the peers"
PASSWORD = "correct horse: battery"
HASHED = "staple"

ROLES = {
    "GET /": "anyone",
    "GET /static/{name}": "anyone",
    "GET /docs": "anyone",
    "GET /docs/{name}": "anyone",
    "GET /openapi.json": "anyone",
    "GET /asyncapi.json": "reader",
    "GET /schemas": "anyone",
    "GET /schemas/{name}": "anyone",
    f"GET {PREFIX}/v0/swagger.json": "anyone",
    f"GET {PREFIX}/v1/swagger.json": "anyone",
    "GET /healthz": "anyone",
    "GET /readyz": "anyone",
    "GET /metrics": "anyone",
    "POST /{vim_id}/check_vim_status": "reader",
    f"POST {PREFIX}/v0/{{vim_id}}/check_vim_status": "reader",
    f"POST {PREFIX}/v1/{{owner}}/{{region}}/check_vim_status": "reader",
    f"GET {PREFIX}/v1/vims": "reader",
    f"GET {PREFIX}/v1/{{owner}}/{{region}}/instances": "reader",
    f"GET {PREFIX}/v1/{{owner}}/{{region}}/instances/{{instance_id}}": "reader",
    f"GET {PREFIX}/v1/{{owner}}/{{region}}/instances/{{instance_id}}/events": "reader",
    f"GET {PREFIX}/v1/events": "reader",
    f"GET {PREFIX}/v1/workers": "reader",
    f"GET {PREFIX}/v1/subscriptions": "reader",
    f"GET {PREFIX}/v1/subscriptions/{{name}}": "reader",
    f"PUT {PREFIX}/v1/subscriptions/{{name}}": "writer",
    f"DELETE {PREFIX}/v1/subscriptions/{{name}}": "writer",
    f"GET {PREFIX}/v1/{{owner}}/{{region}}/snapshots": "reader",
    f"GET {PREFIX}/v1/{{owner}}/{{region}}/snapshots/{{name}}": "reader",
    f"PUT {PREFIX}/v1/{{owner}}/{{region}}/snapshots/{{name}}": "writer",
    f"DELETE {PREFIX}/v1/{{owner}}/{{region}}/snapshots/{{name}}": "writer",
    f"GET {PREFIX}/v1/snapshots": "reader",
    f"GET {PREFIX}/v1/snapshots/{{name}}": "reader",
    f"PUT {PREFIX}/v1/snapshots/{{name}}": "writer",
    f"DELETE {PREFIX}/v1/snapshots/{{name}}": "writer",
    f"GET {PREFIX}/v1/outputs": "reader",
    f"PUT {PREFIX}/v1/outputs/{{name}}": "admin",
    f"GET {PREFIX}/v1/{{owner}}/{{region}}/vims": "reader",
    f"GET {PREFIX}/v1/{{owner}}/{{region}}/events": "reader",
    f"GET {PREFIX}/v1/{{owner}}/{{region}}/workers": "reader",
    f"GET {PREFIX}/v1/{{owner}}/{{region}}/subscriptions": "reader",
    f"GET {PREFIX}/v1/{{owner}}/{{region}}/subscriptions/{{name}}": "reader",
    f"PUT {PREFIX}/v1/{{owner}}/{{region}}/subscriptions/{{name}}": "writer",
    f"DELETE {PREFIX}/v1/{{owner}}/{{region}}/subscriptions/{{name}}": "writer",
    f"POST {PREFIX}/v0/{{vim_id}}/notifications": "writer",
    f"POST {PREFIX}/v1/{{owner}}/{{region}}/notifications": "writer",
    f"POST {PREFIX}/v0/{{vim_id}}/alerts": "writer",
    f"POST {PREFIX}/v1/{{owner}}/{{region}}/alerts": "writer",
    "POST /peer/v1/instances": "peer",
    "POST /peer/v1/alert": "peer",
    "POST /peer/v1/alerts": "peer",
    "POST /peer/v1/hosts": "peer",
    "POST /peer/v1/troubles": "peer",
    "GET /api/multicloud/v1/{owner}/{region}/alerts": "reader",
    "GET /api/multicloud/v1/{owner}/{region}/alerts/{alert_id}": "reader",
    "GET /api/multicloud/v1/{owner}/{region}/hosts": "reader",
    "POST /api/multicloud/v0/{vim_id}/hosts": "writer",
    "POST /api/multicloud/v1/{owner}/{region}/hosts": "writer",
    "POST /api/multicloud/v0/{vim_id}/samples": "writer",
    "POST /api/multicloud/v1/{owner}/{region}/samples": "writer",
    "GET /api/multicloud/v1/{owner}/{region}/instances/{instance_id}/measurements": "reader",
    "GET /api/multicloud/v1/{owner}/{region}/hosts/{host}/measurements": "reader",
    "GET /api/multicloud/v1/{owner}/{region}/measurements": "reader",
    "GET /api/multicloud/v1/metrics/vms": "reader",
    "POST /peer/v1/measurements": "peer",
    "POST /peer/v1/top-measurements": "peer",
    "POST /peer/v1/instance": "peer",
    "POST /peer/v1/vims": "peer",
    "GET /peer/v1/worker": "peer",
}
"""The authorisation matrix: who may call which route at least."""
MAY_CALL = {
    "": {"anyone"},
    READER: {"anyone", "reader"},
    LIMITED: {"anyone", "reader", "writer"},
    TENANTS: {"anyone", "reader"},
    WRITER: {"anyone", "reader", "writer"},
    ADMIN: {"anyone", "reader", "writer", "admin"},
}
"""By the bearer token, the matrix' other side."""
OF_WHOLE_CLOUDS = {
    "GET /api/multicloud/v1/{owner}/{region}/hosts",
    "GET /api/multicloud/v1/{owner}/{region}/hosts/{host}/measurements",
}
"""Routes that are refused to who is limited to tenants."""


NUMBERS = count(2)


class Guarded:
    """The workers, a session that trusts them, and the Keystone behind."""

    def __init__(self, stack: Stack, session: aiohttp.ClientSession, keystone: Keystone) -> None:
        self.stack = stack
        self.session = session
        self.keystone = keystone

    def url(self, path: str, worker: str = "one") -> str:
        return f"https://127.0.0.1:{self.stack.ports[worker]}{path}"

    async def ask(
        self,
        method: str,
        path: str,
        login: str | Mapping[str, str] = "",
        worker: str = "one",
        body: bytes | None = None,
        session: aiohttp.ClientSession | None = None,
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Return status, JSON (None where the answer is none) and headers.

        ``login`` is a bearer token, or headers.
        """
        headers = bearer(login) if isinstance(login, str) else login
        async with (session or self.session).request(
            method, self.url(path, worker), headers=headers, data=body
        ) as answer:
            is_json = answer.content_type == "application/json"
            return answer.status, await answer.json() if is_json else None, answer.headers

    async def get(self, path: str, login: str | Mapping[str, str] = "") -> tuple[int, Any]:
        status, body, _ = await self.ask("GET", path, login)
        return status, body


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def basic(name: str, password: str) -> dict[str, str]:
    encoded = base64.b64encode(f"{name}:{password}".encode()).decode()
    return {"Authorization": f"Basic {encoded}"}


def keystone_token(token: str) -> dict[str, str]:
    return {"X-Auth-Token": token}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def guarded(
    tmp_path_factory: pytest.TempPathFactory,
    kafka: LocalKafka,
    authority: trustme.CA,
    trusting: ssl.SSLContext,
) -> AsyncIterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
        str(folder / "worker.pem")
    )
    (folder / "secret").write_text(SECRET + "\n")
    users: list[dict[str, Any]] = [
        {"name": "reader", "token": READER},
        {"name": "writer", "token": WRITER, "role": "writer"},
        {"name": "admin", "token": ADMIN, "role": "admin"},
        {"name": "limited", "token": LIMITED, "role": "writer", "clouds": ["Owner_o*"]},
        {"name": "tenants", "token": TENANTS, "tenants": ["tenant-a", "tenant-c"]},
        {"name": "plain", "password": PASSWORD},
        {"name": "hashed", "password": hash_password(HASHED, Cost(10, 8, 1))},
    ]
    async with (
        Keystone(free_ports(1)[0]) as keystone,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting)) as session,
    ):
        lines = [
            "[web]",
            f'cert_file = "{folder}/worker.pem"',
            f'ca_file = "{folder}/ca.pem"',
            "[web.auth]",
            f'peer_secret_file = "{folder}/secret"',
            "[web.auth.keystone]",
            f'url = "{keystone.url}"',
            'reader_roles = ["member"]',
            'writer_roles = ["event_writer"]',
            'clouds = ["*"]',
            'all_tenants_projects = ["ops@Default"]',
            "timeout = 1.0",
            "cache_seconds = 2.0",
        ]
        lines += [
            "[self_service]",
            "per_project = 2",
            "[[dmaap.outputs]]",
            'name = "tenants"',
            f'url = "kafka://{kafka.bootstrap}/{OF_PROJECT}"',
            'format = "payload"',
        ]
        for user in users:
            lines.append("[[web.auth.users]]")
            lines.extend(f"{key} = {json.dumps(value)}" for key, value in user.items())
        clouds = [{"cloud_owner": "Owner", "cloud_region_id": one} for one in ("one", "two")]
        async with Stack(folder, kafka.bootstrap, clouds, "\n".join(lines)) as stack:
            guarded = Guarded(stack, session, keystone)
            for worker in ("one", "two"):
                stack.start_worker(worker)

            async def are_serving() -> bool:
                try:
                    answers = [
                        await guarded.ask("GET", "/readyz", ADMIN, worker)
                        for worker in ("one", "two")
                    ]
                except aiohttp.ClientConnectionError:
                    return False
                return all(
                    status == 200 and len(body["owners"]) == 2 for status, body, _ in answers
                )

            await eventually(are_serving, within=120)
            yield guarded


@pytest_asyncio.fixture(loop_scope="package")
async def elsewhere(trusting: ssl.SSLContext) -> AsyncIterator[aiohttp.ClientSession]:
    """A session of a client at another address, whose failed logins do not count for others."""
    connector = aiohttp.TCPConnector(ssl=trusting, local_addr=(f"127.0.0.{next(NUMBERS)}", 0))
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


def routes(folder: Path) -> Iterator[tuple[str, Route]]:
    """Yield each route as the matrix names it."""
    worker = StreamWorker(Settings(state_dir=folder))
    serve(worker)
    for route in worker.app.web.web_app[ROUTES].values():  # type: ignore[attr-defined]
        for path in route.paths:
            yield f"{route.method} {path}", route


async def test_every_route_is_in_the_matrix_with_its_role(tmp_path: Path) -> None:
    assert {name: route.role for name, route in routes(tmp_path)} == ROLES


@pytest.mark.parametrize("token", MAY_CALL)
async def test_a_caller_is_let_into_the_routes_of_its_role_and_its_clouds(
    guarded: Guarded, token: str
) -> None:
    for name, role in ROLES.items():
        method, path = name.split()
        allowed = role in MAY_CALL[token]
        for region in ("one", "two"):
            filled = path.format(
                vim_id=f"Owner_{region}",
                owner="Owner",
                region=region,
                instance_id="x",
                name="x",
                alert_id="x",
                host="x",
            )
            # An empty body is none of what any of them takes: nothing is written.
            async with guarded.session.request(
                method,
                guarded.url(filled),
                headers=bearer(token),
            ) as answer:
                status = answer.status
            is_foreign = (
                token == LIMITED and region == "two" and ("vim_id" in path or "owner" in path)
            )
            is_too_wide = token == TENANTS and name in OF_WHOLE_CLOUDS
            if allowed and not (is_foreign or is_too_wide):
                assert status not in (401, 403), (name, region)
            else:
                assert status == (403 if token else 401), (name, region)


async def test_a_signed_request_opens_the_routes_of_the_workers_and_no_other(
    guarded: Guarded, elsewhere: aiohttp.ClientSession
) -> None:
    """The secret itself opens none: it is never sent."""
    signer = Signer([Secret(SECRET)])

    def signed(method: str, path: str, worker: str) -> dict[str, str]:
        request = PeerRequest(method, guarded.url("", worker), path)
        return {"Authorization": str(signer.sign(request, b"", time.time()))}

    for name, role in ROLES.items():
        method, path = name.split()
        if "{" in path:
            continue
        ask = partial(guarded.ask, method, path, session=elsewhere)
        status = (await ask(signed(method, path, "one")))[0]
        if role == "peer":
            assert status in (200, 400), name
            assert (await ask(signed(method, path, "two")))[0] in (401, 429)
            assert (await ask(bearer(SECRET)))[0] in (401, 429)
        else:
            assert status in (401, 429), name


async def test_without_a_login_nobody_learns_which_routes_there_are(guarded: Guarded) -> None:
    for path in ("/nothing", f"{PREFIX}/v1/nothing", f"{PREFIX}/v1/vims/x"):
        status, body, headers = await guarded.ask("GET", path)
        assert (status, body["error"]) == (401, "log in: this needs a user or a token")
        for scheme in ("Basic", "Bearer", "Keystone uri="):
            assert scheme in headers["WWW-Authenticate"]
        assert (await guarded.get(path, READER))[0] == 404
    assert (await guarded.ask("DELETE", f"{PREFIX}/v1/vims"))[0] == 401
    assert (await guarded.ask("DELETE", f"{PREFIX}/v1/vims", READER))[0] == 405


async def test_a_page_of_another_site_changes_nothing_with_a_login_that_a_browser_remembers(
    guarded: Guarded,
) -> None:
    path = f"{PREFIX}/v1/subscriptions/x"
    for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 404)):
        login = {**bearer(WRITER), "Sec-Fetch-Site": site}
        assert (await guarded.ask("DELETE", path, login))[0] == status


async def test_probes_need_no_login_and_tell_others_addresses_to_users_alone(
    guarded: Guarded,
) -> None:
    assert await guarded.get("/readyz") == (200, {"status": "ready"})
    assert len((await guarded.get("/readyz", READER))[1]["owners"]) == 2
    assert (await guarded.get("/healthz"))[0] == 200


async def test_the_workers_know_each_other_over_tls(guarded: Guarded) -> None:
    topic = NotificationsTopic(guarded.stack, "Owner_one")
    for number in range(20):
        topic.tell(f"vm-{number}")

    async def all_counted(worker: str) -> bool:
        status, body, _ = await guarded.ask("GET", f"{PREFIX}/v1/vims", READER, worker)
        return status == 200 and body["vims"][0]["instances"] == 20

    for worker in ("one", "two"):
        await eventually(partial(all_counted, worker), within=30)
        _, body, _ = await guarded.ask("GET", f"{PREFIX}/v1/workers", READER, worker)
        assert [each["wrong"] for each in body["workers"]] == [{}, {}]
        assert all(each["url"].startswith("https://") for each in body["workers"])


async def test_a_user_of_one_cloud_sees_nothing_of_another(guarded: Guarded) -> None:
    _, body = await guarded.get(f"{PREFIX}/v1/vims", LIMITED)
    assert [vim["vim_id"] for vim in body["vims"]] == ["Owner_one"]
    status, body = await guarded.get(f"{PREFIX}/v1/events?vim_id=Owner_one,Owner_two", LIMITED)
    assert (status, "Owner_two" in body["error"]) == (403, True)
    url = guarded.url(f"{PREFIX}/v1/events")
    async with event_stream(guarded.session, url, **bearer(LIMITED)) as stream:
        NotificationsTopic(guarded.stack, "Owner_two").tell("vm-1")
        NotificationsTopic(guarded.stack, "Owner_one").tell("vm-1", second=7, state="active")
        assert [each["vim_id"] for each in await stream.take(1)] == ["Owner_one"]


async def test_a_writer_of_one_cloud_subscribes_to_that_alone(guarded: Guarded) -> None:
    base = f"{PREFIX}/v1/subscriptions"

    async def put(name: str, token: str, **fields: Any) -> int:
        body = json.dumps(fields).encode()
        return (await guarded.ask("PUT", f"{base}/{name}", token, body=body))[0]

    assert await put("own", LIMITED, clouds=["Owner_one"]) == 201
    assert await put("all", LIMITED) == 403
    assert await put("foreign", LIMITED, clouds=["Owner_one", "Owner_two"]) == 403
    assert await put("all", WRITER) == 201
    assert await put("all", LIMITED, clouds=["Owner_one"]) == 403
    assert (await guarded.ask("DELETE", f"{base}/all", LIMITED))[0] == 403
    assert (await guarded.get(f"{base}/all", LIMITED))[0] == 403
    _, body = await guarded.get(base, LIMITED)
    assert [each["name"] for each in body["subscriptions"]] == ["own"]
    for name in ("own", "all"):
        assert (await guarded.ask("DELETE", f"{base}/{name}", WRITER))[0] == 200


async def test_projects_keep_subscriptions_of_their_own_and_hear_of_their_instances_alone(
    guarded: Guarded,
) -> None:
    stack, base = guarded.stack, f"{PREFIX}/v1/subscriptions"
    bootstrap = stack.bootstrap
    one, other, third = (uuid.uuid4().hex for _ in range(3))
    logins = {
        each: keystone_token(guarded.keystone.give("alice", "member", project=each))
        for each in (one, other, third)
    }

    async def put(project: str, name: str, **fields: Any) -> tuple[int, Any]:
        body = json.dumps({"output": "tenants", **fields}).encode()
        return (await guarded.ask("PUT", f"{base}/{name}", logins[project], body=body))[:2]

    for project in (one, other):
        status, told = await put(project, "mine")
        assert (status, told["name"], told["tenants"]) == (201, "mine", [project])
    assert (await put(one, "x", tenants=[other]))[0] == 403
    assert (await put(one, "x", output="dmaap"))[0] == 400
    assert (await put(one, f"mine@{other}"))[0] == 400
    assert (await put(one, "second"))[0] == 201
    assert (await put(one, "third"))[0] == 409
    assert (await guarded.ask("DELETE", f"{base}/second", logins[one]))[0] == 200
    assert (await guarded.get(f"{base}/mine", logins[third]))[0] == 404
    _, told = await guarded.get(base, READER)
    assert {each["owner"] for each in told["subscriptions"] if "owner" in each} == {one, other}
    for method, path in (
        ("PUT", f"{PREFIX}/v1/snapshots/x"),
        ("PUT", f"{PREFIX}/v1/outputs/tenants"),
        ("POST", f"{PREFIX}/v1/Owner/one/notifications"),
    ):
        assert (await guarded.ask(method, path, logins[one], body=b"{}"))[0] == 403

    stack.start("tenants", "publisher", "--output", "tenants", "--port", "0")
    await asyncio.sleep(2 * HOLDS_AFTER)  # the promise is about time
    instances = [f"own-{number}" for number in range(8)]

    def events_of(tenant: str) -> list[VmEvent]:
        return [vm_event(each, payload={"tenant_id": tenant}) for each in instances]

    # By instance those that go nowhere come first: when the last ones are there, they have passed.
    nobodys = [each for tenant in (third, "demo", "../x", "") for each in events_of(tenant)]
    wanted = {project: events_of(project) for project in (one, other)}
    sent = [*nobodys, *wanted[one], *wanted[other]]
    await asyncio.to_thread(
        write_events, bootstrap, stack.prefix, sent, partitions=stack_partitions(bootstrap, stack)
    )

    def ids_of(project: str) -> set[str]:
        topic = OF_PROJECT.replace("{project_id}", project)
        return {each["vim_event"]["id"] for each in values(bootstrap, topic)}

    async def all_there() -> bool:
        return bool(ids_of(one)) and len(ids_of(other)) >= len(instances)

    await eventually(all_there, within=60)
    for project in (one, other):
        assert ids_of(project) == {each.id for each in wanted[project]}
    topics = AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=30).topics
    begin, end = OF_PROJECT.split("{project_id}")
    made = [topic for topic in topics if topic.startswith(begin)]
    assert sorted(made) == sorted(begin + project + end for project in (one, other))
    assert [len(topics[each].partitions) for each in made] == [1, 1]
    # Who operates takes one away.
    assert (await guarded.ask("DELETE", f"{base}/mine@{one}", WRITER))[0] == 200
    assert (await guarded.get(f"{base}/mine", logins[one]))[0] == 404
    assert (await guarded.ask("DELETE", f"{base}/mine", logins[other]))[0] == 200


def stack_partitions(bootstrap: str, stack: Stack) -> int:
    topics = AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=30).topics
    return len(topics[stack.names.events].partitions)


INSTANCES = f"{PREFIX}/v1/Owner/two/instances"
OWNED = {"tenant-a": 8, "tenant-b": 6, "tenant-c": 2, "": 1}
"""So many instances each tenant has; of one nobody knows whose it is."""


def owned(*tenants: str) -> list[str]:
    """Return the ids of the instances of some tenants."""
    return [f"{each or 'nobody'}-{number}" for each in tenants for number in range(OWNED[each])]


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def with_tenants(guarded: Guarded) -> Guarded:
    """The workers, when they know the instances of some tenants in the cloud Owner_two."""
    topic = NotificationsTopic(guarded.stack, "Owner_two")
    for tenant in OWNED:
        for name in owned(tenant):
            topic.tell(name, "compute.instance.suspend.end", state="suspended", tenant_id=tenant)

    async def all_are_known() -> bool:
        for worker in ("one", "two"):
            path = f"{INSTANCES}?name=&limit=1000"
            status, body, _ = await guarded.ask("GET", path, READER, worker)
            if status != 200 or not {one["instance_id"] for one in body["instances"]} >= {
                *owned(*OWNED)
            }:
                return False
        return True

    await eventually(all_are_known, within=30)
    return guarded


def readers(keystone: Keystone) -> Iterator[tuple[Mapping[str, str], list[str]]]:
    """Yield logins, and the tenants whose instances each of them sees; none: all."""
    give = partial(keystone.give, "alice", "member")
    yield keystone_token(give(project="tenant-a")), ["tenant-a"]
    yield keystone_token(give(project="tenant-a", name="ops", domain="elsewhere")), ["tenant-a"]
    yield keystone_token(keystone.give("root", "admin", project="tenant-b")), ["tenant-b"]
    yield bearer(TENANTS), ["tenant-a", "tenant-c"]
    for all_seeing in (give(name="ops"), give(system=True)):
        yield keystone_token(all_seeing), list(OWNED)


@pytest.mark.parametrize("worker", ["one", "two"])
async def test_who_is_limited_to_tenants_lists_and_counts_theirs_alone(
    with_tenants: Guarded, worker: str
) -> None:
    for login, tenants in readers(with_tenants.keystone):
        ask = partial(with_tenants.ask, login=login, worker=worker)
        seen = owned(*tenants)
        _, body, _ = await ask("GET", f"{PREFIX}/v1/vims")
        (two,) = [vim for vim in body["vims"] if vim["vim_id"] == "Owner_two"]
        assert two["states"]["suspended"] == len(seen)
        assert two["instances"] == sum(two["states"].values())
        listed = list[str]()
        marker: str | None = ""
        while marker is not None:
            _, page, _ = await ask("GET", f"{INSTANCES}?state=suspended&limit=3&marker={marker}")
            listed += [one["instance_id"] for one in page["instances"]]
            assert page["count"] == len(seen)
            marker = page["next_marker"]
        assert sorted(listed) == sorted(seen)
        check = f"{PREFIX}/v1/Owner/two/check_vim_status"
        for tenant in OWNED:
            wanted = len(owned(tenant)) if tenant in tenants else 0
            about = {"states": ["SUSPEND"], "instance_id": owned(tenant)[0]}
            _, body, _ = await ask("POST", check, body=json.dumps(about).encode())
            assert body["count"] == (1 if wanted else 0)
            header = {**login, "Project": tenant}
            if tenant:
                _, body, _ = await ask("GET", f"{INSTANCES}?tenant_id={tenant}")
                assert body["count"] == wanted
                body = (await ask("POST", check, login=header, body=b'{"states": ["SUSPEND"]}'))[1]
                assert body["count"] == wanted


@pytest.mark.parametrize("worker", ["one", "two"])
async def test_an_instance_of_another_tenant_is_there_as_little_as_one_that_is_not(
    with_tenants: Guarded, worker: str
) -> None:
    for login, tenants in readers(with_tenants.keystone):
        for tenant in OWNED:
            for name in owned(tenant)[:2]:
                path = f"{INSTANCES}/{name}"
                for query in ("", "?stale=ok"):
                    status, body, _ = await with_tenants.ask("GET", path + query, login, worker)
                    if tenant in tenants:
                        assert (status, body["instance_id"]) == (200, name)
                    else:
                        said = f"unknown instance {name} of VIM Owner_two"
                        assert (status, body["error"]) == (404, said)
                _, body, _ = await with_tenants.ask("GET", f"{path}/events", login, worker)
                assert len(body["events"]) == (1 if tenant in tenants else 0)


async def test_who_is_limited_to_tenants_sees_alarms_of_their_instances_alone_and_no_hosts(
    guarded: Guarded,
) -> None:
    topic = NotificationsTopic(guarded.stack, "Owner_one")
    for tenant in OWNED:
        topic.tell(f"ill-{tenant}", "compute.instance.update", state="active", tenant_id=tenant)
        topic.tell(
            f"ill-{tenant}",
            "compute.instance.rebuild.error",
            second=1,
            state="error",
            tenant_id=tenant,
        )
    cloud = f"{PREFIX}/v1/Owner/one"

    async def told(login: Mapping[str, str]) -> dict[str, str]:
        _, body, _ = await guarded.ask("GET", f"{cloud}/alerts?condition=vm_error", login)
        found = {each["instance_id"]: each["id"] for each in body.get("alerts", [])}
        return {name: found[name] for name in found if name.startswith("ill-")}

    async def all_are_told() -> dict[str, str]:
        alarms = await told(bearer(READER))
        return alarms if len(alarms) == len(OWNED) else {}

    everything = await eventually(all_are_told, within=30)
    for login, tenants in readers(guarded.keystone):
        seen = {f"ill-{tenant}" for tenant in tenants}
        assert (await told(login)).keys() == seen
        for name, alarm in everything.items():
            status, _, _ = await guarded.ask("GET", f"{cloud}/alerts/{alarm}", login)
            assert status == (200 if name in seen else 404)
        status, _, _ = await guarded.ask("GET", f"{cloud}/hosts", login)
        assert status == (200 if len(tenants) == len(OWNED) else 403)
        _, body, _ = await guarded.ask("GET", f"{PREFIX}/v1/vims", login)
        is_limited = len(tenants) < len(OWNED)
        assert all((vim["alarms"] is None) == is_limited for vim in body["vims"])


async def test_a_marker_of_one_who_sees_all_shows_no_more_to_others(with_tenants: Guarded) -> None:
    _, page = await with_tenants.get(f"{INSTANCES}?limit=1", READER)
    _, body = await with_tenants.get(f"{INSTANCES}?marker={page['next_marker']}", TENANTS)
    assert {one["tenant_id"] for one in body["instances"]} == {"tenant-a", "tenant-c"}


async def test_who_is_limited_to_tenants_is_told_live_events_of_theirs_alone(
    guarded: Guarded,
) -> None:
    topic = NotificationsTopic(guarded.stack, "Owner_one")
    token = guarded.keystone.give("alice", "member", project="tenant-a")
    async with (
        event_stream(
            guarded.session, guarded.url(f"{PREFIX}/v1/events"), **keystone_token(token)
        ) as own,
        event_stream(
            guarded.session, guarded.url(f"{PREFIX}/v1/events"), **bearer(READER)
        ) as every,
    ):
        for tenant in ("tenant-b", "", "tenant-a"):
            topic.tell(f"live-{tenant}", state="active", tenant_id=tenant)
        told = await every.take(3)
        assert sorted(each["instance_id"] for each in told) == [
            "live-",
            "live-tenant-a",
            "live-tenant-b",
        ]
        assert [each["instance_id"] for each in await own.take(1)] == ["live-tenant-a"]


async def test_a_writer_of_a_project_subscribes_to_its_tenant_alone_and_pushes_nothing(
    guarded: Guarded,
) -> None:
    base = f"{PREFIX}/v1/subscriptions"
    writer = keystone_token(guarded.keystone.give("bob", "event_writer", project="tenant-a"))

    async def put(login: str | Mapping[str, str], **fields: Any) -> int:
        body = json.dumps(fields).encode()
        return (await guarded.ask("PUT", f"{base}/of-a-tenant", login, body=body))[0]

    assert await put(writer) == 403
    assert await put(writer, tenants=["tenant-a", "tenant-b"]) == 403
    assert await put(writer, tenants=["tenant-a"]) == 201
    _, body = await guarded.get(base, writer)
    assert [each["name"] for each in body["subscriptions"]] == ["of-a-tenant"]
    assert await put(WRITER, tenants=["tenant-b"]) == 200
    assert (await guarded.get(f"{base}/of-a-tenant", writer))[0] == 403
    snapshot = f"{PREFIX}/v1/snapshots/of-a-tenant"
    for tenants, status in (([], 403), (["tenant-b"], 403), (["tenant-a"], 201)):
        body = json.dumps({"output": "dmaap", "tenants": tenants}).encode()
        assert (await guarded.ask("PUT", snapshot, writer, body=body))[0] == status
    assert (await guarded.get(snapshot, TENANTS))[0] == 200
    assert (await guarded.ask("DELETE", snapshot, writer))[0] == 200
    assert (await guarded.get(base, writer))[1]["subscriptions"] == []
    assert await put(writer, tenants=["tenant-a"]) == 403
    assert (await guarded.ask("DELETE", f"{base}/of-a-tenant", writer))[0] == 403
    assert (await guarded.ask("DELETE", f"{base}/of-a-tenant", WRITER))[0] == 200
    push = f"{PREFIX}/v1/Owner/one/notifications"
    cloudwide = keystone_token(guarded.keystone.give("bob", "event_writer", name="ops"))
    assert await put(cloudwide) == 201
    assert (await guarded.ask("DELETE", f"{base}/of-a-tenant", cloudwide))[0] == 200
    for login, status in ((writer, 403), (cloudwide, 400)):
        assert (await guarded.ask("POST", push, login, body=b"{}"))[0] == status


async def test_failed_logins_are_logged_without_the_secret_and_slowed(
    guarded: Guarded, elsewhere: aiohttp.ClientSession
) -> None:
    ask = partial(guarded.ask, "GET", f"{PREFIX}/v1/vims", session=elsewhere)
    for login in (basic("plain", PASSWORD), basic("hashed", HASHED)):
        assert (await ask(login))[0] == 200
    wrong = [
        basic("plain", "wr0ng"),
        basic("hashed", "wr0ng"),
        basic("wr0ng", HASHED),
        {"Authorization": "Basic wr0ng"},
        bearer("wr0ng"),
        {"Authorization": "Digest wr0ng"},
        keystone_token("wr0ng"),
    ]
    statuses = []
    for login in wrong:
        status, body, headers = await ask(login)
        statuses.append(status)
        if status == 429:
            assert int(headers["Retry-After"]) >= 1
            assert "try again in" in body["error"]
    assert statuses == [401] * 5 + [429] * 2
    # Who has logged in before is not held up, and neither is anybody elsewhere.
    assert (await ask(basic("plain", PASSWORD)))[0] == 200
    assert (await guarded.get(f"{PREFIX}/v1/vims", basic("hashed", HASHED)))[0] == 200

    async def is_let_in_again() -> bool:
        return (await ask(keystone_token(guarded.keystone.give("x", "member"))))[0] == 200

    await eventually(is_let_in_again, within=5)
    log = guarded.stack.children["one"].log.read_text()  # type: ignore[union-attr]
    failed = [line for line in log.splitlines() if " vimfed.audit: " in line]
    assert all(" address=127.0.0." in line for line in failed)
    for who in ("user 'plain'", "an unknown user"):
        assert any(
            " event=login.failed " in line and f' reason="{who}" status=401' in line
            for line in failed
        )
    for secret in ("wr0ng", PASSWORD, HASHED, READER, ADMIN, SECRET, "gAAAAA"):
        assert secret not in log


async def test_keystones_word_on_a_token_is_kept_for_a_while(
    guarded: Guarded, elsewhere: aiohttp.ClientSession
) -> None:
    keystone = guarded.keystone
    ask = partial(guarded.ask, "GET", f"{PREFIX}/v1/vims", session=elsewhere)
    token = keystone.give("alice", "member")
    answers = await asyncio.gather(*(ask(keystone_token(token)) for _ in range(30)))
    assert {status for status, _, _ in answers} == {200}
    assert keystone.asked.count(token) == 1
    for unlike, status in ((keystone.give("bob"), 403), (keystone.give("c", "guest"), 403)):
        assert (await ask(keystone_token(unlike)))[0] == status
    expired = keystone.give("dave", "member", seconds=-1)
    assert (await ask(keystone_token(expired)))[0] == 401
    for keystone.answer in (500, 0):
        other = keystone.give("eve", "member")
        began = time.monotonic()
        status, body, _ = await ask(keystone_token(other))
        assert (status, "Keystone" in body["error"]) == (503, True)
        assert time.monotonic() - began < 3
        assert (await ask(keystone_token(token)))[0] in (200, 503)
    keystone.answer = None
    keystone.revoke(token)

    async def is_refused() -> bool:
        return (await ask(keystone_token(token)))[0] == 401

    await eventually(is_refused, within=10)


async def test_live_events_end_with_a_reason_when_the_login_expires(guarded: Guarded) -> None:
    token = guarded.keystone.give("alice", "member", seconds=2)
    url = guarded.url(f"{PREFIX}/v1/events?vim_id=Owner_nowhere")
    async with event_stream(guarded.session, url, **keystone_token(token)) as stream:
        told = await stream.next(within=10)
        assert (told.event, told.data) == (
            "cut",
            {"reason": "the login has expired, or was revoked"},
        )
        with pytest.raises(EOFError):
            await stream.next()


async def test_live_events_end_when_the_token_is_revoked_but_not_while_keystone_is_silent(
    guarded: Guarded,
) -> None:
    keystone = guarded.keystone
    token = keystone.give("alice", "member")
    url = guarded.url(f"{PREFIX}/v1/events?vim_id=Owner_nowhere")
    async with event_stream(guarded.session, url, **keystone_token(token)) as stream:
        keystone.answer, asked = 500, len(keystone.asked)

        async def was_asked() -> bool:
            return len(keystone.asked) > asked

        await eventually(was_asked, within=10)
        keystone.answer = None
        keystone.revoke(token)
        told = await stream.next(within=10)
        assert (told.event, told.data) == (
            "cut",
            {"reason": "the login has expired, or was revoked"},
        )


async def test_the_command_line_logs_in_by_its_settings_file(guarded: Guarded) -> None:
    stack = guarded.stack
    process = await asyncio.create_subprocess_exec(
        *stack.children["one"].command[:-3],
        "status",
        "--json",
        env={"VIMFED_WEB__PORT": str(stack.ports["one"])},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert [vim["vim_id"] for vim in json.loads(output)["vims"]] == list(CLOUDS)


async def test_nothing_is_told_without_tls(guarded: Guarded) -> None:
    assert (await guarded.stack.get("/healthz", "one"))[0] in (0, 400)


async def test_a_worker_that_would_let_everybody_in_does_not_start(
    tmp_path: Path, kafka: LocalKafka
) -> None:
    async with Stack(tmp_path, kafka.bootstrap, [], '[web]\nhost = "0.0.0.0"') as stack:
        worker = stack.start_worker()
        assert worker.wait(30)
        assert worker.returncode == SettingsError.exit_code
        assert "set web.auth.allow_anonymous = true where the network" in worker.last_log_line()
