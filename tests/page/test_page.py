"""The page in a real browser."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from conftest import BEARER, TOKEN, Open, Site, break_store, until
from playwright.async_api import Page, Route, expect

from exporter import Config, setup
from exporter.simulator import Script, Simulator
from exporter.web import summary

pytestmark = pytest.mark.asyncio(loop_scope="session")
expect.set_options(timeout=60_000)


def row(page: Page, job_id: str) -> Any:
    return page.locator(f'#rows tr[data-id="{job_id}"]')


async def top(page: Page, place: str) -> float:
    """Return how far below the top of the page a box begins, in pixels."""
    box = await page.locator(place).bounding_box()
    assert box is not None
    return box["y"]


def cut(site: Site) -> None:
    """Break every connection to a site."""
    runner = site.client.server.runner
    assert runner is not None
    server = runner.server
    assert server is not None
    for connection in server.connections:
        if connection.transport is not None:
            connection.transport.abort()


def said(job_id: str, **changes: Any) -> tuple[str, int, bytes]:
    """Return an answer for one job, as `Simulator.faults.override` takes it."""
    body = {"job_id": job_id, "state": "pending", "status": "queued", "mode": "params"}
    return job_id, 200, json.dumps(body | changes).encode()


async def done_job(site: Site, simulator: Simulator, script: Script, **document: Any) -> str:
    """Register a job, and wait until it is done; return its id."""
    job_id = simulator.add(script)
    await site.put(job_id, **document)
    await site.ends(job_id, "done")
    return job_id


@asynccontextmanager
async def held(page: Page, pattern: str) -> AsyncIterator[asyncio.Event]:
    """Hold answers to a path until the end; the event says that one was read."""
    was_read, released = asyncio.Event(), asyncio.Event()
    on_their_way = set[Route]()

    async def hold(route: Route) -> None:
        on_their_way.add(route)
        response = await route.fetch()
        was_read.set()
        await released.wait()
        await route.fulfill(response=response)
        on_their_way.remove(route)

    await page.route(pattern, hold)
    yield was_read
    released.set()
    await until(lambda: not on_their_way)
    await page.unroute(pattern)


async def pause(page: Page) -> None:
    """Let the page's timers wait; it was opened `with_clock`, which passes over a minute first."""
    await page.clock.pause_at(await page.evaluate("Date.now() + 60_000"))


async def pause_between_tries(page: Page) -> None:
    """Let a page that lost its connection wait; it tries again only if it is made to."""
    await pause(page)
    await expect(page.locator("#connection-text")).to_have_text(re.compile(r"lost, .* in \d+ s$"))


async def try_now(page: Page) -> None:
    """Have such a page try again, and let its time pass again."""
    await page.locator("#try-now").click()
    await live(page)
    await page.clock.resume()


async def live(page: Page) -> None:
    await expect(page.locator("#connection-text")).to_have_text("Live")


async def test_a_jobs_life_shows_without_reloading(
    lively: Site, simulator: Simulator, open_page: Any
) -> None:
    page = await open_page(lively)
    await live(page)
    await expect(page.locator("#empty")).to_have_text(re.compile("No job yet"))
    job_id = simulator.add(Script.warned(0.0))
    mine = row(page, job_id)
    with ExitStack() as held:
        for percent in (0, 30, 70):
            body = {"job_id": job_id, "state": "pending", "status": "queued", "progress": percent}
            answer = json.dumps(body | {"mode": "params"}).encode()
            held.enter_context(simulator.faults.override(job_id, 200, answer))
            await lively.put(job_id, labels={"shop": "eu"}, key="sku-1")
            await expect(mine.locator(".percent")).to_have_text(f"{percent} %")
        await expect(mine).to_contain_text("Pending")
        await expect(mine).to_contain_text("sku-1")
        await expect(mine).to_contain_text("shop=eu")
    await expect(mine).to_contain_text("Done")
    await expect(mine.locator(".percent")).to_have_text("100 %")
    await expect(mine.locator(".c-notes")).to_contain_text("1 ignored variation")
    await expect(page.locator("#tiles a", has_text="Done")).to_contain_text("1")
    await expect(page.locator("#upstream")).to_contain_text("The upstream is well")
    await expect(page.locator("#upstream")).to_contain_text("API key accepted")
    await expect(page.locator("#kinds")).to_contain_text("params")


async def test_filters_search_and_address_stay_in_step(
    lively: Site, simulator: Simulator, open_page: Any
) -> None:
    waiting = [simulator.add(Script.stuck(0.0, mode)) for mode in ("params", "clipping")]
    await lively.put(waiting[0], labels={"shop": "eu"}, key="chair-7")
    await lively.put(waiting[1], labels={"shop": "us"})
    await lively.put("not-a-uuid")
    await lively.ends("not-a-uuid", "invalid")
    page = await open_page(lively, "#/?state=invalid")
    rows = page.locator("#rows tr.job")
    await expect(rows).to_have_count(1)
    await expect(rows).to_contain_text("not-a-uuid")
    await page.locator("#tiles a", has_text="All jobs").click()
    await expect(rows).to_have_count(3)
    await page.locator("#filter-mode").select_option("params")
    await expect(rows).to_have_count(1)
    assert "mode=params" in page.url
    await page.locator("#clear").click()
    await page.locator("#filter-label").fill("shop=us")
    await expect(rows).to_have_count(1)
    await expect(row(page, waiting[1])).to_be_visible()
    await page.locator("#clear").click()
    await page.locator("#search").fill("CHAIR eu")
    await expect(rows).to_have_count(1)
    await expect(page.locator("#count-text")).to_have_text("1 job matches")
    await page.reload()
    await expect(rows).to_have_count(1)
    await expect(page.locator("#search")).to_have_value("CHAIR eu")
    await page.locator("#search").fill("nothing such")
    await expect(page.locator("#empty")).to_have_text("No job matches.")


