"""A 300 MB upload passes through: how much the exporter's memory grows, and how fast it goes.

    .venv/bin/python benchmarks/upload.py [MEGABYTES]

Prints the growth of the process's peak memory over that of a small upload before, and the
throughput beside that of the same upload straight to the upstream. Exits with 1 when memory grew by
16 MiB or more. Sender and upstream run in processes of their own.
"""

import asyncio
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from exporter.config.loading import parse_config
from exporter.server import Server, run_in_loop

KEY = "benchmark"
MB = 1_000_000
MOST_GROWTH = 16 * 1024 * 1024


def upstream(pipe: Any) -> None:
    """Take uploads and throw them away."""

    async def upload(request: web.Request) -> web.Response:
        size = 0
        async for piece in request.content.iter_any():
            size += len(piece)
        return web.json_response({"job_id": f"job-{size}", "status": "queued", "mode": "params"})

    async def run() -> None:
        app = web.Application()
        app.router.add_post("/api/v1/upload", upload)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        pipe.send(f"http://127.0.0.1:{runner.addresses[0][1]}")
        await asyncio.get_running_loop().run_in_executor(None, pipe.recv)

    asyncio.run(run())


def send(url: str, size: int, pipe: Any) -> None:
    """Upload so many bytes, piece by piece; say how long it took."""

    async def body() -> AsyncIterator[bytes]:
        piece = bytes(256 * 1024)
        for start in range(0, size, len(piece)):
            yield piece[: size - start]

    async def run() -> float:
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            started = time.perf_counter()
            headers = {"X-API-Key": KEY, "Content-Type": "image/vnd.adobe.photoshop"}
            async with session.post(f"{url}/api/v1/upload", data=body(), headers=headers) as answer:
                assert await answer.json() == {
                    "job_id": f"job-{size}",
                    "status": "queued",
                    "mode": "params",
                }
            return time.perf_counter() - started

    pipe.send(asyncio.run(run()))


def peak() -> int:
    """Return the most memory that the process ever had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def main(megabytes: int) -> bool:
    processes = multiprocessing.get_context("spawn")
    near, far = processes.Pipe()
    processes.Process(target=upstream, args=(far,), daemon=True).start()
    base_url = near.recv()

    async def upload(url: str, size: int) -> float:
        here, there = processes.Pipe()
        processes.Process(target=send, args=(url, size, there), daemon=True).start()
        await asyncio.get_running_loop().run_in_executor(None, here.poll, None)
        seconds: float = here.recv()
        return seconds

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "key").write_text(KEY)
        document = {
            "upstream": {"base_url": base_url, "api_key_file": "key"},
            "storage": {"path": "jobs.db"},
            "web": {"listen_address": "127.0.0.1:0"},
        }
        server = Server(parse_config(yaml.safe_dump(document), directory=Path(folder)))
        await server.start()
        await upload(server.url, MB)
        before = peak()
        through = await upload(server.url, megabytes * MB)
        grown = peak() - before
        straight = await upload(base_url, megabytes * MB)
        near.send("stop")
        await server.stop()
    print(f"{megabytes} MB passed through; memory grew by {grown / 1024**2:.1f} MiB")
    print(f"through {megabytes / through:,.0f} MB/s, straight {megabytes / straight:,.0f} MB/s")
    return grown < MOST_GROWTH


if __name__ == "__main__":
    sent = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    sys.exit(0 if run_in_loop(main(sent)) else 1)
