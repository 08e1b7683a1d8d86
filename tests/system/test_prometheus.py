"""A real Prometheus scrapes a running exporter, and its HTTP API gives back what it saw."""

from pathlib import Path
from typing import Any

import yaml
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


async def test_prometheus_reads_compressed_slices_that_are_kept_between_scrapes(
    open_site: Open, tmp_path: Path
) -> None:
    site = await open_site()
    for at in range(200):
        await site.put(f"job-{at}")
    target = {"targets": [site.url.removeprefix("http://")]}
    scraped = {"job_name": "removit", "static_configs": [target]}
    async with prometheus(
        tmp_path, {"global": FAST_SCRAPES, "scrape_configs": [scraped]}
    ) as server:
        await until(lambda: server.query("count(removit_job_info) == 200"), 60)
        for at in range(50, 150):
            await site.exporter.registry.forget(f"job-{at}")
        await until(lambda: server.query("count(removit_job_info) == 100"), 60)
        await until(lambda: server.query('up{job="removit"} == 1'), 60)


PROBING = """
job_name: removit-probe
metrics_path: /probe
http_sd_configs: [{{url: "http://{target}/sd/jobs", refresh_interval: 1s}}]
relabel_configs:
  - {{source_labels: [__address__], target_label: __param_job_id}}
  - {{source_labels: [__meta_removit_job_id], target_label: job_id}}
  - {{source_labels: [__meta_removit_mode], target_label: mode}}
  - {{target_label: __address__, replacement: "{target}"}}
"""


async def test_prometheus_discovers_and_probes_jobs_that_take_long(
    open_site: Open, simulator: Simulator, tmp_path: Path
) -> None:
    site = await open_site(sd={"min_age": "0s"})
    job_id = simulator.add(Script.stuck(0.0))
    await site.put(job_id)
    await until(lambda: simulator.ledger.jobs[job_id].polls)
    probe = yaml.safe_load(PROBING.format(target=f"127.0.0.1:{site.client.port}"))
    config = {"global": FAST_SCRAPES, "scrape_configs": [probe]}
    async with prometheus(tmp_path, config) as server:

        async def value(expression: str) -> list[tuple[dict[str, str], str]]:
            return [(one["metric"], one["value"][1]) for one in await server.query(expression)]

        probed = f'probe_success{{job="removit-probe",job_id="{job_id}",mode="clipping"}} == 1'
        await until(lambda: value(probed), 60)
        states = await value('removit_probe_job_state{job="removit-probe"} == 1')
        assert [labels["state"] for labels, _ in states] == ["pending"]
        targets = await server.data("/api/v1/targets", scrapePool="removit-probe")
        assert [target["lastError"] for target in targets["activeTargets"]] == [""]
