"""Histories of jobs and of an upstream's troubles, drawn from a seed, to judge the judgement by.

A generator of your own plugs in: any callable that takes a `random.Random` and returns a
`History`, named on the command line of `judgement.py` as `module:function` (the module is looked
for in the current directory too). Draw from that generator only, and the seed tells all:

    from histories import History, JobHistory
    from exporter.simulator.script import Script

    def weekend(rng):
        jobs = [JobHistory(f"job-{at}", rng.uniform(0, 600), Script.sound(60)) for at in range(9)]
        outage = lambda job, time: (503, b"") if 100 < time < 400 else None
        return History("weekend", decidable=True, seconds=600, jobs=jobs, trouble=outage)
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from exporter.simulator.script import Kind, Script, draw

Answer = tuple[int, bytes] | str | None
"""A status and a body; `timeout` or `connection`; None where the upstream answers as it should."""

JSON_500 = b'{"error": "server_error"}'
HTML = b"<html><h1>502 Bad Gateway</h1></html>"
MODES = ("background", "clipping", "params")
SHARES = (0.1, 1 / 3, 0.5)
"""Of the requests, where a share of them fails."""
CROWD = 10_000
TAIL, LONG_TAIL = 1500.0, 5400.0
"""Seconds until the second recheck is in, and the third, which overturns what lasted longer."""
LOST_JOBS, LOST_SHARE, LOST_WINDOW = 5, 0.2, 300.0
"""`judgement.lost_jobs`, `lost_share` and `lost_window` as they are by default."""


@dataclass(frozen=True)
class JobHistory:
    """A job: when it is registered (seconds from the start), and what becomes of it upstream."""

    job_id: str
    at: float
    script: Script

    def fails_at(self) -> float | None:
        """When it truly has failed; None when it never does."""
        return self.at + self.script.seconds if self.script.kind is Kind.FAILING else None


@dataclass(frozen=True)
class History:
    """What happens: jobs, and `trouble(job, time)` that may answer instead of the upstream.

    `job` is None for a control request about nothing known. After `seconds` nothing is wrong any
    more; the run goes on for `tail` seconds, until the verdicts and some rechecks are in.
    `decidable` says whether the judgement must make no mistake here.
    """

    shape: str
    decidable: bool
    seconds: float
    jobs: Sequence[JobHistory]
    trouble: Callable[[JobHistory | None, float], Answer] = field(repr=False)
    tail: float = TAIL


Shape = Callable[[random.Random, Sequence[float]], History]
"""Draws a history; the second argument is `SHARES`, or others."""


def _jobs(rng: random.Random, count: int, seconds: float, stuck: int = 1) -> list[JobHistory]:
    weights = {"sound": 0.7, "warned": 0.1, "failing": 0.15, "resultless": 0.05}
    jobs = []
    for number in range(count):
        script = draw(rng, rng.choice(MODES), weights)
        jobs.append(JobHistory(f"job-{number}", rng.uniform(0, seconds), script))
    # So that someone is pending to the end and beyond: the witness without whom all must wait.
    for number in range(stuck * len(MODES)):
        script = Script.stuck(60.0, MODES[number % len(MODES)])
        jobs.append(JobHistory(f"stuck-{number}", rng.uniform(0, 60), script))
    return jobs


def _windows(rng: random.Random, seconds: float) -> list[tuple[float, float]]:
    """Some spans of trouble."""
    windows = []
    for _ in range(rng.randint(1, 3)):
        start = rng.uniform(0, seconds)
        length = rng.choice((20, 60, 180, 600)) * rng.uniform(0.5, 1.5)
        windows.append((start, min(seconds, start + length)))
    return windows


def _history(
    rng: random.Random,
    shape: str,
    answer: Callable[[JobHistory | None], Answer],
    *,
    decidable: bool = True,
    whole: bool = False,
    stuck: int = 1,
) -> History:
    seconds = rng.choice((600.0, 1200.0, 1800.0))
    jobs = _jobs(rng, rng.choice((3, 10, 30, 60)), seconds, stuck)
    windows = [(0.0, seconds)] if whole else _windows(rng, seconds)

    def trouble(job: JobHistory | None, time: float) -> Answer:
        return answer(job) if any(start <= time < end for start, end in windows) else None

    return History(shape, decidable, seconds, jobs, trouble, TAIL if decidable else LONG_TAIL)


def well(rng: random.Random, shares: Sequence[float]) -> History:
    """Nothing is wrong but the jobs that fail."""
    return _history(rng, "well", lambda job: None)


def _way(rng: random.Random) -> Answer:
    """One of the ways in which everything fails."""
    return rng.choice(
        ((500, JSON_500), (503, HTML), (502, HTML), (500, b""), "timeout", "connection")
    )


def outage(rng: random.Random, shares: Sequence[float]) -> History:
    """Everything fails."""
    way = _way(rng)
    return _history(rng, "outage", lambda job: way)


def database(rng: random.Random, shares: Sequence[float]) -> History:
    """The door is open, unknown ids are 404, but the database behind it is dead."""
    return _history(
        rng, "database dead", lambda job: (500, JSON_500) if job is not None else None, stuck=3
    )


def few(rng: random.Random, shares: Sequence[float]) -> History:
    """The same before two, three or four jobs, too few to tell an outage by their share."""
    jobs = [
        JobHistory(f"few-{number}", rng.uniform(0, 30), Script.stuck(60.0, rng.choice(MODES)))
        for number in range(rng.randint(2, 4))
    ]
    start, length = rng.uniform(60, 600), rng.choice((60.0, 600.0, 1800.0))

    def trouble(job: JobHistory | None, time: float) -> Answer:
        return (500, JSON_500) if job and start <= time < start + length else None

    return History("database dead, few", True, start + length, jobs, trouble)


def strangers(rng: random.Random, shares: Sequence[float]) -> History:
    """The same, with ids among the jobs that never were: they are answered 404 all the time."""
    seconds = rng.choice((600.0, 1200.0, 1800.0))
    never = [
        JobHistory(f"never-{number}", rng.uniform(0, seconds), Script.lost())
        for number in range(rng.choice((1, 5, 20)))
    ]
    jobs = _jobs(rng, rng.choice((3, 10, 30, 60)), seconds, stuck=3)
    windows = _windows(rng, seconds)

    def trouble(job: JobHistory | None, time: float) -> Answer:
        dead = any(start <= time < end for start, end in windows)
        return (500, JSON_500) if dead and job and job.script.kind is not Kind.LOST else None

    return History("database dead, unknown ids", True, seconds, [*jobs, *never], trouble)


def share(rng: random.Random, shares: Sequence[float]) -> History:
    """A share of all requests fails, for a while or all the time."""
    part, whole = rng.choice(shares), rng.random() < 0.5
    return _history(
        rng,
        "share of requests",
        lambda job: (500, JSON_500) if rng.random() < part else None,
        whole=whole,
    )


def balancer(rng: random.Random, shares: Sequence[float]) -> History:
    """A load balancer's HTML 502 for some."""
    part = rng.choice(shares)
    return _history(rng, "balancer's 502", lambda job: (502, HTML) if rng.random() < part else None)


