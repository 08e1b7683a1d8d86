"""What the overview costs Prometheus, with a day of data for 2,000 jobs.

    .venv/bin/python benchmarks/dashboards.py [--jobs 2000] [--hours 24]

Takes the series of a real exporter's page, writes a day of them at a scrape interval of 15 s, and
the per-job series of each job for as long as an exporter shows them (a minute while it is pending,
five minutes after). Prometheus and promtool (from PATH) make a database of it. Prints the time of
the overview's queries, over an hour and over the day, next to that of one `up` query.
"""

import argparse
import asyncio
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from incident import TOKEN, Run, Site
from prometheus_client.openmetrics.parser import text_fd_to_metric_families

from exporter.commands.demo import CONFIG
from exporter.logs import configure

ROOT = Path(__file__).resolve().parent.parent
OVERVIEW = ROOT / "grafana" / "dashboards" / "overview.json"
SCRAPE = 15
BLOCK = 7200
SECONDS_PENDING, SECONDS_LINGERING = 60, 300
PORT = 21800
ROUNDS = 5
WIDTH = 1200
"""The points that a graph shows at most, so that a longer range has a longer step."""
RULES = (
    "upstream:removit_exporters:count",
    "upstream:removit_jobs_bad:ratio1h",
    "upstream:removit_jobs_bad:ratio1d",
)
JOB = (
    ("removit_job_info", ',mode="clipping",source="api",key="sku",shop="eu"'),
    ("removit_job_state", ',state="pending"'),
    ("removit_job_step", ',step="pending_clipping"'),
    ("removit_job_progress_ratio", ""),
    ("removit_job_warnings_current", ""),
    ("removit_job_ignored_variations_current", ""),
    ("removit_job_registered_timestamp_seconds", ""),
    ("removit_job_last_progress_timestamp_seconds", ""),
)


@dataclass(frozen=True)
class Series:
    """One series of the page: its text up to the value, and how it goes on."""

    text: str
    value: float
    counts: bool


async def page_of_an_exporter(folder: Path) -> str:
    """Return the page of an exporter that has polled jobs for some seconds."""
    with (folder / "exporter.log").open("w") as log:
        configure("info", "json", [TOKEN], log)
        return await _page(folder)


async def _page(folder: Path) -> str:
    run = Run(20.0, 10.0, folder, PORT, time.monotonic())
    site = await Site.start(
        run, "studio", PORT, CONFIG.replace("api.key,", "api.key, name: s,"), 15
    )
    try:
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session:
            for number in range(200):
                kind = ("sound", "warned", "failing", "resultless")[number % 4]
                await site.upload(session, number, kind)
                await asyncio.sleep(0.05)
            headers = {"Accept": "application/openmetrics-text"}
            async with session.get(f"{site.server.url}/metrics", headers=headers) as response:
                return await response.text()
    finally:
        await site.server.stop()
        await site.simulator.stop()


def series_of(page: str) -> Iterator[Series]:
    """Yield the page's series, without those of single jobs."""
    for family in text_fd_to_metric_families(iter(page.splitlines(keepends=True))):
        for sample in family.samples:
            if "job_id" in sample.labels:
                continue
            labels = {**sample.labels, "job": "removit", "instance": "a:1"}
            inside = ",".join(f'{name}="{value}"' for name, value in labels.items())
            counts = family.type in {"counter", "histogram"}
            yield Series(f"{sample.name}{{{inside}}}", sample.value, counts)
    target = 'job="removit",instance="a:1"'
    yield Series(f"up{{{target}}}", 1, False)
    for name in RULES:
        yield Series(f'{name}{{job="removit",upstream="s"}}', 0.01, False)


@dataclass(frozen=True)
class Day:
    """The series of the page, the number of jobs, and from when to when (in seconds since 1970)."""

    series: Sequence[Series]
    jobs: int
    begin: int
    end: int

    def blocks(self) -> Iterator[range]:
        """Yield the times of the scrapes, in blocks of two hours as Prometheus has them."""
        for begin in range(self.begin, self.end, BLOCK):
            yield range(begin, min(self.end, begin + BLOCK), SCRAPE)

    def openmetrics(self, times: range) -> Iterator[str]:
        """Yield the lines of a file with the samples of some scrapes, series by series."""
        for one in self.series:
            for at in times:
                # Counters grow evenly; a timestamp moves along.
                value = one.value * (at - self.begin) / 60 if one.counts else one.value
                if "_timestamp_seconds" in one.text and not one.counts:
                    value = at - 30
                yield f"{one.text} {value:.10g} {at}\n"
        for number in range(self.jobs):
            born = self.begin + (self.end - self.begin) * number // self.jobs
            if born < times.stop and born + SECONDS_PENDING + SECONDS_LINGERING > times.start:
                yield from _job(number, born, times)
        yield "# EOF\n"


def _job(number: int, born: int, times: range) -> Iterator[str]:
    common = f'job="removit",instance="a:1",upstream="s",job_id="{uuid.UUID(int=number)}"'
    ended = born + SECONDS_PENDING
    for name, labels in JOB:
        for at in times:
            if born <= at < ended + SECONDS_LINGERING:
                shown = labels if at < ended else labels.replace('pending"', 'done"')
                value = born if "timestamp" in name else 1
                yield f"{name}{{{common}{shown}}} {value} {at}\n"