async def test_the_jobs_of_an_ignored_variation_can_be_chosen(
    lively: Site, simulator: Simulator, open_page: Any
) -> None:
    warned, sound = simulator.add(Script.warned(0.0)), simulator.add(Script.sound(0.0))
    for job_id in (warned, sound):
        await lively.put(job_id)
        await lively.ends(job_id, "done")
    page = await open_page(lively)
    rows = page.locator("#rows tr.job")
    await expect(rows).to_have_count(2)
    for entry in ("variation=shadow_wall", "warning=shadow_wall"):
        await page.locator("#filter-note").select_option(entry)
        await expect(rows).to_have_count(1)
        await expect(row(page, warned)).to_be_visible()
        assert entry in page.url
    await page.reload()
    await expect(rows).to_have_count(1)
    await expect(page.locator("#filter-note")).to_have_value("warning=shadow_wall")
    await page.locator("#clear").click()
    await expect(rows).to_have_count(2)


async def test_the_filters_are_on_one_line(
    lively: Site, simulator: Simulator, open_page: Any
) -> None:
    await done_job(lively, simulator, Script.warned(0.0), labels={"shop": "eu"})
    page = await open_page(lively, "#/?variation=shadow_wall")
    for box in ("#filter-note", "#filter-label", "#clear"):
        await expect(page.locator(box)).to_be_visible()
    for width in (1600, 1440, 1280, 1181):
        await page.set_viewport_size({"width": width, "height": 900})
        boxes = await page.evaluate(
            "[...document.querySelectorAll('#toolbar :is(input, select, button)')]"
            ".map((box) => box.getBoundingClientRect()).map((at) => [at.top, at.left, at.right])"
        )
        assert len({top for top, *_ in boxes}) == 1, (width, boxes)
        assert all(right - left >= 50 for _, left, right in boxes), (width, boxes)
        assert all(one[2] < following[1] for one, following in pairwise(boxes)), (width, boxes)


async def test_nothing_is_cut_off_at_the_side_however_long_the_times_are(
    lively: Site, simulator: Simulator, open_page: Any
) -> None:
    await done_job(lively, simulator, Script.sound(0.6))
    page = await open_page(lively)
    await expect(page.locator("#kinds table")).to_be_attached()
    for width in (1600, 1400, 1280, 1000, 400):
        await page.set_viewport_size({"width": width, "height": 900})
        sizes = await page.evaluate(WIDTHS_WITH_LONG_TIMES)
        assert all(needed <= there for needed, there in sizes), (width, sizes)
    top = "document.querySelector('%s').getBoundingClientRect().top"
    await page.set_viewport_size({"width": 1280, "height": 900})
    assert await page.evaluate(f"{top % '#search'} - {top % '#side .card'}") == 0


WIDTHS_WITH_LONG_TIMES = """
() => {
  for (const cell of document.querySelectorAll("#kinds td:not(:first-child)")) {
    cell.textContent = "3 m 10 s";
  }
  const boxes = [document.documentElement, ...document.querySelectorAll(".side, .side .card")];
  return boxes.map((box) => [box.scrollWidth, box.clientWidth]);
}
"""


@pytest.mark.parametrize(
    ("width", "boxes"), [(1280, "td:not(.c-notes) > div"), (390, "div.only-narrow, .c-time > div")]
)
async def test_a_late_suspected_job_is_not_cut_off(
    width: int, boxes: str, lively: Site, simulator: Simulator, open_page: Any
) -> None:
    job_id = simulator.add(Script.stuck(0.0))
    with simulator.faults.override(job_id, 500, b"{}"):
        await lively.put(job_id, labels={"shop": "eu"}, key="sku-1")
        page = await open_page(lively, viewport={"width": width, "height": 844})
        await expect(row(page, job_id)).to_contain_text("suspected")
        sizes = await page.evaluate(WIDTHS_OF_LATE_ROWS, f"#rows .job :is({boxes})")
    assert sizes
    assert not [(text, needed) for needed, there, text in sizes if needed > there]


WIDTHS_OF_LATE_ROWS = """
(boxes) => {
  for (const late of document.querySelectorAll("#rows .late")) {
    late.previousElementSibling.textContent = "59 m 59 s";
    late.textContent = "overdue";
  }
  for (const bar of document.querySelectorAll("#rows progress")) {
    bar.nextElementSibling.textContent = "100 %";
  }
  for (const step of document.querySelectorAll("#rows .c-step > div:first-child")) {
    step.textContent = "pending_background";  // the longest that the API sends
  }
  const found = [...document.querySelectorAll(boxes)];
  return found.map((box) => [box.scrollWidth, box.clientWidth, box.textContent]);
}
"""


