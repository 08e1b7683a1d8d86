"""200 clients ask about the same 100 jobs, 2,000 times a second in all: what reaches the upstream.

    .venv/bin/python benchmarks/status.py [SECONDS]

Prints requests a second, latencies, how old the oldest answer was, and for each job how far apart
the calls to the upstream were. Exits with 1 when an answer was older than `status.max_age` and one
round trip, or two calls about a job were closer than `status.max_age`. Clients and upstream run in
processes of their own; the upstream writes into each body when it was sent.
"""

import asyncio
import itertools
import json
import multiprocessing
import sys
import tempfile
import time
import uuid
from collections import defaultdict
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from exporter.config.loading import parse_config
from exporter.server import Server, run_in_loop

KEY = "benchmark"
CLIENTS, JOBS, RATE = 200, 100, 2000
MAX_AGE = 2.0
UPSTREAM_SECONDS = 0.05
"""How long the upstream takes to answer."""


def upstream(pipe: Any) -> None:
    """Answer for any job, and note when each was asked about."""
    calls: dict[str, list[float]] = defaultdict(list)

    async def status(request: web.Request) -> web.Response:
        job_id = request.query["job_id"]
        calls[job_id].append(time.time())
        await asyncio.sleep(UPSTREAM_SECONDS)
        body = {"job_id": job_id, "state": "pending", "status": "pending_compose"}
        return web.json_response(body | {"mode": "params", "progress": 33, "sent_at": time.time()})

    async def run() -> None:
        app = web.Application()
        app.router.add_get("/api/v1/status", status)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        pipe.send(f"http://127.0.0.1:{runner.addresses[0][1]}")
        await asyncio.get_running_loop().run_in_executor(None, pipe.recv)
        pipe.send(dict(calls))

    asyncio.run(run())


def clients(host: str, port: int, jobs: list[str], seconds: float, pipe: Any) -> None:
    """Ask over one connection a client, each at its own pace; note ages and latencies."""
    ages: list[float] = []
    latencies: list[float] = []
    wrong: list[str] = []

    async def client(at: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        pace = CLIENTS / RATE
        due = time.perf_counter() + pace * at / CLIENTS
        end, turn = due + seconds, at
        while due < end:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            job_id, turn = jobs[turn % len(jobs)], turn + 7
            started = time.perf_counter()
            writer.write(
                f"GET /api/v1/status?job_id={job_id} HTTP/1.1\r\nHost: localhost\r\n"
                f"X-API-Key: {KEY}\r\n\r\n".encode()
            )
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            latencies.append(time.perf_counter() - started)
            if head.startswith(b"HTTP/1.1 200"):
                ages.append(time.time() - json.loads(body)["sent_at"])
            else:
                wrong.append(head.decode())
            due += pace
        writer.close()

    async def run() -> None:
        await asyncio.gather(*(client(at) for at in range(CLIENTS)))

    asyncio.run(run())
    pipe.send((sorted(ages), sorted(latencies), wrong))


async def main(seconds: float) -> bool:
    processes = multiprocessing.get_context("spawn")
    near, far = processes.Pipe()
    processes.Process(target=upstream, args=(far,), daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "key").write_text(KEY)
        document = {
            "upstream": {"base_url": near.recv(), "api_key_file": "key", "rate": 200, "burst": 100},
            "status": {"max_age": f"{MAX_AGE:.0f}s"},
            "storage": {"path": "jobs.db"},
            "web": {"listen_address": "127.0.0.1:0"},
        }
        server = Server(parse_config(yaml.safe_dump(document), directory=Path(folder)))
        await server.start()
        host, port = server.url.removeprefix("http://").split(":")
        jobs = [str(uuid.UUID(int=at)) for at in range(JOBS)]
        here, there = processes.Pipe()
        arguments = (host, int(port), jobs, seconds, there)
        processes.Process(target=clients, args=arguments, daemon=True).start()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, here.poll, None)
        ages, latencies, wrong = here.recv()
        near.send("stop")
        await loop.run_in_executor(None, near.poll, None)
        calls = near.recv()
        await server.stop()
    apart = [
        later - sooner for times in calls.values() for sooner, later in itertools.pairwise(times)
    ]
    total = sum(map(len, calls.values()))
    print(
        f"{len(latencies):,} answers in {seconds:.0f} s: {len(latencies) / seconds:,.0f} a second"
    )
    print(f"not 200: {len(wrong)}")
    at = [latencies[int(len(latencies) * share)] * 1000 for share in (0.5, 0.99)]
    print(f"latency in ms: median {at[0]:.1f}  p99 {at[1]:.1f}  longest {latencies[-1] * 1000:.0f}")
    print(f"oldest answer {ages[-1]:.2f} s; max_age is {MAX_AGE:g} s")
    print(f"{total} calls upstream: one for {len(latencies) / total:.0f} answers")
    print(f"two calls about one job: at least {min(apart):.2f} s apart")
    # A round trip: upstream's own time, and as long as any answer took to reach its client.
    oldest = MAX_AGE + UPSTREAM_SECONDS + latencies[-1]
    return not wrong and ages[-1] <= oldest and min(apart) >= MAX_AGE - 0.05


if __name__ == "__main__":
    run_seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    sys.exit(0 if run_in_loop(main(run_seconds)) else 1)
