"""An exporter that is killed and started again, and the processes that register and scrape."""

import asyncio
import random
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from exporter.simulator import Script, Simulator

SYSTEM = Path(__file__).parent / "system"
WORKER = SYSTEM / "crash_worker.py"
REGISTRAR = SYSTEM / "crash_registrar.py"
MODES = ("background", "clipping", "params")
COUNTED = (
    "removit_jobs_registered_total",
    "removit_jobs_finished_total",
    "removit_job_warnings_total",
    "removit_job_ignored_variations_total",
    "removit_job_step_transitions_total",
    "removit_job_duration_seconds_count",
)


class Scraper:
    """Scrapes without pause; notes each counter that fell and each scrape that did not add up."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.scrapes = 0
        self.wrong: list[str] = []
        self._session = session
        self._last: dict[Any, float] = {}

    async def run(self) -> None:
        while True:
            await self.scrape()
            await asyncio.sleep(0.01)

    async def scrape(self) -> str | None:
        try:
            async with self._session.get(f"{self.url}/metrics") as response:
                page = await response.text()
        except (aiohttp.ClientError, OSError):
            return None  # just killed
        self.scrapes += 1
        sums: Counter[str] = Counter()
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                sums[sample.name] += sample.value  # type: ignore[assignment]
                if sample.name in COUNTED:
                    series = (sample.name, tuple(sorted(sample.labels.items())))
                    if sample.value < self._last.get(series, 0.0):
                        self.wrong.append(f"{series} fell to {sample.value}")
                    self._last[series] = sample.value
        registered = sums["removit_jobs_registered_total"]
        added_up = (
            sums["removit_jobs_pending"]
            + sums["removit_jobs_finished_total"]
            - sums["removit_verdicts_overturned_total"]
            + sums["removit_jobs_forgotten_total"]
        )
        if registered != added_up:
            self.wrong.append(f"registered {registered} != {added_up}")
        return page


class Worker:
    """The exporter in a process of its own, started again after each kill."""

    def __init__(self, config: Path) -> None:
        self._config = config
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, kill_after: int = 0) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(WORKER),
            str(self._config),
            str(kill_after),
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout is not None
        await self._process.stdout.readline()

    async def ends(self) -> int:
        assert self._process is not None
        return await asyncio.wait_for(self._process.wait(), 60)

    def kill(self, number: int = signal.SIGKILL) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(number)


async def feed(registrar: asyncio.subprocess.Process, simulator: Simulator, jobs: int) -> None:
    """Upload jobs one after the other and hand each id to the registrar."""
    assert registrar.stdin is not None
    rng = random.Random(3)
    weights = {"sound": 5.0, "warned": 3.0, "failing": 1.0, "resultless": 1.0}
    for _ in range(jobs):
        script = simulator.draw(weights=weights)
        registrar.stdin.write(f"{simulator.add(script)}\n".encode())
        await registrar.stdin.drain()
        await asyncio.sleep(rng.random() * 0.06)
    # A witness of each mode until the end: without one no failed job is told from an outage soon.
    for mode in MODES:
        registrar.stdin.write(f"{simulator.add(Script.stuck(0.1, mode))}\n".encode())
    registrar.stdin.close()


async def stored(session: aiohttp.ClientSession, address: str) -> dict[str, dict[str, Any]]:
    """Return all jobs that the exporter knows, by id, as its list shows them."""
    jobs: dict[str, dict[str, Any]] = {}
    after: str | None = ""
    while after is not None:
        query = {"limit": "1000"} | ({"after": after} if after else {})
        async with session.get(f"http://{address}/api/v1/jobs", params=query) as response:
            page = await response.json()
        jobs |= {job["job_id"]: job for job in page["jobs"]}
        after = page["next"]
    return jobs
