"""A real browser, Debian's chromium, and checks of what the page must never do."""

import re
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from conftest import KEY, Open, Site, program, sites
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright

from exporter import Config
from exporter.simulator import Simulator

FLAGS = [
    "--remote-debugging-port=0",
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    # As Playwright starts one: no page waits because another is in front, and there is a mouse.
    *("--disable-background-timer-throttling", "--disable-renderer-backgrounding"),
    *("--disable-backgrounding-occluded-windows", "--hide-scrollbars"),
    "--blink-settings=primaryHoverType=2,availableHoverTypes=2"
    ",primaryPointerType=4,availablePointerTypes=4",
]

WATCH_POLICY = (
    "document.addEventListener('securitypolicyviolation', (event) =>"
    " console.error('policy: ' + event.violatedDirective + ' ' + event.blockedURI))"
)


class Watched:
    """A page with its requests and its complaints."""

    def __init__(self, page: Page, host: str) -> None:
        self.page = page
        self.host = host
        self.asked: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("dialog", self._dialog)

    async def _dialog(self, dialog: Any) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        await dialog.dismiss()

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def check(self, *, forgive: str) -> None:
        """Fail if there were requests elsewhere or messages in the console."""
        elsewhere = [url for url in self.asked if urlsplit(url).netloc != self.host]
        assert not [url for url in elsewhere if not url.startswith("data:")]
        assert not [text for text in self.complaints if not re.search(forgive, text)]


OpenPage = Callable[..., Any]


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start one browser for all tests, and give the address that drives it."""
    profile = tmp_path_factory.mktemp("chromium")
    command = [program("chromium", "chromium"), *FLAGS, f"--user-data-dir={profile}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if found := re.search(r"DevTools listening on (ws://\S+)", line):
                break
        else:
            pytest.fail(f"chromium did not start:\n{said}")
        # What it says later is read as well: a full pipe would stop it.
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield found[1]
        process.terminate()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    """Drive the browser: the driver is a process as well, which all tests share."""
    async with async_playwright() as playwright:
        connected = await playwright.chromium.connect_over_cdp(chromium, timeout=120_000)
        yield connected
        await connected.close()


# Whatever a test awaits runs in the loop of the driver, which is the session's.


@pytest_asyncio.fixture(loop_scope="session")
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(api_key=KEY, seed=1) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def open_site(make_config: Callable[..., Config]) -> AsyncIterator[Open]:
    async with sites(make_config) as open_one:
        yield open_one


@pytest_asyncio.fixture(loop_scope="session")
async def site(open_site: Open) -> Site:
    return await open_site()


@pytest_asyncio.fixture(loop_scope="session")
async def lively(open_site: Open) -> Site:
    """An exporter whose jobs may have the label `shop`."""
    return await open_site(registration={"allowed_labels": ["shop"]})


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(browser: Browser) -> AsyncIterator[OpenPage]:
    """Open the page of a site; at the end check that it did nothing forbidden."""
    watched: list[tuple[Watched, str]] = []
    async with AsyncExitStack() as stack:

        async def open_one(
            site: Site,
            hash_: str = "",
            *,
            path: str = "/",
            forgive: str = "(?!)",
            with_clock: bool = False,
            **options: Any,
        ) -> Page:
            context = await browser.new_context(
                **({"viewport": {"width": 1440, "height": 900}, "locale": "en-GB"} | options)
            )
            stack.push_async_callback(context.close)
            context.set_default_timeout(60_000)
            await context.add_init_script(WATCH_POLICY)
            if with_clock:
                await context.clock.install()
            page = await context.new_page()
            watched.append((Watched(page, urlsplit(site.url).netloc), forgive))
            await page.goto(site.url + path + hash_)
            return page

        yield open_one
        for one, forgive in watched:
            one.check(forgive=forgive)
