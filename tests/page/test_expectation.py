"""The panel of a pending job says why its next poll comes when it does, and when it will end."""

from typing import Any

from conftest import Open, until
from playwright.async_api import expect

from exporter.simulator import Script, Simulator

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
