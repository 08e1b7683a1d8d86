"""The judgement against thousands of drawn histories: the truth beside the verdict.

    .venv/bin/python benchmarks/judgement.py [--histories 2000] [--seed N] [--shapes well,outage]
        [--generator module:function] [--processes 2]

The real core, poller and registry run under simulated time with the default thresholds. Printed by
shape: histories, jobs that truly failed and were called so, missed or not yet decided; jobs called
failed that had not (wrong), and of these overturned; the time to call a failure beside the best
possible (`judgement.failed_after` after it happened), and the requests spent per job.

Exit code 1 when in a decidable shape any verdict was wrong or a failed job was missed, or when any
verdict named no evidence.
"""

import argparse
import asyncio
import importlib
import logging
import multiprocessing
import os
import random
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks")]

from histories import SHAPES, History, JobHistory  # noqa: E402
from simulated_time import SimulatedClock, SimulatedUpstream, simulate  # noqa: E402

from exporter import Exporter  # noqa: E402
from exporter.config_loading import parse_config  # noqa: E402
from exporter.core.job import Source  # noqa: E402
from exporter.registry.memory import MemoryStore  # noqa: E402
from exporter.registry.staging import Telling  # noqa: E402
from exporter.simulator.script import Kind  # noqa: E402

CONFIG = """
upstream: {base_url: "http://127.0.0.1:9", api_key_env: KEY}
storage: {history_events: 1000000, retention: 30d}
"""
BEST_SECONDS = 30.0
TAIL_SECONDS = 1500.0
"""After the trouble: time for the verdicts, and for the first two rechecks."""


@dataclass
class Outcome:
    """What the judgement made of one history, or of all of a shape."""

    histories: int = 0
    decidable: bool = True
    jobs: int = 0
    failed: int = 0
    called: int = 0
    missed: int = 0
    wrong: int = 0
    overturned: int = 0
    unproven: int = 0
    requests: int = 0
    delays: list[float] = field(default_factory=list)
    wrong_for: list[float] = field(default_factory=list)
    details: list[str] = field(default_factory=list)

    def add(self, other: "Outcome") -> None:
        """Add one history's."""
        self.decidable = other.decidable
        for name in (
            *("histories", "jobs", "failed", "called", "missed"),
            *("wrong", "overturned", "unproven", "requests"),
        ):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.delays += other.delays
        self.wrong_for += other.wrong_for
        self.details += other.details


def run(history: History, seed: int) -> Outcome:
    """Run one history, and compare."""
    found = Outcome(histories=1, decidable=history.decidable, jobs=len(history.jobs))

    async def live() -> None:
        upstream, store = SimulatedUpstream(seed), MemoryStore()
        by_id = {job.job_id: job for job in history.jobs}

        def fault(job_id: str | None) -> tuple[int, bytes] | str | None:
            now = asyncio.get_running_loop().time()
            job = by_id.get(job_id or "")
            return history.trouble(job, now) if now < history.seconds else None

        upstream.fault = fault
        config = parse_config(CONFIG, environ={"KEY": "k"})
        exporter = Exporter(
            config,
            clock=SimulatedClock(),
            store=store,
            rng=random.Random(seed),
            asker=upstream,
        )
        await exporter.start()
        for job in sorted(history.jobs, key=lambda job: job.at):
            await asyncio.sleep(max(0.0, job.at - asyncio.get_running_loop().time()))
            upstream.add(job.job_id, job.script)
            await exporter.registry.register([Telling(job.job_id)], Source.API)
        left = history.seconds + TAIL_SECONDS - asyncio.get_running_loop().time()
        await asyncio.sleep(max(left, TAIL_SECONDS))
        started = exporter.registry._now().time - asyncio.get_running_loop().time()
        await exporter.stop()
        found.requests = len(upstream.asked)
        _compare(history, store, started, found)

    simulate(live)
    return found


