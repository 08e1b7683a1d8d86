"""SIGTERM and kill -9 at random moments while jobs are registered, polled and scraped.

    .venv/bin/python benchmarks/crashes.py [--rounds 200] [--seed N]

A third of the rounds end between BEGIN and COMMIT of a commit drawn beforehand, a third at a random
moment by kill -9, a third by SIGTERM. At the end every counter of jobs is compared with the
simulator's ledger, every acknowledged registration is looked for, and a scraper says whether
a counter ever fell. Exit code 1 when anything differs.
"""

import argparse
import asyncio
import contextlib
import random
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import aiohttp  # noqa: E402
import yaml  # noqa: E402
from conftest import KEY, SQUEEZED, merge  # noqa: E402
from crashing import REGISTRAR, Scraper, Worker, feed, stored  # noqa: E402
from system_ports import free_port  # noqa: E402

from exporter.commands.demo_comparison import compare, read_totals  # noqa: E402
from exporter.simulator import Simulator  # noqa: E402

GIVE_UP_AFTER = "60s"
"""Longer than all lives together: evidence begins anew in each, and most are too short for a
verdict, so a failed job would come to the end of patience before the last life could judge it."""


def write_config(folder: Path, upstream: str, address: str) -> Path:
    (folder / "api.key").write_text(KEY)
    own = {
        "upstream": {"base_url": upstream, "api_key_file": "api.key"},
        "polling": {"give_up_after": GIVE_UP_AFTER},
        "storage": {"path": "jobs.db"},
        "web": {"listen_address": address},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(merge(SQUEEZED, own)))
    return path


async def end(worker: Worker, rng: random.Random) -> str:
    """End the worker in one of the three ways; return which."""
    way = rng.choice(("between BEGIN and COMMIT", "kill -9", "SIGTERM"))
    if way == "between BEGIN and COMMIT":
        await worker.start(kill_after=rng.randint(2, 40))
        try:
            await asyncio.wait_for(worker.ends(), 5)
        except TimeoutError:  # there was nothing more to commit
            way = "kill -9"
            worker.kill()
    else:
        await worker.start()
        await asyncio.sleep(rng.uniform(0.05, 0.6))
        worker.kill(signal.SIGKILL if way == "kill -9" else signal.SIGTERM)
    code = await worker.ends()
    expected = 0 if way == "SIGTERM" else -signal.SIGKILL
    if code != expected:
        raise SystemExit(f"ended with {code} by {way}")
    return way


def judged_otherwise(simulator: Simulator, jobs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Say of each job that ended otherwise than it should have what the exporter says of it."""
    truth = simulator.ledger.jobs
    return [
        f"{truth[job_id]}: {job}"
        for job_id, job in jobs.items()
        if job["state"] != truth[job_id].end
    ]


@contextlib.asynccontextmanager
async def registering(address: str, ledger: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the process that registers the ids it is given; it ends with the context."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(REGISTRAR), address, str(ledger)),
        stdin=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def run(rounds: int, seed: int, folder: Path) -> bool:
    rng, address = random.Random(seed), f"127.0.0.1:{free_port()}"
    ways: dict[str, int] = {}
    ledger = folder / "acknowledged"
    async with (
        Simulator(api_key=KEY, seed=seed, speed=30.0) as simulator,
        aiohttp.ClientSession() as session,
        registering(address, ledger) as registrar,
    ):
        worker = Worker(write_config(folder, simulator.url, address))
        scraper = Scraper(f"http://{address}", session)
        scraping = asyncio.create_task(scraper.run())
        feeding = asyncio.create_task(feed(registrar, simulator, jobs=rounds * 30))
        for at in range(1, rounds + 1):
            way = await end(worker, rng)
            ways[way] = ways.get(way, 0) + 1
            if at % 20 == 0:
                print(f"{at} rounds", flush=True)
        await worker.start()
        await feeding
        await registrar.wait()
        known = ledger.read_text().split()
        deadline = time.monotonic() + 180
        page = None
        while time.monotonic() < deadline:
            page = await scraper.scrape()
            if page and not read_totals(page)["removit_jobs_pending"].total():
                break
            await asyncio.sleep(0.2)
        scraping.cancel()
        jobs = await stored(session, address)
        worker.kill()
        await worker.ends()
        runs = compare(simulator.ledger.totals(), read_totals(page or ""))
    wrong = [run for run in runs if not run.equal]
    missing = set(known) - jobs.keys()
    differing = judged_otherwise(simulator, jobs)
    print(", ".join(f"{count} by {way}" for way, count in sorted(ways.items())))
    print(f"{len(known)} acknowledged, {len(missing)} missing; {scraper.scrapes} scrapes")
    for run in runs:
        print(f"  {run}")
    for text in [*scraper.wrong[:10], *differing[:10]]:
        print(f"wrong: {text}")
    return not (wrong or missing or scraper.wrong or differing)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.rounds} rounds", flush=True)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        equal = asyncio.run(run(options.rounds, options.seed, Path(folder)))
    print(f"{time.perf_counter() - started:.0f} s, {'equal' if equal else 'NOT EQUAL'}")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
