"""The usual duration, read from a histogram, and the age at which a job is overdue."""

import pytest
from support import Polling

from exporter.core.tally import BUCKETS, DURATION, bucket_of
from exporter.core.usual import overdue_after, quantile, usual_duration

BOUNDS = (10.0, 20.0, 40.0)


def test_the_99th_percentile_is_where_prometheus_reads_it() -> None:
    assert usual_duration((98, 2, 0, 0), BOUNDS, samples=1) == pytest.approx(15.0)
    assert usual_duration((0, 100, 0, 0), BOUNDS, samples=1) == pytest.approx(19.9)
    assert usual_duration((100, 0, 0, 0), BOUNDS, samples=1) == pytest.approx(9.9)


def test_the_usual_duration_is_unknown_after_few_jobs() -> None:
    assert usual_duration((49, 0, 0, 0), BOUNDS, samples=50) is None
    assert usual_duration((50, 0, 0, 0), BOUNDS, samples=50) is not None
    assert usual_duration((0, 0, 0, 0), BOUNDS, samples=0) is None
    assert usual_duration((1, 0, 0, 0), BOUNDS, samples=1) is not None


def test_the_usual_duration_is_unknown_beyond_the_last_bound() -> None:
    assert usual_duration((90, 0, 0, 10), BOUNDS, samples=1) is None
    assert usual_duration((990, 0, 0, 10), BOUNDS, samples=1) is not None


def test_a_job_is_overdue_after_a_number_of_usual_durations() -> None:
    rule = Polling(overdue_factor=3.0, overdue_samples=100)
    assert overdue_after((98, 2, 0, 0), BOUNDS, rule) == pytest.approx(45.0)
    assert overdue_after((9, 2, 0, 0), BOUNDS, rule) is None


def test_the_estimate_lies_in_the_true_bucket() -> None:
    bounds = BUCKETS[DURATION]
    counts = [0] * (len(bounds) + 1)
    counts[bucket_of(DURATION, 37.0)] = 200
    assert 30.0 < (usual_duration(counts, bounds, samples=50) or 0.0) <= 45.0


def test_a_quantile_lies_in_a_bucket_that_has_samples() -> None:
    assert quantile((0, 0, 4, 0), BOUNDS, 0.5) == pytest.approx(30.0)
    assert quantile((2, 2, 0, 0), BOUNDS, 0.5) == pytest.approx(10.0)
    assert quantile((0, 0, 0, 0), BOUNDS, 0.5) is None
    assert quantile((1, 0, 0, 3), BOUNDS, 0.5) is None