def _compare(history: History, store: MemoryStore, started: float, found: Outcome) -> None:
    called: dict[str, float] = {}
    wrong: dict[str, float] = {}
    for _, _, event in store.tables.events:
        if event.job_id is None:
            continue
        job = next(job for job in history.jobs if job.job_id == event.job_id)
        at = event.time - started
        if event.type == "finished" and event.data["state"] == "failed":
            if not event.data["evidence"]:
                found.unproven += 1
            fails_at = job.fails_at()
            if fails_at is not None and at >= fails_at:
                called.setdefault(job.job_id, at)
            else:
                wrong[job.job_id] = at
                found.wrong += 1
                if history.decidable:
                    found.details.append(
                        f"wrong: {history.shape} {job.job_id} at {at:.0f}: {event.data['evidence']}"
                    )
        elif event.type == "finished" and event.data["state"] in (
            "not_found",
            "expired",
            "invalid",
        ):
            found.wrong += 1
            found.details.append(f"wrong: {history.shape} {job.job_id} {event.data['state']}")
        elif event.type == "overturned" and job.job_id in wrong:
            found.overturned += 1
            found.wrong_for.append(at - wrong.pop(job.job_id))
    for job in history.jobs:
        _judge(job, called, history, found)


def _judge(job: JobHistory, called: dict[str, float], history: History, found: Outcome) -> None:
    fails_at = job.fails_at()
    if job.script.kind is not Kind.FAILING or fails_at is None:
        return
    found.failed += 1
    if job.job_id in called:
        found.called += 1
        found.delays.append(called[job.job_id] - max(fails_at, job.at))
    else:
        found.missed += 1
        if history.decidable:
            found.details.append(f"missed: {history.shape} {job.job_id} failed at {fails_at:.0f}")


def _draw(arguments: tuple[str, int]) -> tuple[str, int, Outcome]:
    name, seed = arguments
    logging.getLogger("removit_exporter").setLevel(logging.CRITICAL)
    history = _generator(name)(random.Random(seed))
    return history.shape, seed, run(history, seed)


def _generator(name: str) -> Callable[[random.Random], History]:
    if ":" not in name:
        return SHAPES[name]
    module, _, function = name.partition(":")
    made: Callable[[random.Random], History] = getattr(importlib.import_module(module), function)
    return made


def _show(shapes: dict[str, Outcome]) -> None:
    print(
        f"{'shape':<22}{'histories':>10}{'jobs':>7}{'failed':>8}{'called':>8}{'missed':>8}"
        f"{'wrong':>7}{'overt.':>8}{'p50 s':>7}{'p95 s':>7}{'req/job':>9}"
    )
    for decidable in (True, False):
        print("decidable:" if decidable else f"not decidable (best {BEST_SECONDS:.0f} s as above):")
        for name, one in sorted(shapes.items()):
            if one.decidable is not decidable:
                continue
            delays = sorted(one.delays) or [0.0]
            p95 = delays[int(0.95 * (len(delays) - 1))]
            print(
                f"  {name:<20}{one.histories:>10}{one.jobs:>7}{one.failed:>8}{one.called:>8}"
                f"{one.missed:>8}{one.wrong:>7}{one.overturned:>8}"
                f"{statistics.median(delays):>7.0f}{p95:>7.0f}{one.requests / one.jobs:>9.1f}"
            )
            if one.wrong_for:
                stood = statistics.median(one.wrong_for)
                print(f"    wrong verdicts stood for {stood:.0f} s (median)")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--histories", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=None, help="drawn and printed by default")
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--generator", help="module:function of your own, in place of --shapes")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(2**31) if options.seed is None else options.seed
    print(f"seed {seed}, {options.histories} histories")
    names = [options.generator] if options.generator else options.shapes.split(",")
    work = [(names[at % len(names)], seed + at) for at in range(options.histories)]
    started = time.perf_counter()
    shapes: dict[str, Outcome] = defaultdict(Outcome)
    for name, drawn, outcome in _spread(work, options.processes):
        shapes[name].add(outcome)
        for detail in outcome.details if outcome.decidable else ():
            print(f"seed {drawn}: {detail}")
    _show(shapes)
    print(f"{time.perf_counter() - started:.0f} s")
    bad = any(
        one.unproven or (one.decidable and (one.wrong or one.missed)) for one in shapes.values()
    )
    return 1 if bad else 0


def _spread(work: list[tuple[str, int]], processes: int) -> Iterable[tuple[str, int, Outcome]]:
    if processes == 1:
        yield from map(_draw, work)
        return
    with multiprocessing.Pool(processes) as pool:
        yield from pool.imap_unordered(_draw, work, chunksize=4)


if __name__ == "__main__":
    sys.exit(main())