def write_database(day: Day, folder: Path) -> int:
    """Write Prometheus's database with promtool; return the number of samples."""
    samples = 0
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--quiet"]
    for times in day.blocks():
        source = folder / "block.om"
        with source.open("w") as file:
            for line in day.openmetrics(times):
                samples += 1
                file.write(line)
        subprocess.run([*command, str(source), str(folder / "tsdb")], check=True)
        samples -= 1
    return samples


@asynccontextmanager
async def prometheus(folder: Path) -> AsyncIterator[str]:
    """Run a Prometheus that has the folder's blocks and scrapes nothing; yield its address."""
    binary = shutil.which("prometheus")
    if binary is None:
        raise SystemExit("prometheus was not found on PATH")
    config = folder / "prometheus.yml"
    config.write_text("{}\n")
    address = f"127.0.0.1:{PORT + 10}"
    process = await asyncio.create_subprocess_exec(
        *(binary, f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}"),
        *(f"--web.listen-address={address}", "--log.level=error"),
        "--storage.tsdb.retention.time=10y",
    )
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        await process.wait()


def filled(expr: str, span: int, step: int) -> str:
    """Put in what Grafana would for its variables, with "All" chosen."""
    rate = max(step + SCRAPE, 4 * SCRAPE)
    values = {
        "${group:raw}": 'upstream!=""',
        "$__rate_interval": f"{rate}s",
        "$__interval": f"{step}s",
        "$__range_s": str(span),
        "$__range": f"{span}s",
    }
    for name, value in values.items():
        expr = expr.replace(name, value)
    return re.sub(r"\$(job|instance|upstream)\b", ".+", expr)


@dataclass(frozen=True)
class Prober:
    """Asks Prometheus, at the end of the data."""

    session: aiohttp.ClientSession
    url: str
    end: int

    async def milliseconds(self, path: str, **form: str) -> float:
        """Return how long a query takes: the median of some."""
        taken = []
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            async with self.session.post(f"{self.url}/api/v1/{path}", data=form) as response:
                if response.status != 200:
                    raise SystemExit(f"{await response.text()}: {form['query']}")
                await response.read()
            taken.append(1000 * (time.perf_counter() - begun))
        return statistics.median(taken)

    async def panel(self, panel: dict[str, object], span: int) -> float:
        """Return how long all queries of a panel take, one after the other."""
        targets = panel["targets"]
        assert isinstance(targets, list)
        step = max(SCRAPE, span // WIDTH // SCRAPE * SCRAPE)
        total = 0.0
        for target in targets:
            query = filled(target["expr"], span, step)
            if target["instant"]:
                total += await self.milliseconds("query", query=query, time=str(self.end))
            else:
                begin = str(self.end - span)
                form = {"query": query, "start": begin, "end": str(self.end), "step": str(step)}
                total += await self.milliseconds("query_range", **form)
        return total


async def measure(url: str, end: int, hours: int) -> None:
    """Print the times."""
    rows = json.loads(OVERVIEW.read_text())["panels"]
    opened = [panel for panel in rows if panel["type"] != "row"]
    collapsed = [panel for row in rows for panel in row.get("panels") or ()]
    async with aiohttp.ClientSession() as session:
        prober = Prober(session, url, end)
        up = await prober.milliseconds("query", query="up", time=str(end))
        print(f"one `up` query: {up:.1f} ms")
        for span in (3600, hours * 3600):
            times = {p["title"]: await prober.panel(p, span) for p in (*opened, *collapsed)}
            shown = sum(times[panel["title"]] for panel in opened)
            every = sum(times.values())
            print(
                f"{span // 3600} h: overview as opened {shown:.0f} ms ({shown / up:.0f} x up),"
                f" with every row open {every:.0f} ms ({every / up:.0f} x up)"
            )
            for title in sorted(times, key=lambda title: -times[title])[:6]:
                print(f"    {times[title]:8.1f} ms  {title}")


async def main() -> None:
    """Read the flags, make the data, measure."""
    parser = argparse.ArgumentParser(description="What the overview costs Prometheus.")
    parser.add_argument("--jobs", type=int, default=2000, help="jobs a day")
    parser.add_argument("--hours", type=int, default=24)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="removit-dashboards-") as name:
        folder = Path(name)
        page = await page_of_an_exporter(folder)
        end = int(time.time()) // BLOCK * BLOCK
        begin = end - flags.hours * 3600
        day = Day(list(series_of(page)), flags.jobs * flags.hours // 24, begin, end)
        samples = await asyncio.to_thread(write_database, day, folder)
        print(f"{samples} samples of {len(day.series)} series and {day.jobs} jobs", flush=True)
        async with prometheus(folder) as url:
            await until_ready(url)
            await measure(url, end - SCRAPE, flags.hours)


async def until_ready(url: str) -> None:
    """Wait until Prometheus answers."""
    deadline = time.monotonic() + 60
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < deadline:
            try:
                async with session.get(f"{url}/-/ready") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.2)
    raise SystemExit("Prometheus is not ready after a minute")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
