"""Another answers than the API that knows the jobs: a gateway, a service, an empty replica."""

import math
import random
from collections.abc import Sequence

from histories import LONG_TAIL, Answer, Bounds, History, JobHistory, Span

from exporter.simulator.script import Kind, Script

from .draws import HTML, JOBS, JSON_500, MODES, mixed, slow, sound

NOT_FOUND: Answer = (404, b'{"error": "not_found"}')
STRAY: tuple[Answer, ...] = (
    (404, b"<html><h1>404 Not Found</h1><hr>nginx</html>"),
    (404, b"404 page not found\n"),
    (404, b'{"detail": "Not Found"}'),
    (404, b'{"message": "no Route matched with those values"}'),
    (404, b'{"timestamp": "2026-11-28T07:00:00Z", "status": 404, "error": "Not Found"}'),
    (422, b'{"detail": [{"loc": ["query", "id"], "msg": "field required"}]}'),
    (200, b'{"service": "catalogue", "healthy": true}'),
    (200, HTML),
)
"""Answers of something that is not the API."""
LOST_JOBS, LOST_SHARE, LOST_WINDOW = 5, 0.2, 300.0
"""The defaults of `judgement.lost_jobs`, `lost_share` and `lost_window`."""


def misrouted(rng: random.Random, shares: Sequence[float]) -> History:
    """A gateway sends everything elsewhere, for minutes or hours; half of the jobs are new."""
    count, way = rng.choice((10, 40, 200)), rng.choice(STRAY)
    length = rng.choice((300.0, 600.0, 3600.0, 4 * 3600.0))
    old = slow(rng, count // 2, 0.0, 60.0 / count, 90.0, name="old")
    new = sound(rng, count // 2, 95.0, min(length, 600.0) / count, name="new")
    span = Span(90.0, 90.0 + length)

    def trouble(job: JobHistory | None, time: float) -> Answer:
        return way if span.start <= time < span.end else None

    bounds = Bounds(state=60.0, never_down=True)
    return History(
        *("gateway misroutes", True, span.end, [*old, *new], trouble),
        spans=[span],
        bounds=bounds,
    )


def never_reached(rng: random.Random, shares: Sequence[float]) -> History:
    """The base URL leads elsewhere from the beginning, until it is corrected."""
    jobs, way = sound(rng, rng.choice((1, 12, 40)), 0.0, 2.0), rng.choice(STRAY)
    span = Span(0.0, rng.choice((1200.0, 3 * 3600.0)))
    return History(
        *("base URL leads elsewhere", True, span.end, jobs, lambda job, time: way),
        spans=[span],
    )


def failover(rng: random.Random, shares: Sequence[float]) -> History:
    """A replica that knows no job takes over, and later the former one does again.

    Jobs uploaded shortly before were never answered, later ones are known to both.
    """
    start = 120.0
    end = start + rng.choice((300.0, 1800.0, 3 * 3600.0))
    old = slow(rng, rng.choice((8, 20)), 0.0, 3.0, start, name="old")
    just = sound(rng, rng.choice((0, 3, 10)), start - 2.0, 0.1, name="just")
    new = sound(rng, 10, start + 20, min(60.0, (end - start) / 12), name="new")
    moved = {job.job_id for job in [*old, *just]}

    def trouble(job: JobHistory | None, time: float) -> Answer:
        lost = job is not None and job.job_id in moved and start <= time < end
        return NOT_FOUND if lost else None

    bounds = Bounds(never_down=True)
    return History(
        "failover to an empty replica", True, end, [*old, *just, *new], trouble, bounds=bounds
    )


def between(rng: random.Random, shares: Sequence[float]) -> History:
    """An outage between two 404 of one job, which was deleted or never was."""
    jobs, gone = mixed(rng, rng.choice(JOBS), 300.0), rng.uniform(60, 200)
    if rng.random() < 0.5:
        script = Script.stuck(900.0, rng.choice(MODES))
        jobs.append(JobHistory("gone", 0.0, script, deleted_at=gone))
    else:
        jobs.append(JobHistory("gone", gone, Script.lost()))
    start = gone + rng.uniform(60, 250)
    span = Span(start, start + rng.choice((120.0, 600.0)))
    way = rng.choice((JSON_500, (503, HTML)))

    def trouble(job: JobHistory | None, time: float) -> Answer:
        return way if span.start <= time < span.end else None

    bounds = Bounds(call=600.0 + 180.0, never_down=True)
    return History(
        *("outage between two 404", True, span.end, jobs, trouble), spans=[span], bounds=bounds
    )


def forgets(rng: random.Random, shares: Sequence[float]) -> History:
    """Most of the jobs that it has answered for turn 404 at once, and are known again later.

    Meanwhile a balancer's 502 may come between for all. When few of them are pending, this looks
    like jobs that were deleted: `lost_jobs` and `lost_share` say how many it takes.
    """
    part, start = rng.uniform(0.5, 1.0), rng.uniform(120.0, 600.0)
    end = start + rng.choice((60.0, 600.0, 1800.0))
    jobs = mixed(rng, rng.choice(JOBS), end, stuck=4)
    lost = {job.job_id for job in jobs if job.at + 30 < start and rng.random() < part}
    asked = [job for job in jobs if _pending(job, start - LOST_WINDOW, start + LOST_WINDOW)]
    seen = sum(job.job_id in lost and _pending(job, start, start) for job in asked)
    many = seen >= LOST_JOBS and seen >= LOST_SHARE * len(asked)
    blip = rng.uniform(start, end) if rng.random() < 0.5 else math.inf
    spans = [Span(blip, min(blip + 20, end))] if blip < end else []

    def trouble(job: JobHistory | None, time: float) -> Answer:
        if blip <= time < blip + 20:
            return (502, HTML)
        gone = job is not None and job.job_id in lost and start <= time < end
        return NOT_FOUND if gone else None

    if not many:
        return History("forgets a few", False, end, jobs, trouble, LONG_TAIL, spans)
    return History("forgets", True, end, jobs, trouble, spans=spans)


def _pending(job: JobHistory, start: float, end: float) -> bool:
    """Return whether a job is pending at any time between these."""
    lasts = math.inf if job.script.kind is Kind.STUCK else job.script.seconds
    return job.at <= end and start < job.at + lasts