def slow(rng: random.Random, shares: Sequence[float]) -> History:
    """At the time-out's edge: a share of the requests is answered too late."""
    part = rng.choice(shares)
    return _history(rng, "slow", lambda job: "timeout" if rng.random() < part else None)


def maintenance(rng: random.Random, shares: Sequence[float]) -> History:
    """A page for people, with status 200."""
    return _history(rng, "maintenance page", lambda job: (200, HTML))


def firewall(rng: random.Random, shares: Sequence[float]) -> History:
    """403 that no API gives."""
    return _history(rng, "firewall", lambda job: (403, HTML))


def revoked(rng: random.Random, shares: Sequence[float]) -> History:
    """The key is not accepted."""
    return _history(rng, "revoked key", lambda job: (401, b'{"error": "unauthorized"}'))


def throttled(rng: random.Random, shares: Sequence[float]) -> History:
    """429 for a share of the requests."""
    part = rng.choice(shares)
    return _history(rng, "throttled", lambda job: (429, b"{}") if rng.random() < part else None)


def forgets(rng: random.Random, shares: Sequence[float]) -> History:
    """Most of the jobs that it has answered for turn 404 at once, and are known again later.

    Meanwhile a balancer's 502 may come between for all.
    When few of them are pending, it looks like so many jobs deleted: `lost_jobs` and `lost_share`
    say how many it takes.
    """
    part, start = rng.uniform(0.5, 1.0), rng.uniform(120.0, 600.0)
    end = start + rng.choice((60.0, 600.0, 1800.0))
    jobs = _jobs(rng, rng.choice((3, 10, 30, 60)), end, stuck=4)
    lost = {job.job_id for job in jobs if job.at + 30 < start and rng.random() < part}
    asked = [job for job in jobs if _pending(job, start - LOST_WINDOW, start + LOST_WINDOW)]
    seen = sum(job.job_id in lost and _pending(job, start, start) for job in asked)
    many = seen >= LOST_JOBS and seen >= LOST_SHARE * len(asked)

    blip = rng.uniform(start, end) if rng.random() < 0.5 else math.inf

    def trouble(job: JobHistory | None, time: float) -> Answer:
        if blip <= time < blip + 20:
            return (502, HTML)
        gone = job is not None and job.job_id in lost and start <= time < end
        return (404, b'{"error": "not_found"}') if gone else None

    if not many:
        return History("forgets a few", False, end, jobs, trouble, LONG_TAIL)
    return History("forgets", True, end, jobs, trouble)


