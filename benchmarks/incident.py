"""Fill a Prometheus with an incident, to look at the dashboards.

    .venv/bin/python benchmarks/incident.py FOLDER [--minutes 15] [--rate 1] [--port 21900]

Runs four exporters, each with its own simulated API and jobs, and a Prometheus (from PATH) that
scrapes them and evaluates the shipped rules. Prints each change, then runs until it is interrupted,
so that the data can be queried. FOLDER holds everything it writes.

| upstream | Prometheus's job | what happens |
| --- | --- | --- |
| studio | removit | the faults of `PLAN`; fast jobs, short thresholds, as in the demo |
| batch | removit | nothing |
| archive | archive | the exporter stops after `STOPS` of the time |
| fresh | fresh | a new installation: no job is ever registered |
"""

import argparse
import asyncio
import contextlib
import itertools
import random
import shutil
import signal
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import yaml

from exporter.alerting.promql import Promql
from exporter.alerting.rule_files import ALERTS_FILE, RECORDING_FILE, rule_files
from exporter.alerting.thresholds import load_thresholds
from exporter.commands.demo import CONFIG, SHOPS, SPEED
from exporter.config.loading import parse_config
from exporter.logs import configure
from exporter.server import Server
from exporter.simulator import Faults, Simulator, parse_fault

SCRAPE_SECONDS = 5
TOKEN = "a-token-for-registrations-on-loopback"
PLAN = (
    (0.20, 0.43, "outage"),
    (0.48, 0.60, "revoked-key"),
    (0.62, 0.66, "throttled"),
    (0.66, 0.70, "no-credits"),
)
"""The faults of studio: from and to, as shares of the time."""
NIGHT = (0.72, 0.88)
"""When studio's images end badly: from and to, as shares of the time. No image comes later."""
BAD_KINDS = ("failing", "warned", "warned", "resultless", "sound", "sound")
GOOD_KINDS = ("sound",) * 199 + ("warned", "warned", "failing")
STOPS = 0.6
"""When the exporter of archive stops, as a share of the time."""

PLAIN = """
upstream: {{base_url: "{url}", api_key_file: api.key, name: {name}}}
registration: {{allowed_labels: [shop], token_file: registration.token}}
metrics: {{group_labels: [shop]}}
storage: {{path: jobs.db}}
web: {{listen_address: "{address}"}}
"""


@dataclass(frozen=True)
class Run:
    """How long the run takes (in seconds), its jobs a second, its folder, and its first port."""

    seconds: float
    rate: float
    folder: Path
    port: int
    began: float

    async def until(self, share: float) -> None:
        """Wait until this share of the time has passed."""
        await asyncio.sleep(max(0.0, self.began + share * self.seconds - time.monotonic()))

    @property
    def share(self) -> float:
        """The share of the time that has passed."""
        return (time.monotonic() - self.began) / self.seconds


