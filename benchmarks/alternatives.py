"""Other ways to watch jobs, with the same jobs and the same outage: their cost and their errors.

    .venv/bin/python benchmarks/alternatives.py [--jobs 80] [--seed 1]

Each way has a simulated API of its own with the same jobs, which come in over two minutes. Most are
done after 30 to 69 s, every tenth fails. From second 60 to 80 the API answers 503 to everything.
The ways:

- `exporter`: this one, with its default config
- `loop`: a loop that asks every 5 s and calls the first 5xx a failure
- `patient loop`: the same, but three 5xx in a row are a failure
- `blackbox_exporter`: Debian's, which asks once for each scrape of each job, every 15 s, for two
  Prometheus servers; a probe succeeds if the answer says `done`

The last line is about Debian's Pushgateway: the series of the jobs that a loop pushed and that it
still serves after all jobs have ended. It takes four minutes, mostly waiting.
"""

import argparse
import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from exporter import Exporter
from exporter.config.loading import parse_config
from exporter.embedding import Jobs
from exporter.simulator import Script, Simulator

KEY = "benchmark"
ARRIVALS = 120.0
OUTAGE = (60.0, 80.0)
LONGEST = 235.0
"""Seconds after which nothing more is waited for."""
LOOP_SECONDS, SCRAPE_SECONDS, SERVERS = 5.0, 15.0, 2
BLACKBOX = """
modules:
  done:
    prober: http
    http:
      headers: {{X-API-Key: {key}}}
      fail_if_body_not_matches_regexp: ['"state": ?"done"']
"""


@dataclass
class Seen:
    """The seconds at which one way called a job done or failed, by job id."""

    done: dict[str, float] = field(default_factory=dict)
    failed: dict[str, float] = field(default_factory=dict)


Arrivals = AsyncIterator[str]
Way = Callable[[Simulator, Arrivals, Seen], Awaitable[None]]


def scripts(jobs: int, seed: int) -> list[Script]:
    """Draw the jobs."""
    rng = random.Random(seed)
    return [
        Script.failing(rng.uniform(20, 40)) if at % 10 == 9 else Script.sound(rng.uniform(30, 69))
        for at in range(jobs)
    ]


async def with_exporter(simulator: Simulator, arrivals: Arrivals, seen: Seen) -> None:
    """Register the jobs, and look at their states."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "api.key").write_text(KEY)
        text = f"upstream: {{base_url: '{simulator.url}', api_key_file: api.key}}"
        config = parse_config(text, directory=Path(folder))
        exporter = Exporter(config)
        jobs = Jobs(exporter.registry, lambda: config.registration)
        await exporter.start()

        async def follow(job_id: str) -> None:
            await jobs.register(job_id)
            job = await jobs.wait(job_id)
            (seen.done if job.state == "done" else seen.failed)[job_id] = time.monotonic()

        try:
            await _each(arrivals, follow)
        finally:
            await exporter.stop()


async def _each(arrivals: Arrivals, follow: Callable[[str], Awaitable[None]]) -> None:
    """Follow each job from its upload on."""
    async with asyncio.TaskGroup() as group:
        async for job_id in arrivals:
            group.create_task(_awaited(follow(job_id)))


async def _awaited(work: Awaitable[None]) -> None:
    await work


def with_loop(patience: int, push: Callable[[str, str], Awaitable[None]] | None = None) -> Way:
    """Return a loop that calls a job failed after this many 5xx in a row."""

    async def follow(session: aiohttp.ClientSession, url: str, job_id: str, seen: Seen) -> None:
        bad = 0
        while bad < patience:
            async with session.get(url, params={"job_id": job_id}) as answer:
                bad = bad + 1 if answer.status >= 500 else 0
                state = "unknown" if bad else (await answer.json())["state"]
            if push is not None:
                await push(job_id, state)
            if state == "done":
                seen.done[job_id] = time.monotonic()
                return
            await asyncio.sleep(LOOP_SECONDS)
        seen.failed[job_id] = time.monotonic()

    async def way(simulator: Simulator, arrivals: Arrivals, seen: Seen) -> None:
        async with aiohttp.ClientSession(headers={"X-API-Key": KEY}) as session:
            url = simulator.url + "/api/v1/status"
            await _each(arrivals, lambda job_id: follow(session, url, job_id, seen))

    return way


async def with_blackbox(simulator: Simulator, arrivals: Arrivals, seen: Seen) -> None:
    """Probe each job as two Prometheus servers do, each until it has seen the job done."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "blackbox.yml").write_text(BLACKBOX.format(key=KEY))
        url = await _start(
            stack, "prometheus-blackbox-exporter", f"--config.file={folder / 'blackbox.yml'}"
        )
        session = await stack.enter_async_context(aiohttp.ClientSession())
        rng = random.Random(0)

        async def scrape(job_id: str) -> None:
            await asyncio.sleep(rng.uniform(0, SCRAPE_SECONDS))
            target = f"{simulator.url}/api/v1/status?job_id={job_id}"
            while True:
                parameters = {"module": "done", "target": target}
                async with session.get(url + "/probe", params=parameters) as answer:
                    if "probe_success 1" in await answer.text():
                        seen.done.setdefault(job_id, time.monotonic())
                        return
                await asyncio.sleep(SCRAPE_SECONDS)

        async def scrapes(job_id: str) -> None:
            await asyncio.gather(*(scrape(job_id) for _ in range(SERVERS)))

        await _each(arrivals, scrapes)


