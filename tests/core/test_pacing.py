"""When to poll: intervals, the queue of due times, the rate limit, and whose turn it is."""

import math
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import START, Polling, answered, error, job, now, ok, timeout

from exporter.core.health.health import Circuit, Probe
from exporter.core.job import Job, JobState
from exporter.core.observation import observe
from exporter.core.pacing import (
    DueQueue,
    NextPoll,
    PollReason,
    Turn,
    interval,
    next_poll,
    next_turn,
)
from exporter.core.rate_limit import TokenBucket
from exporter.core.reply import Reply

RULES = Polling()
SPAN = (3, 30.0)


class Fixed:
    """Chance that always says the same."""

    def __init__(self, value: float) -> None:
        self.value = value

    def random(self) -> float:
        return self.value


def plan(subject: Job, reply: Reply | None, seconds: float, chance: float = 0.0) -> NextPoll:
    planned = next_poll(subject, reply, now(seconds), RULES, SPAN, Fixed(chance))
    assert planned is not None
    return planned


def test_a_new_job_is_polled_at_once() -> None:
    assert plan(job(), None, 0) == NextPoll(0.0, PollReason.SCHEDULE)


def test_a_loaded_job_that_is_overdue_is_spread_over_its_interval() -> None:
    loaded = answered(last_progress_at=START)
    assert plan(loaded, None, 400, chance=0.5).delay == pytest.approx(20.0)


def test_a_loaded_job_that_was_just_asked_about_waits_for_the_rest_of_its_interval() -> None:
    loaded = replace(answered(last_progress_at=START), last_polled_at=START + 390)
    assert plan(loaded, None, 400, chance=0.0).delay == pytest.approx(30.0)
    assert plan(loaded, None, 400, chance=0.5).delay == pytest.approx(32.0)
    assert plan(loaded, None, 433, chance=0.0).delay == pytest.approx(0.3)


def test_the_interval_grows_with_age_and_stays_within_its_limits() -> None:
    waits = [interval(answered(), now(age), RULES) for age in (0, 10, 20, 100, 300, 6000)]
    assert waits == [2.0, 2.0, 2.0, 10.0, 30.0, 60.0]


def test_the_interval_shrinks_when_the_job_moves() -> None:
    still = interval(answered(last_progress_at=START), now(400), RULES)
    moved = interval(answered(last_progress_at=START + 396), now(400), RULES)
    assert (still, moved) == (40.0, 4.0)


@given(st.floats(0, 1e6), st.floats(0, 1), st.floats(0, 1, exclude_max=True))
def test_a_wait_is_within_the_limits_and_a_tenth_of_jitter(
    age: float, moved: float, chance: float
) -> None:
    subject = answered(last_progress_at=START + age * moved)
    delay = plan(subject, ok(), age, chance).delay
    assert RULES.min_interval <= delay <= RULES.max_interval * 1.1


def test_setbacks_put_a_job_off_ever_longer() -> None:
    waits = []
    subject = answered()
    for _ in range(7):
        subject, _ = observe(subject, timeout(), now(0))
        waits.append(plan(subject, timeout(), 0).delay)
    assert waits == [4, 8, 16, 32, 60, 60, 60]


def test_a_suspected_job_is_asked_soon_at_first_then_in_time_for_its_verdict() -> None:
    subject, waits = answered(last_progress_at=START - 5000), []
    for seconds in range(5):
        subject, _ = observe(subject, error(500), now(seconds))
        planned = plan(subject, error(500), 0)
        waits.append(planned.delay)
        assert planned.reason is PollReason.SUSPECTED
    assert waits == [4, 8, 15, 15, 15]


def test_retry_after_is_a_hint_to_a_limit_and_never_hastens() -> None:
    late = plan(answered(), error(503, Retry_After="45"), 0)
    assert late == NextPoll(45.0, PollReason.RETRY_AFTER)
    capped = plan(answered(), error(503, Retry_After="100000"), 0)
    assert capped == NextPoll(300.0, PollReason.RETRY_AFTER)
    assert plan(answered(), error(418, Retry_After="1"), 0).reason is PollReason.SCHEDULE


