"""Days of jobs under simulated time: the sizes of all that can grow, hour by hour, and whether each
job ended as it should. For `system/test_soak.py` and `benchmarks/soak.py`."""

import asyncio
import gc
import os
import random
import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import generate_latest
from simulated_time import ENDS, HOUR, SimulatedClock, SimulatedUpstream, pass_time, simulate

from exporter import Exporter
from exporter.config.loading import parse_config
from exporter.core.events import EventType
from exporter.core.job import Source
from exporter.core.published import Published
from exporter.registry.staging import Registration
from exporter.simulator.script import draw
from exporter.storage.memory import MemoryStore
from exporter.storage.store import FailuresRequest

DAY = 24 * HOUR
CONFIG: dict[str, Any] = {
    # Nothing is kept for longer than an hour, so that nothing grows after the first.
    "storage": {"retention": "10m", "history_events": 2000},
    "polling": {"give_up_after": "20m", "recheck_after": ["1m", "5m"]},
    "metrics": {"per_job": {"max_jobs": 200, "linger_failed": "5m"}},
}


@dataclass
class Soak:
    """The outcome. `hours` has the sizes of all that could grow, at the end of each hour."""

    jobs: int
    ended: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    requests: int = 0
    hours: list[dict[str, int]] = field(default_factory=list)
    astray: list[str] = field(default_factory=list)
    """Moments at which registered = pending + finished - overturned + forgotten did not hold."""
    left: list[str] = field(default_factory=list)
    """The names of what was left when every job had gone."""

    def grown(self, share: float, slack: int) -> list[str]:
        """Name the sizes that grew: their maximum in the second half exceeds that of the first.

        The first hour does not count. A size has grown if it did so by more than `share` of it, and
        by more than `slack`.
        """
        middle = len(self.hours) // 2
        found = []
        for name in self.hours[0]:
            early = max(hour[name] for hour in self.hours[1:middle])
            late = max(hour[name] for hour in self.hours[middle:])
            if late > early * (1 + share) + slack:
                found.append(f"{name}: {early} before, {late} later")
        return found


def soak(
    jobs: int,
    days: float,
    *,
    seed: int = 11,
    real_seconds: float = 900.0,
    each_hour: Callable[[Soak], None] = lambda soak: None,
) -> Soak:
    """Register `jobs`, spread evenly over `days`, and let them all end. Needs no API key."""
    found = Soak(jobs)

    async def live() -> None:
        upstream, rng, store = SimulatedUpstream(seed), random.Random(seed), MemoryStore()
        exporter = _exporter(upstream, store, max(10.0, 40 * jobs / (days * DAY)))
        exporter.registry.listen(lambda published: _check(published, upstream, found))
        await exporter.start()
        at, loop = 0, asyncio.get_running_loop()
        for hour in range(1, int(24 * days) + 1):
            while at < jobs * hour / (24 * days):
                at += 1
                upstream.add(f"job-{at}", draw(rng))
                await exporter.registry.register([Registration(f"job-{at}")], Source.API)
                await pass_time(max(0.0, at * days * DAY / jobs - loop.time()))
            await pass_time(max(0.0, hour * HOUR - loop.time()))
            await _acknowledge_all(exporter)
            _measure(exporter, store, upstream, found)
            each_hour(found)
        await pass_time(HOUR)
        await _acknowledge_all(exporter)
        await pass_time(HOUR)
        _look_back(exporter, store, upstream, found)
        await exporter.stop()

    simulate(live, real_seconds)
    return found


async def _acknowledge_all(exporter: Exporter) -> None:
    """Acknowledge the missing pictures: a job with an open entry would be kept."""
    while (page := await exporter.store.failures(FailuresRequest(1000))).items:
        for failure in page.items:
            await exporter.registry.acknowledge(failure.key)


def _exporter(upstream: SimulatedUpstream, store: MemoryStore, rate: float) -> Exporter:
    own = {"upstream": {"base_url": "http://127.0.0.1:9", "api_key_env": "KEY", "rate": rate}}
    config = parse_config(yaml.safe_dump(own | CONFIG), environ={"KEY": "k"})
    clock, rng = SimulatedClock(), random.Random(1)
    return Exporter(config, clock=clock, store=store, rng=rng, asker=upstream)