async def test_the_exporters_own_trouble_is_at_the_top_while_it_lasts(
    site: Site, open_page: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary, "KEPT_SECONDS", 0.0)
    page = await open_page(site, with_clock=True)
    await live(page)
    troubles, reload_ok = page.locator("#troubles"), site.exporter.instruments.reload_ok
    await expect(troubles).to_be_hidden()
    reload_ok.set(0)
    await page.clock.fast_forward(10_000)  # the next summary is read
    config = "The changed config has an error: the former one stays in force"
    await expect(troubles.locator("li")).to_have_text([config])
    tops = [await top(page, place) for place in ("#upstream", "#troubles", "#tiles")]
    assert tops == sorted(tops)
    await break_store(site)
    async with site.client.put("/api/v1/jobs/a", headers=BEARER) as response:
        assert response.status == 503
    await page.clock.fast_forward(10_000)
    database = "The database cannot be written: registrations are refused, polling goes on"
    await expect(troubles.locator("li")).to_have_text([database, config])
    site.exporter.registry.commit.worked()
    reload_ok.set(1)
    await page.clock.fast_forward(10_000)
    await expect(troubles).to_be_hidden()


async def test_variations_are_offered_as_soon_as_the_jobs_are_read(
    lively: Site, simulator: Simulator, open_page: Any
) -> None:
    await done_job(lively, simulator, Script.warned(0.0))
    page = await open_page(lively, with_clock=True)
    await pause(page)  # no second summary is read
    await page.reload()
    await page.locator("#filter-note").select_option("variation=shadow_wall")


async def test_sorting_is_announced(lively: Site, simulator: Simulator, open_page: Any) -> None:
    for seconds in (0.05, 30.0):
        await lively.put(simulator.add(Script.sound(seconds)))
    page = await open_page(lively)
    header = page.locator("th", has_text="Progress")
    await expect(page.locator("th[aria-sort]")).to_have_text("Registered")
    await header.get_by_role("button").click()
    await expect(header).to_have_attribute("aria-sort", "descending")
    await expect(page.locator("#rows tr.job .percent").first).to_have_text("100 %")
    await header.get_by_role("button").click()
    await expect(header).to_have_attribute("aria-sort", "ascending")
    await expect(page.locator("#rows tr.job .percent").last).to_have_text("100 %")


async def test_the_panel_shows_a_jobs_details(
    open_site: Open, simulator: Simulator, open_page: Any
) -> None:
    site = await open_site(polling={"recheck_after": ["1h"]})
    witness, failing = simulator.add(Script.stuck(0.0)), simulator.add(Script.failing(0.3))
    await site.put(witness)
    await site.put(failing, key="sku-2")
    await site.ends(failing, "failed")
    page = await open_page(site, f"#/job/{failing}")
    panel = page.locator("#panel")
    await expect(panel.get_by_role("heading", name="Failed")).to_be_focused()
    await expect(panel).to_contain_text(failing)
    await expect(panel.locator(".verdict-box")).to_contain_text("was answered 2xx")
    await expect(panel).to_contain_text("because its end was inferred")
    await expect(panel.locator(".timeline li").first).to_contain_text("Registered by the API")
    await expect(panel.locator(".timeline li").last).to_contain_text("Failed")
    await expect(panel.locator(".polls tbody tr").first).to_contain_text("500")
    assert await panel.locator(".polls tbody tr").count() <= 20
    await expect(panel.locator(".facts")).to_contain_text("sku-2")


async def unlock(page: Page) -> None:
    """Show the token to the page, and wait for the result links."""
    await page.get_by_label("Token").fill(TOKEN)
    await page.get_by_role("button", name="Unlock").click()
    await expect(page.locator("#panel .results a").first).to_be_visible()


async def test_result_links_are_shown_and_never_fetched(
    lively: Site, simulator: Simulator, open_page: Any
) -> None:
    job_id = simulator.add(Script.sound(0.05))
    await lively.put(job_id)
    shown = await lively.ends(job_id, "done")
    page = await open_page(lively, f"#/job/{job_id}")
    await unlock(page)
    links = page.locator("#panel .results a")
    urls = {shown["final_url"], *shown["final_urls"].values()} - {None}
    await expect(links).to_have_count(len(urls))
    for link in await links.all():
        assert await link.get_attribute("href") in urls
        assert await link.get_attribute("rel") == "noreferrer noopener"


async def test_a_reader_without_the_token_sees_why_results_are_hidden(
    lively: Site, simulator: Simulator, open_page: Any
) -> None:
    job_id = await done_job(lively, simulator, Script.sound(0.05))
    page = await open_page(lively, f"#/job/{job_id}")
    await expect(page.locator("#panel")).to_contain_text("unlocked with the exporter's token")
    assert await page.locator("#panel .results a").count() == 0


async def test_a_token_unlocks_the_page_in_its_tab(
    lively: Site, simulator: Simulator, open_page: Any
) -> None:
    job_id = await done_job(lively, simulator, Script.sound(0.05))
    page = await open_page(lively, f"#/job/{job_id}")
    await page.get_by_label("Token").fill("wrong")
    await page.get_by_role("button", name="Unlock").click()
    await expect(page.locator("#panel")).to_contain_text("does not accept this token")
    await unlock(page)
    await page.reload()
    await expect(page.locator("#panel .results a").first).to_be_visible()
    other = await open_page(lively, f"#/job/{job_id}")
    await expect(other.get_by_label("Token")).to_be_visible()