@pytest.mark.parametrize("state", [JobState.DONE, JobState.INVALID])
def test_what_is_certain_is_not_asked_again(state: JobState) -> None:
    subject = answered(state=state, finished_at=START)
    assert next_poll(subject, ok(), now(0), RULES, SPAN, Fixed(0)) is None


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.NOT_FOUND, JobState.EXPIRED])
def test_an_inference_is_asked_again_after_1m_10m_and_1h_and_then_no_more(
    state: JobState,
) -> None:
    dues = []
    for done in range(3):
        subject = answered(state=state, finished_at=START, rechecks=done)
        planned = plan(subject, ok(), 5)
        assert planned.reason is PollReason.RECHECK
        dues.append(5 + planned.delay)
    assert dues == [60.0, 600.0, 3600.0]
    subject = answered(state=state, finished_at=START, rechecks=3)
    assert next_poll(subject, ok(), now(0), RULES, SPAN, Fixed(0)) is None


def test_a_recheck_overdue_is_made_at_once_unless_it_just_failed() -> None:
    subject = answered(state=JobState.FAILED, finished_at=START)
    assert plan(subject, None, 5000).delay == 0.0
    unheard, _ = observe(subject, timeout(), now(5000))
    assert plan(unheard, timeout(), 5000).delay == 4.0


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["schedule", "remove", "pop"]),
        st.sampled_from("abcdefgh"),
        st.integers(0, 50),
    ),
    max_size=300,
)


@settings(max_examples=150)
@given(OPERATIONS)
def test_the_most_overdue_job_is_always_next(operations: list[tuple[str, str, int]]) -> None:
    queue, model = DueQueue(), dict[str, int]()
    for operation, name, due in operations:
        if operation == "schedule":
            queue.schedule(name, due, 4.0)
            model[name] = due
        elif operation == "remove":
            queue.remove(name)
            model.pop(name, None)
        elif model:
            popped, at = queue.pop()
            assert (at, popped) == min((value, key) for key, value in model.items())
            del model[popped]
        assert queue.next_due() == min(model.values(), default=None)
        assert len(queue) == len(model)
        assert queue.due_of(name) == model.get(name)
        assert queue.demand == pytest.approx(len(model) / 4)


def test_of_the_lowest_rank_the_most_overdue_is_next() -> None:
    queue = DueQueue()
    for due, name in enumerate(("a", "b", "c", "d")):
        queue.schedule(name, float(due), 1.0)
    ranks = {"a": 2, "b": 1, "c": 0, "d": 0}
    taken = [queue.pop_lowest(ranks.__getitem__, below=2) for _ in range(4)]
    assert taken == [("c", 2.0), ("d", 3.0), ("b", 1.0), None]
    assert queue.pop() == ("a", 0.0)
    assert queue.pop_lowest(ranks.__getitem__, below=2) is None


def test_an_empty_queue_has_nothing_to_give() -> None:
    with pytest.raises(IndexError, match="no job is queued"):
        DueQueue().pop()


def test_the_jobs_that_are_due_are_counted() -> None:
    queue = DueQueue()
    for name, due in (("a", 1.0), ("b", 2.0), ("c", 3.0)):
        queue.schedule(name, due, 0.0)
    queue.schedule("a", 5.0, 0.0)
    assert [queue.overdue(now) for now in (0.0, 2.0, 5.0)] == [0, 1, 3]


def test_moving_a_job_often_does_not_grow_the_queue() -> None:
    queue = DueQueue()
    for due in range(1000):
        queue.schedule("a", float(due), 0.0)
    assert len(queue._heap) <= 66
    assert queue.demand == 1.0


