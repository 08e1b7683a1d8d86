"""How few calls see the ends of jobs in time: `core/pacing` against other rules.

    .venv/bin/python benchmarks/pacing.py [--jobs N] [--seeds N] [--warm-up N] [--only NAME]
                                          [--others] [--laws MODULE.py]

Jobs arrive, last as long as a law says, and show progress of some kind. Each rule is asked after
each poll how long to wait. Its price (`call_cost`, the interval, ...) is searched until the mean
delay in seeing an end is that of `DELAY`; what is printed is its calls at that delay as a share
of the calls that a fixed interval makes for the same jobs at the same delay. The first poll of a
job, at its registration, is counted by neither.

`--laws` reads `LAWS` of a module: name -> `draw(rng) -> (seconds, progress)` where
`progress(share) -> (step, percent)` tells what a job shows after that share of its life.
Standard library only.
"""

import argparse
import heapq
import math
import random
import runpy
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from exporter.core.pacing.learner import Learner

DELAY = 3.4
"""Seconds of mean delay at which rules are compared; jobs last a minute on average."""
MEAN = 60.0
MIN_INTERVAL, MAX_INTERVAL = 1.0, 60.0
ARRIVAL = 2.0
"""Mean seconds between two registrations."""

Progress = Callable[[float], tuple[str, int]]
Draw = Callable[[random.Random], tuple[float, Progress]]


# --- laws and kinds of progress -----------------------------------------------------------------


def log_normal(sigma: float) -> Callable[[random.Random], float]:
    return lambda rng: MEAN * math.exp(rng.gauss(0.0, sigma) - sigma * sigma / 2)


def two_humps(rng: random.Random) -> float:
    return rng.gauss(25.0, 2.5) if rng.random() < 0.5 else rng.gauss(95.0, 9.5)


SECONDS: dict[str, Callable[[random.Random], float]] = {
    "log-normal .3": log_normal(0.3),
    "log-normal .5": log_normal(0.5),
    "log-normal .8": log_normal(0.8),
    "log-normal 1.2": log_normal(1.2),
    "two humps": two_humps,
    "uniform": lambda rng: rng.uniform(10.0, 110.0),
    "exponential": lambda rng: rng.expovariate(1 / MEAN),
}


def silent(rng: random.Random) -> Progress:
    return lambda share: ("running", 0)


def quarters(rng: random.Random) -> Progress:
    return lambda share: ("running", int(share * 4) * 25)


def fine(rng: random.Random) -> Progress:
    return lambda share: ("running", int(share * 100))


def skewed(rng: random.Random) -> Progress:
    """Half of the life is spent at 90."""
    return lambda share: ("running", int(min(share * 2, 1.0) * 90))


def noisy(rng: random.Random) -> Progress:
    seed = rng.random()

    def progress(share: float) -> tuple[str, int]:
        noise = random.Random(seed + int(share * 25)).gauss(0.0, 0.08)
        return "running", min(99, max(0, int((share + noise) * 100)))

    return progress


def stuck(rng: random.Random) -> Progress:
    """99 % is reached after some two thirds of the life."""
    reached = rng.uniform(0.55, 0.8)
    return lambda share: ("running", min(99, int(share / reached * 99)))


def falling(rng: random.Random) -> Progress:
    """A part of the work is repeated twice: progress falls by 20 and rises again."""
    at = (rng.uniform(0.2, 0.4), rng.uniform(0.6, 0.8))
    return lambda share: ("running", int(share * 100) - 20 * any(0 < share - x < 0.1 for x in at))


def three_rounds(rng: random.Random) -> Progress:
    """Progress counts to 100 for each of three parts of the work."""
    return lambda share: ("running", int(share * 3 % 1 * 100))


def nonsense(rng: random.Random) -> Progress:
    return lambda share: ("running", rng.randrange(100))


def steps(rng: random.Random) -> Progress:
    """Four steps by name, and no percentage; each takes about its share of the life."""
    ends = [at + rng.uniform(-0.05, 0.05) for at in (0.1, 0.4, 0.7)]
    return lambda share: (f"step {sum(share >= end for end in ends)}", 0)


