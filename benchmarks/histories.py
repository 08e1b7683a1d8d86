"""Histories of jobs and of an upstream's troubles, drawn from a seed, to judge the judgement by.

A generator of your own plugs in: any callable that takes a `random.Random` and returns a
`History`, named on the command line of `judgement.py` as `module:function`.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from exporter.simulator.script import Kind, Script, draw

Answer = tuple[int, bytes] | str | None
"""A status and a body; `timeout` or `connection`; None where the upstream answers as it should."""

JSON_500 = b'{"error": "server_error"}'
HTML = b"<html><h1>502 Bad Gateway</h1></html>"
MODES = ("background", "clipping", "params")


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
    more; the run goes on until the verdicts can be in. `decidable` says whether the judgement must
    make no mistake here.
    """

    shape: str
    decidable: bool
    seconds: float
    jobs: Sequence[JobHistory]
    trouble: Callable[[JobHistory | None, float], Answer] = field(repr=False)


def _jobs(
    rng: random.Random, count: int, seconds: float, modes: Sequence[str] = MODES
) -> list[JobHistory]:
    weights = {"sound": 0.7, "warned": 0.1, "failing": 0.15, "resultless": 0.05}
    jobs = []
    for number in range(count):
        script = draw(rng, rng.choice(modes), weights)
        jobs.append(JobHistory(f"job-{number}", rng.uniform(0, seconds), script))
    # So that someone is pending to the end and beyond: the witness without whom all must wait.
    for mode in modes:
        stuck = Script.stuck(60.0, mode)
        jobs.append(JobHistory(f"stuck-{mode}", rng.uniform(0, 60), stuck))
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
) -> History:
    seconds = rng.choice((600.0, 1200.0, 1800.0))
    jobs = _jobs(rng, rng.choice((3, 10, 30, 60)), seconds)
    windows = [(0.0, seconds)] if whole else _windows(rng, seconds)

    def trouble(job: JobHistory | None, time: float) -> Answer:
        return answer(job) if any(start <= time < end for start, end in windows) else None

    return History(shape, decidable, seconds, jobs, trouble)


def well(rng: random.Random) -> History:
    """Nothing is wrong but the jobs that fail."""
    return _history(rng, "well", lambda job: None)


def outage(rng: random.Random) -> History:
    """Everything fails, in one of the ways in which everything fails."""
    way: Answer = rng.choice(
        ((500, JSON_500), (503, HTML), (502, HTML), (500, b""), "timeout", "connection")
    )
    return _history(rng, "outage", lambda job: way)


def share(rng: random.Random) -> History:
    """A share of all requests fails: 10 %, a third, a half; for a while or all the time."""
    part = rng.choice((0.1, 1 / 3, 0.5))
    whole = rng.random() < 0.5
    return _history(
        rng,
        "share of requests",
        lambda job: (500, JSON_500) if rng.random() < part else None,
        whole=whole,
    )


def balancer(rng: random.Random) -> History:
    """A load balancer's HTML 502 for some."""
    part = rng.choice((0.1, 0.3, 0.5))
    return _history(rng, "balancer's 502", lambda job: (502, HTML) if rng.random() < part else None)


def slow(rng: random.Random) -> History:
    """At the time-out's edge: a share of the requests is answered too late."""
    return _history(rng, "slow", lambda job: "timeout" if rng.random() < 0.5 else None)


def maintenance(rng: random.Random) -> History:
    """A page for people, with status 200."""
    return _history(rng, "maintenance page", lambda job: (200, HTML))


def firewall(rng: random.Random) -> History:
    """403 that no API gives."""
    return _history(rng, "firewall", lambda job: (403, HTML))


def revoked(rng: random.Random) -> History:
    """The key is not accepted."""
    return _history(rng, "revoked key", lambda job: (401, b'{"error": "unauthorized"}'))


def throttled(rng: random.Random) -> History:
    """429 for a share of the requests."""
    return _history(rng, "throttled", lambda job: (429, b"{}") if rng.random() < 0.3 else None)


def one_mode(rng: random.Random) -> History:
    """One mode fails for all its jobs."""
    mode = rng.choice(MODES)
    return _history(
        rng,
        "one mode",
        lambda job: (500, JSON_500) if job and job.script.mode == mode else None,
        decidable=False,
    )


def shard(rng: random.Random) -> History:
    """Jobs of one shard fail, those of others of the same mode do not."""
    return _history(
        rng,
        "one shard",
        lambda job: (500, JSON_500) if job and hash(job.job_id) % 4 == 0 else None,
        decidable=False,
    )


def most(rng: random.Random) -> History:
    """More than 80 % of the requests fail."""
    return _history(
        rng,
        "most requests",
        lambda job: (500, JSON_500) if rng.random() < 0.9 else None,
        decidable=False,
    )


def alone(rng: random.Random) -> History:
    """One job alone, behind a dead database: the door is open, ids are not found, the job fails."""
    script = draw(rng, "params", {"sound": 0.7, "failing": 0.3})
    jobs = [JobHistory("alone", 0.0, script)]
    start, length = rng.uniform(0, 60), rng.choice((60.0, 600.0, 1800.0))

    def trouble(job: JobHistory | None, time: float) -> Answer:
        return (500, JSON_500) if job and start <= time < start + length else None

    return History("alone, database dead", False, start + length, jobs, trouble)


SHAPES: Mapping[str, Callable[[random.Random], History]] = {
    made.__name__: made
    for made in (
        *(well, outage, share, balancer, slow, maintenance, firewall, revoked, throttled),
        *(one_mode, shard, most, alone),
    )
}