@settings(max_examples=150)
@given(st.floats(0.5, 50), st.integers(1, 30), st.lists(st.floats(0, 3), max_size=80))
def test_no_window_sees_more_than_burst_plus_rate(
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


def test_a_drained_bucket_gives_no_burst() -> None:
    bucket = TokenBucket(10, 20, 0.0)
    bucket.drain(5.0)
    assert bucket.ready_at(5.0) == pytest.approx(5.1)


def test_a_429_halves_the_rate_once_a_second_and_it_comes_back_by_steps() -> None:
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


def test_new_limits_keep_no_more_than_they_admit() -> None:
    bucket = TokenBucket(10, 20, 0.0)
    bucket.set_limits(1, 2, 0.0)
    assert bucket.tokens(0.0) == 2
    for _ in range(2):
        bucket.take(0.0)
    assert bucket.ready_at(0.0) == 1.0


OPEN = Circuit(True)


@pytest.mark.parametrize(
    ("changes", "turn"),
    [
        ({}, (Turn.WAIT, math.inf)),
        ({"next_due": 10.0}, (Turn.POLL, 10.0)),
        ({"next_due": 3.0}, (Turn.POLL, 10.0)),
        ({"next_due": 12.0}, (Turn.WAIT, 12.0)),
        ({"next_due": 10.0, "control_at": 10.0}, (Turn.CONTROL, 10.0)),
        ({"next_due": 10.0, "control_at": 11.0}, (Turn.POLL, 10.0)),
        ({"next_due": 12.0, "control_at": 12.0}, (Turn.WAIT, 12.0)),
        ({"next_due": 3.0, "token_at": 11.0}, (Turn.WAIT, 11.0)),
        ({"next_due": 3.0, "in_flight": 4}, (Turn.WAIT, math.inf)),
        ({"next_due": 3.0, "in_flight": 3}, (Turn.POLL, 10.0)),
        ({"next_due": 3.0, "asks": 1}, (Turn.ASK, 10.0)),
        ({"asks": 1, "token_at": 11.0}, (Turn.WAIT, 11.0)),
        ({"next_due": 3.0, "asks": 1, "asked_before": True}, (Turn.POLL, 10.0)),
        ({"next_due": 12.0, "asks": 1, "asked_before": True}, (Turn.ASK, 10.0)),
        ({"next_due": 10.0, "asks": 1, "asked_before": True}, (Turn.POLL, 10.0)),
        ({"last_asks": 1}, (Turn.ASK_LAST, 10.0)),
        ({"last_asks": 1, "spare_token_at": 11.0}, (Turn.WAIT, 11.0)),
        ({"last_asks": 1, "spare_token_at": 11.0, "next_due": 10.5}, (Turn.WAIT, 10.5)),
        ({"last_asks": 1, "spare_token_at": 11.0, "control_at": 10.5}, (Turn.WAIT, 10.5)),
        ({"last_asks": 1, "spare_token_at": 11.0, "next_due": 12.0}, (Turn.WAIT, 11.0)),
        ({"last_asks": 1, "spare_token_at": 11.0, "next_due": 10.0}, (Turn.POLL, 10.0)),
        ({"last_asks": 1, "spare_token_at": 11.0, "asks": 1}, (Turn.ASK, 10.0)),
        ({"last_asks": 1, "in_flight": 2}, (Turn.ASK_LAST, 10.0)),
        ({"last_asks": 1, "in_flight": 3}, (Turn.WAIT, math.inf)),  # it leaves a slot
        ({"last_asks": 1, "in_flight": 3, "next_due": 12.0}, (Turn.WAIT, 12.0)),
        ({"last_asks": 1, "concurrency": 1}, (Turn.ASK_LAST, 10.0)),
        ({"last_asks": 1, "concurrency": 2, "in_flight": 1}, (Turn.WAIT, math.inf)),
        ({"last_asks": 1, "next_due": 12.0}, (Turn.ASK_LAST, 10.0)),
        ({"last_asks": 1, "next_due": 10.0}, (Turn.POLL, 10.0)),
        ({"last_asks": 1, "asks": 1}, (Turn.ASK, 10.0)),
        ({"last_asks": 1, "control_at": 10.0}, (Turn.CONTROL, 10.0)),
        ({"last_asks": 1, "control_at": 11.0}, (Turn.ASK_LAST, 10.0)),
        ({"last_asks": 1, "circuit": Circuit(False, 15.0, Probe.CONTROL)}, (Turn.WAIT, 15.0)),
        ({"circuit": Circuit(False, 9.0, Probe.CONTROL)}, (Turn.CONTROL, 10.0)),
        ({"circuit": Circuit(False, 15.0, Probe.CONTROL), "asks": 1}, (Turn.WAIT, 15.0)),
        ({"circuit": Circuit(False, 9.0, Probe.CONTROL), "in_flight": 1}, (Turn.WAIT, math.inf)),
        # No job is to be asked.
        ({"circuit": Circuit(False, 9.0, Probe.POLL)}, (Turn.CONTROL, 10.0)),
        ({"circuit": Circuit(False, 9.0, Probe.POLL), "in_flight": 1}, (Turn.WAIT, math.inf)),
        ({"circuit": Circuit(False, 9.0, Probe.POLL), "next_due": 50.0}, (Turn.POLL, 10.0)),
        ({"circuit": Circuit(False, 19.0, Probe.POLL), "next_due": 5.0}, (Turn.WAIT, 19.0)),
    ],
)
def test_whose_turn_it_is(changes: dict[str, Any], turn: tuple[Turn, float]) -> None:
    state: dict[str, Any] = {
        "circuit": OPEN,
        "asks": 0,
        "last_asks": 0,
        "asked_before": False,
        "control_at": float("inf"),
        "next_due": None,
        "token_at": 10.0,
        "spare_token_at": 10.0,
        "in_flight": 0,
        "concurrency": 4,
    }
    assert next_turn(10.0, **(state | changes)) == turn


def test_jitter_comes_from_the_generator_that_is_handed_in() -> None:
    delays = {
        next_poll(answered(), ok(), now(400), RULES, SPAN, random.Random(7)) for _ in range(3)
    }
    assert len(delays) == 1


def test_a_loaded_job_is_on_schedule_and_spread_even_when_it_was_never_polled() -> None:
    assert plan(answered(), None, 400, chance=0.5).reason is PollReason.SCHEDULE
    never = job()
    assert plan(never, timeout(), 0).delay == 2.0  # polled, and not heard: no poll at once


def test_a_job_of_no_age_is_as_old_as_it_is() -> None:
    assert interval(answered(), now(-5), RULES) == RULES.min_interval
    eager = Polling(min_interval=0.001)
    assert interval(answered(last_progress_at=START + 1), now(1.5), eager) == pytest.approx(
        0.1 * math.sqrt(1.5 * 0.5)
    )
    assert interval(answered(last_progress_at=START + 0.9), now(1.0), eager) == pytest.approx(
        0.1 * math.sqrt(0.1)
    )
    assert interval(answered(), now(0.25), eager) == pytest.approx(0.025)


def test_a_verdict_that_takes_one_answer_is_awaited_as_long_as_it_takes() -> None:
    subject, _ = observe(answered(), error(500), now(0))
    one = next_poll(subject, error(500), now(0), RULES, (1, 3.0), Fixed(0))
    two = next_poll(subject, error(500), now(0), RULES, (2, 3.0), Fixed(0))
    assert one is not None
    assert two is not None
    assert (one.delay, two.delay) == (3.0, 3.0)


def test_a_hint_by_date_counts_from_now() -> None:
    date = error(503, Retry_After="Fri, 15 Jan 2027 08:00:40 GMT")  # START + 40
    assert plan(answered(), date, 10) == NextPoll(30.0, PollReason.RETRY_AFTER)


def test_a_hint_as_long_as_the_wait_changes_nothing() -> None:
    assert plan(answered(), error(418, Retry_After="2"), 0).reason is PollReason.SCHEDULE


def test_rechecks_are_put_off_for_setbacks_and_jittered_later() -> None:
    subject = answered(state=JobState.FAILED, finished_at=START, rechecks=0, setbacks=3)
    assert plan(subject, timeout(), 5000).delay == 16.0
    assert plan(subject, timeout(), 5000, chance=0.5).delay == pytest.approx(16.8)
    calm = answered(state=JobState.FAILED, finished_at=START)
    assert plan(calm, ok(), 0, chance=0.5).delay == pytest.approx(63.0)


def test_what_has_moved_is_thrown_out_of_the_queue_once_it_is_most_of_it() -> None:
    queue, sizes = DueQueue(), []
    for name in "abc":
        queue.schedule(name, 0.0, 1.0)
    for due in range(1, 200):
        queue.schedule("a", float(due), 1.0)
        sizes.append(len(queue._heap))
    assert max(sizes) == 2 * 3 + 64
    assert sizes.count(3) == 2  # thrown out twice, and not at every move
    assert [queue.pop()[0] for _ in range(3)] == ["b", "c", "a"]


def test_a_token_is_spent_to_the_last_one_and_a_part_of_one_waits() -> None:
    bucket = TokenBucket(10, 2, 0.0)
    bucket.take(0.0)
    assert bucket.ready_at(0.0) == 0.0
    bucket.take(0.0)
    assert bucket.ready_at(0.0) == pytest.approx(0.1)
    assert bucket.ready_at(0.05) == pytest.approx(0.1)


def test_a_token_to_spare_is_waited_for_however_small_the_burst() -> None:
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


def test_after_a_429_a_token_takes_as_long_as_the_lowered_rate_says() -> None:
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


def test_a_rate_that_was_never_lowered_is_whole() -> None:
    assert TokenBucket(10, 1, 0.0).rate(0.0) == 10.0
    assert TokenBucket(10, 1, 0.0).rate(5e6) == 10.0


def test_a_job_polled_in_the_future_of_a_clock_set_right_waits_one_interval_at_most() -> None:
    loaded = replace(answered(last_progress_at=START + 90_000), last_polled_at=START + 90_000)
    assert plan(loaded, None, 400, chance=0.5).delay == pytest.approx(2.1)
    older = replace(answered(last_progress_at=START), last_polled_at=START + 90_000)
    assert plan(older, None, 400, chance=0.5).delay == pytest.approx(42.0)


def test_a_job_that_ended_in_the_future_of_a_clock_set_right_is_checked_after_its_wait() -> None:
    ended = answered(state=JobState.FAILED, finished_at=START + 90_000, rechecks=1)
    assert plan(ended, None, 0).delay == 600.0


def test_the_rate_recovers_from_the_moment_the_gate_opens() -> None:
    bucket = TokenBucket(10, 20, 0.0)
    bucket.slow_down(0.0)
    bucket.hold(15.0)
    assert bucket.rate(15.0) == bucket.rate(900.0) == 6.0
    bucket.slow_down(100.0)  # a trial was answered 429 as well
    assert bucket.rate(900.0) == 3.0
    bucket.drain(900.0)
    assert [bucket.rate(at) for at in (900, 909, 910, 920, 971)] == [3, 3, 4, 5, 10]


def test_a_rate_that_was_never_lowered_is_whole_when_the_gate_opens() -> None:
    bucket = TokenBucket(10, 20, 0.0)
    bucket.hold(1.0)
    assert bucket.rate(2.0) == 10
    bucket.drain(3.0)
    assert (bucket.rate(3.0), bucket.slowed) == (10, False)


def test_what_is_saved_before_the_gate_closes_is_saved_at_the_rate_of_then() -> None:
    bucket = TokenBucket(10, 20, 0.0)
    bucket.drain(0.0)
    bucket.slow_down(1.0)
    bucket.hold(2.0)
    assert bucket.tokens(2.0) == pytest.approx(15.0)


def test_however_often_the_gate_closes_for_a_moment_the_rate_recovers_all_the_same() -> None:
    bucket = TokenBucket(10, 20, 0.0)
    bucket.slow_down(0.0)
    for second in range(1, 60):
        bucket.hold(second - 0.5)
        bucket.drain(second)  # half of the time it is open
    assert bucket.rate(60.0) == 8.0
