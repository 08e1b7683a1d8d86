"""Laws: the scale of ages, the counts of ends and passings, and the risk that follows."""

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.core.pacing.law import (
    BUCKET_HAZARD,
    FEW_ENDS,
    MOST_HAZARD,
    REBUILD_ENDS,
    REBUILD_LIVED,
    UNKNOWN_LIFE,
    WINDOW,
    Law,
)
from exporter.core.pacing.scale import BUCKETS, EDGES, FARTHEST, WIDTHS, position, spread

STRENGTH = 0.2 + 165 / 30
"""The jobs that the prior weighs before any end."""


def test_the_scale_has_five_buckets_an_octave_from_a_quarter_of_a_second() -> None:
    places = [position(age) for age in (0.0, 0.25, 0.5, 1.0, 32.0, 48.0)]
    assert places == pytest.approx([0, 0, 5, 10, 35, 35 + 5 * math.log2(1.5)])
    assert position(0.3) == pytest.approx(5 * math.log2(1.2))
    assert position(0.26) == pytest.approx(5 * math.log2(1.04))
    assert position(1e12) == FARTHEST < BUCKETS
    assert (EDGES[0], EDGES[5], EDGES[BUCKETS]) == (0.25, 0.5, 2.0**17)
    assert WIDTHS[5] == pytest.approx(0.5 * (2**0.2 - 1))


def test_an_event_is_spread_over_buckets_by_their_chances() -> None:
    assert spread(3.2, 3.9, [0.0] * 9, 0.1) == (3, [1.0])
    first, shares = spread(2.5, 4.25, [9, 9, 0.3, 0.1, 0.7, 9], 0.1)
    assert first == 2
    parts = [0.4 * 0.5, 0.2, 0.8 * 0.25]
    assert shares == pytest.approx([part / sum(parts) for part in parts])


def test_before_any_end_the_risk_is_that_of_a_job_of_unknown_scale() -> None:
    law = Law()
    expected = [min(BUCKET_HAZARD, width / UNKNOWN_LIFE) for width in WIDTHS]
    assert law.hazard == pytest.approx(expected)
    assert law.hazard[-1] == pytest.approx(0.7 * math.log(2) / 5)
    assert law.hazard[-1] == pytest.approx(BUCKET_HAZARD)
    assert law.survival[0] == 1.0
    assert law.survival[2] == pytest.approx(math.exp(-expected[0] - expected[1]))
    assert law.chance[2] == pytest.approx((1 - math.exp(-expected[2])) * law.survival[2])
    assert len(law.survival) == BUCKETS + 1


def test_before_any_end_tables_are_due_when_the_time_lived_has_grown_by_half() -> None:
    law, due = Law(), []
    for second in range(1, 200):
        if law.live(second - 1.0, float(second)):
            due.append(second)
            law.rebuild()
    assert due[:6] == [1, 2, 4, 7, 11, 17]
    assert all(later > REBUILD_LIVED * sooner for sooner, later in itertools.pairwise(due))


def test_jobs_that_passed_an_age_lower_its_risk_before_any_end() -> None:
    law = Law()
    before = law.hazard[position_of(2.0)]
    for _ in range(20):
        law.live(0.0, 10.0)
    law.rebuild()
    assert law.hazard[position_of(2.0)] == pytest.approx(before * STRENGTH / (20 + STRENGTH))
    assert law.hazard[position_of(40.0)] == pytest.approx(BUCKET_HAZARD)


def test_tables_are_due_only_after_ends_once_some_were_seen() -> None:
    law = Law()
    for _ in range(FEW_ENDS):
        law.end(10.0, 12.0)
    law.rebuild()
    assert not law.live(0.0, 1e6)


def test_a_job_that_lives_on_counts_as_passing_the_buckets_between() -> None:
    law = Law()
    law.live(1.0, 1.0 * 2**0.1)  # half of the first bucket
    law.live(2**0.1, 2**0.5)
    assert law.passed[10] == pytest.approx(1.0)
    assert law.passed[11] == pytest.approx(1.0)
    assert law.passed[12] == pytest.approx(0.5)
    assert sum(law.passed) == pytest.approx(2.5)
    assert law.lived == pytest.approx(2**0.5 - 1)
    assert law.ended == 0.0


def test_an_end_within_a_bucket_counts_there_and_half_of_what_the_job_crossed() -> None:
    law = Law()
    law.end(2**0.02, 2**0.12)
    assert law.ends[10] == pytest.approx(1.0)
    assert law.passed[10] == pytest.approx(0.5 * 0.5)
    assert law.lived == pytest.approx((2**0.12 - 2**0.02) / 2)
    assert (law.ended, law.samples) == (1.0, 1)
    assert law.weight == pytest.approx(1 + 1 / WINDOW)


def test_an_end_between_distant_polls_is_spread_and_its_passings_add_up() -> None:
    law = Law()
    law.end(1.0, 2**0.4)  # two whole buckets, 10 and 11
    share = law.ends[10]
    assert law.ends[10] + law.ends[11] == pytest.approx(1.0)
    assert share == pytest.approx(0.5, abs=0.06)
    assert law.passed[10] == pytest.approx(1 - share + share / 2)
    assert law.passed[11] == pytest.approx((1 - share) / 2)


@pytest.mark.parametrize("age", [0.5, 10.0])
def test_an_end_seen_at_once_counts_and_a_little_of_its_bucket_was_passed(age: float) -> None:
    law = Law()
    law.end(age, age)
    assert sum(law.ends) == pytest.approx(1.0)
    assert 0.0 < sum(law.passed) < 0.02


