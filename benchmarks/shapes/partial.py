"""A part of the requests or of the jobs fails."""

import random
from collections.abc import Callable, Sequence

from histories import LONG_TAIL, NO_BOUNDS, TAIL, Answer, Bounds, History, JobHistory, Span

from exporter.simulator.script import Kind, Script, draw

from .draws import GATEWAYS, HTML, JOBS, JSON_500, LENGTHS, MODES, drawn_spans, mixed


def _history(
    rng: random.Random,
    shape: str,
    answer: Callable[[JobHistory | None], Answer],
    *,
    decidable: bool = True,
    whole: bool = False,
    stuck: int = 1,
    state: str = "",
    bounds: Bounds = NO_BOUNDS,
) -> History:
    """Draw jobs and times of trouble; `state` is the right one in these, if there is one."""
    seconds = rng.choice(LENGTHS)
    jobs = mixed(rng, rng.choice(JOBS), seconds, stuck)
    spans = [Span(0.0, seconds, state)] if whole else drawn_spans(rng, seconds, state)

    def trouble(job: JobHistory | None, time: float) -> Answer:
        return answer(job) if any(span.start <= time < span.end for span in spans) else None

    tail, spans_of_state = TAIL if decidable else LONG_TAIL, spans if state else ()
    return History(shape, decidable, seconds, jobs, trouble, tail, spans_of_state, bounds)


def well(rng: random.Random, shares: Sequence[float]) -> History:
    """Nothing is wrong except the jobs that fail."""
    return _history(rng, "well", lambda job: None, bounds=Bounds(call=690.0, never_down=True))


def database(rng: random.Random, shares: Sequence[float]) -> History:
    """Unknown ids are 404, and the bare request is answered, but the database is dead."""
    return _history(
        *(rng, "database dead", lambda job: JSON_500 if job is not None else None),
        stuck=3,
        state="down",
    )


def few(rng: random.Random, shares: Sequence[float]) -> History:
    """The same with two, three or four jobs, too few to tell an outage by their share."""
    jobs = [
        JobHistory(f"few-{number}", rng.uniform(0, 30), Script.stuck(60.0, rng.choice(MODES)))
        for number in range(rng.randint(2, 4))
    ]
    start = rng.uniform(60, 600)
    span = Span(start, start + rng.choice((60.0, 600.0, 1800.0)))

    def trouble(job: JobHistory | None, time: float) -> Answer:
        return JSON_500 if job and span.start <= time < span.end else None

    return History("database dead, few", True, span.end, jobs, trouble, spans=[span])


def strangers(rng: random.Random, shares: Sequence[float]) -> History:
    """The same with jobs that never were: they are answered 404 all the time."""
    seconds = rng.choice(LENGTHS)
    never = [
        JobHistory(f"never-{number}", rng.uniform(0, seconds), Script.lost())
        for number in range(rng.choice((1, 5, 20)))
    ]
    jobs = mixed(rng, rng.choice(JOBS), seconds, stuck=3)
    spans = drawn_spans(rng, seconds)

    def trouble(job: JobHistory | None, time: float) -> Answer:
        dead = any(span.start <= time < span.end for span in spans)
        return JSON_500 if dead and job and job.script.kind is not Kind.LOST else None

    return History(
        "database dead, unknown ids", True, seconds, [*jobs, *never], trouble, spans=spans
    )


def share(rng: random.Random, shares: Sequence[float]) -> History:
    """A share of all requests fails, at times or always."""
    part, whole = rng.choice(shares), rng.random() < 0.5
    return _history(
        *(rng, "share of requests", lambda job: JSON_500 if rng.random() < part else None),
        whole=whole,
    )


def balancer(rng: random.Random, shares: Sequence[float]) -> History:
    """A load balancer's HTML 502 for some."""
    part = rng.choice(shares)
    return _history(rng, "balancer's 502", lambda job: (502, HTML) if rng.random() < part else None)


def slow(rng: random.Random, shares: Sequence[float]) -> History:
    """A share of the requests is answered too late."""
    part = rng.choice(shares)
    return _history(rng, "slow", lambda job: "timeout" if rng.random() < part else None)


def throttled(rng: random.Random, shares: Sequence[float]) -> History:
    """429 for a share of the requests."""
    part = rng.choice(shares)
    return _history(rng, "throttled", lambda job: (429, b"{}") if rng.random() < part else None)


def one_mode(rng: random.Random, shares: Sequence[float]) -> History:
    """One mode fails for all its jobs."""
    mode, way = rng.choice(MODES), rng.choice((JSON_500, *GATEWAYS))
    return _history(
        *(rng, "one mode", lambda job: way if job and job.script.mode == mode else None),
        decidable=False,
    )


def shard(rng: random.Random, shares: Sequence[float]) -> History:
    """Jobs of one shard fail, others of the same mode do not."""
    way = rng.choice((JSON_500, *GATEWAYS))
    return _history(
        *(rng, "one shard", lambda job: way if job and job.job_id[-1] in "048" else None),
        decidable=False,
    )


def most(rng: random.Random, shares: Sequence[float]) -> History:
    """More than 80 % of the requests fail."""
    return _history(
        *(rng, "most requests", lambda job: JSON_500 if rng.random() < 0.9 else None),
        decidable=False,
    )


def bursts(rng: random.Random, shares: Sequence[float]) -> History:
    """A share of the requests fails, in bursts of 20 s in the mean, at other times for each job."""
    part, seconds = rng.choice(shares), rng.choice(LENGTHS)
    means = (20.0 * (1 - part) / part, 20.0)
    turns: dict[str, list[float]] = {}

    def trouble(job: JobHistory | None, time: float) -> Answer:
        if job is None:
            return None
        at = turns.setdefault(job.job_id, [0.0])
        while at[-1] <= time:
            at.append(at[-1] + rng.expovariate(1 / means[(len(at) - 1) % 2]))
        return JSON_500 if len(at) % 2 else None

    jobs = mixed(rng, rng.choice(JOBS), seconds)
    return History("bursts", False, seconds, jobs, trouble, LONG_TAIL)


def alone(rng: random.Random, shares: Sequence[float]) -> History:
    """One job behind a dead database, and nothing has finished before: unknown ids are 404."""
    script = draw(rng, "params", {"sound": 0.7, "failing": 0.3})
    start, length = rng.uniform(0, 60), rng.choice((60.0, 600.0, 1800.0, 7200.0))
    way = rng.choice((JSON_500, *GATEWAYS))

    def trouble(job: JobHistory | None, time: float) -> Answer:
        return way if job and start <= time < start + length else None

    jobs, span = [JobHistory("alone", 0.0, script)], Span(start, start + length)
    return History("alone, database dead", False, span.end, jobs, trouble, LONG_TAIL, [span])
