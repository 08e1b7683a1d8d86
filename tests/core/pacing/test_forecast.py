"""Forecasts: when a job will end, by its mode's law and its mark, and the wait that follows."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.core.pacing.forecast import LEAST_TRUST, NOTHING, Forecast, forecast
from exporter.core.pacing.law import BUCKET_HAZARD
from exporter.core.pacing.learner import Learner
from exporter.core.pacing.marks import POINTS, RATIOS, SCALE, Mark, point, share_shift
from exporter.core.pacing.scale import BUCKETS, EDGES, position
from exporter.core.pacing.watch import Mode, Watch


def watched(age: float = 0.0) -> Watch:
    return Watch(Mode(), "mode", first=age, last=age)


def flat(mass: list[float], age: float = 1.0, later: float = 0.0) -> Forecast:
    """A forecast with these chances from a bucket's beginning on."""
    total = sum(mass) + later
    return Forecast(age, int(position(age) + 1e-9), mass, total, mass, total)


def test_the_laws_forecast_begins_within_the_bucket_of_the_age() -> None:
    made = forecast(watched(), 2**0.1)  # half of bucket 10
    law = Mode().law
    assert made.bucket == 10
    assert made.plain[0] == pytest.approx(law.chance[10] / 2)
    assert made.plain[1:] == pytest.approx(law.chance[11:])
    assert made.total == pytest.approx(law.survival[11] + law.chance[10] / 2)
    assert made.told is None
    assert made.mass is made.plain


def test_a_job_of_no_age_is_forecast_from_the_beginning_of_the_scale() -> None:
    assert (forecast(watched(), 0.0).age, forecast(watched(), -3.0).bucket) == (0.25, 0)


def test_the_wait_ends_when_the_chance_of_an_end_outweighs_a_call() -> None:
    width = EDGES[11] - EDGES[10]
    made = flat([1.0])
    pull = 0.002 * 1.0 / width
    enough = math.sqrt(pull * (pull + 2)) - pull
    wait = made.wait(0.002, 60.0)
    assert wait == pytest.approx(enough * width)
    # There, gathered = sqrt(2 * call_cost * density * survival).
    gathered = wait / width
    assert gathered == pytest.approx(math.sqrt(2 * 0.002 / width * (1 - gathered)))


def test_a_wait_grows_with_the_cost_of_a_call() -> None:
    made = forecast(watched(), 40.0)
    waits = [made.wait(cost, 1e5) for cost in (0.01, 0.1, 1.0, 10.0)]
    assert waits == sorted(waits)
    # Within a bucket of constant density the wait grows with the root of the cost.
    assert made.wait(0.0004, 60.0) / made.wait(0.0001, 60.0) == pytest.approx(2.0, rel=0.02)


def test_a_job_is_polled_right_after_a_hump() -> None:
    made = flat([0.0, 0.9, 1e-9, 1e-9, 0.1])
    assert made.wait(3.0, 60.0) == pytest.approx(EDGES[12] - 1.0)
    assert flat([0.0, 0.9, 0.0, 0.1]).wait(3.0, 60.0) == pytest.approx(EDGES[12] - 1.0)


def test_a_chance_gathered_before_is_not_counted_twice() -> None:
    made = flat([0.3, 0.3])
    pull = 0.05 * 0.5 / (EDGES[12] - EDGES[11])
    enough = math.sqrt(pull * (pull + 2)) - pull
    first = made.wait(0.05, 60.0)
    assert first < EDGES[11] - 1.0
    later = flat([0.02, 0.98]).wait(0.05, 60.0)
    pull = 0.05 * 0.98 / (EDGES[12] - EDGES[11])
    enough = math.sqrt(pull * (pull + 2)) - pull
    into = (enough - 0.02) / 0.98 * (EDGES[12] - EDGES[11])
    assert later == pytest.approx(EDGES[11] - 1.0 + into)