def _pending(job: JobHistory, start: float, end: float) -> bool:
    """Whether the job is pending at any time between these."""
    lasts = math.inf if job.script.kind is Kind.STUCK else job.script.seconds
    return job.at <= end and start < job.at + lasts


def crowd(rng: random.Random, shares: Sequence[float]) -> History:
    """Ten thousand jobs, and an outage."""
    way, seconds, start = _way(rng), 1200.0, rng.uniform(0, 1200.0)
    length = rng.choice((60.0, 600.0, 1800.0))

    def trouble(job: JobHistory | None, time: float) -> Answer:
        return way if start <= time < start + length else None

    end = max(seconds, start + length)
    return History("crowd", True, end, _jobs(rng, CROWD, seconds), trouble, tail=6 * 3600.0)


def one_mode(rng: random.Random, shares: Sequence[float]) -> History:
    """One mode fails for all its jobs."""
    mode = rng.choice(MODES)
    return _history(
        rng,
        "one mode",
        lambda job: (500, JSON_500) if job and job.script.mode == mode else None,
        decidable=False,
    )


def shard(rng: random.Random, shares: Sequence[float]) -> History:
    """Jobs of one shard fail, those of others of the same mode do not."""
    return _history(
        rng,
        "one shard",
        lambda job: (500, JSON_500) if job and job.job_id[-1] in "048" else None,
        decidable=False,
    )


def most(rng: random.Random, shares: Sequence[float]) -> History:
    """More than 80 % of the requests fail."""
    return _history(
        rng,
        "most requests",
        lambda job: (500, JSON_500) if rng.random() < 0.9 else None,
        decidable=False,
    )


def bursts(rng: random.Random, shares: Sequence[float]) -> History:
    """A share of the requests fails, in bursts of each job's own, of 20 s in the mean."""
    part, seconds = rng.choice(shares), rng.choice((600.0, 1200.0, 1800.0))
    means = (20.0 * (1 - part) / part, 20.0)
    turns: dict[str, list[float]] = {}

    def trouble(job: JobHistory | None, time: float) -> Answer:
        if job is None:
            return None
        at = turns.setdefault(job.job_id, [0.0])
        while at[-1] <= time:
            at.append(at[-1] + rng.expovariate(1 / means[(len(at) - 1) % 2]))
        return (500, JSON_500) if len(at) % 2 else None

    jobs = _jobs(rng, rng.choice((3, 10, 30, 60)), seconds)
    return History("bursts", False, seconds, jobs, trouble, LONG_TAIL)


def alone(rng: random.Random, shares: Sequence[float]) -> History:
    """One job alone, behind a dead database: the door is open, ids are not found, the job fails."""
    script = draw(rng, "params", {"sound": 0.7, "failing": 0.3})
    jobs = [JobHistory("alone", 0.0, script)]
    start, length = rng.uniform(0, 60), rng.choice((60.0, 600.0, 1800.0))

    def trouble(job: JobHistory | None, time: float) -> Answer:
        return (500, JSON_500) if job and start <= time < start + length else None

    return History("alone, database dead", False, start + length, jobs, trouble, LONG_TAIL)


def lone(rng: random.Random, shares: Sequence[float]) -> History:
    """One job alone, and everything fails for a while."""
    way, script = _way(rng), draw(rng, "params", {"sound": 0.5, "failing": 0.5})
    start, length = rng.uniform(0, 60), rng.choice((60.0, 600.0, 1800.0))

    def trouble(job: JobHistory | None, time: float) -> Answer:
        return way if start <= time < start + length else None

    return History(
        "alone, outage", True, start + length, [JobHistory("alone", 0.0, script)], trouble
    )


SHAPES: dict[str, Shape] = {
    made.__name__: made
    for made in (
        *(well, outage, database, few, strangers, share, balancer, slow, maintenance),
        *(firewall, revoked, throttled, forgets, lone, one_mode, shard, most, bursts, alone),
    )
}
RARE: dict[str, Shape] = {"crowd": crowd}
"""Large ones: one in so many histories is of these."""
RARITY = 1000
