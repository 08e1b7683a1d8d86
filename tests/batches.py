"""A batch of jobs in simulated time, an upstream that fails in part, and the states it shows."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from simulated_time import MINUTE, START, SimulatedUpstream, exporting, pass_time, states, tell

from exporter import Exporter
from exporter.simulator.script import Kind, Script
from exporter.storage.memory import MemoryStore

Answer = tuple[int, bytes] | str | None

JSON_500: Answer = (500, b'{"error": "server_error"}')
HTML_502: Answer = (502, b"<html><h1>502 Bad Gateway</h1></html>")


def good_jobs(count: int) -> dict[str, Script]:
    """Return jobs that are done within half a minute."""
    return {f"good-{at}": Script.sound(20.0 + at % 7) for at in range(count)}


class Shown:
    """The states that a scrape each second would have shown, each with the time it was first."""

    def __init__(self) -> None:
        self.first: dict[str, float] = {}
        self.last: dict[str, float] = {}

    def note(self, state: str, at: float) -> None:
        self.first.setdefault(state, at)
        self.last[state] = at

    def after(self, state: str, start: float) -> float:
        """Return how long after `start` a state was first shown; infinity: never."""
        return self.first.get(state, math.inf) - start


@asynccontextmanager
async def watching(exporter: Exporter) -> AsyncIterator[Shown]:
    shown = Shown()

    async def watch() -> None:
        while True:
            shown.note(exporter.health.state.value, now())
            await pass_time(1.0)

    task = asyncio.create_task(watch())
    try:
        yield shown
    finally:
        task.cancel()


@asynccontextmanager
async def watched(
    upstream: SimulatedUpstream, directory: Path
) -> AsyncIterator[tuple[Exporter, Shown]]:
    """Have an exporter with an empty store; yield it with the states that it shows."""
    async with (
        exporting(upstream, MemoryStore(), directory) as exporter,
        watching(exporter) as shown,
    ):
        yield exporter, shown


def now() -> float:
    return asyncio.get_running_loop().time()


async def upload(
    upstream: SimulatedUpstream, exporter: Exporter, scripts: dict[str, Script], apart: float
) -> None:
    """Upload jobs one after the other, and register each."""
    for name, script in scripts.items():
        await tell(exporter, upstream.add(name, script))
        await pass_time(apart)


async def ended(exporter: Exporter, name: str) -> float:
    """Return when a job ended, in simulated seconds; infinity: not yet."""
    job = await exporter.registry.get(name)
    assert job is not None
    return math.inf if job.finished_at is None else job.finished_at - START


async def wait_for_state(exporter: Exporter, state: str, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while exporter.health.state != state:
            await pass_time(1.0)


async def undecided(exporter: Exporter) -> bool:
    """Return whether no job has ended badly."""
    return set((await states(exporter)).values()) <= {"done", "pending"}


async def recovers(upstream: SimulatedUpstream, exporter: Exporter) -> None:
    """End the fault; five minutes later every job is done, and the upstream well."""
    upstream.fault = lambda job_id: None
    await pass_time(5 * MINUTE)
    assert set((await states(exporter)).values()) == {"done"}
    assert exporter.health.state == "well"


def failing_as(upstream: SimulatedUpstream, answer: Answer) -> Callable[[str | None], Answer]:
    """Return a fault: jobs that have failed answer like this."""

    def fault(job_id: str | None) -> Answer:
        script, start = upstream.jobs.get(job_id or "", (None, 0.0))
        failed = script and script.kind is Kind.FAILING and now() - start >= script.seconds
        return answer if failed else None

    return fault


def without_workers(upstream: SimulatedUpstream, answer: Answer) -> Callable[[str | None], Answer]:
    """Return a fault: from now on all jobs fail except those that are finished."""
    finished = {
        name
        for name, (script, start) in upstream.jobs.items()
        if now() - start >= script.seconds and script.kind is not Kind.FAILING
    }

    def fault(job_id: str | None) -> Answer:
        is_job = job_id in upstream.jobs and job_id not in finished
        return answer if is_job else None

    return fault
