"""When a job is polled next, after each kind of answer."""

import math
import random
from dataclasses import replace

import pytest
from fixed_time import FixedTime
from support import START, Judgement, Polling, PollingConfig, answered, error, job, now, ok

from exporter.core.events import Now
from exporter.core.health.health import Health
from exporter.core.job import Job, JobState, Suspicion
from exporter.core.pacing.next_poll import PollReason
from exporter.core.reply import Kind, unasked
from exporter.polling.pace import Pace
from exporter.polling.planner import Planner
from exporter.polling.schedule import Schedule


class Plans:
    """A planner with its jobs and its time; `at` is in seconds since the test's beginning."""

    def __init__(self) -> None:
        self.config = PollingConfig(polling=Polling(min_interval=2.0))
        self.jobs: dict[str, Job] = {}
        self.time = FixedTime(steady=now(0).steady, since_1970=START)
        health = Health(Judgement(), Polling(), steady=now(0).steady)
        self.schedule, self.pace = Schedule(self.time), Pace()
        self.planner = Planner(
            self.jobs,
            self.schedule,
            self.pace,
            health,
            lambda: self.config,
            self.now,
            random.Random(1),
        )

    def now(self) -> Now:
        return now(self.time.passed)

    def put(self, *jobs: Job) -> None:
        self.jobs.update({one.job_id: one for one in jobs})


@pytest.fixture
def plans() -> Plans:
    return Plans()


def suspected(job_id: str) -> Job:
    return answered(job_id, suspicion=Suspicion(Kind.SERVER_ERROR, 2, 0.0, 5.0, 500))


def test_a_new_job_is_due_at_once(plans: Plans) -> None:
    plans.put(job("a"))
    plans.planner.plan("a")
    assert (plans.schedule.due_in("a"), plans.schedule.reason("a")) == (0.0, PollReason.SCHEDULE)


def test_an_answered_job_waits_within_the_bounds_of_the_config(plans: Plans) -> None:
    plans.put(answered("a"))
    plans.planner.plan("a", ok())
    assert 2.0 <= plans.schedule.due_in("a") <= 60.0 * 1.1


def test_a_job_that_has_ended_for_good_is_not_polled(plans: Plans) -> None:
    plans.put(answered("a"))
    plans.planner.plan("a", ok())
    plans.put(answered("a", state=JobState.DONE, finished_at=START))
    plans.planner.plan("a", ok("done"))
    assert plans.schedule.due_in("a") == math.inf


def test_an_inferred_end_is_checked_again(plans: Plans) -> None:
    plans.put(answered("a", state=JobState.FAILED, finished_at=START))
    plans.planner.plan("a", error(500))
    assert plans.schedule.reason("a") is PollReason.RECHECK
    assert 60.0 <= plans.schedule.due_in("a") <= 66.0


def test_a_job_that_is_not_in_memory_is_forgotten(plans: Plans) -> None:
    plans.put(answered("a"))
    plans.planner.plan("a", ok())
    plans.jobs.clear()
    plans.planner.plan("a", ok())
    assert (len(plans.schedule), plans.schedule.due_in("a")) == (0, math.inf)


def test_the_wait_that_an_answer_asks_for_is_kept_up_to_a_limit(plans: Plans) -> None:
    plans.put(answered("a"), answered("b"))
    plans.planner.plan("a", error(500, Retry_After="200"))
    plans.planner.plan("b", error(500, Retry_After="9000"))
    assert plans.schedule.cool_down("a") == pytest.approx(200.0)
    assert plans.schedule.cool_down("b") == 300.0  # `polling.max_retry_after`
    plans.planner.plan("a", ok())
    assert plans.schedule.cool_down("a") == 0.0


def test_a_job_that_could_not_be_asked_about_is_as_late_as_before(plans: Plans) -> None:
    plans.put(answered("a"))
    due = plans.now().steady
    plans.time.passed = 30.0
    plans.planner.plan("a", unasked("not_asked"), due)
    assert plans.schedule.due_of("a") == due


def test_a_request_out_of_turn_does_not_delay_the_answers_that_a_verdict_needs(
    plans: Plans,
) -> None:
    plans.put(suspected("a"), answered("b"))
    soon = plans.now().steady + 0.5
    for job_id in "ab":
        plans.planner.plan(job_id, error(500), soon)
    assert plans.schedule.due_of("a") == soon
    later = plans.schedule.due_of("b")
    assert later is not None
    assert later > soon


def test_a_request_out_of_turn_may_bring_the_next_answer_forward(plans: Plans) -> None:
    plans.put(suspected("a"))
    far = plans.now().steady + 1000.0
    plans.planner.plan("a", error(500), far)
    assert plans.schedule.due_in("a") < 60.0
    assert plans.schedule.reason("a") is PollReason.SUSPECTED


def test_weak_verdicts_of_a_mode_are_checked_once_it_is_served(plans: Plans) -> None:
    weak = answered("weak", state=JobState.FAILED, finished_at=START, weakly_failed=True)
    weak = replace(weak, mode="params")
    strong = replace(weak, job_id="strong", weakly_failed=False)
    plans.put(weak, strong)
    for one in (weak, strong):
        plans.planner.note(one)
        plans.planner.plan(one.job_id, error(500))
    plans.planner.check_weak_verdicts("clipping")
    assert plans.schedule.due_in("weak") > 0
    plans.planner.check_weak_verdicts("params")
    assert (plans.schedule.due_in("weak"), plans.schedule.reason("weak")) == (
        0.0,
        PollReason.SCHEDULE,
    )
    assert plans.schedule.due_in("strong") > 0


def test_a_weak_verdict_that_is_being_checked_is_left_alone(plans: Plans) -> None:
    weak = answered("weak", state=JobState.FAILED, finished_at=START, weakly_failed=True)
    plans.put(weak)
    plans.planner.note(weak)
    plans.planner.check_weak_verdicts(weak.mode)
    assert plans.schedule.due_in("weak") == math.inf
