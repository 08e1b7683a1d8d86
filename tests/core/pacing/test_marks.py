"""Marks: what a step and a band of progress say about a job's life."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.core.pacing.marks import (
    FINE,
    MOST_TRUST,
    ORIGIN,
    RATIOS,
    Mark,
    RatioTable,
    Run,
    band,
    point,
    share_shift,
)

FIRST = int(ORIGIN - 0.5) - 22  # the point of the least ratio: -1.5 octaves of 15 points


def test_progress_falls_into_eighths() -> None:
    assert [band(percent) for percent in (-1, 0, 1, 12, 13, 50, 99, 100)] == [
        *(-1, -1, 0, 0, 1, 4, 7, 7)
    ]
    assert [share_shift(percent) for percent in (-1, 0, 25, 100)] == [0.0, 0.0, -2.0, 0.0]
    assert share_shift(1) == math.log2(0.01)


def test_a_ratio_counts_in_the_bucket_of_its_logarithm() -> None:
    table = RatioTable()
    table.add(0.01, 0.19, 2.0)
    table.add(-9.0, -9.0, 1.0)
    table.add(9.0, 9.5, 1.0)
    assert table.counts[7:9] == pytest.approx([1.0, 1.0])
    assert sum(table.counts) == pytest.approx(4.0)
    assert (table.counts[0], table.counts[RATIOS - 1]) == (1.0, 1.0)
    table.add_least(3.0)
    assert table.counts[0] == 4.0
    table.add(0.01, 0.19, 2.0)
    assert table.counts[7:9] == pytest.approx([2.0, 2.0])


def test_a_ratio_between_two_logarithms_counts_by_the_part_of_each_bucket() -> None:
    table = RatioTable()
    table.add(-1.4, -1.2, 1.0)  # half of the first bucket, and half of the next
    assert table.counts[:2] == pytest.approx([0.5, 0.5])


def test_shares_start_uniform_and_follow_the_counts() -> None:
    table = RatioTable()
    assert table.shares == pytest.approx([1 / RATIOS] * RATIOS)
    table.counts[3] = 19.0
    table.rebuild(1.0)
    assert table.shares[3] == pytest.approx((19 + 1 / RATIOS) / 20)
    assert table.shares[4] == pytest.approx(1 / RATIOS / 20)


def test_the_cumulated_table_rises_from_0_to_1_by_thirds_of_a_bucket() -> None:
    table = RatioTable()
    start = table.cumulated.index(next(value for value in table.cumulated if value > 0)) - 1
    assert start == 300
    assert table.cumulated[start + FINE] == pytest.approx(1 / RATIOS)
    assert table.cumulated[start + 1] == pytest.approx(1 / RATIOS / 3)
    assert table.cumulated[start + RATIOS * FINE] == pytest.approx(1.0)
    assert table.cumulated[0] == 0.0
    assert table.cumulated[-1] == 1.0
    assert len(table.cumulated) == 300 + 60 + 1 + 300


def test_the_point_of_a_ratio_of_1_is_at_the_origin() -> None:
    assert pytest.approx(300.5 + 1.5 * 15) == ORIGIN


def test_a_mark_learns_when_it_was_entered_and_left_as_shares_of_the_life() -> None:
    mark = Mark()
    # Entered at 20 s at 25 %, left at 40 s; the life is 80 s: ratios 4 * 1/4 and 2 * 1/4.
    mark.learn(Run(mark, 25, 20.0, 20.0, 40.0, 40.0), (80.0, 80.0), 2.0)
    assert mark.entered.counts[7] == pytest.approx(2.0)
    assert mark.left.counts[2] == pytest.approx(2.0)
    assert mark.new_ends == 1


def test_a_mark_entered_by_the_first_poll_says_nothing_about_when() -> None:
    mark = Mark()
    mark.learn(Run(mark, 0, 0.0, 0.1, 30.0, None), (40.0, 50.0), 1.0)
    assert sum(mark.entered.counts) == 0
    assert mark.left.counts[0] == 1.0
    mark.learn(Run(mark, 0, 0.0, 0.1, 0.1, None), (40.0, 50.0), 1.0)
    mark.learn(Run(mark, 0, 0.0, 0.1, 0.1, 5.0), (40.0, 50.0), 1.0)
    assert sum(mark.left.counts) == 1.0
    assert mark.new_ends == 3


def test_between_two_polls_a_change_is_spread() -> None:
    mark = Mark()
    mark.learn(Run(mark, 50, 20.0, 40.0, 40.0, 60.0), (60.0, 80.0), 1.0)
    # Entered after 20 s to 40 s of 60 s to 80 s: ratios 0.75 to 2.
    touched = [at for at, count in enumerate(mark.entered.counts) if count > 0]
    assert touched == [*range(5, 13)]
    assert sum(mark.entered.counts) == pytest.approx(1.0)
    # Left after 40 s to 60 s: ratios 0.5 to 1.
    assert [at for at, count in enumerate(mark.left.counts) if count > 0] == [*range(2, 8)]


def test_very_short_times_are_bounded_from_below() -> None:
    mark = Mark()
    mark.learn(Run(mark, 100, 0.0, 0.2, 0.2, 0.3), (0.0, 0.4), 1.0)
    assert sum(mark.entered.counts) == pytest.approx(1.0)
    assert mark.entered.counts[RATIOS - 1] > 0  # at most 0.4 s / 0.01 s
    assert mark.entered.counts[2] > 0  # at least 0.1 s / 0.2 s
    assert mark.entered.counts[1] == 0
    # Left by 0.3 s of a life of 0.1 s to 0.4 s, last seen at 0.2 s: a ratio of 2 at most.
    assert [at for at, count in enumerate(mark.left.counts) if count > 0] == [*range(13)]


def test_tables_are_rebuilt_only_after_ends() -> None:
    mark = Mark()
    mark.left.counts[0] = 99.0
    mark.rebuild(1.0)
    assert mark.is_mute
    assert mark.left.shares[0] == pytest.approx(1 / RATIOS)
    mark.new_ends = 1
    mark.left.counts[5] = 1.0
    mark.rebuild(1.0)
    assert mark.left.shares[0] == pytest.approx((99 + 1 / RATIOS) / 101)
    assert (mark.is_mute, mark.new_ends) == (True, 0)
    mark.new_ends = 1
    mark.left.counts[5] = 4.0
    mark.rebuild(1.0)
    assert not mark.is_mute


def test_a_mark_is_mute_when_it_lasts_to_the_end_in_more_than_97_of_100_jobs() -> None:
    for count, is_mute in ((460.0, False), (461.0, True)):
        mark = Mark()
        mark.new_ends = 1
        mark.left.counts[0] = count
        mark.rebuild(15.0)  # 15 jobs are spread over 20 ratios: 460.75 of 475 are 97 %
        assert mark.is_mute is is_mute


def test_rescaling_divides_both_tables() -> None:
    mark = Mark()
    mark.entered.counts[1] = 8.0
    mark.left.counts[2] = 4.0
    mark.rescale(4.0)
    assert (mark.entered.counts[1], mark.left.counts[2]) == (2.0, 1.0)


def test_the_score_adds_up_the_log_likelihood_and_fades() -> None:
    mark = Mark()
    assert mark.trust == 0.5
    mark.rate(0.2, 0.4)
    assert mark.score == pytest.approx(math.log(2))
    mark.rate(0.2, 0.4)
    assert mark.score == pytest.approx(1.99 * math.log(2))
    assert mark.trust == pytest.approx(1 / (1 + math.exp(-mark.score)))
    mark.rate(0.4, 0.1)
    assert mark.score == pytest.approx(0.99 * 1.99 * math.log(2) - math.log(4))


@given(st.lists(st.tuples(st.floats(-1, 2), st.floats(-1, 2)), max_size=50))
def test_the_score_stays_within_its_bounds(rated: list[tuple[float, float]]) -> None:
    mark = Mark()
    for plain, told in rated:
        mark.rate(plain, told)
    assert -MOST_TRUST <= mark.score <= MOST_TRUST


def test_impossible_chances_weigh_as_a_hundredth() -> None:
    mark = Mark()
    mark.rate(0.0, 0.02)
    assert mark.score == pytest.approx(math.log(2))
    mark.score = 0.0
    mark.rate(0.02, -1e-9)
    assert mark.score == pytest.approx(-math.log(2))


def test_ages_below_a_second_have_points_of_their_own() -> None:
    assert [point(age) for age in (0.25, 0.5, 1.0, 2.0)] == [-30.0, -15.0, 0.0, 15.0]
    assert point(0.0) == point(0.01)
