"""Calls a job over real sockets: this version against a former one, at the same detection delay.

    git worktree add --detach ../d1024ca d1024ca
    .venv/bin/python benchmarks/pacing_calls.py ../d1024ca [--jobs 2000] [--speed 5] [--rate 40]

Each run starts the simulator of the demo and an exporter, registers jobs over HTTP, waits until
all have ended, and reads `/metrics`: the polls of `removit_upstream_requests_total`, and the mean
of `removit_job_detection_delay_seconds` (from the poll before the end to the poll that saw it).

The former version runs with its own defaults and with this interpreter's packages. This version
runs twice: with its default `call_cost`, and with the one that should lead to the former version's
delay. The small difference that is left is allowed for as with a fixed interval, whose calls are
inversely proportional to the delay. Without the former checkout there is only the first run.

Waits and jobs are `--speed` times shorter; printed seconds are those of speed 1. Only jobs that
end by themselves are drawn, because the others are polled by rules of their own. Polls that start
late show that the machine is too busy: then the figures say little, and a lower `--rate` helps.
"""

import argparse
import asyncio
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import aiohttp

from exporter.config.loading import parse_config
from exporter.server import Server
from exporter.simulator import Simulator

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = {"sound": 0.8, "warned": 0.16, "resultless": 0.04}
MODES = ("background", "clipping", "params")
CALL_COST = 0.5
COST_POWER = 3.0
"""The cost of a call grows with about this power of the delay that it leads to."""
DRAIN_SECONDS = 60.0
PARTS = [("collect[]", "totals"), ("collect[]", "exporter")]

CONFIG = """
upstream: {{base_url: "{url}", api_key_file: api.key, rate: 5000, burst: 1000, concurrency: 256}}
polling: {{{polling}}}
registration: {{token_file: registration.token}}
storage: {{path: calls.db}}
web: {{listen_address: "127.0.0.1:0"}}
log: {{level: error, format: json}}
"""
KEY = TOKEN = "0123456789abcdef"


class Run(NamedTuple):
    """The calls a job, the mean detection delay, and how late polls started on average.

    Both times are in seconds at speed 1.
    """

    calls: float
    delay: float
    lag: float


async def drive(polling: str, jobs: int, speed: float, rate: float) -> Run:
    """Run jobs through simulator and exporter of the checkout that comes first on `sys.path`."""
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "api.key").write_text(KEY)
        (Path(folder) / "registration.token").write_text(TOKEN)
        async with Simulator(api_key=KEY, seed=1, speed=speed, weights=WEIGHTS) as simulator:
            text = CONFIG.format(url=simulator.url, polling=polling)
            server = Server(parse_config(text, name="calls", directory=Path(folder)))
            await server.start()
            try:
                headers = {"Authorization": f"Bearer {TOKEN}"}
                async with aiohttp.ClientSession(server.url, headers=headers) as session:
                    await register(session, simulator, jobs, rate)
                    page = await drained(session)
            finally:
                await server.stop()
    delay = mean(page, "removit_job_detection_delay_seconds") * speed
    lag = mean(page, "removit_exporter_poll_lag_seconds") * speed
    return Run(page["removit_upstream_requests_total"] / jobs, delay, lag)


def mean(page: dict[str, float], histogram: str) -> float:
    """Return the mean of a histogram."""
    return page[f"{histogram}_sum"] / page[f"{histogram}_count"]


async def register(
    session: aiohttp.ClientSession, simulator: Simulator, jobs: int, rate: float
) -> None:
    """Add jobs to the simulator and register them, `rate` in a second."""
    started = time.monotonic()
    for number in range(jobs):
        await asyncio.sleep(started + number / rate - time.monotonic())
        job_id = simulator.add(simulator.draw(mode=MODES[number % len(MODES)]))
        async with session.put(f"/api/v1/jobs/{job_id}", json={}) as response:
            response.raise_for_status()


async def drained(session: aiohttp.ClientSession) -> dict[str, float]:
    """Return the page once no job is pending."""
    deadline = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < deadline:
        page = await read(session)
        if not page["removit_jobs_pending"]:
            return page
        await asyncio.sleep(0.5)
    raise TimeoutError("jobs are still pending")


async def read(session: aiohttp.ClientSession) -> dict[str, float]:
    """Return the sum of each metric's samples; of the requests only polls count."""
    totals: dict[str, float] = {}
    async with session.get("/metrics", params=PARTS) as response:
        for line in (await response.text()).splitlines():
            if line.startswith("#") or ("purpose=" in line and 'purpose="poll"' not in line):
                continue
            sample, value = line.rsplit(" ", 1)
            name = sample.partition("{")[0]
            totals[name] = totals.get(name, 0.0) + float(value)
    return totals


def run(root: Path, polling: dict[str, float], options: argparse.Namespace) -> Run:
    """Drive a checkout in a process of its own; `polling` are seconds at speed 1."""
    waits = ", ".join(
        f"{key}: {value / options.speed * 1000:.0f}ms" for key, value in polling.items()
    )
    command = [sys.executable, __file__, "--drive", waits]
    for name in ("jobs", "speed", "rate"):
        command += [f"--{name}", str(getattr(options, name))]
    environ = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=True)
    return Run(*json.loads(done.stdout))


def learned(call_cost: float) -> dict[str, float]:
    """Return the present defaults, with this cost of a call in seconds."""
    return {
        "call_cost": call_cost,
        "min_interval": 1.0,
        "max_interval": 60.0,
        "progress_max_age": 15.0,
    }


def compare(options: argparse.Namespace) -> None:
    """Print the runs one by one."""
    print(f"{options.jobs} jobs, {options.rate:g} a second, at speed {options.speed:g}")
    print(f"{'':34}{'calls a job':>12}{'mean detection delay':>22}{'mean lag of polls':>19}")
    own = run(ROOT, learned(CALL_COST), options)
    show(f"this version, call_cost {CALL_COST:g} s", own)
    if options.former is None:
        return
    former = run(options.former.resolve(), {"min_interval": 2.0, "max_interval": 60.0}, options)
    show("former version", former)
    cost = CALL_COST * (former.delay / own.delay) ** COST_POWER
    equal = run(ROOT, learned(cost), options)
    show(f"this version, call_cost {cost:.2f} s", equal)
    calls = equal.calls * equal.delay / former.delay
    print(
        f"calls at the former version's delay: {calls:.2f}, {calls / former.calls:.2f} of its own"
    )


def show(name: str, one: Run) -> None:
    print(f"{name:34}{one.calls:12.2f}{one.delay:20.2f} s{one.lag:17.2f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("former", type=Path, nargs="?", help="a checkout of the former version")
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--speed", type=float, default=5.0, help="of the simulator")
    parser.add_argument("--rate", type=float, default=40.0, help="jobs registered in a second")
    parser.add_argument("--drive", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.drive is None:
        compare(options)
    else:
        one = asyncio.run(drive(options.drive, options.jobs, options.speed, options.rate))
        print(json.dumps(one))


if __name__ == "__main__":
    main()