def test_each_end_weighs_more_than_the_one_before() -> None:
    law = Law()
    for _ in range(int(WINDOW)):
        law.end(1.0, 1.05)
    assert law.weight == pytest.approx(math.e, rel=0.01)
    law.live(1.0, 2.0)
    assert law.passed[12] == pytest.approx(law.weight)


def test_the_newest_job_weighs_one_however_many_were_seen_before() -> None:
    law = Law()
    law.weight = 4.0
    law.live(0.0, 64.0)
    assert law.seen(10.0) == 1.0
    assert law.seen(100.0) == 0.0
    law.end(64.0, 66.0)
    assert law.lived / 4.0 == pytest.approx(64.0 + 1.0)


def test_tables_are_due_after_an_eighth_of_the_ends_and_at_most_32() -> None:
    law, due = Law(), []
    for number in range(1, 700):
        if law.end(10.0, 12.0):
            due.append(number)
            law.rebuild()
    assert due[:9] == [1, 2, 3, 4, 5, 6, 7, 8, 10]
    gaps = {later - sooner for sooner, later in itertools.pairwise(due)}
    assert max(gaps) == REBUILD_ENDS == 32
    assert due[-1] - due[-2] == 32


def test_the_risk_is_the_share_of_passing_jobs_that_end_once_there_are_many() -> None:
    law, rng = Law(), random.Random(1)
    for _ in range(3000):
        life = rng.expovariate(1 / 60)
        law.live(0.0, math.floor(life))
        if law.end(math.floor(life), math.floor(life) + 1):
            law.rebuild()
    law.rebuild()
    for bucket in range(30, 38):  # 16 s to 48 s
        expected = 1 - math.exp(-WIDTHS[bucket] / 60)
        assert law.hazard[bucket] == pytest.approx(expected, rel=0.45)
    assert law.lived / law.ended == pytest.approx(60, rel=0.15)


@pytest.mark.parametrize("jobs", [1, 20])
def test_the_prior_after_ends_is_the_mean_life_seen_at_most_the_unknown_scale(jobs: int) -> None:
    law = Law()
    for _ in range(jobs):
        law.live(0.0, 64.0)
        law.end(64.0, 64.5)
    law.rebuild()
    far = law.hazard[position_of(2000.0)]
    assert far == pytest.approx(BUCKET_HAZARD)
    strength = 0.2 + 165 / (30 + jobs)
    passed = law.passed[0] / law.weight
    rate = law.ended / law.lived
    young = WIDTHS[0] * rate * strength / (passed + strength)
    assert law.hazard[0] == pytest.approx(young)


def test_the_mean_life_may_be_shorter_than_a_second() -> None:
    law = Law()
    law.end(0.0, 0.5)  # the middle counts as its life: 0.25 s
    law.rebuild()
    assert WIDTHS[6] < BUCKET_HAZARD < WIDTHS[6] / 0.25
    assert law.hazard[6] == pytest.approx(BUCKET_HAZARD)


def position_of(age: float) -> int:
    return int(position(age))


def test_ends_are_smoothed_over_neighbouring_buckets() -> None:
    law = Law()
    young, old = 45, 70
    prior = law.hazard
    law.ends[young], law.passed[young] = 40.0, 80.0
    law.ends[0] = 4.0
    law.ends[BUCKETS - 1] = 4.0
    law.rebuild()
    assert law.hazard[young - 1] == pytest.approx(prior[young - 1] + 10 / STRENGTH)
    expected = (20 + prior[young] * STRENGTH) / (80 + STRENGTH)
    assert law.hazard[young] == pytest.approx(expected)
    for bucket, ends in ((young + 2, 0), (old, 0), (1, 1), (0, 3), (-1, 3)):
        assert law.hazard[bucket] == pytest.approx(prior[bucket] + ends / STRENGTH)


def test_a_law_without_ends_starts_from_its_prior_once_that_has_five() -> None:
    prior = Law()
    for _ in range(4):
        prior.end(30.0, 31.0)
    prior.rebuild()
    assert Law(prior).hazard == pytest.approx(Law().hazard)
    prior.end(30.0, 31.0)
    prior.rebuild()
    assert Law(prior).hazard == pytest.approx(prior.hazard)
    assert max(prior.hazard) > 2 * BUCKET_HAZARD


def test_rescaling_changes_no_risk() -> None:
    law, rng = Law(), random.Random(2)
    for _ in range(400):
        life = rng.uniform(20, 40)
        law.live(0.0, life)
        law.end(life, life + 2)
    law.rebuild()
    risk, weight, mean = law.hazard, law.weight, law.lived / law.ended
    assert law.rescale() == weight
    law.rebuild()
    assert law.weight == 1.0
    assert law.hazard == pytest.approx(risk)
    assert law.lived / law.ended == pytest.approx(mean)


@given(st.lists(st.tuples(st.floats(0, 1e9), st.floats(0, 1e9)), max_size=60))
def test_chances_are_valid_after_any_counts(spans: list[tuple[float, float]]) -> None:
    law = Law()
    for start, length in spans:
        law.live(start, start + length)
        if law.end(start, start + length):
            law.rebuild()
    law.rebuild()
    assert all(0 < hazard <= MOST_HAZARD for hazard in law.hazard)
    assert sum(law.chance) + law.survival[-1] == pytest.approx(1.0)
    assert (len(law.ends), len(law.passed)) == (BUCKETS, BUCKETS)
