"""Which answers are learned from, and what is known of a pending job."""

from dataclasses import replace
from typing import Any

import pytest
from support import START, answered, error, now, ok, timeout

from exporter.core.job import Job, JobState
from exporter.core.pacing.next_poll import NextPoll, PollReason
from exporter.core.reply import Reply
from exporter.polling.pace import Pace

ON_SCHEDULE = PollReason.SCHEDULE


def pending(**changes: Any) -> Job:
    return answered(mode="params", step="pending_compose", progress=50.0, **changes)


def ended(state: JobState = JobState.DONE, **changes: Any) -> Job:
    return replace(pending(), state=state, finished_at=START + 60, **changes)


def plan(pace: Pace, at: float, wait: float, reason: PollReason = ON_SCHEDULE) -> None:
    pace.planned(pending(), pace.forecast(pending(), now(at)), NextPoll(wait, reason))


@pytest.fixture
def pace() -> Pace:
    """A job was seen pending at 0 s and at 30 s, and is planned for 40 s."""
    made = Pace()
    made.answered(pending(), ok(), now(0))
    plan(made, 0, 30.0)
    made.answered(pending(), ok(), now(30))
    plan(made, 30, 10.0)
    return made


def ends_learned(pace: Pace) -> int:
    return pace.learner.all.law.samples


@pytest.mark.parametrize("state", [JobState.DONE, JobState.FAILED])
def test_an_end_is_learned_from_once(pace: Pace, state: JobState) -> None:
    pace.answered(ended(state), ok(), now(40.1))
    pace.answered(ended(state), ok(), now(41))
    assert ends_learned(pace) == 1
    law = pace.learner.modes["params"].law
    assert law.samples == 1
    assert law.lived == pytest.approx(30 + 10.1 / 2)
    assert pace._watched == {}


@pytest.mark.parametrize("state", [JobState.NOT_FOUND, JobState.INVALID, JobState.EXPIRED])
def test_a_verdict_of_ours_is_not_learned_from(pace: Pace, state: JobState) -> None:
    pace.answered(ended(state), ok(), now(40))
    assert ends_learned(pace) == 0
    assert pace._watched == {}


@pytest.mark.parametrize(("lost", "learned"), [(2.4, 1), (2.6, 0)])
def test_an_end_is_not_learned_from_after_the_upstream_was_unwell_for_a_quarter_of_the_wait(
    pace: Pace, lost: float, learned: int
) -> None:
    pace.answered(ended(), ok(), now(40 + lost, well=40))
    assert ends_learned(pace) == learned


@pytest.mark.parametrize(("lost", "learned"), [(1.9, 1), (2.1, 0)])
def test_the_upstream_may_be_unwell_for_two_seconds_however_short_the_wait(
    pace: Pace, lost: float, learned: int
) -> None:
    plan(pace, 30, 1.0)
    pace.answered(ended(), ok(), now(31 + lost, well=31))
    assert ends_learned(pace) == learned


def test_an_end_is_learned_from_however_late_the_rate_limit_let_its_poll_come(pace: Pace) -> None:
    pace.answered(ended(), ok(), now(90))
    assert ends_learned(pace) == 1
    assert pace.learner.modes["params"].law.lived == pytest.approx(30 + 60 / 2)


def test_an_outage_before_the_last_answer_disturbs_no_later_one(pace: Pace) -> None:
    pace.answered(pending(), ok(), now(90, well=31))
    plan(pace, 90, 10.0)
    pace.answered(ended(), ok(), now(100, well=41))
    assert ends_learned(pace) == 1


def test_an_end_seen_early_because_someone_asked_is_learned_from(pace: Pace) -> None:
    pace.answered(ended(), ok(), now(31))
    assert ends_learned(pace) == 1


@pytest.mark.parametrize("reply", [timeout(), error(500), error(429), error(418)])
def test_an_end_after_an_answer_that_was_not_good_is_not_learned_from(
    pace: Pace, reply: Reply
) -> None:
    pace.answered(pending(), reply, now(31))
    plan(pace, 31, 9.0)
    pace.answered(ended(), ok(), now(40))
    assert ends_learned(pace) == 0


@pytest.mark.parametrize("reason", [PollReason.RETRY_AFTER, PollReason.SUSPECTED])
def test_an_end_after_a_wait_that_was_not_the_schedules_is_not_learned_from(
    pace: Pace, reason: PollReason
) -> None:
    plan(pace, 30, 10.0, reason)
    pace.answered(ended(), ok(), now(40))
    assert ends_learned(pace) == 0


def test_after_a_disturbance_learning_goes_on_from_the_next_good_answer(pace: Pace) -> None:
    pace.answered(pending(), timeout(), now(31))
    pace.answered(pending(), ok(), now(50))
    plan(pace, 50, 10.0)
    pace.answered(ended(), ok(), now(60))
    assert ends_learned(pace) == 1
    assert pace.learner.modes["params"].law.lived == pytest.approx(30 + 5)


