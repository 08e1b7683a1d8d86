"""Records what a real Prometheus scrapes while the exporter is restarted during an outage.

    PYTHONPATH=tests python tests/alerting/record_restart.py

It takes nine minutes: the scrapes and the rules have their shipped intervals. It writes
`prometheus/tests/restart.yml`, in which promtool repeats the rules over the recorded series.
"""

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from monitoring import Prometheus, prometheus
from system_ports import free_port

from exporter.simulator import Script, Simulator

ROOT = Path(__file__).parent.parent.parent
RULES = ROOT / "prometheus" / "rules"
RECORDING = ROOT / "prometheus" / "tests" / "restart.yml"
SCRAPE, EVALUATION = 15, 30
GONE = 20.0
"""Seconds without an exporter at each restart: long enough for a scrape to fail."""
WELL, FIRING, BETWEEN, AFTER = 60.0, 180.0, 60.0, 105.0
SERIES = "removit_upstream_state"
DOWN = SERIES + '{state="down"} == 1'
FIRED = 'ALERTS{alertname="RemovitUpstreamDown",alertstate="firing"}'
HEADER = (
    "# Made by tests/alerting/record_restart.py from a real Prometheus; do not edit.\n"
    "# An outage of the API. In it the exporter is stopped and started, then killed and started.\n"
)


class Exporter:
    """The command in a process of its own."""

    def __init__(self, folder: Path, url: str, port: int) -> None:
        self._folder = folder
        (folder / "api.key").write_text("simulator")
        document = {
            "upstream": {"base_url": url, "api_key_file": "api.key"},
            "web": {"listen_address": f"127.0.0.1:{port}"},
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(document))

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "exporter", "run"),
            cwd=self._folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=asyncio.subprocess.DEVNULL,
        )

    async def restart(self, number: int) -> None:
        self.process.send_signal(number)
        await asyncio.wait_for(self.process.wait(), 60)
        await asyncio.sleep(GONE)
        await self.start()


@contextlib.asynccontextmanager
async def watched(simulator: Simulator, folder: Path) -> AsyncIterator[tuple[Exporter, Prometheus]]:
    """Have an exporter with ten pending jobs, and a Prometheus with the shipped rules."""
    port = free_port()
    exporter = Exporter(folder, simulator.url, port)
    jobs = [simulator.add(Script.stuck(0.1)) for _ in range(10)]
    (folder / "jobs.yaml").write_text(yaml.safe_dump([{"targets": jobs}]))
    with (folder / "config.yaml").open("a") as config:
        config.write("job_files: [jobs.yaml]\n")
    scraped = {
        "job_name": "removit",
        "honor_labels": True,
        "static_configs": [{"targets": [f"127.0.0.1:{port}"]}],
    }
    document = {
        "global": {"scrape_interval": f"{SCRAPE}s", "evaluation_interval": f"{EVALUATION}s"},
        "rule_files": [str(RULES / "*.yml")],
        "scrape_configs": [scraped],
    }
    await exporter.start()
    try:
        async with prometheus(folder, document) as server:
            yield exporter, server
    finally:
        exporter.process.kill()
        await exporter.process.wait()


async def act(simulator: Simulator, exporter: Exporter) -> None:
    """Let the API be well, fail while the exporter is restarted twice, and recover."""
    await asyncio.sleep(WELL)
    with simulator.faults.outage():
        await asyncio.sleep(FIRING)
        await exporter.restart(signal.SIGTERM)
        await asyncio.sleep(BETWEEN)
        await exporter.restart(signal.SIGKILL)
        await asyncio.sleep(BETWEEN)
    await asyncio.sleep(AFTER)


async def time_of(server: Prometheus) -> float:
    """Return Prometheus's time."""
    return float((await server.data("/api/v1/query", query="time()"))["result"][0])


