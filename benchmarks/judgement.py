"""The judgement against thousands of drawn histories: its verdicts compared with the truth.

    .venv/bin/python benchmarks/judgement.py [--histories 2000] [--seed N] [--shapes well,outage]
        [--shares 0.1,0.5] [--generator module:function] [--processes 2]

The real core, poller and registry run in simulated time with the default thresholds. `histories.py`
says what a history is, and how your own plug in; `shapes/` has those that are drawn by default.

Two tables are printed. Verdicts, by shape: jobs that ended badly (bad), that were called so,
missed, or called later than the shape's bound; wrong verdicts, and those that were overturned; the
time to call, without the times in which nothing could be decided; and how long jobs that are well
were suspected. The upstream's state, by shape: how often `down` was shown while something was
served, and for how many minutes; how soon the right state was shown (unseen: never), and for how
long it was interrupted; states lost in a restart; and requests per job.

One history again: its seed with `--histories 1 --shapes NAME`. Exit code 1 when a decidable shape
has a wrong verdict, a missed one, one later than the bound, a state that is shown too late or lost,
or `down` where the shape rules it out; and when any verdict has no evidence.
"""

import argparse
import asyncio
import importlib
import logging
import multiprocessing
import os
import random
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks")]

from histories import Answer, History  # noqa: E402
from outcomes import Outcome, Shown, compare, quantile  # noqa: E402
from shapes import RARE, RARITY, SHAPES  # noqa: E402
from simulated_time import START, SimulatedClock, SimulatedUpstream, simulate  # noqa: E402

from exporter import Exporter  # noqa: E402
from exporter.config.loading import parse_config  # noqa: E402
from exporter.core.job import Source  # noqa: E402
from exporter.registry.staging import Registration  # noqa: E402
from exporter.storage.memory import MemoryStore  # noqa: E402

CONFIG = """
upstream: {base_url: "http://127.0.0.1:9", api_key_env: KEY}
storage: {history_events: 1000000, retention: 30d}
"""
SHARES = (0.1, 1 / 3, 0.5)
"""The shares of requests that fail, in the shapes that draw one."""
REAL_SECONDS = 1800.0
"""How long one history may take in real time."""
MOST_DETAILS = 5
"""Faults printed of one history."""
ASKED_JOBS = 5
ASK_SECONDS = 5.0
"""How long somebody who asks waits for the answer."""


class Run:
    """One history, lived through by an exporter that may be restarted."""

    def __init__(self, history: History, seed: int) -> None:
        self.history = history
        self.upstream = SimulatedUpstream(seed)
        self.rng = random.Random(seed)
        self.store = MemoryStore()
        self.shown: list[Shown] = []
        self._jobs = {job.job_id: job for job in history.jobs}
        self.upstream.jobs = {job.job_id: (job.script, job.at) for job in history.jobs}
        self.upstream.fault = self._answer

    async def live(self) -> Outcome:
        """Live through it, and compare."""
        waiting = sorted(self.history.jobs, key=lambda job: job.at)
        exporter = await self._start()
        asking = asyncio.create_task(self._ask()) if self.history.asked_every else None
        for stop, off in [*self.history.restarts, (self.history.seconds + self.history.tail, 0.0)]:
            while waiting and waiting[0].at < stop:
                await _until(waiting[0].at)
                registration = Registration(waiting.pop(0).job_id)
                await exporter.registry.register([registration], Source.API)
            await _until(stop)
            await self._stop(exporter)
            if off:
                await asyncio.sleep(off)
                exporter = await self._start()
        if asking is not None:
            asking.cancel()
        events = [event for _, _, event in self.store.tables.events]
        found = compare(
            self.history,
            [replace(event, time=event.time - START) for event in events],
            self._shown_states(),
        )
        found.requests = len(self.upstream.asked)
        return found

    async def _start(self) -> Exporter:
        self.store = MemoryStore(self.store.tables)
        self.exporter: Exporter | None = Exporter(
            parse_config(CONFIG, environ={"KEY": "k"}),
            clock=SimulatedClock(),
            store=self.store,
            rng=self.rng,
            asker=self.upstream,
        )
        await self.exporter.start()
        self.shown.append((_now(), self.exporter.health.state.value))
        return self.exporter

    async def _stop(self, exporter: Exporter) -> None:
        self.exporter = None
        await exporter.stop()
        self.shown.append((_now(), None))

    def _shown_states(self) -> list[Shown]:
        """Return what a scrape would have shown: the state after each start, then each change."""
        changes: list[Shown] = [
            (event.time - START, event.data["to"])
            for _, _, event in self.store.tables.events
            if event.type == "upstream_changed"
        ]
        return sorted([*self.shown, *changes], key=lambda one: one[0])

    async def _ask(self) -> None:
        """Ask about the newest pending jobs in turn, as a program or Prometheus does."""
        while True:
            await asyncio.sleep(self.history.asked_every)
            if (exporter := self.exporter) is None:
                continue
            pending = [job for job in exporter.registry.jobs.values() if job.pending]
            for job in pending[-ASKED_JOBS:]:
                await exporter.poller.ask(job.job_id, "client", ASK_SECONDS)

    def _answer(self, job_id: str | None) -> Answer:
        now, job = _now(), self._jobs.get(job_id or "")
        trouble = self.history.trouble(job, now) if now < self.history.seconds else None
        return trouble if trouble is not None or job is None else job.answer(now)


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _until(time: float) -> None:
    await asyncio.sleep(max(0.0, time - _now()))


