"""The rate limit: bursts, a lowered rate, and its recovery."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.core.rate_limit import TokenBucket


@settings(max_examples=150)
@given(st.floats(0.5, 50), st.integers(1, 30), st.lists(st.floats(0, 3), max_size=80))
def test_in_any_window_at_most_burst_plus_rate_requests_start(
    rate: float, burst: int, pauses: list[float]
) -> None:
    bucket, at, taken = TokenBucket(rate, burst, 0.0), 0.0, list[float]()
    for pause in pauses:
        at += pause
        at = max(at, bucket.ready_at(at))
        bucket.take(at)
        taken.append(at)
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            allowed = burst + rate * (taken[last] - taken[first])
            assert last - first + 1 <= allowed + 1e-6


def test_a_drained_bucket_admits_no_burst() -> None:
    bucket = TokenBucket(10, 20, 0.0)
    bucket.drain(5.0)
    assert bucket.ready_at(5.0) == pytest.approx(5.1)


def test_a_429_halves_the_rate_once_a_second_and_the_rate_recovers_in_steps() -> None:
    bucket = TokenBucket(10, 20, 0.0)
    assert not bucket.slowed
    bucket.slow_down(0.0)
    bucket.slow_down(0.5)
    assert bucket.rate(0.5) == 5.0
    assert [bucket.rate(at) for at in (9.9, 10, 20, 49, 51, 900)] == [5, 6, 7, 9, 10, 10]
    bucket.slow_down(10.0)
    assert bucket.rate(10.0) == 3.0
    for at in range(20, 60, 2):
        bucket.slow_down(at)
    assert bucket.rate(58.0) == 10 / 64


def test_new_limits_drop_tokens_above_the_new_burst() -> None:
    bucket = TokenBucket(10, 20, 0.0)
    bucket.set_limits(1, 2, 0.0)
    assert bucket.tokens(0.0) == 2
    for _ in range(2):
        bucket.take(0.0)
    assert bucket.ready_at(0.0) == 1.0


def test_all_whole_tokens_are_spent_and_a_part_of_one_is_not() -> None:
    bucket = TokenBucket(10, 2, 0.0)
    bucket.take(0.0)
    assert bucket.ready_at(0.0) == 0.0
    bucket.take(0.0)
    assert bucket.ready_at(0.0) == pytest.approx(0.1)
    assert bucket.ready_at(0.05) == pytest.approx(0.1)


def test_leaving_a_token_takes_a_wait_for_any_burst() -> None:
    bucket = TokenBucket(10, 2, 0.0)
    bucket.take(0.0)
    assert bucket.ready_at(0.0, spare=1) == pytest.approx(0.1)
    assert bucket.ready_at(0.1, spare=1) == pytest.approx(0.1)
    small = TokenBucket(10, 1, 0.0)
    assert (small.tokens(0.0), small.ready_at(0.0, spare=1)) == (1.0, 0.0)
    small.take(0.0)
    assert small.ready_at(0.0) == pytest.approx(0.1)
    assert small.ready_at(0.1, spare=1) == pytest.approx(0.2)
    assert small.tokens(5.0) == 1.0
    small.take(5.0)
    assert small.tokens(5.0) == 0.0  # no burst of two


def test_after_a_429_tokens_arrive_at_the_lowered_rate() -> None:
    bucket = TokenBucket(10, 1, 0.0)
    bucket.take(0.0)
    bucket.slow_down(0.0)
    assert bucket.ready_at(0.0) == pytest.approx(0.2)
    assert (bucket.rate(0.0), bucket.rate(-1.0)) == (5.0, 5.0)


def test_429s_a_second_apart_halve_the_rate_each_time() -> None:
    bucket = TokenBucket(8, 1, 0.0)
    for at in (0.0, 0.99, 1.0, 2.0):
        bucket.slow_down(at)
    assert bucket.rate(2.0) == 1.0


def test_a_rate_that_was_never_lowered_is_full() -> None:
    assert TokenBucket(10, 1, 0.0).rate(0.0) == 10.0
    assert TokenBucket(10, 1, 0.0).rate(5e6) == 10.0


def test_the_rate_recovers_from_the_moment_the_circuit_closes() -> None:
    bucket = TokenBucket(10, 20, 0.0)
    bucket.slow_down(0.0)
    bucket.hold(15.0)
    assert bucket.rate(15.0) == bucket.rate(900.0) == 6.0
    bucket.slow_down(100.0)  # a trial was answered 429 as well
    assert bucket.rate(900.0) == 3.0
    bucket.drain(900.0)
    assert [bucket.rate(at) for at in (900, 909, 910, 920, 971)] == [3, 3, 4, 5, 10]


def test_a_rate_that_was_never_lowered_is_full_when_the_circuit_closes() -> None:
    bucket = TokenBucket(10, 20, 0.0)
    bucket.hold(1.0)
    assert bucket.rate(2.0) == 10
    bucket.drain(3.0)
    assert (bucket.rate(3.0), bucket.slowed) == (10, False)


def test_tokens_arrive_at_the_present_rate_until_the_circuit_opens() -> None:
    bucket = TokenBucket(10, 20, 0.0)
    bucket.drain(0.0)
    bucket.slow_down(1.0)
    bucket.hold(2.0)
    assert bucket.tokens(2.0) == pytest.approx(15.0)


def test_the_rate_recovers_although_the_circuit_often_opens_for_a_moment() -> None:
    bucket = TokenBucket(10, 20, 0.0)
    bucket.slow_down(0.0)
    for second in range(1, 60):
        bucket.hold(second - 0.5)
        bucket.drain(second)  # half of the time it is open
    assert bucket.rate(60.0) == 8.0
