"""Every question of every dashboard, put to a real Prometheus after a stream of jobs."""

import asyncio
import json
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from conftest import KEY, until
from monitoring import FAST_SCRAPES, Prometheus, prometheus
from system_ports import free_port

from exporter.alerting.promql import Promql, for_drill
from exporter.alerting.rule_files import drill_rules
from exporter.alerting.thresholds import load_thresholds
from exporter.simulator import Kind, Simulator

DASHBOARDS = Path(__file__).parent.parent.parent / "grafana" / "dashboards"
JOBS = 140
SHOPS = ("eu", "us", "jp")
EMPTY = {
    "Errors of the store": "the store did not fail, and has no operations that are known before",
}
"""Panels that must have nothing to show after this stream, and why."""


@dataclass
class Shop:
    """Uploads images and tells the exporter of the jobs, in each way there is."""

    simulator: Simulator
    url: str
    session: aiohttp.ClientSession
    keys: Counter[str] = field(default_factory=Counter)

    async def send(self, number: int, kind: Kind | None) -> None:
        shop, key = SHOPS[number % 3], f"sku-{number}"
        script = self.simulator.draw(weights={kind.value: 1.0} if kind else None)
        job_id = f"no-uuid-{number}" if number % 20 == 0 else self.simulator.add(script)
        document = {"labels": {"shop": shop}, "key": key}
        async with self.session.put(f"{self.url}/api/v1/jobs/{job_id}", json=document) as response:
            assert response.status == 201

    async def upload_through(self, number: int) -> None:
        headers = {
            "X-API-Key": KEY,
            "Removit-Exporter-Label-Shop": SHOPS[number % 3],
            "Removit-Exporter-Key": f"sku-uploaded-{number}",
        }
        document = {"file_url": "https://images.example.com/1.jpg", "mode": "clipping"}
        url = f"{self.url}/api/v1/upload"
        async with self.session.post(url, json=document, headers=headers) as response:
            job_id = (await response.json())["job_id"]
        url = f"{self.url}/api/v1/status?job_id={job_id}"
        async with self.session.get(url, headers=headers) as response:
            await response.read()

    async def jobs(self, state: str) -> list[dict[str, Any]]:
        url = f"{self.url}/api/v1/jobs?state={state}&limit=1000"
        async with self.session.get(url) as response:
            found: list[dict[str, Any]] = (await response.json())["jobs"]
            return found


@asynccontextmanager
async def exporter(folder: Path, simulator: Simulator) -> AsyncIterator[str]:
    """`removit-exporter run`, with thresholds small enough that every end comes in seconds."""
    (folder / "api.key").write_text(KEY)
    address = f"127.0.0.1:{free_port()}"
    config = {
        "upstream": {"base_url": simulator.url, "api_key_file": "api.key", "rate": 400},
        "polling": {
            "min_interval": "250ms",
            "max_interval": "1s",
            "give_up_after": "15s",
            "stalled_after": "3s",
            "overdue_samples": 10,
            "recheck_after": [],
        },
        "judgement": {
            "failed_after": "1s",
            "gateway_failed_after": "2s",
            "weak_after": "20s",
            "chance": 0.001,
            "not_found_grace": "2s",
            "lost_after": "3s",
        },
        "registration": {"allowed_labels": ["shop"]},
        "metrics": {"group_labels": ["shop"]},
        "storage": {"path": "jobs.db"},
        "web": {"listen_address": address},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "exporter", "run", f"--config.file={path}"),
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        await process.wait()


@dataclass(frozen=True)
class Seen:
    """A Prometheus that saw it all: when it began, when jobs were pending, and when none was."""

    server: Prometheus
    began: float
    busy: float
    ended: float
    job_id: str

    def filled(self, text: str, *, group: str = 'upstream!=""') -> str:
        """Put in what Grafana would for its variables."""
        values = {
            "job": "removit",
            "instance": ".+",
            "upstream": ".+",
            "group:raw": group,
            "job_id": self.job_id,
            "__rate_interval": "4s",
            "__range": "2m",
        }
        for name, value in values.items():
            text = text.replace(f"${{{name}}}", value)
            text = re.sub(rf"\${name}\b", value.replace("\\", r"\\"), text)
        assert "$" not in text, text
        return text

    async def answers(self, target: dict[str, Any]) -> list[dict[str, Any]]:
        """Return what a panel's question gives, at any time that a panel might show."""
        expression = self.filled(target["expr"])
        if target["instant"]:
            for at in (self.ended, self.busy):
                if found := await self.asked("/api/v1/query", expression, time=str(at)):
                    return found
            return []
        span = {"start": str(self.began), "end": str(self.ended), "step": "1"}
        return await self.asked("/api/v1/query_range", expression, **span)

    async def asked(self, path: str, expression: str, **when: str) -> list[dict[str, Any]]:
        answer = await self.server.data(path, query=expression, **when)
        assert answer is not None, f"does not parse: {expression}"
        found: list[dict[str, Any]] = answer["result"]
        return found

    async def by(self, label: str, expression: str) -> dict[str, float]:
        """Return a panel's numbers at the end by one label, those that are not 0."""
        found = await self.asked("/api/v1/query", self.filled(expression), time=str(self.ended))
        numbers = {one["metric"].get(label, ""): float(one["value"][1]) for one in found}
        return {name: number for name, number in numbers.items() if number}