Work = tuple[str, int, tuple[float, ...]]


def _draw(work: Work) -> tuple[Work, str, Outcome]:
    name, seed, shares = work
    logging.getLogger("removit_exporter").setLevel(logging.CRITICAL)
    rng = random.Random(seed)
    if ":" in name:
        module, _, function = name.partition(":")
        history: History = getattr(importlib.import_module(module), function)(rng)
    else:
        history = (SHAPES | RARE)[name](rng, shares)
    return work, history.shape, simulate(Run(history, seed).live, REAL_SECONDS)


def _show(shapes: dict[str, Outcome]) -> None:
    order = sorted(shapes.items(), key=lambda item: not item[1].decidable)
    print(
        f"\n{'shape':<38}{'hist.':>6}{'jobs':>6}{'bad':>6}{'called':>7}{'missed':>7}{'late':>5}"
        f"{'wrong':>6}{'overt.':>7}   {'called after p50, p95, worst of at most':<40}"
        f"{'suspected p50, p95':>18}"
    )
    for name, one in _titled(order):
        print(
            f"  {name:<36}{one.histories:>6}{one.jobs:>6}{one.bad:>6}{one.called:>7}{one.missed:>7}"
            f"{one.late:>5}{one.wrong:>6}{one.overturned:>7}   "
            f"{_times(one.delays):<21}{f'{one.bound:.0f} s' if one.delays else '':<19}"
            f"{quantile(one.waits, 0.5):>11.0f} s{quantile(one.waits, 0.95):>5.0f}"
        )
        if one.wrong:
            first, stood = min(one.wrong_after), quantile(one.wrong_for, 0.5)
            print(f"    wrong from {first:.0f} s on; overturned after {stood:.0f} s (median)")
    print(
        f"\n{'shape':<38}{'false down':>11}{'minutes':>8}   {'shown after p50, p95, worst':<28}"
        f"{'late':>5}{'unseen':>7}{'interrupted':>12}{'lost':>5}{'req/job':>9}"
    )
    for name, one in _titled(order):
        print(
            f"  {name:<36}{one.false_downs:>11}{one.false_down / 60:>8.1f}   "
            f"{_times(one.state_after):<28}{one.state_late:>5}{one.unseen:>7}"
            f"{one.broken:>10.0f} s{one.state_lost:>5}{one.requests / one.jobs:>9.1f}"
        )


def _titled(order: list[tuple[str, Outcome]]) -> Iterable[tuple[str, Outcome]]:
    title = None
    for name, one in order:
        if one.decidable is not title:
            title = one.decidable
            print("decidable:" if title else "not decidable:")
        yield name, one


def _times(values: list[float]) -> str:
    if not values:
        return ""
    return ", ".join(f"{quantile(values, part):.0f}" for part in (0.5, 0.95, 1)) + " s"


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
    parser.add_argument("--generator", help="module:function of your own, instead of --shapes")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(2**31) if options.seed is None else options.seed
    print(f"seed {seed}, {options.histories} histories", flush=True)
    sys.path.append(str(Path.cwd()))
    started = time.perf_counter()
    shapes: dict[str, Outcome] = defaultdict(Outcome)
    for (name, drawn, _), shape, outcome in _spread(_plan(options, seed), options.processes):
        shapes[shape].add(outcome)
        details = outcome.details if outcome.faults else []
        for detail in details[:MOST_DETAILS]:
            print(f"seed {drawn}, {name}: {detail}", flush=True)
        if len(details) > MOST_DETAILS:
            print(f"seed {drawn}, {name}: and {len(details) - MOST_DETAILS} more", flush=True)
    _show(shapes)
    unproven = sum(one.unproven for one in shapes.values())
    print(f"{unproven} verdicts without evidence; {time.perf_counter() - started:.0f} s")
    return 1 if any(one.faults for one in shapes.values()) else 0


def _spread(work: list[Work], processes: int) -> Iterable[tuple[Work, str, Outcome]]:
    if processes == 1:
        yield from map(_draw, work)
        return
    with multiprocessing.Pool(processes) as pool:
        yield from pool.imap_unordered(_draw, work, chunksize=1)


if __name__ == "__main__":
    sys.exit(main())
