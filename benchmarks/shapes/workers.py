"""The workers are dead: finished jobs are served as ever, all others fail, new ones as well."""

import random
from collections.abc import Sequence
from dataclasses import replace

from histories import LONG_TAIL, NO_BOUNDS, Answer, Bounds, History, JobHistory, Span

from .draws import GATEWAYS, JSON_500, failing, known, last_end, nothing, slow, sound

MINUTE, HOUR = 60.0, 3600.0
RECOVERY = 60.0
"""A probe is made this soon after a new job is registered."""
WITHIN = 60.0
"""`down` is shown this soon."""


def _dead(
    rng: random.Random,
    shape: str,
    pending: Sequence[JobHistory],
    done: Sequence[JobHistory],
    length: float,
    *,
    new_every: float = 0.0,
    decidable: bool = True,
    way: Answer = None,
    bounds: Bounds = NO_BOUNDS,
    turns: dict[str, float] | None = None,
) -> History:
    """Draw workers that die when `done` have ended; `turns` says how much later jobs fail."""
    start = last_end(done)
    span, answer = Span(start, start + length), way or rng.choice((JSON_500, *GATEWAYS))
    count = min(30, int(length / new_every)) if new_every else 0
    new = sound(rng, count, start + 5, new_every, name="new")

    def trouble(job: JobHistory | None, time: float) -> Answer:
        turned = start if job is None or turns is None else start + turns.get(job.job_id, 0.0)
        if job is None or not turned <= time < span.end or known(job, start):
            return None
        return answer

    jobs, tail = [*done, *pending, *new], 1500.0 if decidable else LONG_TAIL + length
    return History(shape, decidable, span.end, jobs, trouble, tail, [span], bounds)


def together(rng: random.Random, shares: Sequence[float]) -> History:
    """By day: jobs of different ages turn bad at once, and new ones arrive or do not."""
    done = sound(rng, 40, 0.0, 2.0)
    start = last_end(done)
    apart = rng.choice((5.0, 10.0))
    count = rng.choice((5, 8, 20, 60))
    pending = slow(rng, count, start - 15 - apart * count, apart, start)
    return _dead(
        *(rng, "workers dead, turn together", pending, done),
        rng.choice((10 * MINUTE, HOUR, 8 * HOUR)),
        new_every=rng.choice((0.0, 20.0, 120.0)),
        bounds=Bounds(state=WITHIN, never_down=True),
    )


def one_upload(rng: random.Random, shares: Sequence[float]) -> History:
    """The same for jobs that were uploaded at once: they look like a batch of bad images."""
    return _one_upload(rng, "workers dead, one upload", 50 * MINUTE, decidable=True)


def one_upload_long(rng: random.Random, shares: Sequence[float]) -> History:
    """The same for longer than the rules can wait."""
    return _one_upload(rng, "workers dead, one upload, hours", 3 * HOUR, decidable=False)


def _one_upload(rng: random.Random, shape: str, length: float, *, decidable: bool) -> History:
    done = sound(rng, 40, 0.0, 2.0)
    start = last_end(done)
    pending = slow(rng, rng.choice((5, 20)), start - rng.uniform(20, 60), 0.1, start)
    return _dead(rng, shape, pending, done, length, decidable=decidable)


def one_by_one(rng: random.Random, shares: Sequence[float]) -> History:
    """Jobs turn bad one after the other, within half a minute."""
    return _one_by_one(rng, "workers dead, one by one", 50 * MINUTE, decidable=True)


def one_by_one_long(rng: random.Random, shares: Sequence[float]) -> History:
    """The same for longer than the rules can wait, and new jobs arrive."""
    return _one_by_one(rng, "workers dead, one by one, hours", 3 * HOUR, decidable=False)