def _check(published: Published, upstream: SimulatedUpstream, found: Soak) -> None:
    """Hold each end against the truth; the upstream keeps what will be asked again."""
    for event in published.events:
        if event.type is EventType.FINISHED and event.job_id is not None:
            script, _ = upstream.jobs[event.job_id]
            state = event.data["state"]
            found.ended[state] += 1
            if state != ENDS[script.kind]:
                found.wrong.append(f"{event.job_id}: {state}, {event.data['evidence']}")
        elif event.type is EventType.OVERTURNED:
            found.wrong.append(f"{event.job_id} was overturned")
    if published.after is None and published.before is not None:
        del upstream.jobs[published.before.job_id]


def _measure(
    exporter: Exporter, store: MemoryStore, upstream: SimulatedUpstream, found: Soak
) -> None:
    found.requests += len(upstream.asked)
    upstream.asked.clear()
    upstream.polls.clear()
    totals = store.tables.totals
    sums: Counter[str] = Counter()
    for (name, *_), amount in totals.items():
        sums[name] += int(amount)
    held = exporter.registry.pending + sums["removit_jobs_finished_total"]
    held += sums["removit_jobs_forgotten_total"] - sums["removit_verdicts_overturned_total"]
    if sums["removit_jobs_registered_total"] != held:
        found.astray.append(f"after {len(found.hours) + 1} h")
    found.hours.append(sizes(exporter, store) | memory())


def sizes(exporter: Exporter, store: MemoryStore) -> dict[str, int]:
    """Return how much there is of whatever could grow."""
    census, poller, tables = exporter.job_metrics.census, exporter.poller, store.tables
    registry, evidence = exporter.registry, exporter.health.evidence
    page = _page(exporter)
    return {
        "jobs in memory": len(registry.jobs),
        "plans": len(poller.schedule._plans),
        "queue": len(poller.schedule._heap),
        "leaving": len(registry._resident._leaving),
        "unsaved": len(registry._resident.unsaved),
        "busy": len(registry._changes.under_way),
        "places": len(census.overdue.places),
        "still": len(census._still),
        "oldest": sum(map(len, census._oldest.values())),
        "stored jobs": len(tables.known),
        "rows": len(tables.rows),
        "events": len(tables.events),
        "totals": len(tables.totals),
        "evidence recent": len(evidence.recent),
        "evidence lost": len(evidence.lost),
        "evidence suspects": len(evidence.suspects),
        "evidence turned": len(evidence.turned),
        "series": len(page),
        "series of jobs": len(_of_jobs(page)),
    }


def memory() -> dict[str, int]:
    """Return what the interpreter holds: objects, their blocks, and the process's pages."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "objects": len(gc.get_objects()),
        "memory blocks": sys.getallocatedblocks(),
        "resident KiB": pages * os.sysconf("SC_PAGE_SIZE") // 1024,
    }


def _page(exporter: Exporter) -> list[str]:
    text = exporter.context.exposition.page(generate_latest).read().decode()
    return [line for line in text.splitlines() if not line.startswith("#")]


def _of_jobs(page: list[str]) -> list[str]:
    return [line for line in page if re.match(r'[a-z_]+\{job_id="', line)]


def _look_back(
    exporter: Exporter, store: MemoryStore, upstream: SimulatedUpstream, found: Soak
) -> None:
    """Every job has ended and gone: what is left is the floor."""
    page = _page(exporter)
    found.left += _of_jobs(page)
    found.left += [f"{name} is told no end" for name in upstream.jobs]
    found.left += [f"{name} in memory" for name in exporter.registry.jobs]
    plain = found.hours[0]["series"] - found.hours[0]["series of jobs"]
    if len(page) > plain:
        found.left.append(f"{len(page)} series, {plain} after the first hour beside those of jobs")
    if found.ended.total() != found.jobs:
        found.left.append(f"{found.ended.total()} ends of {found.jobs} jobs")
