"""The judgement against thousands of drawn histories: the truth beside the verdict.

    .venv/bin/python benchmarks/judgement.py [--histories 2000] [--seed N] [--shapes well,outage]
        [--shares 0.1,0.5] [--generator module:function] [--processes 2]

The real core, poller and registry run under simulated time with the default thresholds. Printed by
shape: histories, jobs that truly failed and were called so, missed or not yet decided; jobs that
were told an end they had not come to (wrong), and of these overturned; how long it took to call a
failure (the best possible is `judgement.failed_after`); how long a job that is well waited under
suspicion, which is the wait that the rule imposes; and the requests spent per job. `histories.py`
says what a shape is, and how your own plugs in.

One history again: its seed with `--histories 1 --shapes NAME`. Exit code 1 when in a decidable
shape any verdict was wrong or a failed job was missed, or when any verdict named no evidence.
"""

import argparse
import asyncio
import importlib
import logging
import math
import multiprocessing
import os
import random
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks")]

from histories import RARE, RARITY, SHAPES, SHARES, History, JobHistory  # noqa: E402
from simulated_time import SimulatedClock, SimulatedUpstream, simulate  # noqa: E402

from exporter import Exporter  # noqa: E402
from exporter.config.loading import parse_config  # noqa: E402
from exporter.core.events import Event  # noqa: E402
from exporter.core.job import Source  # noqa: E402
from exporter.registry.staging import Registration  # noqa: E402
from exporter.simulator.script import Kind  # noqa: E402
from exporter.storage.memory import MemoryStore  # noqa: E402

CONFIG = """
upstream: {base_url: "http://127.0.0.1:9", api_key_env: KEY}
storage: {history_events: 1000000, retention: 30d}
"""
BEST_SECONDS = 30.0


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
    waits: list[float] = field(default_factory=list)
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
        self.waits += other.waits
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
            await exporter.registry.register([Registration(job.job_id)], Source.API)
        left = history.seconds + history.tail - asyncio.get_running_loop().time()
        await asyncio.sleep(max(left, history.tail))
        started = exporter.registry._now().time - asyncio.get_running_loop().time()
        await exporter.stop()
        found.requests = len(upstream.asked)
        _compare(history, store, started, found)

    simulate(live)
    return found


def _compare(history: History, store: MemoryStore, started: float, found: Outcome) -> None:
    probe = _Trial(history, found)
    for _, _, event in store.tables.events:
        if event.job_id is not None:
            probe.take(event, event.time - started)
    for job in history.jobs:
        _judge(job, probe.called, history, found)


class _Trial:
    """Goes through what was told of the jobs of one history."""

    def __init__(self, history: History, found: Outcome) -> None:
        self.called: dict[str, float] = {}
        self._history = history
        self._jobs = {job.job_id: job for job in history.jobs}
        self._found = found
        self._wrong: dict[str, float] = {}
        self._suspected: dict[str, float] = {}

    def take(self, event: Event, at: float) -> None:
        job = self._jobs[event.job_id or ""]
        if event.type == "suspected":
            self._suspected[job.job_id] = at
        elif event.type == "cleared":
            self._found.waits.append(at - self._suspected.pop(job.job_id))
        elif event.type == "finished" and event.data["state"] != "done":
            self._suspected.pop(job.job_id, None)
            self._verdict(job, event, at)
        elif event.type == "overturned" and job.job_id in self._wrong:
            self._found.overturned += 1
            self._found.wrong_for.append(at - self._wrong.pop(job.job_id))

    def _verdict(self, job: JobHistory, event: Event, at: float) -> None:
        found, fails_at = self._found, job.fails_at()
        found.unproven += not event.data["evidence"]
        if event.data["state"] == "failed" and fails_at is not None and at >= fails_at:
            self.called.setdefault(job.job_id, at)
            return
        if event.data["state"] == "not_found" and job.script.kind is Kind.LOST:
            return
        self._wrong[job.job_id] = at
        found.wrong += 1
        if self._history.decidable:
            told = f"{event.data['state']} at {at:.0f}: {event.data['evidence']}"
            found.details.append(f"wrong: {self._history.shape} {job.job_id} {told}")


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