async def _start(stack: AsyncExitStack, program: str, *flags: str) -> str:
    """Run an exporter of Debian's until the stack is closed; return its URL."""
    binary = shutil.which(program)
    if binary is None:
        raise SystemExit(f"{program} is missing; on Debian: apt-get install {program}")
    address = f"127.0.0.1:{random.randint(20_000, 29_999)}"
    process = await asyncio.create_subprocess_exec(
        *(binary, *flags, f"--web.listen-address={address}"), stderr=asyncio.subprocess.DEVNULL
    )

    async def stop() -> None:
        process.terminate()
        await process.wait()

    stack.push_async_callback(stop)
    async with aiohttp.ClientSession() as session:
        while True:
            with suppress(aiohttp.ClientError):
                async with session.get(f"http://{address}/metrics"):
                    return f"http://{address}"
            await asyncio.sleep(0.1)


async def watch(way: Way, jobs: list[Script], name: str) -> str:
    """Run one way with a simulator of its own; return its row of the table."""
    seen = Seen()
    async with Simulator(api_key=KEY, seed=1) as simulator:

        async def arrivals() -> AsyncIterator[str]:
            for script in jobs:
                yield simulator.add(script)
                await asyncio.sleep(ARRIVALS / len(jobs))

        running = asyncio.create_task(asyncio.wait_for(way(simulator, arrivals(), seen), LONGEST))
        await asyncio.sleep(OUTAGE[0])
        with simulator.faults.outage():
            await asyncio.sleep(OUTAGE[1] - OUTAGE[0])
        with suppress(TimeoutError):
            await running
        entries = simulator.ledger.jobs
        calls = sum(
            count for (_, path, _), count in simulator.ledger.requests.items() if "status" in path
        )
    good = [one for one, entry in entries.items() if entry.end == "done"]
    ends = {one: entries[one].uploaded_at + entries[one].script.seconds for one in good}
    delays = [seen.done[one] - ends[one] for one in good if one in seen.done]
    return (
        f"| {name} | {calls / len(jobs):.1f} | {sum(delays) / max(len(delays), 1):.1f} s"
        f" | {len(seen.done)} of {len(good)} | {sum(one in seen.failed for one in good)}"
        f" | {sum(one in seen.failed for one in entries if one not in good)}"
        f" of {len(jobs) - len(good)} |"
    )


async def pushed(jobs: list[Script]) -> str:
    """Have a loop push each job's state; return what the Pushgateway serves at the end."""
    async with AsyncExitStack() as stack:
        url = await _start(stack, "prometheus-pushgateway")
        session = await stack.enter_async_context(aiohttp.ClientSession())

        async def push(job_id: str, state: str) -> None:
            text = f'job_state{{state="{state}"}} 1\n'
            async with session.put(f"{url}/metrics/job/shop/job_id/{job_id}", data=text) as answer:
                answer.raise_for_status()

        await watch(with_loop(3, push), jobs, "pushed")
        async with session.get(url + "/metrics") as answer:
            lines = (await answer.text()).splitlines()
    left = sum('job_id="' in line and not line.startswith("#") for line in lines)
    return f"Pushgateway: {left} series of {len(jobs)} jobs are served after all have ended"


async def main(jobs: int, seed: int) -> None:
    drawn = scripts(jobs, seed)
    ways: dict[str, Way] = {
        "exporter": with_exporter,
        "loop, every 5 s": with_loop(1),
        "patient loop, every 5 s": with_loop(3),
        "blackbox_exporter, 2 × 15 s": with_blackbox,
    }
    rows = [watch(way, drawn, name) for name, way in ways.items()]
    *table, left = await asyncio.gather(*rows, pushed(drawn))
    print("| way | calls a job | delay | seen as done | done, called failed | failed, found |")
    print("| --- | --- | --- | --- | --- | --- |")
    print(*table, left, sep="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=80)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.jobs, arguments.seed))