async def test_everything_can_be_reached_by_keyboard(
    lively: Site, simulator: Simulator, open_page: Any
) -> None:
    ids = [simulator.add(Script.stuck(0.0)) for _ in range(5)]
    for job_id in ids:
        await lively.put(job_id)
    page = await open_page(lively)
    await expect(page.locator("#rows tr.job")).to_have_count(5)
    await page.keyboard.press("/")
    search = page.locator("#search")
    await expect(search).to_be_focused()
    await page.keyboard.type(ids[2][-6:])
    await expect(page.locator("#rows tr.job")).to_have_count(1)
    await page.keyboard.press("Escape")
    await expect(page.locator("#rows tr.job")).to_have_count(5)
    await expect(search).to_have_value("")
    await page.keyboard.press("ArrowDown")
    links = page.locator("#rows a.id")
    await expect(links.nth(0)).to_be_focused()
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("ArrowDown")
    await expect(links.nth(2)).to_be_focused()
    outline = await links.nth(2).evaluate("(it) => getComputedStyle(it.closest('tr')).outlineStyle")
    assert outline == "solid"
    await page.keyboard.press("End")
    await expect(links.nth(4)).to_be_focused()
    await page.keyboard.press("Home")
    opened = await links.nth(0).inner_text()
    await page.keyboard.press("Enter")
    await expect(page.locator("#panel h2")).to_be_focused()
    assert page.url.endswith(f"#/job/{opened}")
    await page.keyboard.press("Escape")
    await expect(page.locator("#panel")).to_be_hidden()
    await expect(links.nth(0)).to_be_focused()
    await page.keyboard.press("?")
    await expect(page.locator("#panel")).to_contain_text("What a state means")
    await page.keyboard.press("Escape")
    reached = set()
    await page.locator("#skip").focus()
    for _ in range(40):
        reached.add(
            await page.evaluate("document.activeElement.id || document.activeElement.textContent")
        )
        await page.keyboard.press("Tab")
    assert {"theme", "search", "filter-state", "filter-mode", "filter-source"} <= reached
    assert {"Metrics", "API", "State", "Registered", opened, "all-events"} <= reached


FOCUSED = "document.activeElement.id || document.activeElement.textContent"


async def test_ten_thousand_jobs_scroll_and_filter(
    open_site: Open, open_page: Any, simulator: Simulator
) -> None:
    site = await open_site(
        upstream={"rate": 20, "burst": 1},
        polling={"min_interval": "1h", "max_interval": "1h", "stalled_after": "2h"},
    )
    lines = "".join(
        json.dumps({"job_id": f"job-{number:05}", "key": f"sku-{number}"}) + "\n"
        for number in range(10_050)
    )
    headers = {"Content-Type": "application/x-ndjson"}
    async with site.client.post("/api/v1/jobs", data=lines, headers=headers) as response:
        assert json.loads((await response.text()).splitlines()[-1])["registered"] == 10_050
    page = await open_page(site, forgive="404")  # a key is looked for among the ids as well
    told = page.locator("#count-text")
    await expect(told).to_contain_text("10,000 jobs among the newest 10,000 of 10,050")
    assert await page.locator("#jobs").get_attribute("aria-rowcount") == "10001"
    rows = page.locator("#rows tr.job")
    assert await rows.count() < 60
    await page.locator("#skip").focus()
    await page.keyboard.press("Enter")
    await page.keyboard.press("End")
    await expect(row(page, "job-00050").locator("a.id")).to_be_focused()
    await expect(row(page, "job-00050")).to_be_in_viewport(ratio=0.9)
    assert await rows.count() < 60
    steps = await page.evaluate(SCROLL)
    assert len(steps) == 60
    assert all(step["rows"] < 60 for step in steps), steps
    assert all(0 < step["made"] < 1000 for step in steps), steps  # 12 nodes a row
    await page.keyboard.press("/")
    await page.keyboard.type("sku-4711")
    await expect(rows).to_have_count(1)
    await expect(rows).to_contain_text("job-04711")
    await page.locator("#search").fill("job-00007")  # older than what was read
    await expect(row(page, "job-00007")).to_be_visible()


SCROLL = """
async () => {
  const rows = document.querySelector("#rows");
  let made = 0;
  const observer = new MutationObserver((records) => {
    for (const record of records) made += record.addedNodes.length;
  });
  observer.observe(rows, {childList: true, subtree: true});
  const steps = [];
  for (let at = 1; at <= 60; at += 1) {
    made = 0;
    scrollTo(0, (at * 37 % 60) / 60 * document.body.scrollHeight);
    await new Promise(requestAnimationFrame);
    await new Promise(requestAnimationFrame);
    await new Promise((done) => setTimeout(done));
    steps.push({made, rows: rows.querySelectorAll("tr.job").length});
  }
  observer.disconnect();
  return steps;
}
"""
"""Scrolls far 60 times; returns the nodes made and the rows present after each step.

This bounds the work of a step on any machine, which a measured time would not.
"""