Work = tuple[str, int, tuple[float, ...]]


def _draw(work: Work) -> tuple[str, int, Outcome]:
    name, seed, shares = work
    logging.getLogger("removit_exporter").setLevel(logging.CRITICAL)
    rng = random.Random(seed)
    if ":" in name:
        module, _, function = name.partition(":")
        history: History = getattr(importlib.import_module(module), function)(rng)
    else:
        history = (SHAPES | RARE)[name](rng, shares)
    return history.shape, seed, run(history, seed)


def _show(shapes: dict[str, Outcome]) -> None:
    print(
        f"{'shape':<28}{'histories':>10}{'jobs':>7}{'failed':>8}{'called':>8}{'missed':>8}{'wrong':>7}"
        f"{'overt.':>8}   {'called after p50 p95':>20}   {'suspected p50 p95':>17}{'req/job':>9}"
    )
    for decidable in (True, False):
        print("decidable:" if decidable else "not decidable:")
        for name, one in sorted(shapes.items()):
            if one.decidable is not decidable:
                continue
            print(
                f"  {name:<26}{one.histories:>10}{one.jobs:>7}{one.failed:>8}{one.called:>8}"
                f"{one.missed:>8}{one.wrong:>7}{one.overturned:>8}   "
                f"{_quantile(one.delays, 0.5):>14.0f} s{_quantile(one.delays, 0.95):>4.0f}   "
                f"{_quantile(one.waits, 0.5):>11.0f} s{_quantile(one.waits, 0.95):>4.0f}"
                f"{one.requests / one.jobs:>9.1f}"
            )
            if one.wrong_for:
                stood = _quantile(one.wrong_for, 0.5)
                print(f"    wrong verdicts stood for {stood:.0f} s (median)")
    print(f"a failure is called after {BEST_SECONDS:.0f} s at best")


def _quantile(values: list[float], part: float) -> float:
    """Return the least value that so large a part of them does not exceed."""
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)] if values else 0.0


def _plan(options: argparse.Namespace, seed: int) -> list[Work]:
    shares = tuple(float(share) for share in options.shares.split(","))
    if options.generator:
        return [(options.generator, seed + at, shares) for at in range(options.histories)]
    names = (options.shapes or ",".join(SHAPES)).split(",")
    work = [(names[at % len(names)], seed + at, shares) for at in range(options.histories)]
    if options.shapes is None:
        for at in range(RARITY // 2, options.histories, RARITY):
            for name in RARE:
                work[at] = (name, seed + at, shares)
    return sorted(work, key=lambda one: one[0] not in RARE)  # the longest first


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--histories", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=None, help="drawn and printed by default")
    parser.add_argument("--shapes", help=f"of {', '.join(SHAPES | RARE)}; all by default")
    parser.add_argument("--shares", default=",".join(f"{one:.3g}" for one in SHARES))
    parser.add_argument("--generator", help="module:function of your own, in place of --shapes")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(2**31) if options.seed is None else options.seed
    print(f"seed {seed}, {options.histories} histories", flush=True)
    sys.path.append(str(Path.cwd()))
    started = time.perf_counter()
    shapes: dict[str, Outcome] = defaultdict(Outcome)
    for name, drawn, outcome in _spread(_plan(options, seed), options.processes):
        shapes[name].add(outcome)
        for detail in outcome.details if outcome.decidable else ():
            print(f"seed {drawn}: {detail}", flush=True)
    _show(shapes)
    unproven = sum(one.unproven for one in shapes.values())
    print(f"{unproven} verdicts without evidence; {time.perf_counter() - started:.0f} s")
    bad = any(one.decidable and (one.wrong or one.missed) for one in shapes.values())
    return 1 if bad or unproven else 0


def _spread(work: list[Work], processes: int) -> Iterable[tuple[str, int, Outcome]]:
    if processes == 1:
        yield from map(_draw, work)
        return
    with multiprocessing.Pool(processes) as pool:
        yield from pool.imap_unordered(_draw, work, chunksize=1)


if __name__ == "__main__":
    sys.exit(main())
