"""Jobs, answers and times of trouble, as the shapes draw them."""

import random
from collections.abc import Sequence

from histories import Answer, JobHistory, Span

from exporter.simulator.script import Kind, Script, draw

JSON_500: Answer = (500, b'{"error": "server_error"}')
HTML = b"<html><h1>502 Bad Gateway</h1></html>"
GATEWAYS: tuple[Answer, ...] = ((502, HTML), (503, HTML), (504, b""), (500, HTML))
"""Answers that look like a gateway's."""
MODES = ("background", "clipping", "params")
JOBS = (3, 10, 30, 60)
LENGTHS = (600.0, 1200.0, 1800.0)


def mixed(rng: random.Random, count: int, seconds: float, stuck: int = 1) -> list[JobHistory]:
    """Draw jobs over some time, with `stuck` jobs of each mode that are pending to the end.

    The latter are the strong witness without which the rest would have to wait.
    """
    weights = {"sound": 0.7, "warned": 0.1, "failing": 0.15, "resultless": 0.05}
    jobs = []
    for number in range(count):
        script = draw(rng, rng.choice(MODES), weights)
        jobs.append(JobHistory(f"job-{number}", rng.uniform(0, seconds), script))
    for number in range(stuck * len(MODES)):
        script = Script.stuck(60.0, MODES[number % len(MODES)])
        jobs.append(JobHistory(f"stuck-{number}", rng.uniform(0, 60), script))
    return jobs


def sound(
    rng: random.Random, count: int, start: float, apart: float, name: str = "job"
) -> list[JobHistory]:
    """Draw jobs that end well, uploaded one after the other, `apart` seconds from each other."""
    return [
        JobHistory(
            f"{name}-{number}",
            start + number * apart * rng.uniform(0.9, 1.1),
            draw(rng, rng.choice(MODES), {"sound": 0.9, "warned": 0.1}),
        )
        for number in range(count)
    ]


def slow(
    rng: random.Random, count: int, start: float, apart: float, until: float, name: str = "slow"
) -> list[JobHistory]:
    """Draw jobs, uploaded one after the other, that are under way until some time at least."""
    return [
        JobHistory(
            f"{name}-{number}",
            start + number * apart,
            Script.sound(until - start - number * apart + rng.uniform(5, 60), rng.choice(MODES)),
        )
        for number in range(count)
    ]


def failing(rng: random.Random, job_id: str, at: float, after: float, how: Answer) -> JobHistory:
    """Draw a job that fails some seconds after its upload."""
    return JobHistory(job_id, at, Script.failing(after, rng.choice(MODES)), how)


def nothing(job: JobHistory | None, time: float) -> Answer:
    """Nothing answers instead of the upstream."""
    return None


def last_end(jobs: Sequence[JobHistory]) -> float:
    """Return when the last of some jobs has ended."""
    return max((job.ends_at for job in jobs), default=0.0)


def known(job: JobHistory | None, time: float) -> bool:
    """Return whether a job had been done by some time: then it is served without any worker."""
    return job is not None and job.script.kind is not Kind.FAILING and job.ends_at <= time


def drawn_spans(rng: random.Random, seconds: float, state: str = "down") -> list[Span]:
    """Draw some times of trouble."""
    spans = []
    for _ in range(rng.randint(1, 3)):
        start = rng.uniform(0, seconds)
        length = rng.choice((20, 60, 180, 600)) * rng.uniform(0.5, 1.5)
        spans.append(Span(start, min(seconds, start + length), state))
    return spans


def way_of_outage(rng: random.Random) -> Answer:
    """Draw one of the ways in which everything fails."""
    return rng.choice((JSON_500, (503, HTML), (502, HTML), (500, b""), "timeout", "connection"))