@dataclass(frozen=True)
class Site:
    """An exporter, and the simulated API that it polls."""

    name: str
    simulator: Simulator
    server: Server

    @classmethod
    async def start(cls, run: Run, name: str, port: int, config: str, speed: float) -> "Site":
        """Start both on loopback."""
        directory = run.folder / name
        directory.mkdir(parents=True, exist_ok=True)
        simulator = Simulator(api_key="key", seed=port, speed=speed)
        await simulator.start("127.0.0.1", port + 50)
        (directory / "api.key").write_text(simulator.api_key)
        (directory / "registration.token").write_text(TOKEN)
        text = config.format(url=simulator.url, address=f"127.0.0.1:{port}", name=name)
        server = Server(parse_config(text, name=name, directory=directory))
        await server.start()
        say(f"{name}: {server.url}")
        return cls(name, simulator, server)

    async def upload(self, session: aiohttp.ClientSession, number: int, kind: str) -> None:
        """Upload an image: each fourth through the exporter, the others to the API."""
        shop = SHOPS[number // 3 % len(SHOPS)]
        mode = ("background", "clipping", "params")[number % 3]
        document = {"file_url": "https://images.example.com/1.jpg", "mode": mode}
        if mode == "params":
            document["params"] = "{}"
        headers = {"X-API-Key": self.simulator.api_key, "X-Simulator-Kind": kind}
        if number % 4 == 0:
            headers |= {
                "Removit-Exporter-Label-Shop": shop,
                "Removit-Exporter-Key": f"sku-{number}",
            }
            url = f"{self.server.url}/api/v1/upload"
            async with session.post(url, json=document, headers=headers) as response:
                await response.read()
            return
        url = f"{self.simulator.url}/api/v1/upload"
        async with session.post(url, json=document, headers=headers) as response:
            response.raise_for_status()
            job_id = (await response.json())["job_id"]
        registration = {"labels": {"shop": shop}, "key": f"sku-{number}"}
        url = f"{self.server.url}/api/v1/jobs/{job_id}"
        async with session.put(url, json=registration) as response:
            await response.read()

    async def upload_stream(self, run: Run, rate: float) -> None:
        """Upload images at a rate, until the bad night is over."""
        rng = random.Random(self.name)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        timeout = aiohttp.ClientTimeout(10)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            for number in itertools.count(1):
                if run.share > NIGHT[1]:
                    return
                night = self.name == "studio" and run.share > NIGHT[0]
                kind = rng.choice(BAD_KINDS if night else GOOD_KINDS)
                # A fault or a stopped exporter refuses uploads; the next one is tried nevertheless.
                with contextlib.suppress(aiohttp.ClientError, KeyError, TimeoutError):
                    await self.upload(session, number, kind)
                await asyncio.sleep(1 / rate)


async def faults_by_plan(run: Run, faults: Faults) -> None:
    """Switch each fault on and off at its time."""
    for begin, end, name in PLAN:
        await run.until(begin)
        say(f"studio: {name} begins")
        fault: AbstractContextManager[None] = parse_fault(name)(faults)
        with fault:
            await run.until(end)
        say(f"studio: {name} ends")


def say(text: str) -> None:
    """Print a line with the time, in milliseconds since 1970 as Grafana's addresses have it."""
    print(time.strftime("%H:%M:%S"), round(time.time() * 1000), text, flush=True)


def write_prometheus_config(run: Run) -> Path:
    """Write Prometheus's config and the shipped rules; return the config's path."""
    rules = rule_files(Promql(load_thresholds()))
    for name in (ALERTS_FILE, RECORDING_FILE):
        (run.folder / name).write_text(rules[name])
    targets = {"removit": (0, 1), "archive": (2,), "fresh": (3,)}
    interval = f"{SCRAPE_SECONDS}s"
    config = {
        "global": {"scrape_interval": interval, "evaluation_interval": interval},
        "rule_files": [ALERTS_FILE, RECORDING_FILE],
        "scrape_configs": [
            {
                "job_name": job,
                "honor_labels": True,
                "static_configs": [{"targets": [f"127.0.0.1:{run.port + at}" for at in ports]}],
            }
            for job, ports in targets.items()
        ],
    }
    path = run.folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return path


@contextlib.asynccontextmanager
async def prometheus(run: Run) -> AsyncIterator[None]:
    """Run Prometheus one port below the first exporter's."""
    binary = shutil.which("prometheus")
    if binary is None:
        raise SystemExit("prometheus was not found on PATH")
    address = f"127.0.0.1:{run.port - 1}"
    process = await asyncio.create_subprocess_exec(
        *(binary, f"--config.file={write_prometheus_config(run)}", "--log.level=error"),
        *(f"--storage.tsdb.path={run.folder / 'tsdb'}", f"--web.listen-address={address}"),
        "--enable-feature=exemplar-storage",
    )
    say(f"prometheus: http://{address}")
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def incident(run: Run) -> None:
    """Run everything until the run is interrupted."""
    interrupted = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, interrupted.set)
    configs = {
        "studio": (CONFIG.replace("api.key,", "api.key, name: studio,"), SPEED, run.rate),
        "batch": (PLAIN, 1.0, run.rate / 2),
        "archive": (PLAIN, 1.0, run.rate / 4),
        "fresh": (PLAIN, 1.0, 0.0),
    }
    async with prometheus(run), AsyncExitStack() as stack:
        sites, running = {}, []
        for at, (name, (config, speed, rate)) in enumerate(configs.items()):
            sites[name] = site = await Site.start(run, name, run.port + at, config, speed)
            stack.push_async_callback(site.simulator.stop)
            stack.push_async_callback(site.server.stop)
            if rate:
                running.append(asyncio.create_task(site.upload_stream(run, rate)))
        running.append(asyncio.create_task(timetable(run, sites)))
        await interrupted.wait()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def timetable(run: Run, sites: Mapping[str, Site]) -> None:
    """Do everything at its time."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(faults_by_plan(run, sites["studio"].simulator.faults))
        await run.until(STOPS)
        await sites["archive"].server.stop()
        say("archive: the exporter stops")
        await run.until(NIGHT[0])
        say("studio: the bad night begins")
        await run.until(NIGHT[1])
        say("studio: the bad night ends")
        await run.until(1.0)
        say("the time is over; waiting to be interrupted")


def main() -> None:
    """Read the flags and run."""
    parser = argparse.ArgumentParser(description="Fill a Prometheus with an incident.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--rate", type=float, default=1.0, help="jobs a second of studio")
    parser.add_argument("--port", type=int, default=21900)
    flags = parser.parse_args()
    flags.folder.mkdir(parents=True, exist_ok=True)
    run = Run(flags.minutes * 60, flags.rate, flags.folder, flags.port, time.monotonic())
    with (flags.folder / "exporters.log").open("w") as log:
        configure("info", "json", [TOKEN], log)
        asyncio.run(incident(run))


if __name__ == "__main__":
    main()
