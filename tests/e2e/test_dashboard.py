"""The dashboard as its users meet it: in Debian's Chromium, on a worker that runs."""

import asyncio
import re
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from axe_playwright_python.base import AxeResults
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from tests.e2e.notifications_topic import NotificationsTopic
from tests.e2e.stack import Stack, eventually
from tests.support.sample_load import SampleLoad
from vimfed.local.kafka import LocalKafka

pytestmark = pytest.mark.asyncio(loop_scope="package")

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
VIM_ID = "Owner_dashboard"
HOSTILE = '<img src=x onerror="window.hacked = true">&lt;b&gt;'
HISTORY = (
    ("create.start", "building", "spawning"),
    ("create.end", "active", ""),
    ("pause.start", "active", "pausing"),
    ("pause.end", "paused", ""),
)
NAMED = {"display_name": "fresh"}
STATES = ("active", "paused", "stopped", "error")

LOCKED = """
[web.auth]
peer_secret = "the-secret-of-the-peers"
[[web.auth.users]]
name = "näme"
password = "pässword: with a colon"
[[web.auth.users]]
name = "limited"
token = "a-token-of-more-than-sixteen-characters"
clouds = ["Owner_one"]
"""


def url_of(stack: Stack, worker: str = "one", path: str = "/") -> str:
    return f"http://127.0.0.1:{stack.ports[worker]}{path}"


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def told(served: Stack) -> NotificationsTopic:
    """Seventy VMs and one with a history and a hostile name; the topic to tell more."""
    topic = NotificationsTopic(served, VIM_ID)
    for second, (action, state, task) in enumerate(HISTORY):
        topic.tell(
            "vm-hostile",
            f"compute.instance.{action}",
            second=second,
            state=state,
            state_description=task,
            display_name=HOSTILE,
        )
    for number in range(70):
        topic.tell(
            f"vm-{number:02}",
            second=number % 50 + 5,
            state=STATES[number % 4],
            display_name=f"web-{number:02}",
            host=f"compute{number % 2}",
        )

    async def all_there() -> bool:
        _, answer = await served.get("/api/multicloud/v1/Owner/dashboard/instances?limit=1", "one")
        return bool(answer.get("count") == 71)

    await eventually(all_there, within=30)
    return topic


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def browser() -> AsyncIterator[Browser]:
    assert shutil.which(CHROMIUM), "these tests drive Debian's Chromium: apt-get install chromium"
    expect.set_options(timeout=15_000)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