async def run(simulator: Simulator, folder: Path, url: str, server: Prometheus) -> Seen:
    began = time.time()
    async with aiohttp.ClientSession() as session:
        shop = Shop(simulator, url, session)
        await until(lambda: server.query('up{job="removit"} == 1'), 60)
        kinds = dict(enumerate(Kind))  # one of each kind, then as they are drawn
        for number in range(1, JOBS):
            await shop.send(number, kinds.get(number))
            if number % 10 == 0:
                await shop.upload_through(number)
            await asyncio.sleep(0.04)

        async def warned() -> str | None:
            jobs = await shop.jobs("done")
            return next((job["job_id"] for job in jobs if job["ignored_variations"]), None)

        async def scraped() -> Any:
            wanted = (
                f'removit_job_finished_timestamp_seconds{{job_id="{job_id}"}}',
                "sum(removit_jobs_overdue) > 0",
                "sum(removit_jobs_stalled) > 0",
            )
            return all([await server.query(one) for one in wanted])

        job_id = await until(warned, 60)
        await until(scraped, 60)
        busy = time.time()
        await until(lambda: server.query("sum(removit_jobs_pending) == 0"), 90)
        ended = time.time()
    return Seen(server, began, busy, ended, job_id)


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(DASHBOARDS.glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            if panel["type"] != "row":
                yield path.name, panel


def expression(title: str) -> str:
    [panel] = [panel for name, panel in panels() if panel["title"] == title and "over" in name]
    [target] = panel["targets"]
    text: str = target["expr"]
    return text


async def check_every_panel(seen: Seen) -> None:
    for name, panel in panels():
        for target in panel["targets"]:
            found = await seen.answers(target)
            empty = panel["title"] in EMPTY
            assert bool(found) is not empty, (name, panel["title"], target["expr"])
            labels = {label for series in found for label in series["metric"]}
            legend = set(re.findall(r"{{(\w+)}}", target.get("legendFormat") or ""))
            assert empty or legend <= labels, (panel["title"], legend, labels)


async def check_one_group(seen: Seen) -> None:
    """`${group}` is a matcher that the variable's own question gives."""
    question = json.loads((DASHBOARDS / "overview.json").read_text())["templating"]["list"][4]
    text = question["query"]["query"].removeprefix("query_result(").removesuffix(")")
    found = await seen.asked("/api/v1/query", seen.filled(text), time=str(seen.busy))
    assert {tuple(one["metric"].items()) for one in found} == {(("shop", shop),) for shop in SHOPS}
    every = await seen.by(
        "", seen.filled(expression("Ended, in all")).replace("sum by (state)", "sum")
    )
    parts = 0.0
    for shop in SHOPS:
        one = seen.filled(expression("Ended, in all"), group=f'shop="{shop}"')
        parts += (await seen.by("", one.replace("sum by (state)", "sum")))[""]
    assert every == {"": parts}


async def check_the_numbers(seen: Seen, simulator: Simulator) -> None:
    """Ten panels by name, against what the simulator knows to be true."""
    truth = simulator.ledger.totals()
    modes = Counter(
        entry.script.mode
        for entry in simulator.ledger.jobs.values()
        if entry.script.kind is Kind.RESULTLESS
    )
    uploads = simulator.ledger.requests["POST", "/api/v1/upload", 200]
    ended = {state: number for state, number in truth["finished"].items() if number}
    api = truth["registered"] - uploads
    badly = sum(number for state, number in ended.items() if state != "done")
    assert await seen.by("source", expression("Registered, in all")) == {
        "api": api,
        "upload": uploads,
    }
    assert await seen.by("state", expression("Ended, in all")) == ended
    assert await seen.by("state", expression("Jobs by state")) == ended
    ignored = await seen.by("variation", expression("Ignored variations, in all"))
    assert ignored == truth["ignored_variations"]
    assert await seen.by("variation", expression("Warnings, in all")) == truth["warnings"]
    assert await seen.by("mode", expression("Done without result, in all")) == modes
    assert await seen.by("from", expression("Verdicts overturned, in all")) == {}
    assert await seen.by("reason", expression("Forgotten while pending, in all")) == {}
    assert await seen.by("", expression("Pending")) == {}
    assert await seen.by("", expression("Unresolved failures")) == {"": badly}
    assert sum(ended.values()) == truth["registered"]


async def check_annotations(seen: Seen) -> None:
    [outages, reloads] = json.loads((DASHBOARDS / "job.json").read_text())["annotations"]["list"]
    span = {"start": str(seen.began), "end": str(seen.ended), "step": "1"}
    assert await seen.asked("/api/v1/query_range", seen.filled(outages["expr"]), **span) == []
    [series] = await seen.asked("/api/v1/query_range", seen.filled(reloads["expr"]), **span)
    assert abs(float(series["values"][0][1]) / 1000 - seen.began) < 60


@pytest.mark.slow
async def test_every_panel_asks_what_prometheus_answers_and_counts_what_was_true(
    tmp_path: Path,
) -> None:
    (tmp_path / "rules.yml").write_text(drill_rules(Promql(load_thresholds(), for_drill)))
    async with (
        Simulator(api_key=KEY, seed=5, speed=15.0) as simulator,
        exporter(tmp_path, simulator) as url,
        prometheus(
            tmp_path,
            {
                "global": FAST_SCRAPES,
                "rule_files": [str(tmp_path / "rules.yml")],
                "scrape_configs": [
                    {
                        "job_name": "removit",
                        "static_configs": [{"targets": [url.removeprefix("http://")]}],
                    }
                ],
            },
        ) as server,
    ):
        seen = await run(simulator, tmp_path, url, server)
        await check_every_panel(seen)
        await check_one_group(seen)
        await check_the_numbers(seen, simulator)
        await check_annotations(seen)