def _one_by_one(rng: random.Random, shape: str, length: float, *, decidable: bool) -> History:
    done = sound(rng, 40, 0.0, 2.0)
    start = last_end(done)
    pending = slow(rng, rng.choice((5, 8)), start - 60, 3.0, start + 40)
    turns = {job.job_id: 3.0 * number for number, job in enumerate(pending)}
    new_every = 0.0 if decidable else 300.0
    return _dead(
        *(rng, shape, pending, done, length),
        decidable=decidable,
        turns=turns,
        new_every=new_every,
    )


def together_long(rng: random.Random, shares: Sequence[float]) -> History:
    """The same for longer than half of `polling.give_up_after`."""
    done = sound(rng, 40, 0.0, 2.0)
    start = last_end(done)
    pending = slow(rng, 8, start - 60, 5.0, start)
    shape = "workers dead, together, 20 hours"
    return _dead(rng, shape, pending, done, 20 * HOUR, decidable=False)


def lose_jobs(rng: random.Random, shares: Sequence[float]) -> History:
    """The workers lose what they were at when they die; later jobs are served again."""
    done = sound(rng, 40, 0.0, 2.0)
    start = last_end(done)
    lost = [
        failing(rng, f"lost-{at}", start - 60 + 6.0 * at, 60 - 6.0 * at, JSON_500)
        for at in range(rng.choice((3, 8)))
    ]
    back = start + rng.choice((120.0, 900.0))
    new = sound(rng, 30, back + rng.uniform(0, 120), 60.0, name="new")
    span = Span(start, new[0].at + RECOVERY)
    jobs = [*done, *lost, *new]
    return History(
        *("workers lose their jobs", True, last_end(new), jobs, nothing, 5400.0),
        spans=[span],
        bounds=Bounds(never_down=True),
    )


def after_outage(rng: random.Random, shares: Sequence[float]) -> History:
    """A total outage, after which the workers stay dead; or the same the other way round."""
    history = rng.choice((together, one_upload))(rng, shares)
    [span] = history.spans
    middle = span.start + rng.uniform(60, 600)
    end = min(span.end, middle + 40 * MINUTE)
    first, way = rng.random() < 0.5, rng.choice((JSON_500, *GATEWAYS, "connection"))

    def trouble(job: JobHistory | None, time: float) -> Answer:
        total = span.start <= time < middle if first else middle <= time < end
        if total:
            return way
        return history.trouble(job, time) if time < end else None

    return replace(
        history,
        shape="workers dead, total outage",
        trouble=trouble,
        seconds=end,
        spans=[Span(span.start, end)],
        bounds=Bounds(never_down=True),
    )


def restart_together(rng: random.Random, shares: Sequence[float]) -> History:
    """The exporter is restarted while it shows the dead workers as `down`."""
    history = replace(together(rng, shares), shape="restart, workers dead")
    return _restarted(rng, history)


def restart_one_upload(rng: random.Random, shares: Sequence[float]) -> History:
    """The exporter is restarted while dead workers look like a batch of bad images."""
    return _restarted(rng, replace(one_upload(rng, shares), shape="restart, dead, one upload"))


def _restarted(rng: random.Random, history: History) -> History:
    [span] = history.spans
    stops = (span.start + rng.uniform(100, 400), span.start + rng.uniform(450, 590))
    return replace(history, restarts=[(at, rng.choice((2.0, 20.0))) for at in stops])


def few_workers(rng: random.Random, shares: Sequence[float]) -> History:
    """With one or two jobs pending, for less than `judgement.weak_after`."""
    return _few(rng, "workers dead, 1 or 2 pending", 9 * MINUTE, decidable=True)


def few_workers_long(rng: random.Random, shares: Sequence[float]) -> History:
    """The same for longer: they look like one or two bad images."""
    return _few(rng, "workers dead, 1 or 2, hour", HOUR, decidable=False)


def _few(rng: random.Random, shape: str, length: float, *, decidable: bool) -> History:
    done = sound(rng, 40, 0.0, 2.0)
    start = last_end(done)
    pending = slow(rng, rng.choice((1, 2)), start - 40, 15.0, start)
    return _dead(rng, shape, pending, done, length, decidable=decidable)