class Visit:
    """A page of the dashboard, and what it did that it should not."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        page.on("console", lambda message: self._noted(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self._requested(request.url, origin))

    def _noted(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    def _requested(self, url: str, origin: str) -> None:
        if not url.startswith(origin):
            self.foreign.append(url)

    async def live(self) -> None:
        """Wait until the feed is connected."""
        await expect(self.page.locator("#connection")).to_have_text("Live")

    def assert_clean(self) -> None:
        """Assert that nothing was complained about, and nobody else asked for anything."""
        assert self.complaints == []
        assert self.foreign == []


def violations(found: AxeResults) -> list[str]:
    """Return which rules of accessibility are broken, and where."""
    return [
        f"{violation['id']}: {node['html']}: {node['failureSummary']}"
        for violation in found.response["violations"]
        for node in violation["nodes"]
    ]


CONTRASTS = """() => {
    const light = (colour) => {
        const parts = colour.match(/[\\d.]+/g).slice(0, 3).map((part) => {
            const value = part / 255;
            return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
    };
    const probe = document.body.appendChild(document.createElement("span"));
    const of = (name) => {
        probe.style.color = `var(${name})`;
        return light(getComputedStyle(probe).color);
    };
    const states = "active building resized paused suspended stopped rescued shelved " +
        "shelved_offloaded soft-delete error other deleted";
    const ratios = states.split(" ").map((state) => {
        const pair = [of(`--state-${state}`), of("--surface")].sort((a, b) => b - a);
        return [state, (pair[0] + 0.05) / (pair[1] + 0.05)];
    });
    return Object.fromEntries(ratios);
}"""
"""Returns the contrast of each state's colour with what it lies on."""


@asynccontextmanager
async def visit(
    browser: Browser, stack: Stack, place: str = f"#cloud={VIM_ID}", **options: Any
) -> AsyncIterator[Visit]:
    """Open the page of worker ``one`` in a context of its own."""
    context: BrowserContext = await browser.new_context(**options)
    try:
        opened = Visit(await context.new_page(), url_of(stack))
        await opened.page.goto(url_of(stack, path=f"/{place}"))
        yield opened
    finally:
        await context.close()


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


async def test_a_worker_that_does_not_answer_is_named_and_fails_nothing(served: Stack) -> None:
    served.children["two"].freeze()
    try:
        status, answer = await served.get("/api/multicloud/v1/workers", "one")
    finally:
        served.children["two"].thaw()
    assert status == 200
    silent = next(one for one in answer["workers"] if one["url"] == url_of(served, "two", ""))
    assert silent["wrong"] == {"worker": "does not answer: TimeoutError"}
    assert (len(silent["partitions"]), silent["figures"]) == (4, None)


async def test_the_page_shows_clouds_counts_vms_and_workers(
    served: Stack, browser: Browser, told: NotificationsTopic
) -> None:
    async with visit(browser, served) as opened:
        page = opened.page
        cloud = page.locator("#clouds-list li", has_text=VIM_ID)
        await expect(cloud.get_by_role("button")).to_have_attribute("aria-pressed", "true")
        await expect(cloud).to_contain_text("71")
        await expect(page.locator("#legend li", has_text="paused")).to_contain_text("19")
        chart = page.get_by_role("slider")
        await expect(chart).to_have_attribute("aria-valuetext", re.compile("19 paused"))
        await expect(page.locator("#vms-count")).to_have_text("1\u201350 of 71")
        await expect(page.locator("#vms-rows tr")).to_have_count(50)
        await page.get_by_role("button", name="Next").click()
        await expect(page.locator("#vms-rows tr")).to_have_count(21)
        await expect(page.locator("#vms-count")).to_have_text("51\u201371 of 71")
        workers = page.locator("#workers-list li")
        await expect(workers).to_have_count(2)
        for number in range(2):
            await expect(workers.nth(number)).to_contain_text(re.compile("ready.*lag 0"))
        opened.assert_clean()


async def test_typing_filters_vms_and_events(
    served: Stack, browser: Browser, told: NotificationsTopic
) -> None:
    async with visit(browser, served) as opened:
        page, events = opened.page, opened.page.locator("#events li")
        await opened.live()
        for name, state in (("vm-10", "stopped"), ("vm-11", "error")):
            told.tell(name, "compute.instance.reboot.end", state=state, display_name=f"Sift-{name}")
        for text, vms, shown in (
            ("sift-VM", 2, 2),
            ("sift state:stopped", 1, 1),
            ("error sift", 1, 1),
            ("kind:reboot sift", 2, 2),
            ("kind:pause sift", 0, 0),
            ("sift-vm-10 phase:start", 1, 0),
            ("nothing-like-it", 0, 0),
        ):
            await page.locator("#filter").fill(text)
            await expect(page.locator("#vms-rows tr")).to_have_count(vms)
            await expect(events).to_have_count(shown)
        await expect(page.locator("#vms-notice")).to_have_text(
            "No VM that the filter lets through."
        )
        await page.locator("#filter").fill("host:compute1 web-0")
        await expect(page.locator("#vms-rows tr")).to_have_count(5)
        await page.locator("#filter").fill("state:flying")
        await expect(page.locator("#vms-notice")).to_contain_text("flying")
        # The state's place in the legend is a filter too, and all of it is in the address.
        await page.locator("#filter").fill("web-1")
        await page.locator("#legend").get_by_role("button", name="paused").click()
        await expect(page.locator("#filter")).to_have_value("web-1 state:paused")
        await expect(page.locator("#vms-rows tr")).to_have_count(2)
        assert "filter=web-1+state%3Apaused" in page.url
        opened.complaints = [text for text in opened.complaints if "400" not in text]
        opened.assert_clean()


async def test_an_event_is_shown_within_a_second_of_its_telling(
    served: Stack, browser: Browser, told: NotificationsTopic
) -> None:
    async with visit(browser, served) as opened:
        page, newest = opened.page, opened.page.locator("#events li").first
        await opened.live()
        took = []
        for action, state in (("pause", "paused"), ("unpause", "active"), ("suspend", "suspended")):
            begun = time.monotonic()
            told.tell("vm-12", f"compute.instance.{action}.end", 58, state=state, **NAMED)
            await expect(newest).to_contain_text(action.upper())
            await expect(newest).to_contain_text(state)
            took.append(time.monotonic() - begun)
        assert min(took) < 1, took
        # What is counted and listed follows.
        await expect(page.locator("#legend li", has_text="suspended")).to_contain_text("1")
        await expect(page.locator("#vms-rows tr", has_text="fresh")).to_contain_text("suspended")
        await page.locator("#pause").click()
        told.tell("vm-12", "compute.instance.resume.end", 59, state="active", **NAMED)
        await page.get_by_role("button", name="Resume · 1 new").click()
        await expect(newest).to_contain_text("RESUME")
        # Who opens the page later sees what was told last.
        await page.reload()
        await expect(newest).to_contain_text("RESUME")
        opened.assert_clean()


async def test_a_vm_has_a_timeline_and_a_hostile_name_is_only_text(
    served: Stack, browser: Browser, told: NotificationsTopic
) -> None:
    async with visit(browser, served, f"#cloud={VIM_ID}&filter=onerror") as opened:
        page = opened.page
        await page.locator("#vms-rows").get_by_role("link", name=HOSTILE).click()
        sheet = page.get_by_role("dialog", name=HOSTILE)
        entries = sheet.locator("#vm-events li.entry")
        await expect(entries).to_have_count(4)
        for number, words in enumerate(
            (
                "PAUSE end after 1 s paused",
                "PAUSE start active pausing",
                "CREATE end",
                "CREATE start",
            )
        ):
            for word in words.split():
                await expect(entries.nth(number)).to_contain_text(word)
        strip = sheet.get_by_role("img", name=re.compile("building, active, paused$"))
        await expect(strip).to_be_visible()
        # It goes on by itself.
        await opened.live()
        told.tell(
            "vm-hostile", "compute.instance.unpause.end", 59, state="active", display_name=HOSTILE
        )
        await expect(entries).to_have_count(5)
        await expect(page.locator("#events li").first).to_contain_text(HOSTILE)
        assert await page.evaluate("window.hacked") is None
        assert await page.locator("img").count() == 0
        # The back button closes it, and its address opens it.
        address = page.url
        await page.go_back()
        await expect(sheet).to_be_hidden()
        await page.goto(address)
        await expect(sheet).to_be_visible()
        opened.assert_clean()


@pytest.mark.usefixtures("told")
async def test_a_vm_that_was_measured_shows_how_busy_it_was(
    served: Stack, browser: Browser
) -> None:
    load = SampleLoad(served.bootstrap, served.names, VIM_ID, ["vm-00"])
    await asyncio.to_thread(load.write_minutes, 3)
    await asyncio.to_thread(load.close_all)
    path = "/api/multicloud/v1/Owner/dashboard/instances/vm-00/measurements"

    async def is_measured() -> bool:
        return len((await served.get(path, "one"))[1]["recent"]) == 3

    await eventually(is_measured, within=30)
    async with visit(browser, served, f"#cloud={VIM_ID}&filter=web-0") as opened:
        rows = opened.page.locator("#vms-rows")
        await rows.get_by_role("link", name="web-00").click()
        sheet = opened.page.get_by_role("dialog", name="web-00")
        drawing = sheet.get_by_role(
            "img", name=re.compile(r"^Load from .*CPU \d+ %, Memory \d+ %$")
        )
        await expect(drawing).to_be_visible()
        await expect(drawing.locator("polyline")).to_have_count(2)
        # One that nobody measured has no such drawing.
        await sheet.get_by_role("button", name="Close").click()
        await rows.get_by_role("link", name="web-01").click()
        other = opened.page.get_by_role("dialog", name="web-01")
        await expect(other.locator("#vm-events li")).not_to_have_count(0)
        await expect(other.locator("#vm-load svg")).to_have_count(0)
        opened.assert_clean()


async def test_all_of_it_can_be_done_from_the_keyboard(
    served: Stack, browser: Browser, told: NotificationsTopic
) -> None:
    async with visit(browser, served) as opened:
        page = opened.page
        await expect(page.locator("#vms-rows tr")).to_have_count(50)
        press, focus = page.keyboard.press, page.locator(":focus")
        await press("Tab")
        await expect(focus).to_have_text("Skip to the content")
        assert await focus.evaluate("(it) => it.getBoundingClientRect().top") >= 0
        await press("Enter")
        await expect(focus).to_have_id("main")
        await press("Tab")
        assert await focus.evaluate("(it) => getComputedStyle(it).outlineStyle") == "solid"
        await press("/")
        await expect(focus).to_have_id("filter")
        await page.keyboard.type("web-2")
        await expect(page.locator("#vms-rows tr")).to_have_count(10)
        await press("ArrowDown")
        names = await page.locator("#vms-rows a").all_inner_texts()
        await expect(focus).to_have_text(names[0])
        await press("ArrowDown")
        await expect(focus).to_have_text(names[1])
        await press("End")
        await expect(focus).to_have_text(names[-1])
        await press("Home")
        await press("Enter")
        await expect(page.get_by_role("dialog", name=names[0])).to_be_visible()
        await press("Escape")
        await expect(page.get_by_role("dialog")).to_be_hidden()
        await expect(focus).to_have_text(names[0])
        await press("/")
        await press("Escape")
        await expect(page.locator("#filter")).to_have_value("")
        await expect(page.locator("#vms-rows tr")).to_have_count(50)
        await page.get_by_role("slider").focus()
        await press("Home")
        await expect(page.locator("#legend-time")).not_to_have_text("now")
        opened.assert_clean()


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
async def test_it_is_legible_and_accessible_in_both_themes_and_widths(
    served: Stack, browser: Browser, told: NotificationsTopic, width: int, theme: Any
) -> None:
    size: Any = {"width": width, "height": 844}
    # Few enough to be checked quickly, of every state.
    place = f"#cloud={VIM_ID}&filter=web-4"
    async with visit(browser, served, place, viewport=size, color_scheme=theme) as opened:
        page = opened.page
        await expect(page.locator("#vms-rows tr")).to_have_count(10)
        await opened.live()
        await expect(page.locator("#workers-list li")).to_have_count(2)
        wide = await page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, "nothing is cut off, or scrolls sideways"
        assert violations(await Axe().run(page)) == []
        await page.locator("#vms-rows a").first.click()
        await expect(page.locator("#vm-events li").first).to_be_visible()
        assert violations(await Axe().run(page)) == []
        # Graphical signs need three to one (WCAG 1.4.11).
        colours = await page.evaluate(CONTRASTS)
        assert len(colours) == 13
        assert {name: ratio for name, ratio in colours.items() if ratio < 3} == {}
        opened.assert_clean()


async def test_the_feed_goes_on_after_its_worker_was_killed_and_loses_nothing(
    served: Stack, browser: Browser, told: NotificationsTopic
) -> None:
    def tell(name: str) -> None:
        told.tell("vm-20", "compute.instance.reboot.end", display_name=f"lost-{name}")

    async with visit(browser, served, f"#cloud={VIM_ID}&filter=lost-") as opened:
        page, connection = opened.page, opened.page.locator("#connection")
        await opened.live()
        tell("before")
        await expect(page.locator("#events li")).to_have_count(1)
        served.children["one"].kill()
        try:
            await expect(connection).to_have_attribute("data-state", "waiting")
            await expect(page.locator("#clouds-notice")).to_contain_text("does not answer")
            for number in range(10):
                tell(f"away-{number}")
        finally:
            served.start_worker("one")
        await served.serving("one", "two")
        await opened.live()
        tell("after")
        away = [f"lost-away-{number}" for number in reversed(range(10))]
        names = ["lost-after", *away, "lost-before"]
        await expect(page.locator("#events li a")).to_have_text(names)
        await expect(page.locator("#events li.gap")).to_have_count(0)
        assert opened.foreign == []


async def test_a_host_that_is_down_is_shown_with_its_vms_and_alarms(
    served: Stack, browser: Browser, told: NotificationsTopic
) -> None:
    cloud = "/api/multicloud/v1/Owner/dashboard"
    host, strange = {"host": "c-doomed"}, {"host": "<u>compute"}
    told.tell("vm-doomed", state="active", display_name=HOSTILE, host=host["host"])
    async with visit(browser, served, f"#cloud={VIM_ID}&filter=host:c-doomed") as opened:
        page = opened.page
        alarms, row = page.locator("#alarms"), page.locator("#vms-rows tr")
        await expect(row).to_have_count(1)
        count = alarms.locator("#alarms-count")
        await expect(count).to_have_text(re.compile("[0-9]+"))  # VMs in error have one
        before = int(await count.inner_text())
        await opened.live()
        for is_up in (True, False):
            entries = [{**each, "is_up": is_up} for each in (host, strange)]
            assert (await served.post(f"{cloud}/hosts", entries, "one"))[0] == 200
        await expect(count).to_have_text(str(before + 3))
        await expect(alarms).to_contain_text(f"{host['host']}, with 1 VMs")
        await expect(alarms).to_contain_text(f"{strange['host']}, with 0 VMs")
        unavailable = alarms.locator("li", has_text="vm unavailable")
        await expect(unavailable).to_contain_text(f"{HOSTILE} on {host['host']}")
        await expect(row.locator(".mark.bad")).to_have_text("unavailable")
        events = page.locator("#events li")
        await expect(events.filter(has_text="UNAVAILABLE")).to_contain_text("host down")
        assert violations(await Axe().run(page)) == []
        await unavailable.get_by_role("link").click()
        await expect(page.locator("#vm-facts")).to_contain_text("no, host down since")
        await page.keyboard.press("Escape")
        entries = [{**each, "is_up": True} for each in (host, strange)]
        assert (await served.post(f"{cloud}/hosts", entries, "one"))[0] == 200
        await expect(count).to_have_text(str(before))
        await expect(row.locator(".mark.bad")).to_have_count(0)
        assert await page.evaluate("window.hacked") is None
        opened.assert_clean()


async def test_a_login_is_asked_for_tried_and_forgotten(
    tmp_path: Path, kafka: LocalKafka, browser: Browser
) -> None:
    clouds = [{"cloud_owner": "Owner", "cloud_region_id": region} for region in ("one", "two")]
    async with Stack(tmp_path, kafka.bootstrap, clouds, LOCKED) as stack:
        stack.start_worker("one")
        await stack.ready("one")
        async with visit(browser, stack, "") as opened:
            page, dialog = opened.page, opened.page.get_by_role("dialog", name="Log in")
            await expect(dialog).to_be_visible()
            await expect(page.locator("#clouds-notice")).to_have_text("Log in to see this.")
            await expect(page.locator("#connection")).to_have_text("Log in to follow")
            # Only what the settings offer.
            await expect(dialog.get_by_label("Keystone token")).to_be_hidden()
            await dialog.get_by_label("User").fill("näme")
            await dialog.get_by_label("Password", exact=True).last.fill("wrong")
            await page.keyboard.press("Enter")
            await expect(dialog.get_by_role("alert")).to_contain_text("not accepted")
            await dialog.get_by_label("Password", exact=True).last.fill("pässword: with a colon")
            await page.keyboard.press("Enter")
            await expect(dialog).to_be_hidden()
            await opened.live()
            await expect(page.locator("#clouds-list li")).to_have_count(3)
            await expect(page.locator("#workers-list li")).to_have_count(1)
            await page.reload()
            await opened.live()
            await page.get_by_role("button", name="Log out").click()
            await expect(dialog).to_be_visible()
            await expect(page.locator("#clouds-list li")).to_have_count(0)
            await dialog.get_by_label("Token", exact=True).first.check()
            await dialog.get_by_label("Token", exact=True).last.fill(
                "a-token-of-more-than-sixteen-characters"
            )
            await dialog.get_by_role("button", name="Log in").click()
            await opened.live()
            await expect(page.locator("#clouds-list li")).to_have_text([re.compile("Owner_one")])
            assert opened.foreign == []
