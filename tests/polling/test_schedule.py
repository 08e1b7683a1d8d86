"""The schedule: why each job is due, its last polls, and the waits that the upstream asked for."""

import math

import pytest
from fixed_time import FixedTime
from support import START

from exporter.core.pacing.next_poll import NextPoll, PollReason
from exporter.core.reply import Kind
from exporter.polling.schedule import KEPT_POLLS, Poll, Schedule


@pytest.fixture
def time() -> FixedTime:
    return FixedTime()


@pytest.fixture
def schedule(time: FixedTime) -> Schedule:
    return Schedule(time)


def poll(at: float) -> Poll:
    return Poll(at + 1000, Kind.OK, "200", 0.1)


def test_a_planned_job_is_due_after_its_wait_and_keeps_the_reason(
    time: FixedTime, schedule: Schedule
) -> None:
    schedule.plan("a", NextPoll(30.0, PollReason.RECHECK), 5.0)
    time.passed = 15.0
    assert (schedule.due_in("a"), schedule.reason("a")) == (20.0, PollReason.RECHECK)
    assert schedule.oldest_due() == 1035.0
    time.passed = 40.0
    assert schedule.due_in("a") == 0.0  # overdue
    assert schedule.oldest_due() == 1035.0


def test_an_unknown_job_is_never_due(schedule: Schedule) -> None:
    assert schedule.due_in("a") == math.inf
    assert schedule.oldest_due() is None
    assert schedule.reason("a") is PollReason.SCHEDULE
    assert schedule.cool_down("a") == 0.0
    assert schedule.polls("a") == ()


def test_a_new_plan_replaces_the_former_one(schedule: Schedule) -> None:
    schedule.plan("a", NextPoll(30.0, PollReason.SCHEDULE), 0.0)
    schedule.plan("a", NextPoll(3.0, PollReason.SUSPECTED), 0.0)
    assert (len(schedule), schedule.due_in("a")) == (1, 3.0)
    assert schedule.reason("a") is PollReason.SUSPECTED


def test_a_job_is_left_alone_until_the_time_that_the_upstream_named(
    time: FixedTime, schedule: Schedule
) -> None:
    schedule.hold("a", 10.0)
    time.passed = 4.0
    assert schedule.cool_down("a") == 6.0
    time.passed = 11.0
    assert schedule.cool_down("a") == 0.0


def test_the_last_polls_are_kept_oldest_first(schedule: Schedule) -> None:
    schedule.plan("a", NextPoll(1.0, PollReason.SCHEDULE), 0.0)
    made = [poll(float(at)) for at in range(KEPT_POLLS + 5)]
    for one in made:
        schedule.polled("a", one, one.time - 1000)
        assert schedule.last_poll("a") == (one, one.time - 1000)
    assert list(schedule.polls("a")) == made[-KEPT_POLLS:]


def test_all_polls_take_bytes_of_one_size(schedule: Schedule) -> None:
    """So that jobs with few polls and with many leave no unusable gaps in memory."""
    schedule.plan("a", NextPoll(1.0, PollReason.SCHEDULE), 0.0)
    sizes = set()
    for at in range(KEPT_POLLS + 5):
        schedule.polled("a", poll(float(at)), float(at))
        plan = schedule._plans["a"]
        sizes |= {len(plan.recent), len(plan.older)}
    assert len(sizes) == 1


def test_the_polls_of_jobs_with_other_results_are_not_mixed_up(schedule: Schedule) -> None:
    results = [
        (Kind.OK, "200", ""),
        (Kind.TRANSPORT, "connection", "dns"),
        (Kind.TRANSPORT, "connection", "reset"),
        (Kind.UNREADABLE, "invalid_body", ""),
        (Kind.OK, "200", ""),
    ]
    made: dict[str, list[Poll]] = {"a": [], "b": []}
    for at, (kind, code, reason) in enumerate([*results, *reversed(results)]):
        name = "ab"[at % 2]
        schedule.plan(name, NextPoll(1.0, PollReason.SCHEDULE), 0.0)
        made[name].append(Poll(START + at / 3, kind, code, round(at / 9, 6), reason))
        schedule.polled(name, made[name][-1], at / 7)
    assert {name: list(schedule.polls(name)) for name in made} == made


def test_polls_of_a_job_that_is_not_in_the_schedule_are_not_kept(schedule: Schedule) -> None:
    schedule.polled("a", poll(1.0), 1.0)
    assert (schedule.polls("a"), schedule.last_poll("a")) == ((), None)


def test_a_removed_job_keeps_its_polls_and_a_forgotten_one_keeps_nothing(
    schedule: Schedule,
) -> None:
    schedule.plan("a", NextPoll(1.0, PollReason.RECHECK), 0.0)
    schedule.hold("a", 10.0)
    schedule.polled("a", poll(1.0), 1.0)
    schedule.remove("a")
    assert (schedule.due_in("a"), len(schedule.polls("a"))) == (math.inf, 1)
    schedule.forget("a")
    assert (schedule.polls("a"), schedule.cool_down("a")) == ((), 0.0)
    assert schedule.reason("a") is PollReason.SCHEDULE
