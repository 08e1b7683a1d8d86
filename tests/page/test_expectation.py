"""The panel of a pending job says why its next poll comes when it does, and what is expected."""

from typing import Any

import pytest
from conftest import Open, until
from playwright.async_api import expect

from exporter.simulator import Script, Simulator

pytestmark = pytest.mark.asyncio(loop_scope="session")

SLOW = {"min_interval": "9m", "max_interval": "9m"}


async def test_the_panel_says_when_such_jobs_end(
    open_site: Open, open_page: Any, simulator: Simulator
) -> None:
    site = await open_site(polling=SLOW)
    learner = site.exporter.poller.pace.learner
    for seconds in [60.0, 100.0] * 30:
        watch = learner.watch("params", 0.0)
        learner.pending(watch, seconds - 1, "", 0)
        learner.ended(watch, seconds)
    job_id = simulator.add(Script.stuck(0.0, "params"))
    await site.put(job_id)
    await until(lambda: site.exporter.registry.jobs[job_id].mode is not None)
    page = await open_page(site, f"#/job/{job_id}")
    panel = page.locator("#panel")
    await expect(panel).to_contain_text("Nine in ten jobs of mode params that are pending after")
    await expect(panel).to_contain_text("Half of such jobs end within")


async def test_the_panel_of_a_suspected_job_says_what_a_verdict_lacks(
    open_site: Open, open_page: Any, simulator: Simulator
) -> None:
    site = await open_site(
        polling={"min_interval": "50ms", "max_interval": "50ms"},
        judgement={"control": ["finished"]},  # no job has finished: nothing can be a witness
    )
    job_id = simulator.add(Script.failing(0.0))
    await site.put(job_id)
    await until(lambda: site.exporter.registry.jobs[job_id].suspicion is not None)
    page = await open_page(site, f"#/job/{job_id}")
    panel = page.locator("#panel")
    await expect(panel.locator(".verdict-box")).to_contain_text("The last was 500. So far")
    await expect(panel.locator(".verdict-box")).to_contain_text("A verdict lacks a witness")
    await expect(panel).to_contain_text("Suspected: answered 500")