async def sampled(
    server: Prometheus, query: str, begin: float, end: float
) -> list[tuple[Mapping[str, str], list[float | None]]]:
    """Return the value of each series at each scrape, None where it has none."""
    data = await server.data(
        "/api/v1/query_range", query=query, start=str(begin), end=str(end), step=f"{SCRAPE}s"
    )
    steps = int((end - begin) // SCRAPE) + 1
    found = []
    for series in data["result"]:
        values: list[float | None] = [None] * steps
        for at, value in series["values"]:
            values[round((at - begin) / SCRAPE)] = float(value)
        found.append((series["metric"], values))
    return found


def notation(values: list[float | None]) -> str:
    """Return values in promtool's notation; a series that ends has a staleness marker."""
    words = []
    for at, value in enumerate(values):
        ends = value is None and at > 0 and values[at - 1] is not None
        words.append("stale" if ends else "_" if value is None else f"{value:g}")
    return " ".join(words)


def promtool_test(series: Any, fired: list[float | None]) -> dict[str, Any]:
    """Return the recording as a test: the alert is unbroken, although the series is not."""
    [down] = [values for labels, values in series if labels["state"] == "down"]
    first = next(at for at, value in enumerate(fired) if value)
    last = max(at for at, value in enumerate(fired) if value)
    assert None not in fired[first : last + 1], "the alert was broken"
    gaps = [at for at, value in enumerate(down) if value is None and first < at < last]
    assert len(gaps) >= 2, "both restarts must show"
    labels = 'alertstate="firing",job="removit",severity="critical",upstream="removit"'
    firing = [{"labels": f'ALERTS{{alertname="RemovitUpstreamDown",{labels}}}', "value": 1}]
    step = EVALUATION // SCRAPE
    checks: list[dict[str, Any]] = [
        {"expr": "ALERTS", "eval_time": f"{WELL - SCRAPE:.0f}s", "exp_samples": []}
    ]
    even = [at for at in range(first + step, last - step) if at % step == 0]
    checks += [
        {"expr": 'ALERTS{alertstate="firing"}', "eval_time": f"{at * SCRAPE}s"}
        | {"exp_samples": firing}
        for at in even
    ]
    checks += [
        {"expr": f"{DOWN}", "eval_time": f"{at * SCRAPE}s", "exp_samples": []} for at in gaps
    ]
    end = f"{(len(fired) + 5 * 60 // SCRAPE) * SCRAPE}s"
    checks.append({"expr": "ALERTS", "eval_time": end, "exp_samples": []})
    named = [
        {
            "series": f"{SERIES}{{"
            + ",".join(f'{name}="{value}"' for name, value in labels.items() if name[0] != "_")
            + "}",
            "values": f"{notation(values)} {values[-1]:g}x{10 * 60 // SCRAPE}",
        }
        for labels, values in series
    ]
    return {
        "rule_files": ["../rules/removit-recording.yml", "../rules/removit-alerts.yml"],
        "evaluation_interval": f"{EVALUATION}s",
        "group_eval_order": ["removit-recording", "removit-recording-long", "removit-alerts"],
        "tests": [
            {
                "name": "the exporter is restarted, and then killed, during an outage",
                "interval": f"{SCRAPE}s",
                "input_series": named,
                "promql_expr_test": checks,
            }
        ],
    }


async def main() -> None:
    """Record, and write the test."""
    simulator = Simulator(api_key="simulator")
    await simulator.start()
    with tempfile.TemporaryDirectory() as name:
        async with watched(simulator, Path(name)) as (exporter, server):
            await asyncio.sleep(SCRAPE)
            begun = await time_of(server)
            await act(simulator, exporter)
            now = await time_of(server)
            series = await sampled(server, SERIES, begun, now)
            [(_, fired)] = await sampled(server, FIRED, begun, now)
    await simulator.stop()
    text = yaml.safe_dump(promtool_test(series, fired), sort_keys=False, width=1_000_000)
    RECORDING.write_text(HEADER + text)


if __name__ == "__main__":
    asyncio.run(main())
