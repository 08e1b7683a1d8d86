"""The wait until a job's next poll."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import START, Polling, answered, error, job, now, ok, timeout

from exporter.core.job import Job, JobState
from exporter.core.observation import observe
from exporter.core.pacing.next_poll import Limit, NextPoll, PollReason, bounded, next_poll
from exporter.core.reply import Reply

RULES = Polling(min_interval=2.0)
SPAN = (3, 30.0)


class Fixed:
    """Chance that always says the same."""

    def __init__(self, value: float) -> None:
        self.value = value

    def random(self) -> float:
        return self.value


def plan(
    subject: Job, reply: Reply | None, seconds: float, chance: float = 0.0, wait: float = 10.0
) -> NextPoll:
    planned = next_poll(subject, reply, now(seconds), RULES, SPAN, wait, Fixed(chance))
    assert planned is not None
    return planned


def test_a_new_job_is_polled_at_once() -> None:
    assert plan(job(), None, 0) == NextPoll(0.0, PollReason.SCHEDULE)


def test_loaded_jobs_that_are_overdue_are_spread_over_one_wait() -> None:
    assert plan(answered(), None, 400, chance=0.5, wait=40.0).delay == pytest.approx(20.0)


def test_a_loaded_job_that_was_polled_lately_waits_for_the_rest_of_its_wait() -> None:
    loaded = replace(answered(), last_polled_at=START + 390)
    assert plan(loaded, None, 400, chance=0.0, wait=40.0).delay == pytest.approx(30.0)
    assert plan(loaded, None, 400, chance=0.5, wait=40.0).delay == pytest.approx(32.0)
    assert plan(loaded, None, 429, chance=0.0, wait=40.0).delay == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("wait", "age", "bounded_wait", "limit"),
    [
        (10.0, 0, 10.0, None),
        (15.0, 0, 15.0, None),
        (60.0, 1000, 60.0, None),
        (2.0, 0, 2.0, None),
        (15.1, 0, 15.0, Limit.FRESHNESS),
        (15.1, 75, 15.0, Limit.FRESHNESS),
        (15.1, 75.4, 15.08, Limit.FRESHNESS),
        (40.0, 100, 20.0, Limit.FRESHNESS),
        (90.0, 200, 40.0, Limit.FRESHNESS),
        (90.0, 1000, 60.0, Limit.MOST),
        (0.1, 1000, 2.0, Limit.LEAST),
        (90.0, -50, 15.0, Limit.FRESHNESS),
    ],
)
def test_a_wait_is_bounded_so_that_the_progress_shown_is_fresh(
    wait: float, age: float, bounded_wait: float, limit: Limit | None
) -> None:
    found, decided_by = bounded(wait, job(), now(age), RULES)
    assert found == pytest.approx(bounded_wait)
    assert decided_by is limit


def test_progress_may_be_as_old_as_the_longest_interval_when_its_bound_is_off() -> None:
    without = Polling(progress_max_age=0.0)
    assert bounded(50.0, job(), now(0), without) == (50.0, None)
    assert bounded(70.0, job(), now(0), without) == (60.0, Limit.MOST)
    tiny = Polling(min_interval=0.05, progress_max_age=0.1)
    assert bounded(50.0, job(), now(0), tiny) == (0.1, Limit.FRESHNESS)
    small = Polling(min_interval=2.0, progress_max_age=0.5)
    assert bounded(50.0, job(), now(1), small) == (2.0, Limit.LEAST)


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1, exclude_max=True))
def test_a_wait_is_within_the_limits_and_a_tenth_of_jitter(
    age: float, wait: float, chance: float
) -> None:
    delay = plan(answered(), ok(), age, chance, wait).delay
    assert RULES.min_interval <= delay <= RULES.max_interval * 1.1


def test_a_plan_says_which_limit_decided_the_wait() -> None:
    assert plan(answered(), ok(), 0, wait=10.0).limit is None
    assert plan(answered(), ok(), 0, wait=40.0).limit is Limit.FRESHNESS
    loaded = replace(answered(), last_polled_at=START + 390)
    assert plan(loaded, None, 400, wait=90.0).limit is Limit.MOST
    setback, _ = observe(answered(), timeout(), now(0))
    assert plan(setback, timeout(), 0, wait=3.0).limit is Limit.SETBACKS
    assert plan(setback, timeout(), 0, wait=4.0).limit is None
    suspected, _ = observe(answered(), error(500), now(0))
    assert plan(suspected, error(500), 0, wait=40.0).limit is None


def test_each_setback_makes_the_wait_longer() -> None:
    waits = []
    subject = answered()
    for _ in range(7):
        subject, _ = observe(subject, timeout(), now(0))
        waits.append(plan(subject, timeout(), 0, wait=2.0).delay)
    assert waits == [4, 8, 16, 32, 60, 60, 60]


def test_a_suspected_job_is_polled_soon_at_first_then_in_time_for_its_verdict() -> None:
    subject, waits = answered(last_progress_at=START - 5000), []
    for seconds in range(5):
        subject, _ = observe(subject, error(500), now(seconds))
        planned = plan(subject, error(500), 0)
        waits.append(planned.delay)
        assert planned.reason is PollReason.SUSPECTED
    assert waits == [4, 8, 15, 15, 15]


def test_retry_after_is_heeded_up_to_a_limit_and_never_shortens_a_wait() -> None:
    late = plan(answered(), error(503, Retry_After="45"), 0)
    assert late == NextPoll(45.0, PollReason.RETRY_AFTER)
    capped = plan(answered(), error(503, Retry_After="100000"), 0)
    assert capped == NextPoll(300.0, PollReason.RETRY_AFTER)
    assert plan(answered(), error(418, Retry_After="1"), 0).reason is PollReason.SCHEDULE


@pytest.mark.parametrize("state", [JobState.DONE, JobState.INVALID])
def test_a_certain_end_is_not_asked_about_again(state: JobState) -> None:
    subject = answered(state=state, finished_at=START)
    assert next_poll(subject, ok(), now(0), RULES, SPAN, 10.0, Fixed(0)) is None


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.NOT_FOUND, JobState.EXPIRED])
def test_an_inferred_end_is_rechecked_at_each_time_and_then_no_more(
    state: JobState,
) -> None:
    dues = []
    for done in range(8):
        subject = answered(state=state, finished_at=START, rechecks=done)
        planned = plan(subject, ok(), 5)
        assert planned.reason is PollReason.RECHECK
        dues.append(5 + planned.delay)
    assert dues == [60.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0, 57600.0]
    subject = answered(state=state, finished_at=START, rechecks=8)
    assert next_poll(subject, ok(), now(0), RULES, SPAN, 10.0, Fixed(0)) is None


def test_an_overdue_recheck_is_made_at_once_unless_it_just_failed() -> None:
    subject = answered(state=JobState.FAILED, finished_at=START)
    assert plan(subject, None, 5000).delay == 0.0
    unheard, _ = observe(subject, timeout(), now(5000))
    assert plan(unheard, timeout(), 5000).delay == 4.0


def test_jitter_comes_from_the_given_generator() -> None:
    delays = {
        next_poll(answered(), ok(), now(400), RULES, SPAN, 10.0, random.Random(7)) for _ in range(3)
    }
    assert len(delays) == 1


def test_a_loaded_job_that_was_never_polled_is_polled_at_once_and_then_on_schedule() -> None:
    assert plan(answered(), None, 400, chance=0.5).reason is PollReason.SCHEDULE
    assert plan(job(), timeout(), 0, wait=2.0).delay == 2.0


def test_a_verdict_of_one_answer_waits_for_the_whole_time() -> None:
    subject, _ = observe(answered(), error(500), now(0))
    one = next_poll(subject, error(500), now(0), RULES, (1, 3.0), 10.0, Fixed(0))
    two = next_poll(subject, error(500), now(0), RULES, (2, 3.0), 10.0, Fixed(0))
    assert one is not None
    assert two is not None
    assert (one.delay, two.delay) == (3.0, 3.0)


def test_a_hint_by_date_counts_from_now() -> None:
    date = error(503, Retry_After="Fri, 15 Jan 2027 08:00:40 GMT")  # START + 40
    assert plan(answered(), date, 10) == NextPoll(30.0, PollReason.RETRY_AFTER)


def test_a_hint_as_long_as_the_wait_changes_nothing() -> None:
    assert plan(answered(), error(418, Retry_After="2"), 0, wait=2.0).reason is PollReason.SCHEDULE


def test_rechecks_are_put_off_for_setbacks_and_jittered_later() -> None:
    subject = answered(state=JobState.FAILED, finished_at=START, rechecks=0, setbacks=3)
    assert plan(subject, timeout(), 5000).delay == 16.0
    assert plan(subject, timeout(), 5000, chance=0.5).delay == pytest.approx(16.8)
    calm = answered(state=JobState.FAILED, finished_at=START)
    assert plan(calm, ok(), 0, chance=0.5).delay == pytest.approx(63.0)


def test_a_job_polled_in_the_future_of_a_clock_set_right_waits_one_wait_at_most() -> None:
    loaded = replace(answered(), last_polled_at=START + 90_000)
    assert plan(loaded, None, 400, chance=0.5, wait=40.0).delay == pytest.approx(42.0)


def test_a_job_that_ended_in_the_future_of_a_clock_set_right_is_checked_after_its_wait() -> None:
    ended = answered(state=JobState.FAILED, finished_at=START + 90_000, rechecks=1)
    assert plan(ended, None, 0).delay == 600.0
