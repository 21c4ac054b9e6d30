"""The status page in a real browser: what it shows, and what its buttons do."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, async_playwright, expect

from balancer.admin import Admin
from balancer.health import Order
from balancer.records import POINTS
from balancer.service import Service
from tests.pictures import picture
from tests.servers import XmppServer, client, disconnect
from tests.stage import JID, Backend, backends, balancing, until

CHROMIUM = shutil.which("chromium")
TOKEN = "let-me-in"

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.chromium,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]


@pytest_asyncio.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as play:
        # Tests may run as root, where Chromium has no sandbox.
        browser = await play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        await browser.close()


@pytest_asyncio.fixture
async def stage(prosody: XmppServer) -> AsyncIterator[tuple[Service, str, list[Backend]]]:
    """A balancer with its page, and three backends."""
    options = {"strategy": "round-robin", "affinity": "none"}
    async with balancing(prosody, {"admin.token": TOKEN}, **options) as service:
        admin = Admin(service.config.admin, service)
        await admin.start()
        try:
            async with backends(service, 3) as crew:
                yield service, f"http://127.0.0.1:{admin.port}/", crew
        finally:
            await admin.stop()


async def opened(browser: Browser, url: str, **options: object) -> tuple[Page, list[str]]:
    """The page, and what went wrong in it."""
    page = await browser.new_page(**options)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.on(
        "request", lambda asked: wrong.append(asked.url) if not asked.url.startswith(url) else None
    )
    await page.goto(url)
    return page, wrong


def row(page: Page, name: str) -> Locator:
    return page.locator("tbody tr").filter(has=page.get_by_text(name, exact=True))


@asynccontextmanager
async def talking(server: XmppServer) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """A user, and a round of messages of hers that are all answered."""
    alice = await client(server, "alice", "phone")
    replies: list[str] = []
    alice.add_event_handler("message", lambda message: replies.append(message["body"]))

    async def round() -> None:
        replies.clear()
        for number in range(30):
            alice.send_message(mto=f"bot@{JID}", mbody=str(number))
        await until(lambda: len(replies) == 30)

    yield round
    await disconnect(alice)


async def test_the_page_shows_what_happens_and_steers(
    stage: tuple[Service, str, list[Backend]], browser: Browser, prosody: XmppServer
) -> None:
    service, url, crew = stage
    page, wrong = await opened(browser, url)
    await expect(page.locator("h2 .jid")).to_have_text(JID)
    await expect(page.locator("h2 .state")).to_have_text("up")
    await expect(page.locator("tbody tr")).to_have_count(3)
    for name in ("worker-1", "worker-2", "worker-3"):
        await expect(row(page, name).locator(".state")).to_have_text("up")

    async with talking(prosody) as one_round:
        await one_round()
        await expect(page.locator(".delivered dd")).not_to_have_text("0")
        await expect(row(page, "worker-1").locator(".in")).not_to_be_empty()

        # A backend dies; the page says so.
        assert crew[0].transport is not None
        crew[0].transport.abort()
        await expect(row(page, "worker-1").locator(".state")).to_have_text("down")
        await one_round()

        # Without a token there are no buttons; a wrong one is refused.
        await expect(page.get_by_role("button", name="Drain worker-2")).to_be_hidden()
        await page.get_by_label("Token").fill("wrong")
        await page.keyboard.press("Enter")
        await page.get_by_role("button", name="Drain worker-2").click()
        await expect(page.get_by_role("status")).to_contain_text("the bearer token is missing")

        # By keyboard alone: the token, then the button; the traffic moves.
        await page.get_by_label("Token").focus()
        await page.keyboard.type(TOKEN)
        await page.keyboard.press("Enter")
        await page.get_by_role("button", name="Maint worker-2").focus()
        await page.keyboard.press("Enter")
        await expect(row(page, "worker-2").locator(".state")).to_have_text("maint")
        before = len(crew[1].got)
        await one_round()
        assert len(crew[1].got) == before

        await page.get_by_role("button", name="Ready worker-2").click()
        await expect(row(page, "worker-2").locator(".state")).to_have_text("up")
        await page.get_by_role("button", name="Drain worker-3").click()
        await expect(row(page, "worker-3").locator(".state")).to_have_text("drain")
        pool = service.components[JID].router.pool
        await until(lambda: "worker-3" not in {each.name for each in pool})
        before = len(crew[2].got)
        await one_round()
        assert len(crew[2].got) == before
    assert [each for each in wrong if "401" not in each] == []


async def test_readable_on_a_phone_and_in_the_dark(
    stage: tuple[Service, str, list[Backend]], browser: Browser, tmp_path: Path
) -> None:
    _, url, _ = stage
    phone = {"width": 360, "height": 740}
    page, wrong = await opened(browser, url, viewport=phone, color_scheme="dark")
    await expect(page.locator("tbody tr")).to_have_count(3)
    width = await page.evaluate("document.documentElement.scrollWidth")
    assert width <= phone["width"], "nothing to scroll sideways for"
    dark = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    await page.emulate_media(color_scheme="light")
    light = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark != light
    assert wrong == []


async def test_its_picture(
    stage: tuple[Service, str, list[Backend]],
    browser: Browser,
    prosody: XmppServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("balancer.records.PACE", 0.1)  # five minutes in some seconds
    service, url, crew = stage
    size = {"width": 1280, "height": 440}
    page, wrong = await opened(browser, url, viewport=size, color_scheme="light")
    await page.get_by_label("Token").fill(TOKEN)
    await page.keyboard.press("Enter")
    records = service.components[JID].router.crew.records
    async with talking(prosody) as one_round:
        await one_round()
        for _, record in records:
            record.recent.clear()
        while min(len(record.recent) for _, record in records) < POINTS:
            await one_round()
        service.components[JID].order("worker-2", Order.MAINT)
        assert crew[2].transport is not None
        crew[2].transport.abort()
        await expect(row(page, "worker-3").locator(".state")).to_have_text("down")
        for _ in range(20):
            await one_round()
        await expect(row(page, "worker-1").locator(".graph .to")).to_have_attribute(
            "points", re.compile(r"(\S+ ){59}\S+")
        )
        file = picture("page.png", tmp_path)
        await page.screenshot(path=file)
    assert file.stat().st_size > 10_000
    assert wrong == []
