"""Runs a rule over simulated jobs that overlap in time, and counts its calls and its delays."""

import heapq
import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pacing_laws import Law
from pacing_rules import Job, Rule

DELAY = 3.4
"""Seconds of mean delay at which rules are compared."""
ARRIVAL = 2.0
"""Mean seconds between two registrations."""
SHORTEST = 0.3


@dataclass(slots=True)
class Outcome:
    """The life and the delay of each job, and the sums over all jobs.

    `calls` leaves out the first poll of a job, at its registration: every rule makes it.
    """

    seconds: list[float] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    calls: int = 0
    unread: float = 0.0
    """The integral, over the jobs' lives, of the time since the last poll, in square seconds."""

    @property
    def delay(self) -> float:
        """The mean delay in seeing an end, in seconds."""
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
        """The 95th percentile of the delay."""
        return sorted(self.delays)[int(len(self.delays) * 0.95)]

    @property
    def staleness(self) -> float:
        """The mean age of the progress shown, in seconds."""
        return self.unread / sum(self.seconds)

    def add(self, other: "Outcome") -> None:
        self.seconds += other.seconds
        self.delays += other.delays
        self.calls += other.calls
        self.unread += other.unread


@dataclass(frozen=True, slots=True)
class Size:
    """How many jobs: those counted for each seed come after those to learn from."""

    jobs: int
    warm_up: int
    seeds: int
    rounds: int = 3
    """Prices tried until the mean delay is `DELAY`."""


def drawn_jobs(law: Law, count: int, rng: random.Random, arrival: float) -> list[Job]:
    """Return jobs that are registered at random times, `arrival` seconds apart on average."""
    jobs, born = [], 0.0
    for number in range(count):
        born += rng.expovariate(1 / arrival)
        one = law(rng, number)
        jobs.append(Job(born, max(one.seconds, SHORTEST), one.progress, one.mode))
    return jobs


def simulate(
    rule: Rule,
    law: Law,
    count: int,
    seed: int,
    slices: Sequence[range],
    arrival: float = ARRIVAL,
) -> list[Outcome]:
    """Run a rule over that many jobs; return what it did in each slice of the jobs' numbers."""
    jobs = drawn_jobs(law, count, random.Random(seed), arrival)
    outcomes = [Outcome() for _ in slices]
    calls, unread = [0] * count, [0.0] * count
    due = [(job.born, number, 0.0) for number, job in enumerate(jobs)]
    while due:
        at, number, age = heapq.heappop(due)
        job = jobs[number]
        if age == 0.0:
            rule.start(job)
        else:
            calls[number] += 1
        if age >= job.seconds:
            rule.ended(job, age)
            one = Outcome([job.seconds], [age - job.seconds], calls[number], unread[number])
            for outcome, numbers in zip(outcomes, slices, strict=True):
                if number in numbers:
                    outcome.add(one)
            continue
        wait = rule.pending(job, age, *job.progress(age / job.seconds))
        unread[number] += min(wait, job.seconds - age) ** 2 / 2
        heapq.heappush(due, (at + wait, number, age + wait))
    return outcomes


def run(rule: Callable[[], Rule], law: Law, size: Size) -> Outcome:
    """Return what a rule does after its warm-up, over all seeds."""
    total, count = Outcome(), size.warm_up + size.jobs
    for seed in range(size.seeds):
        [one] = simulate(rule(), law, count, seed, [range(size.warm_up, count)])
        total.add(one)
    return total


def at_delay(make: Callable[[float], Rule], law: Law, size: Size, price: float) -> Outcome:
    """Return what a rule does at the price at which its mean delay is nearest to `DELAY`."""
    tried: list[tuple[float, Outcome]] = []
    for _ in range(size.rounds):
        tried.append((price, run(lambda: make(price), law, size)))  # noqa: B023 - called at once
        price *= min(8.0, max(1 / 8, (DELAY / tried[-1][1].delay) ** _slope(tried)))
    return min((outcome for _, outcome in tried), key=_miss)


def fixed(seconds: Sequence[float], delay: float) -> float:
    """Return the calls a job of the fixed interval that has this mean delay with these jobs."""
    low, high = delay / 2, delay * 8
    for _ in range(40):
        interval = math.sqrt(low * high)
        mean = statistics.fmean(-life % interval for life in seconds)
        low, high = (interval, high) if mean < delay else (low, interval)
    return statistics.fmean(math.ceil(life / interval) for life in seconds)


def _miss(outcome: Outcome) -> float:
    return abs(math.log(outcome.delay / DELAY))


def _slope(tried: Sequence[tuple[float, Outcome]]) -> float:
    """Return the power of the delay that the price follows, from the last two tries."""
    if len(tried) < 2:
        return 2.0
    (price, one), (next_price, other) = tried[-2:]
    if other.delay == one.delay or price == next_price:
        return 2.0
    return min(4.0, max(0.5, math.log(next_price / price) / math.log(other.delay / one.delay)))
