"""A loop whose time passes only when nothing is left to do, and an upstream that lives in it.

A day of polling takes seconds. Time does not pass while a call of the store is outstanding. A
simulation that takes too long in real time is ended by the loop itself: an error raised in a task
could be swallowed there.
"""

import asyncio
import json
import random
import selectors
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

import yaml

from exporter import Exporter
from exporter.clock import Timer
from exporter.config.loading import parse_config
from exporter.core.contract import parse_reply
from exporter.core.job import Source
from exporter.core.reply import Reply, transport_failure
from exporter.registry.staging import Registration
from exporter.simulator.script import Kind, Script, body_at
from exporter.storage.store import PageRequest, Store

START = 1_800_000_000.0
MINUTE = 60.0
HOUR = 3600.0
_PATIENCE_SECONDS = 10.0
TIMEOUT_SECONDS = 10.0
REAL_SECONDS = 240.0
"""How long a simulation may take in real time, unless it asks for more."""
_CLOSING_SECONDS = 2.0

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

ENDS = {
    Kind.SOUND: "done",
    Kind.WARNED: "done",
    Kind.RESULTLESS: "done",
    Kind.FAILING: "failed",
    Kind.LOST: "not_found",
    Kind.STUCK: "expired",
}


class TooLongError(RuntimeError):
    """The simulation went on for longer than it may, in real time."""


class _Selector(selectors.DefaultSelector):
    """Passes time instead of waiting for it, unless something real is outstanding."""

    def __init__(self, real_seconds: float) -> None:
        super().__init__()
        self.now = 0.0
        self.outstanding = 0
        self._ends_at = time.monotonic() + real_seconds

    def select(self, timeout: float | None = None) -> Any:
        if time.monotonic() > self._ends_at:
            self._ends_at = time.monotonic() + _CLOSING_SECONDS  # for the tasks to be cancelled in
            raise TooLongError(f"it takes too long in real time; simulated: {self.now:.0f} s")
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self.outstanding or timeout is None:  # a thread of the loop's own may be ending
            ready = super().select(_PATIENCE_SECONDS)
            if not ready and timeout is None:
                raise RuntimeError("nothing will ever happen again: a wait without an end")
            return ready
        self.now += timeout
        return []


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop in simulated time."""

    def __init__(self, real_seconds: float) -> None:
        self.selector = _Selector(real_seconds)
        super().__init__(self.selector)

    def time(self) -> float:
        return self.selector.now

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        self.selector.outstanding += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._returned)
        return future

    def _returned(self, future: Any) -> None:
        self.selector.outstanding -= 1


class SimulatedClock:
    """The loop's time as a `Timer`."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def time(self) -> float:
        return START + self.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        try:
            async with asyncio.timeout(None if seconds == float("inf") else max(0.0, seconds)):
                await event.wait()
        except TimeoutError:
            pass


class SimulatedUpstream:
    """An `Asker`: scripted jobs, answered after `latency` seconds.

    `fault` may answer instead, with a status and a body, or `timeout` or `connection`.
    """

    def __init__(self, seed: int = 0, latency: float = 0.1) -> None:
        self.jobs: dict[str, tuple[Script, float]] = {}
        self.latency = latency
        self.asked: list[float] = []
        self.polls: Counter[str | None] = Counter()
        self.fault: Callable[[str | None], tuple[int, bytes] | str | None] = lambda job_id: None
        self._rng = random.Random(seed)

    def add(self, job_id: str, script: Script) -> str:
        self.jobs[job_id] = (script, asyncio.get_running_loop().time())
        return job_id

    async def status(self, job_id: str | None) -> Reply:
        self.asked.append(asyncio.get_running_loop().time())
        self.polls[job_id] += 1
        await asyncio.sleep(self.latency * self._rng.uniform(0.5, 1.5))
        fault = self.fault(job_id)
        if isinstance(fault, str):
            await asyncio.sleep(TIMEOUT_SECONDS if fault == "timeout" else 0.0)
            return transport_failure(fault)
        status, body = fault or self._answer(job_id)
        headers = {"Content-Type": "application/json"}
        reply = parse_reply(status, headers, body)
        return reply if job_id is None else reply.about(job_id)

    def _answer(self, job_id: str | None) -> tuple[int, bytes]:
        if job_id is None:
            return 422, b'{"error": "validation", "details": {"job_id": ["required"]}}'
        known = self.jobs.get(job_id)
        age = 0.0 if known is None else asyncio.get_running_loop().time() - known[1]
        if known is None or age < known[0].visible_after:
            return 404, b'{"error": "not_found"}'
        body = body_at(known[0], job_id, age)
        if body is None:
            return 500, b'{"error": "server_error"}'
        return 200, json.dumps(body).encode()


def simulate(
    work: Callable[[], Coroutine[Any, Any, Any]], real_seconds: float = REAL_SECONDS
) -> Any:
    """Run in simulated time; raises `TooLongError` after `real_seconds`."""
    with asyncio.Runner(loop_factory=lambda: SimulatedLoop(real_seconds)) as runner:
        return runner.run(work())


async def pass_time(seconds: float) -> None:
    """Let simulated time pass, which costs no real time."""
    assert isinstance(asyncio.get_running_loop(), SimulatedLoop)
    await asyncio.sleep(seconds)


@asynccontextmanager
async def exporting(
    upstream: SimulatedUpstream,
    store: Store,
    directory: Path,
    /,
    clock: Timer | None = None,
    **sections: Any,
) -> AsyncIterator[Exporter]:
    limits = sections.pop("upstream", {})
    reached = {"base_url": "http://127.0.0.1:9", "api_key_env": "KEY"}
    document = {"upstream": reached | limits, **sections}
    config = parse_config(yaml.safe_dump(document), directory=directory, environ={"KEY": "k"})
    exporter = Exporter(
        config,
        clock=clock or SimulatedClock(),
        store=store,
        rng=random.Random(1),
        asker=upstream,
    )
    await exporter.start()
    try:
        yield exporter
    finally:
        await exporter.stop()


async def tell(exporter: Exporter, *job_ids: str) -> None:
    await exporter.registry.register([Registration(name) for name in job_ids], Source.API)


async def states(exporter: Exporter) -> dict[str, str]:
    found: dict[str, str] = {}
    before: int | None = None
    while True:
        page = await exporter.registry.page(PageRequest(1000, before))
        found |= {job.job_id: job.state.value for job in page.items}
        before = page.next
        if before is None:
            return found