async def test_texts_from_a_job_are_shown_literally(
    open_site: Open, simulator: Simulator, open_page: Any
) -> None:
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script>\"'><svg onload=alert(3)>"
    bidi = "\u202eevil\u202c \u0000".rstrip("\0")
    site = await open_site(registration={"allowed_labels": ["shop"]})
    job_id = simulator.add(Script.stuck(0.0))
    body = {
        "job_id": job_id, "state": "pending", "status": evil, "mode": evil, "progress": 40,
        "warnings": {evil: [evil, bidi]}, "ignored_variations": [evil],
    }  # fmt: skip
    done = body | {
        "state": "done", "progress": 100, "final_url": "javascript:alert(4)",
        "final_urls": {
            evil: "javascript:alert(5)", "ok": "https://cdn.example.com/a?<b>",
            "space": " javascript:alert(6)", "line": "java\nscript:alert(7)",
            "upper": "JAVASCRIPT:alert(8)", "data": "data:text/html,<script>alert(9)</script>",
            "host": "//evil.example/a", "path": "/api/v1/jobs", "empty": "", "file": "file:///etc/x",
            "long": "https://cdn.example.com/" + "a" * 1500, "blob": "blob:https://evil.example/1",
            "no host": "https://", "view": "view-source:https://evil.example/",
        },
    }  # fmt: skip
    page = await open_page(site, forgive="404")
    await live(page)
    with simulator.faults.override(job_id, 200, json.dumps(body).encode()):
        await site.put(job_id, labels={"shop": evil}, key=evil)
        mine = row(page, job_id)
        await expect(mine.locator(".c-step")).to_contain_text(evil)
        await expect(mine.locator(".c-job")).to_contain_text(f"shop={evil}")
        await expect(page.locator("#events")).to_contain_text(evil)
        await expect(page.locator("#steps")).to_contain_text(evil)
        await mine.locator("a.id").click()
        panel = page.locator("#panel")
        await expect(panel.locator(".said")).to_contain_text(evil)
        await expect(panel.locator(".facts")).to_contain_text(evil)
    with simulator.faults.override(job_id, 200, json.dumps(done).encode()):
        await expect(panel.locator("h2")).to_contain_text("Done")
        await unlock(page)
        links = [await link.get_attribute("href") for link in await panel.locator("a").all()]
        assert links
        assert not [link for link in links if not str(link).startswith("https://cdn.example.com/")]
    await page.locator("#search").fill(evil)
    await expect(mine).to_be_visible()
    await page.locator("#filter-label").fill(f"shop={evil}")
    await expect(mine).to_be_visible()
    await page.goto(f"{page.url.partition('#')[0]}#/job/{evil}")
    await expect(panel).to_contain_text("does not know this job")
    assert await page.locator("main img, main script, main [onerror], #panel img").count() == 0


async def test_a_lost_connection_shows_and_no_change_is_missed(
    make_config: Callable[..., Config], simulator: Simulator, open_page: Any
) -> None:
    async def start(port: int = 0) -> TestClient[Any, Any]:
        app = web.Application()
        setup(app, make_config())
        client = TestClient(TestServer(app, port=port or None), headers=BEARER)
        await client.start_server()
        return client

    client = await start()
    port = client.server.port
    assert port is not None
    first = simulator.add(Script.stuck(0.0))
    assert (await client.put(f"/api/v1/jobs/{first}")).status == 201
    site = Lost(str(client.make_url("/")).rstrip("/"))
    page = await open_page(site, forgive="ERR_", with_clock=True)
    await live(page)
    await expect(row(page, first)).to_contain_text("Pending")
    await client.close()
    connection = page.locator("#connection")
    await expect(connection).to_contain_text("Connection lost, retrying")
    await expect(page.locator("#announce")).to_contain_text("lost")
    await expect(row(page, first)).to_be_visible()
    await pause_between_tries(page)
    client = await start(port)
    try:
        second = simulator.add(Script.stuck(0.0))
        assert (await client.put(f"/api/v1/jobs/{second}")).status == 201
        await try_now(page)
        await expect(row(page, second)).to_contain_text("Pending")
        await expect(page.locator("#rows tr.job")).to_have_count(2)
        await expect(page.locator("#announce")).to_contain_text("Reconnected")
    finally:
        await client.close()


class Lost:
    """A site that has only an address."""

    def __init__(self, url: str) -> None:
        self.url = url


async def test_after_a_gap_in_the_history_everything_is_read_again(
    open_site: Open, simulator: Simulator, open_page: Any
) -> None:
    site = await open_site(storage={"history_events": 2})
    page = await open_page(site, forgive="410|ERR_")
    await live(page)
    await page.route("**/api/**", lambda route: route.abort())
    cut(site)
    await expect(page.locator("#connection")).to_contain_text("Connection lost")
    ids = [simulator.add(Script.sound(0.05)) for _ in range(4)]
    for job_id in ids:
        await site.put(job_id)
        await site.ends(job_id, "done")
    await site.exporter.registry.upkeep.prune()
    await page.unroute("**/api/**")
    await expect(page.locator("#rows tr.s-done")).to_have_count(4)
    await live(page)