def test_a_pending_answer_after_an_outage_is_not_counted_but_learning_goes_on(pace: Pace) -> None:
    pace.answered(pending(), ok(), now(90, well=31))
    plan(pace, 90, 10.0)
    pace.answered(ended(), ok(), now(100, well=41))
    assert pace.learner.modes["params"].law.lived == pytest.approx(30 + 5)


def test_a_job_first_seen_ended_is_not_learned_from() -> None:
    pace = Pace()
    pace.answered(ended(), ok(), now(40))
    assert ends_learned(pace) == 0
    assert pace._watched == {}


def test_a_back_filled_job_counts_from_when_it_was_first_seen() -> None:
    pace = Pace()
    old = pending(registered_at=START - 600)
    pace.answered(old, ok(), now(0))
    pace.planned(old, pace.forecast(old, now(0)), NextPoll(10.0, ON_SCHEDULE))
    pace.answered(replace(old, state=JobState.DONE), ok(), now(10))
    law = pace.learner.modes["params"].law
    assert law.lived == pytest.approx(5.0)
    assert sum(law.passed[:56]) == pytest.approx(0)  # 600 s lie in bucket 56


def test_a_mode_that_is_learned_later_begins_a_new_watch() -> None:
    pace = Pace()
    unknown = replace(pending(), mode=None)
    pace.answered(unknown, ok(), now(0))
    assert pace._watched[unknown.job_id].name is None
    pace.answered(pending(), ok(), now(30))
    assert pace._watched[unknown.job_id].first == 30.0


def test_a_forgotten_job_leaves_nothing(pace: Pace) -> None:
    pace.answered(pending(), timeout(), now(31))
    pace.forget(pending().job_id)
    pace.forget("unknown")
    assert pace._watched == {}


def test_a_job_that_is_planned_before_its_first_answer_is_learned_from_after_it() -> None:
    pace = Pace()
    plan(pace, 0, 1.0)
    pace.answered(pending(), ok(), now(1))
    plan(pace, 1, 10.0)
    pace.answered(ended(), ok(), now(11))
    assert ends_learned(pace) == 1


def teach(pace: Pace, count: int = 30) -> None:
    for number in range(count):
        one = replace(pending(), job_id=f"job-{number}")
        for at in (0.0, 20.0, 40.0):
            pace.answered(one, ok(), now(at))
            pace.planned(one, pace.forecast(one, now(at)), NextPoll(20.0, ON_SCHEDULE))
        pace.answered(replace(one, state=JobState.DONE), ok(), now(60))


def test_what_was_learned_survives_and_estimates_a_job_that_is_not_watched() -> None:
    pace, again = Pace(), Pace()
    teach(pace)
    again.load(pace.dump())
    known = again.estimate(pending(), now(20))
    assert known is not None
    assert known.samples == 30
    assert known.median == pytest.approx(30.0, abs=8)
    sentence = again.explain(pending(), now(20)) or ""
    assert sentence.startswith("Nine in ten jobs of mode params that are pending after 20 s")


def test_views_and_plans_of_jobs_that_are_not_watched_create_no_modes() -> None:
    pace = Pace()
    pace.estimate(pending(), now(20))
    pace.explain(pending(), now(20))
    plan(pace, 20, 10.0)
    assert pace.learner.modes == {}


def test_a_mode_is_free_once_its_job_is_forgotten_or_shows_another_mode(pace: Pace) -> None:
    mode = pace.learner.modes["params"]
    assert mode.watches == 1
    pace.answered(replace(pending(), mode="other"), ok(), now(40))
    assert (mode.watches, pace.learner.modes["other"].watches) == (0, 1)
    pace.forget(pending().job_id)
    assert pace.learner.modes["other"].watches == 0


def test_loading_ends_the_watches_of_what_was_known_before(pace: Pace) -> None:
    pace.load(pace.dump())
    assert pace._watched == {}


def test_ended_jobs_and_unknown_modes_have_no_estimate() -> None:
    pace = Pace()
    teach(pace)
    assert pace.estimate(ended(), now(20)) is None
    assert pace.explain(ended(), now(20)) is None
    other = replace(pending(), mode="other")
    assert pace.estimate(other, now(20)) is None
    assert pace.explain(other, now(20)) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"version": 1}', "[" * 100_000])
def test_a_stored_text_that_cannot_be_read_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Pace().load(text)


def test_a_job_registered_in_the_future_of_a_clock_set_right_has_no_age() -> None:
    pace = Pace()
    assert pace.forecast(pending(registered_at=START + 500), now(0)).age == 0.25
