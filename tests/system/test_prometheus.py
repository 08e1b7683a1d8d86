"""A real Prometheus scrapes a running exporter, and its HTTP API gives back what it saw."""

from pathlib import Path
from typing import Any

from conftest import Open, Site, until
from monitoring import FAST_SCRAPES, Prometheus, prometheus

from exporter.simulator import Script, Simulator


async def test_prometheus_scrapes_progress_states_variations_and_exemplars(
    open_site: Open, simulator: Simulator, tmp_path: Path
) -> None:
    site = await open_site()
    target = {"targets": [site.url.removeprefix("http://")]}
    scraped = {"job_name": "removit", "static_configs": [target]}
    async with prometheus(
        tmp_path, {"global": FAST_SCRAPES, "scrape_configs": [scraped]}
    ) as server:
        await see_everything(site, simulator, server)


async def see_everything(site: Site, simulator: Simulator, server: Prometheus) -> None:
    up = 'up{job="removit"} == 1'
    await until(lambda: server.query(up), 60)

    stuck = simulator.add(Script.stuck(0.1, "params"))
    await site.put(stuck)
    for script in (Script.sound(0.2), Script.warned(0.2), Script.failing(0.2, "params")):
        await site.put(simulator.add(script))

    async def one(expression: str) -> Any:
        [series] = await until(lambda: server.query(expression), 60)
        return series

    progress = await one(f'removit_job_progress_ratio{{job_id="{stuck}"}} > 0.9')
    assert float(progress["value"][1]) == 0.99
    assert progress["metric"]["upstream"] == "removit"
    done = await one('sum by (state) (removit_jobs_finished_total{state="done"}) == 2')
    assert done["metric"] == {"state": "done"}
    await one('sum by (state) (removit_jobs_finished_total{state="failed"}) == 1')
    ignored = await one("removit_job_ignored_variations_total > 0")
    assert ignored["metric"]["variation"] == "shadow_wall"
    assert ignored["value"][1] == "1"

    async def exemplars() -> Any:
        return await server.data(
            "/api/v1/query_exemplars",
            query="removit_jobs_finished_total",
            start="0",
            end="4102444800",
        )

    found = await until(exemplars, 60)
    told = {exemplar["labels"]["job_id"] for series in found for exemplar in series["exemplars"]}
    assert told <= set(simulator.ledger.jobs)
    assert told
