"""100,000 jobs by one NDJSON stream while polls and scrapes go on: how long the loop stalls.

    .venv/bin/python benchmarks/bulk_registration.py [JOBS]

Prints the longest time between two turns of a task that does nothing but sleep 1 ms on the
exporter's own event loop, idle and during the stream, and their ratio, beside the rate. The
sender and the simulator run in processes of their own.
"""

import asyncio
import contextlib
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from exporter.config.loading import parse_config
from exporter.server import Server, run_in_loop
from exporter.simulator import Script, Simulator

KEY = "benchmark"
POLLED = 500


def simulate(pipe: Any) -> None:
    async def run() -> None:
        async with Simulator(api_key=KEY) as simulator:
            pipe.send((simulator.url, [simulator.add(Script.stuck()) for _ in range(POLLED)]))
            await asyncio.get_running_loop().run_in_executor(None, pipe.recv)

    asyncio.run(run())


def send(url: str, jobs: int, pipe: Any) -> None:
    """Register POLLED-like ids by one stream, and scrape once a second meanwhile."""

    async def lines() -> AsyncIterator[bytes]:
        for start in range(0, jobs, 500):
            names = range(start, min(start + 500, jobs))
            documents = ({"job_id": f"bulk-{at:08}", "key": f"sku-{at}"} for at in names)
            yield b"".join(json.dumps(document).encode() + b"\n" for document in documents)

    async def scrape(session: aiohttp.ClientSession, seconds: list[float]) -> None:
        while True:
            started = time.perf_counter()
            async with session.get(f"{url}/metrics") as response:
                await response.read()
            seconds.append(time.perf_counter() - started)
            await asyncio.sleep(1)

    async def run() -> None:
        scrapes: list[float] = []
        async with aiohttp.ClientSession() as session:
            scraping = asyncio.create_task(scrape(session, scrapes))
            started = time.perf_counter()
            headers = {"Content-Type": "application/x-ndjson"}
            last = b""
            timeout = aiohttp.ClientTimeout(total=None)
            async with session.post(
                f"{url}/api/v1/jobs", data=lines(), headers=headers, timeout=timeout
            ) as response:
                async for line in response.content:
                    last = line
            seconds = time.perf_counter() - started
            scraping.cancel()
        pipe.send((json.loads(last), seconds, scrapes))

    asyncio.run(run())


async def stalls(into: list[float]) -> None:
    while True:
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        into.append(time.perf_counter() - before - 0.001)


def asked(server: Server) -> float:
    """Return how many requests were made of the upstream."""
    [family] = [
        family
        for family in server.exporter.metrics.collect()
        if family.name == "removit_upstream_requests"
    ]
    return sum(one.value for one in family.samples if one.name.endswith("_total"))


def show(name: str, found: list[float]) -> None:
    ordered = sorted(found)
    at = [ordered[int(len(ordered) * share)] * 1000 for share in (0.5, 0.99, 0.999)]
    print(
        f"{name:<16} stalls in ms: longest {ordered[-1] * 1000:7.1f}  p99.9 {at[2]:6.1f}"
        f"  p99 {at[1]:6.1f}  median {at[0]:5.2f}"
    )


async def main(jobs: int) -> None:
    processes = multiprocessing.get_context("spawn")
    near, far = processes.Pipe()
    upstream = processes.Process(target=simulate, args=(far,), daemon=True)
    upstream.start()
    base_url, polled = near.recv()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "key").write_text(KEY)
        document = {
            "upstream": {"base_url": base_url, "api_key_file": "key", "rate": 200, "burst": 50},
            "storage": {"path": "jobs.db"},
            "registration": {"max_pending": 10 * jobs},
            "web": {"listen_address": "127.0.0.1:0"},
        }
        config = parse_config(yaml.safe_dump(document), directory=Path(folder))
        server = Server(config)
        await server.start()
        async with aiohttp.ClientSession() as session:
            documents = [{"job_id": name} for name in polled]
            async with session.post(f"{server.url}/api/v1/jobs", json=documents) as response:
                assert response.status == 200
        idle: list[float] = []
        busy: list[float] = []
        watching = asyncio.create_task(stalls(idle))
        await asyncio.sleep(5)
        watching.cancel()
        polls = asked(server)
        here, there = processes.Pipe()
        sender = processes.Process(target=send, args=(server.url, jobs, there), daemon=True)
        sender.start()
        watching = asyncio.create_task(stalls(busy))
        await asyncio.get_running_loop().run_in_executor(None, here.poll, None)
        watching.cancel()
        done, seconds, scrapes = here.recv()
        assert done == {"done": True, "registered": jobs, "known": 0, "refused": 0}, done
        polls = asked(server) - polls
        show("before", idle)
        show("during", busy)
        print(f"longest, during / before: {max(busy) / max(idle):.1f}")
        print(f"{jobs} jobs in {seconds:.1f} s: {jobs / seconds:,.0f} a second")
        print(f"{polls:.0f} polls meanwhile, {polls / seconds:.0f} a second")
        median = statistics.median(scrapes) * 1000
        print(f"{len(scrapes)} scrapes meanwhile, median {median:.0f} ms")
        near.send("stop")
        with contextlib.suppress(Exception):
            await server.stop()
        sender.join()


if __name__ == "__main__":
    run_in_loop(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000))