KINDS: dict[str, Callable[[random.Random], Progress]] = {
    "silent": silent,
    "quarters": quarters,
    "fine": fine,
    "skewed": skewed,
    "noisy": noisy,
    "stuck at 99": stuck,
    "falling": falling,
    "three rounds": three_rounds,
    "nonsense": nonsense,
    "steps by name": steps,
}

_SILENT = (0.60, 0.82, 0.98, 1.00, 0.60, 0.82, 1.08)
_TOLD = (0.54, 0.54, 0.53, 0.45, 0.42, 0.55, 0.60)
_STEPS = (0.55, 0.60, 0.60, 0.55, 0.45, 0.60, 0.70)
MARKS = {
    (law, kind): mark
    for kind in KINDS
    if kind != "three rounds"
    for law, mark in zip(
        SECONDS,
        {"silent": _SILENT, "nonsense": _SILENT, "steps by name": _STEPS}.get(kind, _TOLD),
        strict=True,
    )
}
"""The share of a fixed interval's calls that must be reached, for each law and kind."""


# --- jobs and rules -----------------------------------------------------------------------------


@dataclass(slots=True)
class Job:
    """A simulated job; ages are in seconds."""

    born: float
    seconds: float
    progress: Progress
    mode: str = "mode"
    state: Any = None
    changed: float = 0.0
    shown: tuple[str, int] = ("", -1)


class Rule(Protocol):
    """When to poll; `pending` returns the seconds until the next poll."""

    def start(self, job: Job) -> None: ...
    def pending(self, job: Job, age: float, step: str, percent: int) -> float: ...
    def ended(self, job: Job, age: float) -> None: ...


class Learned:
    """The exporter's own rule, with `call_cost` seconds for a call."""

    def __init__(self, call_cost: float, freshness: float = math.inf) -> None:
        self.learner, self.call_cost, self.freshness = Learner(), call_cost, freshness

    def start(self, job: Job) -> None:
        job.state = self.learner.watch(job.mode, 0.0)

    def pending(self, job: Job, age: float, step: str, percent: int) -> float:
        self.learner.pending(job.state, age, step, percent)
        made = self.learner.forecast(job.state, age)
        wait = max(MIN_INTERVAL, made.wait(self.call_cost, MAX_INTERVAL))
        wait = min(wait, MAX_INTERVAL, max(self.freshness, age / 5))
        self.learner.plan(job.state, made, wait)
        return wait

    def ended(self, job: Job, age: float) -> None:
        self.learner.ended(job.state, age)


class Former:
    """The rule of d1024ca: a share of the geometric mean of age and time without change."""

    def __init__(self, share: float) -> None:
        self.share = share

    def start(self, job: Job) -> None:
        pass

    def pending(self, job: Job, age: float, step: str, percent: int) -> float:
        if (step, percent) != job.shown:
            job.shown, job.changed = (step, percent), age
        idle = age - job.changed if job.changed else age
        return min(MAX_INTERVAL, max(2.0, self.share * math.sqrt(age * idle)))

    def ended(self, job: Job, age: float) -> None:
        pass


class BackOff:
    """Each wait is longer than the one before by the same factor."""

    def __init__(self, factor: float) -> None:
        self.factor = 1 + factor

    def start(self, job: Job) -> None:
        job.state = MIN_INTERVAL / self.factor

    def pending(self, job: Job, age: float, step: str, percent: int) -> float:
        job.state = min(MAX_INTERVAL, job.state * self.factor)
        return float(job.state)

    def ended(self, job: Job, age: float) -> None:
        pass


# --- simulation ---------------------------------------------------------------------------------


@dataclass(slots=True)
class Outcome:
    """Of the jobs counted: how long each lasted, its delay, and calls and staleness over all."""

    seconds: list[float] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    calls: int = 0
    staleness: float = 0.0
    """Square seconds: half the sum of squared waits, divided by the jobs' time it is a mean."""

    @property
    def delay(self) -> float:
        return statistics.fmean(self.delays)

    @property
    def calls_per_job(self) -> float:
        return self.calls / len(self.delays)

    @property
    def share_of_fixed(self) -> float:
        """Calls as a share of those of a fixed interval of the same mean delay."""
        return self.calls_per_job / fixed(self.seconds, self.delay)

    @property
    def p95(self) -> float:
        return sorted(self.delays)[int(len(self.delays) * 0.95)]

    @property
    def age_of_progress(self) -> float:
        return self.staleness / sum(self.seconds)

    def add(self, other: "Outcome") -> None:
        self.seconds += other.seconds
        self.delays += other.delays
        self.calls += other.calls
        self.staleness += other.staleness


