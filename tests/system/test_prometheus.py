"""A real Prometheus scrapes a running exporter, and its HTTP API gives back what it saw."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from conftest import Open, program, until
from system_ports import free_port

from exporter.simulator import Script, Simulator

CONFIG = """
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: removit
    static_configs: [{{targets: ["{target}"]}}]
"""


class Prometheus:
    """A Prometheus on loopback, and its query API."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self._session = session

    async def get(self, path: str, **parameters: str) -> Any:
        try:
            async with self._session.get(self.url + path, params=parameters) as response:
                return json.loads(await response.text())["data"]
        except (aiohttp.ClientError, ValueError, KeyError):
            return None  # not up yet

    async def query(self, expression: str) -> list[Any]:
        data = await self.get("/api/v1/query", query=expression)
        return data["result"] if data else []


@pytest.fixture
async def run_prometheus(tmp_path: Path) -> AsyncIterator[Any]:
    binary = program("prometheus", "prometheus")
    processes: list[asyncio.subprocess.Process] = []
    async with aiohttp.ClientSession() as session:

        async def run(target: str, more: str = "") -> Prometheus:
            config = tmp_path / "prometheus.yml"
            config.write_text(CONFIG.format(target=target) + more.format(target=target))
            address = f"127.0.0.1:{free_port()}"
            process = await asyncio.create_subprocess_exec(
                binary,
                f"--config.file={config}",
                f"--storage.tsdb.path={tmp_path / 'tsdb'}",
                f"--web.listen-address={address}",
                "--enable-feature=exemplar-storage",
                "--log.level=error",
            )
            processes.append(process)
            return Prometheus(f"http://{address}", session)

        yield run
    for process in processes:
        process.terminate()
        await process.wait()


async def test_prometheus_scrapes_progress_states_variations_and_exemplars(
    open_site: Open, simulator: Simulator, run_prometheus: Any
) -> None:
    site = await open_site()
    prometheus = await run_prometheus(site.url.removeprefix("http://"))
    up = 'up{job="removit"} == 1'
    await until(lambda: prometheus.query(up), 60)

    stuck = simulator.add(Script.stuck(0.1, "params"))
    await site.put(stuck)
    for script in (Script.sound(0.2), Script.warned(0.2), Script.failing(0.2, "params")):
        await site.put(simulator.add(script))

    async def one(expression: str) -> Any:
        [series] = await until(lambda: prometheus.query(expression), 60)
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
        return await prometheus.get(
            "/api/v1/query_exemplars",
            query="removit_jobs_finished_total",
            start="0",
            end="4102444800",
        )

    found = await until(exemplars, 60)
    told = {exemplar["labels"]["job_id"] for series in found for exemplar in series["exemplars"]}
    assert told <= set(simulator.ledger.jobs)
    assert told


PROBING = """
  - job_name: removit-probe
    metrics_path: /probe
    http_sd_configs: [{{url: "http://{target}/sd/jobs", refresh_interval: 1s}}]
    relabel_configs:
      - {{source_labels: [__address__], target_label: __param_job_id}}
      - {{source_labels: [__meta_removit_job_id], target_label: job_id}}
      - {{source_labels: [__meta_removit_mode], target_label: mode}}
      - {{target_label: __address__, replacement: "{target}"}}
"""


async def test_prometheus_discovers_and_probes_jobs_that_take_long(
    open_site: Open, simulator: Simulator, run_prometheus: Any
) -> None:
    site = await open_site(sd={"min_age": "0s"})
    job_id = simulator.add(Script.stuck(0.0))
    await site.put(job_id)
    await until(lambda: simulator.ledger.jobs[job_id].polls)
    prometheus = await run_prometheus(f"127.0.0.1:{site.client.port}", PROBING)

    async def value(expression: str) -> list[tuple[dict[str, str], str]]:
        return [(one["metric"], one["value"][1]) for one in await prometheus.query(expression)]

    probed = f'probe_success{{job="removit-probe",job_id="{job_id}",mode="clipping"}} == 1'
    await until(lambda: value(probed), 60)
    states = await value('removit_probe_job_state{job="removit-probe"} == 1')
    assert [labels["state"] for labels, _ in states] == ["pending"]
    targets = await prometheus.get("/api/v1/targets", scrapePool="removit-probe")
    assert [target["lastError"] for target in targets["activeTargets"]] == [""]
