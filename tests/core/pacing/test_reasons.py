"""Forecasts of a job's end come true as often as they say."""

import random

import pytest

from exporter.core.pacing.learner import Learner
from exporter.core.pacing.reasons import estimate

MEDIAN, SPREAD = 600.0, 0.3


def learned(jobs: int) -> Learner:
    """A learner that saw silent jobs of a log-normal law, each polled every 30 s, end."""
    rng, learner = random.Random(1), Learner()
    for _ in range(jobs):
        life, age = MEDIAN * rng.lognormvariate(0.0, SPREAD), 0.0
        watch = learner.watch("m", age)
        while age < life:
            learner.pending(watch, age, "", 0)
            age += 30.0
        learner.ended(watch, age)
    return learner


@pytest.mark.parametrize("age", [30.0, 450.0, 750.0, 900.0])
def test_nine_in_ten_jobs_end_within_what_is_said_of_nine_in_ten(age: float) -> None:
    rng = random.Random(2)
    lives = [MEDIAN * rng.lognormvariate(0.0, SPREAD) for _ in range(50_000)]
    lasting = [life - age for life in lives if life > age]
    known = estimate(learned(600).watch("m", age), age)
    assert known is not None

    def share(seconds: float | None) -> float:
        assert seconds is not None
        return sum(left <= seconds for left in lasting) / len(lasting)

    assert 0.43 <= share(known.median) <= 0.62
    assert 0.84 <= share(known.p90) <= 0.96
    assert 0.80 <= share(known.late) - share(known.early) <= 0.97