def simulate(
    rule: Rule, draws: Sequence[Draw], count: int, seed: int, slices: Sequence[range]
) -> list[Outcome]:
    """Run a rule over jobs that overlap in time; return what it did in each slice of the jobs.

    `draws` gives the law of each job by its number, the last one from there on.
    """
    rng = random.Random(seed)
    outcomes = [Outcome() for _ in slices]
    calls, waits = [0] * count, [0.0] * count
    due: list[tuple[float, int, float]] = []
    jobs: list[Job] = []
    born = 0.0
    for number in range(count):
        born += rng.expovariate(1 / ARRIVAL)
        seconds, progress = draws[min(number, len(draws) - 1)](rng)
        jobs.append(Job(born, max(seconds, 0.3), progress, getattr(progress, "mode", "mode")))
        due.append((born, number, 0.0))
    heapq.heapify(due)
    while due:
        at, number, age = heapq.heappop(due)
        job = jobs[number]
        if age == 0.0:
            rule.start(job)
        else:
            calls[number] += 1
        if age >= job.seconds:
            rule.ended(job, age)
            for outcome, numbers in zip(outcomes, slices, strict=True):
                if number in numbers:
                    outcome.seconds.append(job.seconds)
                    outcome.delays.append(age - job.seconds)
                    outcome.calls += calls[number]
                    outcome.staleness += waits[number]
            continue
        step, percent = job.progress(age / job.seconds)
        wait = rule.pending(job, age, step, percent)
        until_end = min(wait, job.seconds - age)
        waits[number] += until_end * until_end / 2
        heapq.heappush(due, (at + wait, number, age + wait))
    return outcomes


def fixed(seconds: Sequence[float], delay: float) -> float:
    """Return the calls a job of the fixed interval that has a mean delay with these jobs."""
    low, high = delay / 2, delay * 8
    for _ in range(40):
        interval = math.sqrt(low * high)
        mean = statistics.fmean(-life % interval for life in seconds)
        low, high = (interval, high) if mean < delay else (low, interval)
    return statistics.fmean(math.ceil(life / interval) for life in seconds)


