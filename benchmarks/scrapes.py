"""Many scrape at once: how long it takes, compared with one scrape alone, and how much memory.

    .venv/bin/python benchmarks/scrapes.py [SCRAPERS]

2,000 jobs have series. Prints, for plain and for compressed pages, the time in multiples of one
scrape alone, and by how much the peak of resident memory grew. Exits with 1 when a page was cut
short, or when the scrapers took longer than half of what as many scrapes in turn would take. The
scrapers run in a process of their own.
"""

import asyncio
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from exporter.config.loading import parse_config
from exporter.core.job import Source
from exporter.registry.staging import Registration
from exporter.server import Server, run_in_loop

JOBS = 2000
SCRAPERS = 1000
IN_TURN = 20
"""The number of scrapes in turn that give the time of one alone."""


def scrape(url: str, scrapers: int, pipe: Any) -> None:
    """Scrape in turn, then all at once; send the times and whether all pages were whole."""

    async def page(session: aiohttp.ClientSession, encoding: str) -> bool:
        headers = {"Accept": "application/openmetrics-text", "Accept-Encoding": encoding}
        async with session.get(f"{url}/metrics", headers=headers) as response:
            return response.status == 200 and (await response.read()).endswith(b"# EOF\n")

    async def run() -> list[tuple[str, float, float, bool]]:
        found = []
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            for encoding in ("identity", "gzip"):
                await page(session, encoding)
                started = time.perf_counter()
                for _ in range(IN_TURN):
                    await page(session, encoding)
                alone = (time.perf_counter() - started) / IN_TURN
                started = time.perf_counter()
                whole = await asyncio.gather(*(page(session, encoding) for _ in range(scrapers)))
                found.append((encoding, alone, time.perf_counter() - started, all(whole)))
        return found

    pipe.send(asyncio.run(run()))


def peak() -> float:
    """Return the peak of resident memory, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def main(scrapers: int) -> bool:
    processes = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "key").write_text("benchmark")
        document = {
            "upstream": {"base_url": "http://127.0.0.1:9", "api_key_file": "key"},
            "storage": {"path": "jobs.db"},
            "web": {"listen_address": "127.0.0.1:0"},
        }
        server = Server(parse_config(yaml.safe_dump(document), directory=Path(folder)))
        await server.start()
        for start in range(0, JOBS, 500):
            registrations = [Registration(f"job-{at}") for at in range(start, start + 500)]
            await server.exporter.registry.register(registrations, Source.API)
        before = peak()
        near, far = processes.Pipe()
        process = processes.Process(target=scrape, args=(server.url, scrapers, far), daemon=True)
        process.start()
        await asyncio.get_running_loop().run_in_executor(None, near.poll, None)
        found = near.recv()
        grown = peak() - before
        await server.stop()
    for encoding, alone, together, whole in found:
        print(
            f"{encoding}: {scrapers:,} at once in {together:.2f} s, {together / alone:.0f} times"
            f" one alone ({alone * 1000:.1f} ms); {'all' if whole else 'NOT all'} whole"
        )
    print(f"the peak of resident memory grew by {grown:.1f} MiB, from {before:.1f}")
    return all(whole and together < alone * scrapers / 2 for _, alone, together, whole in found)


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else SCRAPERS
    sys.exit(0 if run_in_loop(main(count)) else 1)
