"""A registry by itself: over a store that can be made to fail, at a time that the test sets."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import structlog
from failing_store import FailingStore
from support import now, ok

from exporter.core.events import Now
from exporter.core.job import Job, JobState, Source, Verdict
from exporter.core.observation import conclude, observe
from exporter.core.published import Published
from exporter.core.tally import LabelBounds, Tally
from exporter.registry.commit import GroupCommit
from exporter.registry.limits import RegistryLimits
from exporter.registry.registry import Registry
from exporter.registry.staging import Outcome, Registration


class House:
    """A registry over a store, its time, and all that it published."""

    def __init__(self, store: FailingStore, limits: RegistryLimits) -> None:
        self.store = store
        self.at = 0.0
        self.failures: list[str] = []
        self.published: list[Published] = []
        log = structlog.get_logger("removit_exporter")
        self.commit = GroupCommit(store, self, lambda: self.at, self._sleep, log)
        self.tally = Tally(LabelBounds(50), ("shop",))
        self.registry = Registry(store, self.commit, self.tally, lambda: limits, self.now, log)
        self.registry.listen(self.published.append)

    def now(self) -> Now:
        return now(self.at)

    def committed(self, seconds: float) -> None:
        """See `CommitWatcher`."""

    def failed(self, operation: str) -> None:
        self.failures.append(operation)

    async def add(self, *names: str, **fields: Any) -> list[Job]:
        registrations = [replace(Registration(name), **fields) for name in names]
        return [one.job for one in await self.registry.register(registrations, Source.API)]

    async def poll(self, name: str, work: Callable[[Job], Outcome]) -> Job | None:
        return await self.registry.change(name, self.registry.jobs[name].incarnation, work)

    def total(self, name: str) -> float:
        return sum(
            amount for (known, *_), amount in self.store.tables.totals.items() if known == name
        )

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


LIMITS: dict[str, Any] = {
    "max_pending": 100_000,
    "retention": 86_400.0,
    "history_events": 100_000,
    "resume_within": 3600.0,
    "linger": 300.0,
    "linger_failed": 3600.0,
    "recheck_after": (60.0, 600.0, 3600.0),
}


@asynccontextmanager
async def opened(former: House | None = None, **limits: Any) -> AsyncIterator[House]:
    house = House(FailingStore(former.store if former else None), RegistryLimits(**LIMITS | limits))
    house.registry.start(await house.registry.load())
    try:
        yield house
    finally:
        house.store.broken = False
        house.store.gate.set()
        await house.registry.close()


def answered(**fields: Any) -> Callable[[Job], Outcome]:
    """Return what a good answer makes of a job."""

    def work(job: Job) -> Outcome:
        return Outcome(*observe(job, ok(**fields), now(1)))

    return work


def judged(state: JobState) -> Callable[[Job], Outcome]:
    """Return what a verdict makes of a job."""

    def work(job: Job) -> Outcome:
        return Outcome(*conclude(job, Verdict(state, "because"), now(1)))

    return work