def test_a_wait_that_ends_exactly_where_a_bucket_does_ends_there() -> None:
    width = EDGES[12] - EDGES[11]  # at a pull of 1/4 a chance of exactly 1/2 is enough
    gathered_before = flat([0.5, 0.5]).wait(width / 2, 60.0)
    assert gathered_before == pytest.approx(EDGES[11] - 1.0)
    gathered_by_its_end = flat([0.25, 0.25, 0.5]).wait(width, 60.0)
    assert gathered_by_its_end == pytest.approx(EDGES[12] - 1.0)


def test_buckets_beyond_the_longest_wait_are_ignored() -> None:
    made = flat([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    assert made.wait(0.5, 0.3) == pytest.approx(EDGES[12] - 1.0)
    assert made.wait(0.5, EDGES[12] - 1.0) == pytest.approx(EDGES[12] - 1.0)
    assert made.wait(0.5, 60.0) > EDGES[16] - 1.0


def test_without_any_chance_left_the_wait_is_the_longest() -> None:
    assert flat([0.0]).wait(0.5, 60.0) == 60.0
    assert flat([NOTHING]).wait(0.5, 60.0) == 60.0
    assert flat([2 * NOTHING]).wait(0.5, 60.0) < EDGES[11] - 1.0
    assert forecast(watched(), 2.0**17).wait(0.5, 60.0) == 60.0
    assert forecast(watched(), 2.0**17 - 1).wait(0.5, 600.0) == pytest.approx(1.0)


def test_an_empty_first_bucket_is_skipped() -> None:
    made = Forecast(EDGES[11], 10, [0.0, 1.0], 1.0, [0.0, 1.0], 1.0)
    assert made.wait(0.002, 60.0) == pytest.approx(flat([1.0], EDGES[11]).wait(0.002, 60.0))


def test_the_remaining_time_is_read_from_the_chances() -> None:
    made = flat([0.25, 0.25], later=0.5)
    assert made.remaining(0.25) == pytest.approx(EDGES[11] - 1.0)
    assert made.remaining(0.125) == pytest.approx((EDGES[11] - 1.0) / 2)
    assert made.remaining(0.5) == pytest.approx(EDGES[12] - 1.0)
    assert made.remaining(0.51) is None
    assert flat([0.0, 0.5]).remaining(0.0) == pytest.approx(EDGES[11] - 1.0)


@pytest.mark.parametrize("age", [EDGES[BUCKETS], 2e5, 1e9])
def test_beyond_the_table_the_remaining_time_is_not_known(age: float) -> None:
    made = Forecast(age, BUCKETS - 1, [1.0], 1.0, [1.0], 1.0)
    assert made.remaining(0.05) is None
    assert made.remaining(0.95) is None


def test_the_chance_until_an_age_is_the_sum_of_its_buckets() -> None:
    made = flat([0.2, 0.4, 0.1, 0.3])
    assert made.chances(2.0) is None
    made.told, made.told_total = [0.0, 0.5, 0.5, 0.0], 1.0
    assert made.chances(EDGES[12]) == pytest.approx((0.6, 0.5))
    assert made.chances(2**0.3) == pytest.approx((0.4, 0.25))
    assert made.chances(2**0.1) == pytest.approx((0.1, 0.0))
    assert made.chances(EDGES[13] * 0.999) == pytest.approx((0.7, 1.0), rel=0.01)
    assert made.chances(EDGES[13] * 1.001) == pytest.approx((0.7, 1.0))
    assert made.chances(1e6) == pytest.approx((0.7, 1.0))
    made = flat([0.4, 0.8, 0.2, 0.6])
    made.told, made.told_total = [0.0, 2.0, 2.0, 0.0], 4.0
    assert made.chances(EDGES[12]) == pytest.approx((0.6, 0.5))
    late = flat([0.2, 0.4, 0.1, 0.3], age=2**0.1)
    late.told, late.told_total = [1.0, 0.0, 0.0, 0.0], 1.0
    assert late.chances(2**0.15) == pytest.approx((0.1, 0.5))


def told(learner: Learner, percent: int, age: float, last: float = 0.0) -> Watch:
    """Watch a job that shows a percentage for the first time at an age."""
    watch = learner.watch("mode", 0.0)
    learner.pending(watch, 0.0, "running", 0)
    if last:
        learner.pending(watch, last, "running", 0)
    learner.pending(watch, age, "running", percent)
    return watch


def law_alone(watch: Watch, age: float) -> Forecast:
    """The forecast of a job from its age only."""
    return forecast(Watch(watch.mode, watch.name, first=watch.first, last=watch.last), age)


def taught(count: int = 200) -> Learner:
    """A learner that saw jobs of many lengths, polled each tenth, with honest progress."""
    learner = Learner()
    for number in range(count):
        life = 20.0 * 2 ** (number % 16 / 4)
        watch = learner.watch("mode", 0.0)
        for tenth in range(10):
            age = life * tenth / 10
            learner.pending(watch, age, "running", tenth * 10)
            made = learner.forecast(watch, age)
            learner.plan(watch, made, life / 10)
        learner.ended(watch, life)
    return learner


def test_a_mark_that_was_learned_narrows_the_forecast_to_its_scale() -> None:
    learner = taught()
    for life in (40.0, 80.0, 160.0):
        watch = told(learner, 50, life / 2, life * 0.45)
        made = learner.forecast(watch, life / 2)
        assert made.told is not None
        median = made.remaining(0.5)
        assert median == pytest.approx(life / 2, rel=0.35)
    silent = learner.watch("mode", 0.0)
    assert learner.forecast(silent, 20.0).told is None


def test_a_mark_is_not_used_before_it_is_trusted_and_never_alone() -> None:
    learner = taught()
    watch = told(learner, 50, 40.0, 36.0)
    assert watch.mark is not None
    watch.mark.score = -4.0
    doubted = learner.forecast(watch, 40.0)
    assert doubted.told is not None
    assert doubted.mass == law_alone(watch, 40.0).mass
    assert doubted.total == pytest.approx(doubted.plain_total)
    watch.mark.score = 4.0
    believed = learner.forecast(watch, 40.0)
    assert believed.told is not None
    assert believed.total == 1.0
    trust = 1 - 0.02
    assert watch.mark.trust > trust
    expected = [
        trust * by_mark / believed.told_total + 0.02 * by_law / believed.plain_total
        for by_mark, by_law in zip(believed.told, believed.plain, strict=True)
    ]
    assert believed.mass == pytest.approx(expected[:-1])
    assert believed.far_share * sum(believed.far) <= expected[-1]
    assert sum(expected) == pytest.approx(1.0)


def test_a_mark_looks_four_octaves_ahead_and_eight_for_a_young_job() -> None:
    learner = taught()
    old, young = told(learner, 50, 40.0, 36.0), told(learner, 50, 1.0, 0.9)
    made = learner.forecast(old, 40.0)
    assert (len(made.mass), len(made.plain)) == (20, 20 + 1)
    law = old.mode.law
    assert made.plain[-1] == law.survival[made.bucket + 20]
    assert made.plain_total == pytest.approx(sum(made.plain))
    assert len(learner.forecast(young, 1.0).mass) == 40
    assert len(learner.forecast(young, 2.0).mass) == 40
    assert len(learner.forecast(young, 2.1).mass) == 20
    aged = learner.forecast(old, EDGES[BUCKETS - 3] * 1.01)
    assert len(aged.mass) == 3
    assert aged.far == []


def test_beyond_the_buckets_of_a_mark_the_law_decides() -> None:
    learner = taught()
    made = learner.forecast(told(learner, 50, 40.0, 36.0), 40.0)
    made.mass = [0.0] * 20
    made.far, made.far_share = [0.0, 0.2, 0.2], 2.5
    assert made.remaining(0.5) == pytest.approx(EDGES[made.bucket + 22] - 40.0)
    made.far_share = 1.0
    assert made.remaining(0.5) is None


@pytest.mark.parametrize("age", [0.4, 1.0, 3.0, 10.0, 30.0, 100.0])
@pytest.mark.parametrize("first", [0.15, 0.3, 1.0])
def test_a_job_whose_first_poll_came_late_is_not_said_to_end_at_once(
    first: float, age: float
) -> None:
    learner = Learner()
    for number in range(60):
        watch = learner.watch("mode", first)
        for at in (first, 15.0, 75.0, 150.0, 300.0, 500.0):
            learner.pending(watch, at, "queued", 0)
            learner.plan(watch, learner.forecast(watch, at), 60.0)
        learner.ended(watch, 600.0 + number)
    watch = learner.watch("mode", first)
    learner.pending(watch, first, "queued", 0)
    made = learner.forecast(watch, max(age, first))
    median, late = made.remaining(0.5), made.remaining(0.95)
    assert median == pytest.approx(630 - age, rel=0.2)
    assert late is not None
    assert late < 900


def test_a_mark_whose_runs_contradict_the_job_says_nothing() -> None:
    learner = taught()
    watch = told(learner, 50, 40.0, 36.0)
    assert watch.mark is not None
    watch.mark.entered.cumulated = [0.0] * len(watch.mark.entered.cumulated)
    made = learner.forecast(watch, 40.0)
    assert made.told is None
    assert made.mass is made.plain


def test_the_forecast_weighs_when_the_mark_was_entered_and_that_it_still_lasts() -> None:
    watch = watched()
    watch.move(0.0, "running", 0)
    watch.move(8.0, "running", 50)
    assert watch.mark is not None
    entered, left = watch.mark.entered, watch.mark.left
    entered.counts[7], left.counts[0] = 1e6, 1e6  # honest progress, and it lasts to the end
    entered.rebuild(1e-6)
    left.rebuild(1e-6)
    watch.mark.score = 4.0
    watch.before = 6.0
    made = forecast(watch, 9.0)
    assert made.told is not None
    lives = [EDGES[made.bucket + at] for at, chance in enumerate(made.told) if chance > 1e-12]
    assert min(lives) >= 10.5  # a life of 12 s to 18 s, and a bucket's width
    assert max(lives) <= 18.5


def marked(since: float, age: float = 9.0) -> tuple[Watch, Mark]:
    """A watched job that has shown half of its progress since an age, and its mark."""
    watch = watched()
    if since > 0.1:
        watch.move(0.0, "running", 0)
    watch.move(since, "running", 50)
    watch.last = age
    assert watch.mark is not None
    watch.mark.is_mute = False
    return watch, watch.mark


@pytest.mark.parametrize(("since", "counts"), [(0.1, False), (0.2, True), (1.0, True)])
def test_when_a_mark_was_entered_counts_unless_the_first_poll_saw_it(
    since: float, *, counts: bool
) -> None:
    watch, mark = marked(since)
    mark.entered.cumulated = [0.0] * (POINTS + 1)  # no job ever entered it at any age
    assert (forecast(watch, 9.0).told is None) is counts


def test_a_life_counts_as_the_middle_of_its_bucket() -> None:
    watch, mark = marked(8.0)
    mark.left.counts[0] = 1e9
    mark.entered.counts[12] = 1e9
    mark.left.rebuild(1e-9)
    mark.entered.rebuild(1e-9)
    watch.percent = 100
    third = (12 + 1 / 3) / 5 - 1.5  # the logarithm below which a third of the ratios lies
    middle = math.log2(EDGES[26] * 2**0.1)
    watch.before, watch.since = 2 ** (middle - third), 2**middle
    made = forecast(watch, EDGES[25])
    assert made.told is not None
    shares = [told / plain for told, plain in zip(made.told, made.plain, strict=True)]
    assert shares[:5] == pytest.approx([0.0, 1 / 3, 1.0, 1.0, 1.0], abs=1e-6)


def open_ended(watch: Watch, mark: Mark, last: float, bucket: int) -> float:
    """Return the share of the law's chance of a far end that the mark leaves.

    `last` is the share of jobs in the mark's last bucket of ratios, and none lie in other buckets
    from this bucket of age on.
    """
    centre = math.log2(EDGES[bucket] * 2**0.1) * SCALE - point(watch.since)
    centre += share_shift(watch.percent) * SCALE
    jump = int(centre + 1.5 * SCALE + 0.5) + 300
    end = 300 + RATIOS * 3
    mark.entered.shares = [0.0] * (RATIOS - 1) + [last]
    below = [0.0] * jump + [1 - last] * (end - jump)
    mark.entered.cumulated = below + [1.0] * (POINTS + 1 - len(below))
    made = forecast(watch, EDGES[25] * 1.01)
    assert made.told is not None
    return made.told[-1] / made.plain[-1]


@pytest.mark.parametrize(
    ("last", "bucket", "left"),
    [
        (0.25, 25, 0.25),  # the youngest end lies in the last bucket already
        (0.25, 26, 0.0),  # the next one does: it may be another bucket
        (0.5, 26, 0.0),  # half of the jobs are not most of them
        (0.75, 26, 0.75),
    ],
)
def test_the_last_bucket_of_ratios_is_open_ended_if_most_jobs_or_surely_this_one_are_in_it(
    last: float, bucket: int, left: float
) -> None:
    watch, mark = marked(8.0)
    mark.left.cumulated = [1.0] * (POINTS + 1)
    assert open_ended(watch, mark, last, bucket) == pytest.approx(left)


def test_only_the_ratios_of_the_laws_chances_count_for_a_marked_job() -> None:
    """Few jobs live as long as this one: so all of its chances are tiny."""
    watch = told(taught(), 50, 40.0, 36.0)
    assert watch.mark is not None
    watch.mark.score = 4.0
    before = forecast(watch, 40.0)
    law = watch.mode.law
    law.chance = [chance * 1e-6 for chance in law.chance]
    law.survival = [chance * 1e-6 for chance in law.survival]
    after = forecast(watch, 40.0)
    assert after.told is not None
    assert after.mass == pytest.approx(before.mass)


def test_where_the_law_leaves_no_chance_a_mark_says_nothing() -> None:
    watch, _ = marked(8.0)
    watch.mode.law.chance = [0.0] * BUCKETS
    watch.mode.law.survival = [0.0] * (BUCKETS + 1)
    made = forecast(watch, 9.0)
    assert made.told is None
    assert made.wait(0.5, 60.0) == 60.0


class Doubted(Mark):
    """A mark with exactly the least trust."""

    __slots__ = ()

    @property
    def trust(self) -> float:
        return LEAST_TRUST


def test_a_mark_of_the_least_trust_is_not_used() -> None:
    watch, _ = marked(8.0)
    watch.mark = Doubted()
    made = forecast(watch, 9.0)
    assert made.told is not None
    assert made.mass == law_alone(watch, 9.0).mass


@given(st.floats(0, 1e7), st.floats(0.001, 1e4), st.floats(0.01, 1e5))
def test_a_wait_is_positive_and_about_the_longest_at_most(
    age: float, call_cost: float, longest: float
) -> None:
    wait = forecast(watched(), age).wait(call_cost, longest)
    assert wait >= 0
    assert wait <= longest or wait <= (max(age, 0.25) + longest) * 2**0.2 - age


def test_without_samples_the_wait_is_a_share_of_the_age() -> None:
    hazard = BUCKET_HAZARD / (EDGES[51] - EDGES[50])
    wait = forecast(watched(), EDGES[50]).wait(0.5, 1e5)
    assert wait == pytest.approx(math.sqrt(2 * 0.5 / hazard), rel=0.15)