def optimum(draw: Draw, delay: float) -> float:
    """Return the share of a fixed interval's calls that the best rule without progress makes.

    It knows the law: dynamic programming over the moments of a grid, on 20,000 draws; the price
    of a call is searched for the delay.
    """
    rng = random.Random(-1)
    lives = sorted(max(draw(rng)[0], 0.3) for _ in range(20_000))
    points = [lives[at * len(lives) // 200] for at in range(200)]
    grid = sorted({*points, *(lives[-1] * at / 300 for at in range(1, 301))})
    low, high = 0.02, 20.0
    found, mean = 0.0, delay
    for _ in range(9):
        price = math.sqrt(low * high)
        mean, found = schedule(lives, grid, price)
        low, high = (price, high) if mean < delay else (low, price)
    return found / fixed(lives[::20], mean)


def schedule(lives: Sequence[float], grid: Sequence[float], price: float) -> tuple[float, float]:
    """Return mean delay and calls a job of the cheapest schedule of checks on a grid."""
    total, last = len(lives), len(grid) - 1
    ended, lived, at = [], [], 0
    spent = 0.0
    for moment in grid:
        while at < total and lives[at] <= moment:
            spent += lives[at]
            at += 1
        ended.append(at)
        lived.append(spent)
    best = [0.0] * (last + 1)
    following = [0] * (last + 1)
    for start in range(last - 1, -2, -1):
        before, spent = (ended[start], lived[start]) if start >= 0 else (0, 0.0)
        lowest, chosen = math.inf, last
        floor = price * (total - before)
        for end in range(start + 1, last + 1):
            late = (ended[end] - before) * grid[end] - (lived[end] - spent)
            if late > lowest:
                break
            if floor + late + best[end] < lowest:
                lowest, chosen = floor + late + best[end], end
        if start >= 0:
            best[start], following[start] = lowest, chosen
        else:
            first = chosen
    calls, delay, before, spent, check = 0, 0.0, 0, 0.0, first
    while True:
        calls += total - before
        delay += (ended[check] - before) * grid[check] - (lived[check] - spent)
        before, spent = ended[check], lived[check]
        if check == last:
            return delay / total, calls / total
        check = following[check]


def at_delay(
    make: Callable[[float], Rule], draw: Draw, options: argparse.Namespace, first_price: float
) -> tuple[Outcome, float]:
    """Search the price at which a rule has the mean delay `DELAY`; return its calls a job too."""
    price, tried = first_price, []
    for _ in range(options.rounds):
        outcome = Outcome()
        for seed in range(options.seeds):
            [one] = simulate(
                make(price),
                [draw],
                options.warm_up + options.jobs,
                seed,
                [range(options.warm_up, options.warm_up + options.jobs)],
            )
            outcome.add(one)
        tried.append((price, outcome))
        slope = 2.0
        if len(tried) > 1:
            (price_0, one), (price_1, other) = tried[-2:]
            if other.delay != one.delay and price_0 != price_1:
                slope = math.log(price_1 / price_0) / math.log(other.delay / one.delay)
                slope = min(4.0, max(0.5, slope))
        price *= min(8.0, max(1 / 8, (DELAY / outcome.delay) ** slope))
    best = min(tried, key=lambda one: abs(math.log(one[1].delay / DELAY)))[1]
    return best, best.share_of_fixed


def laws(options: argparse.Namespace) -> Iterator[tuple[str, str, Draw]]:
    """Yield each law and kind of progress, as (law, kind, draw)."""
    if options.laws:
        for name, draw in runpy.run_path(options.laws)["LAWS"].items():
            yield name, "own", draw
        return
    for law, seconds in SECONDS.items():
        for kind, progress in KINDS.items():
            if options.only is None or options.only in (law, kind):
                yield law, kind, drawn(seconds, progress)


def drawn(
    seconds: Callable[[random.Random], float], progress: Callable[[random.Random], Progress]
) -> Draw:
    return lambda rng: (seconds(rng), progress(rng))


def print_shares(options: argparse.Namespace) -> None:
    """Print, for each law and kind, the calls at equal delay of every rule."""
    print(f"{'law':16}{'kind':15}{'mark':>6}{'learned':>9}{'optimum':>9}", end="")
    print(f"{'former':>8}{'back-off':>9}{'p95':>7}{'stale':>7}{'calls':>7}{'delay':>7}")
    known: dict[str, float] = {}
    missed = 0
    for law, kind, draw in laws(options):
        learned, share = at_delay(Learned, draw, options, 0.5)
        if law not in known:
            known[law] = optimum(draw, DELAY)
        mark = MARKS.get((law, kind), math.nan)
        missed += share > mark
        row = f"{law:16}{kind:15}{mark:6.2f}{share:9.2f}{known[law]:9.2f}"
        if options.others:
            row += f"{at_delay(Former, draw, options, 0.1)[1]:8.2f}"
            row += f"{at_delay(BackOff, draw, options, 0.3)[1]:9.2f}"
        else:
            row += " " * 17
        row += f"{learned.p95:7.1f}{learned.age_of_progress:7.1f}"
        print(f"{row}{learned.calls_per_job:7.2f}{learned.delay:7.2f}", flush=True)
    print(f"{missed} marks missed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1000, help="jobs counted for each seed")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--warm-up", type=int, default=600, help="jobs before those counted")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", help="one law or one kind of progress")
    parser.add_argument("--others", action="store_true", help="the other rules as well")
    parser.add_argument("--laws", type=Path, help="a module with LAWS")
    options = parser.parse_args()
    print(f"jobs {options.jobs}, seeds {options.seeds}, warm-up {options.warm_up}")
    print_shares(options)


if __name__ == "__main__":
    main()