async def test_a_failure_to_read_jobs_is_shown_and_retried(
    lively: Site, simulator: Simulator, open_page: Any
) -> None:
    await lively.put(simulator.add(Script.stuck(0.0)))
    page = await open_page(lively, forgive="503")
    await page.route("**/api/v1/jobs?*", lambda route: route.fulfill(status=503, body="{}"))
    await page.reload()
    await expect(page.locator("#count-text")).to_contain_text("cannot read its jobs at the moment")
    await live(page)
    await page.unroute("**/api/v1/jobs?*")
    await expect(page.locator("#rows tr.job")).to_have_count(1)
    await expect(page.locator("#count-text")).to_have_text("1 job")


async def test_a_refused_stream_does_not_make_it_read_everything_again(
    lively: Site, simulator: Simulator, open_page: Any
) -> None:
    await lively.put(simulator.add(Script.stuck(0.0)))
    page = await open_page(lively, forgive="503|ERR_", with_clock=True)
    await live(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    refusal = "**/api/v1/events?after=*"

    async def refuse(route: Route) -> None:
        if "event-stream" in route.request.headers["accept"]:
            await route.fulfill(status=503, body="{}")
        else:
            await route.continue_()

    await page.route(refusal, refuse)
    cut(lively)
    await until(lambda: sum("/events" in url for url in asked) >= 3)
    await expect(page.locator("#connection")).to_contain_text("Connection lost")
    assert not [url for url in asked if "/api/v1/jobs" in url]
    await pause_between_tries(page)
    await page.unroute(refusal)
    await try_now(page)


async def test_while_the_server_is_gone_retries_become_rarer(lively: Site, open_page: Any) -> None:
    page = await open_page(lively, forgive="ERR_")
    await live(page)
    time = asyncio.get_running_loop().time
    await page.route("**/api/**", lambda route: route.abort())
    asked = [time()]
    page.on("request", lambda request: asked.append(time()))
    cut(lively)
    await until(lambda: len(asked) >= 3)
    waits = [later - before for before, later in pairwise(asked)]
    assert waits[0] >= 0.45  # starts at half a second and doubles each time
    assert waits[1] >= 0.9


async def test_the_theme_is_the_systems_unless_one_is_chosen(lively: Site, open_page: Any) -> None:
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    dark, light = "rgb(18, 20, 22)", "rgb(246, 246, 243)"
    page = await open_page(lively, color_scheme="dark")
    assert await page.evaluate(ground) == dark
    button = page.locator("#theme")
    await expect(button).to_have_attribute("aria-label", "Theme: system")
    await button.click()
    await button.click()
    await expect(button).to_have_attribute("aria-label", "Theme: light")
    assert await page.evaluate(ground) == light
    await page.reload()
    assert await page.evaluate(ground) == light
    await button.click()
    assert await page.evaluate(ground) == dark


async def test_it_fits_a_phone(lively: Site, simulator: Simulator, open_page: Any) -> None:
    job_id = simulator.add(Script.stuck(0.0))
    await lively.put(job_id, labels={"shop": "eu"}, key="k" * 200)
    page = await open_page(lively, viewport={"width": 360, "height": 740}, has_touch=True)
    mine = row(page, job_id)
    await expect(mine).to_contain_text("Pending")
    # The key by which its owner knows the job comes first: the end of the line may be cut off.
    await expect(mine.locator(".only-narrow.second")).to_have_text(
        re.compile(r"^kkk.* · \w+ · \w+$")
    )
    wide = "document.documentElement.scrollWidth"
    assert await page.evaluate(wide) <= 360
    await page.get_by_role("button", name="Events").tap()
    await expect(page.locator("#events")).to_be_visible()
    await expect(page.locator("#jobs")).to_be_hidden()
    await page.get_by_role("button", name="Exporter").tap()
    await expect(page.locator("#exporter")).to_contain_text("writable")
    assert await page.evaluate(wide) <= 360
    await page.get_by_role("button", name="Jobs").tap()
    await mine.tap()
    panel = page.locator("#panel")
    await expect(panel).to_contain_text("Next poll")
    box = await panel.bounding_box()
    assert box is not None
    assert (box["x"], box["width"]) == (0, 360)
    assert await page.evaluate(wide) <= 360
    assert await page.evaluate("document.querySelector('main').inert") is True
    await panel.get_by_role("button", name="Close").tap()
    await expect(panel).to_be_hidden()


async def test_it_works_under_a_prefix(
    make_config: Callable[..., Config], simulator: Simulator, open_page: Any
) -> None:
    app = web.Application()
    setup(app, make_config(), prefix="/tools/removit")
    async with TestClient(TestServer(app), headers=BEARER) as client:
        job_id = simulator.add(Script.stuck(0.0))
        assert (await client.put(f"/tools/removit/api/v1/jobs/{job_id}")).status == 201
        page = await open_page(Lost(str(client.make_url("/")).rstrip("/")), path="/tools/removit")
        await live(page)
        await expect(row(page, job_id)).to_contain_text("Pending")
        await page.close()


async def test_a_rejected_key_is_named_and_the_events_show_its_begin_and_end(
    lively: Site, simulator: Simulator, open_page: Any
) -> None:
    page = await open_page(lively)
    await live(page)
    with simulator.faults.revoked_key():
        await lively.put(simulator.add(Script.stuck(0.0)))
        upstream = page.locator("#upstream")
        await expect(upstream).to_contain_text("API key is rejected; polling is suspended")
        await expect(upstream).to_contain_text("next try")
        await expect(page.locator("#announce")).to_contain_text("rejected")
        begin = page.locator("#events li.s-trouble", has_text="API key is rejected")
        await expect(begin.first).to_be_visible()
    end = page.locator("#events li.s-well:has(~ .s-trouble)", has_text="The upstream is well")
    await expect(end.first).to_be_visible()


async def test_a_gateway_that_answers_instead_of_the_api_is_named(
    lively: Site, simulator: Simulator, open_page: Any
) -> None:
    job_id = simulator.add(Script.stuck(0.0))
    await lively.put(job_id)
    page = await open_page(lively, f"#/job/{job_id}")
    await live(page)
    with simulator.faults.misrouted():
        reason = "unreadable answer: 404 <html><head><title>404 error"
        await expect(page.locator("#upstream")).to_contain_text(reason)
        await expect(page.locator("#panel")).to_contain_text(
            "Deviation from the contract: not_json"
        )
        await expect(page.locator("#panel")).to_contain_text("unreadable answer")
    await expect(page.locator("#upstream")).not_to_contain_text("unreadable")


async def test_the_order_is_kept_while_the_pointer_is_over_the_table(
    lively: Site, simulator: Simulator, open_page: Any
) -> None:
    first = simulator.add(Script.stuck(0.0))
    await lively.put(first)
    page = await open_page(lively)
    await row(page, first).hover()
    second = simulator.add(Script.stuck(0.0))
    await lively.put(second)
    held = page.locator("#held")
    await expect(held).to_have_text("1 more; show")
    await expect(row(page, second)).to_have_count(0)
    await held.click()
    await expect(row(page, second)).to_be_visible()


async def test_the_scroll_position_is_kept_while_jobs_are_added(
    open_site: Open, open_page: Any
) -> None:
    site = await open_site(
        polling={"min_interval": "1h", "max_interval": "1h", "stalled_after": "2h"}
    )
    for number in range(60):
        await site.put(f"job-{number:02}")
    page = await open_page(site)
    await expect(page.locator("#count-text")).to_have_text("60 jobs")
    await page.evaluate("scrollTo(0, 1500)")
    shown = row(page, "job-30")
    before = await shown.bounding_box()
    assert before is not None
    for number in range(5):
        await site.put(f"new-{number}")
    await expect(page.locator("#count-text")).to_have_text("65 jobs")
    after = await shown.bounding_box()
    assert after is not None
    assert after["y"] == pytest.approx(before["y"], abs=1)


HIDE = """
(hidden) => {
  Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
  document.dispatchEvent(new Event("visibilitychange"));
}
"""


async def test_a_hidden_page_closes_its_stream_and_catches_up_when_shown(
    lively: Site, simulator: Simulator, open_page: Any
) -> None:
    page = await open_page(lively, with_clock=True)
    await live(page)
    await page.evaluate(HIDE, True)
    await page.clock.fast_forward(61_000)
    await expect(page.locator("#connection")).to_have_attribute("data-state", "asleep")
    job_id = await done_job(lively, simulator, Script.sound(0.05))
    await page.evaluate(HIDE, False)
    await live(page)
    await expect(row(page, job_id)).to_contain_text("Done")


async def test_progress_that_comes_with_a_step_is_shown(
    site: Site, simulator: Simulator, open_page: Any
) -> None:
    job_id = simulator.add(Script.stuck(0.0))
    page = await open_page(site)
    await live(page)
    mine = row(page, job_id)
    with simulator.faults.override(*said(job_id, progress=0)):
        await site.put(job_id, key="sku-1")
        await expect(mine).to_contain_text("queued")
        await expect(mine).to_contain_text("sku-1")  # it is not read again
    with simulator.faults.override(*said(job_id, status="compose", progress=66)):
        await expect(mine).to_contain_text("compose")
        await expect(mine.locator(".percent")).to_have_text("66 %")


async def test_an_answer_older_than_the_events_changes_nothing(
    site: Site, simulator: Simulator, open_page: Any
) -> None:
    ends, goes, comes = (simulator.add(Script.stuck(0.0)) for _ in range(3))
    await site.put(ends)
    await site.put(goes)
    page = await open_page(site)
    await expect(page.locator("#rows tr.job")).to_have_count(2)
    await live(page)
    done = said(ends, state="done", progress=100, warnings={"a": ["w"]}, ignored_variations=["a"])
    async with held(page, "**/api/v1/jobs?*") as was_read:
        await site.put(comes, key="sku-1")  # so that the newest are read
        await asyncio.wait_for(was_read.wait(), 60)
        with simulator.faults.override(*done):
            await site.ends(ends, "done")
            await expect(row(page, ends)).to_contain_text("Done")
        async with site.client.delete(f"/api/v1/jobs/{goes}") as response:
            assert response.status == 204
        await expect(page.locator("#rows tr.job")).to_have_count(2)
    await expect(row(page, comes)).to_contain_text("sku-1")
    await expect(row(page, ends)).to_contain_text("Done")
    await expect(row(page, ends).locator(".percent")).to_have_text("100 %")
    await expect(row(page, ends).locator(".c-notes")).to_contain_text("1 warning")
    await expect(page.locator("#count-text")).to_have_text("2 jobs")


async def test_an_event_older_than_an_answer_is_not_counted_again(
    site: Site, simulator: Simulator, open_page: Any
) -> None:
    job_id = simulator.add(Script.stuck(0.0))
    await site.put(job_id)
    page = await open_page(site)
    await live(page)
    done = said(job_id, state="done", progress=100, warnings={"a": ["w"]}, ignored_variations=["a"])
    stream = asyncio.Event()

    async def late(route: Route) -> None:
        if "event-stream" in route.request.headers["accept"]:
            await stream.wait()
        await route.continue_()

    await page.route("**/api/v1/events?after=*", late)
    async with held(page, "**/api/v1/summary") as was_read:
        await page.reload()
        await asyncio.wait_for(was_read.wait(), 60)
        with simulator.faults.override(*done):
            await site.ends(job_id, "done")
    mine = row(page, job_id)
    await expect(mine).to_contain_text("Done")
    stream.set()
    await live(page)
    await expect(page.locator("#events")).to_contain_text("Ignored a")
    await expect(mine.locator(".c-notes")).to_contain_text("1 warning")
    await expect(mine.locator(".c-notes")).to_contain_text("1 ignored variation")


@pytest.mark.parametrize("way", ["lost", "asleep"])
async def test_progress_that_was_missed_is_read(
    site: Site, simulator: Simulator, open_page: Any, way: str
) -> None:
    job_id = simulator.add(Script.stuck(0.0))
    page = await open_page(site, forgive="ERR_", with_clock=True)
    await live(page)
    with simulator.faults.override(*said(job_id, progress=10)):
        await site.put(job_id)
        await expect(row(page, job_id).locator(".percent")).to_have_text("10 %")
        if way == "asleep":
            await page.evaluate(HIDE, True)
            await page.clock.fast_forward(61_000)
        else:
            await page.route("**/api/**", lambda route: route.abort())
            cut(site)
    await expect(page.locator("#connection")).to_have_attribute("data-state", way)
    with simulator.faults.override(*said(job_id, progress=70)):
        await until(lambda: site.exporter.registry.jobs[job_id].progress == 70)
        if way == "asleep":
            await page.evaluate(HIDE, False)
        else:
            await pause_between_tries(page)
            await page.unroute("**/api/**")
            await try_now(page)
        await live(page)
        await expect(row(page, job_id).locator(".percent")).to_have_text("70 %")


async def test_pruned_jobs_leave_an_open_page(
    open_site: Open, simulator: Simulator, open_page: Any
) -> None:
    site = await open_site(metrics={"per_job": {"linger": "0s"}})
    old, pending = simulator.add(Script.sound(0.05)), simulator.add(Script.stuck(0.0))
    await site.put(old)
    await site.put(pending)
    await site.ends(old, "done")
    page = await open_page(site, with_clock=True)
    await live(page)
    await expect(page.locator("#count-text")).to_have_text("2 jobs")
    registry = site.exporter.registry
    await registry.upkeep.evict()
    assert old not in registry.jobs
    site.change_config("storage", retention=0.0)
    await registry.upkeep.prune()
    await page.clock.fast_forward(601_000)

    async def gone() -> bool:
        await page.clock.fast_forward(11_000)
        return not await row(page, old).count()

    await until(gone)
    await expect(page.locator("#count-text")).to_have_text("1 job")
    await expect(row(page, pending)).to_be_visible()


async def test_events_that_arrive_during_a_read_stay_the_newest(
    site: Site, simulator: Simulator, open_page: Any
) -> None:
    ids = [f"bad-{number}" for number in range(40)]
    for job_id in ids:
        await site.put(job_id)
    for job_id in ids:
        await site.ends(job_id, "invalid")
    page = await open_page(site)
    await live(page)
    older = re.compile(r"/api/v1/events\?after=\d+$")
    came = simulator.add(Script.stuck(0.0))
    was_read, released = asyncio.Event(), asyncio.Event()

    async def late(route: Route) -> None:
        if "event-stream" not in route.request.headers["accept"]:
            was_read.set()
            await released.wait()
        await route.continue_()

    await page.route(older, late)
    await page.reload()
    await page.locator("#all-events").check()
    await asyncio.wait_for(was_read.wait(), 60)
    await live(page)
    await site.put(came)
    newest = page.locator("#events li").first
    await expect(newest).to_contain_text(came)
    released.set()
    await expect(page.locator("#events")).to_contain_text("bad-39")
    await expect(newest).to_contain_text(came)


@pytest.mark.parametrize("state", ["suspected", "stalled"])
async def test_pending_jobs_with_problems_are_one_click_away(
    open_site: Open, simulator: Simulator, open_page: Any, state: str
) -> None:
    site = await open_site(
        polling={"stalled_after": "1s"},
        judgement={"failed_after": "1h", "gateway_failed_after": "1h"},
    )
    ailing = {
        "stalled": simulator.add(Script.stuck(0.0)),
        "suspected": simulator.add(Script.failing(0.0)),
    }
    moving = simulator.add(Script.sound(120.0))
    for job_id in (*ailing.values(), moving):
        await site.put(job_id)
    page = await open_page(site)
    await page.locator("#tiles .ails a", has_text=state).click()
    await expect(row(page, moving)).to_have_count(0)
    await expect(row(page, ailing[state])).to_be_visible()
