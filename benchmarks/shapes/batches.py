"""The end of a batch: only jobs that have failed are left, and no other can be the witness.

The bounds are those of `docs/judgement.md`, plus the time until the first bad answer is seen and
that of one more poll.
"""

import random
from collections.abc import Sequence

from histories import Answer, Bounds, History, JobHistory

from exporter.simulator.script import Script

from .draws import GATEWAYS, JSON_500, failing, last_end, nothing, sound

BATCH = 50
SEEN = 90.0
"""From the end of a job to the first bad answer, and from the last wait's end to the next poll."""
WEAK_AFTER = 600.0
NOBODY = "nothing finished"


def _bad(rng: random.Random, count: int, start: float, how: Answer) -> list[JobHistory]:
    """Draw jobs that fail together, as one upload does, or one after the other."""
    if rng.random() < 0.5:
        after = rng.uniform(10, 40)
        return [
            failing(rng, f"bad-{number}", start + 0.1 * number, after, how)
            for number in range(count)
        ]
    apart = rng.choice((2.0, 10.0, 60.0))
    return [
        failing(rng, f"bad-{number}", start + apart * number, rng.uniform(5, 45), how)
        for number in range(count)
    ]


def _last(
    rng: random.Random,
    shape: str,
    counts: Sequence[int],
    ways: Sequence[Answer],
    times: float,
    *,
    others: Sequence[JobHistory] = (),
    finished: bool = True,
    decidable: bool = True,
) -> History:
    """Draw a batch whose last jobs fail; a verdict takes `times` times `judgement.weak_after`."""
    count = rng.choice(counts)
    apart = rng.choice((0.5, 2.0))
    done = sound(rng, BATCH - count, 0.0, apart) if finished else []
    bad = _bad(rng, count, len(done) * apart, rng.choice(ways))
    seconds = max(job.ends_at for job in [*done, *bad])
    bounds = Bounds(call=WEAK_AFTER * times + SEEN, never_down=decidable)
    return History(
        *(shape, decidable, seconds, [*done, *bad, *others], nothing),
        tail=WEAK_AFTER * times + 1200.0,
        bounds=bounds,
    )


def last_few(rng: random.Random, shares: Sequence[float]) -> History:
    """One to four fail, with answers of the service itself."""
    return _last(rng, "last 1 to 4 fail", (1, 1, 2, 2, 3, 4), (JSON_500,), 1)


def last_few_gateway(rng: random.Random, shares: Sequence[float]) -> History:
    """One to four fail, with answers that look like a gateway's."""
    return _last(rng, "last 1 to 4 fail, gateway", (1, 1, 2, 2, 3, 4), GATEWAYS, 3)


def last_many(rng: random.Random, shares: Sequence[float]) -> History:
    """Five or twenty fail, with any answer."""
    return _last(rng, "last 5 or 20 fail", (5, 5, 20), (JSON_500, *GATEWAYS), 6)


def last_of_mode(rng: random.Random, shares: Sequence[float]) -> History:
    """One or two fail while only jobs of another mode are pending."""
    stuck = [JobHistory("stuck", 20.0, Script.stuck(30.0, "other"))]
    return _last(rng, "last of their mode fail", (1, 2), (JSON_500,), 1, others=stuck)


def first_fails(rng: random.Random, shares: Sequence[float]) -> History:
    """One job alone fails, and nothing has ever finished: only a random id is the witness."""
    return _last(rng, f"1 fails, {NOBODY}", (1,), (JSON_500,), 2, finished=False)


def first_fails_gateway(rng: random.Random, shares: Sequence[float]) -> History:
    """The same with answers that look like a gateway's."""
    return _last(rng, f"1 fails, {NOBODY}, gateway", (1,), GATEWAYS, 6, finished=False)


def last_together(rng: random.Random, shares: Sequence[float]) -> History:
    """The last five were uploaded one after the other but fail at one moment, as with dead workers.

    They are believed to be an outage for half of `polling.give_up_after`.
    """
    done = sound(rng, BATCH - 5, 0.0, 2.0)
    start = last_end(done) - 60.0
    bad = [
        failing(rng, f"bad-{at}", start + 10.0 * at, 100.0 - 10.0 * at, JSON_500) for at in range(5)
    ]
    return History(
        *("last 5 fail at one moment", False, start + 100.0, [*done, *bad], nothing),
        tail=14 * 3600.0,
        bounds=Bounds(call=12 * 3600.0 + WEAK_AFTER * 6 + SEEN),
    )


def last_silent(rng: random.Random, shares: Sequence[float]) -> History:
    """One or two jobs are never answered in time, from some age on: no verdict, and no outage."""
    done = sound(rng, BATCH, 0.0, 2.0)
    bad = [
        JobHistory(f"silent-{at}", 100.0, Script.stuck(30.0)) for at in range(rng.choice((1, 2)))
    ]

    def trouble(job: JobHistory | None, time: float) -> Answer:
        return "timeout" if job in bad and time > 140.0 else None

    bounds = Bounds(never_down=True)
    return History("last 1 or 2 time out", True, 3000.0, [*done, *bad], trouble, bounds=bounds)


def all_fail(rng: random.Random, shares: Sequence[float]) -> History:
    """All jobs fail, and nothing has ever finished: this looks like an outage to the end."""
    ways = (JSON_500, *GATEWAYS)
    return _last(
        *(rng, f"2 to 20 fail, {NOBODY}", (2, 5, 20), ways, 6), finished=False, decidable=False
    )
