"""The table of judgement: for each rule what convicts, and what just does not."""

from typing import Any

import pytest
from support import JOB_ID, Judgement, Polling, answered, error, job, now, ok, timeout

from exporter.core.events import Now
from exporter.core.health import Health
from exporter.core.job import Job, JobState, Verdict, observe
from exporter.core.judgement import RULES, judge, span
from exporter.core.reply import Kind, Reply

RULES_OF = Judgement()
GIVE_UP = 86400.0


class Court:
    """One job, the upstream's health, and a clock; every answer is taken in as the poller does."""

    def __init__(self, subject: Job) -> None:
        self.job = subject
        self.health = Health(RULES_OF, Polling(), steady=1000.0)
        self.verdict: Verdict | None = None

    def at(self, seconds: float) -> Now:
        moment = now(seconds)
        return Now(moment.time, moment.steady, self.health.well_time(moment.steady))

    def hear(self, reply: Reply, seconds: float) -> Verdict | None:
        moment = self.at(seconds)
        self.health.note(reply, moment, job=self.job)
        self.job, _ = observe(self.job, reply, moment)
        self.verdict = judge(self.job, reply, self.health, moment, RULES_OF, GIVE_UP)
        return self.verdict

    def witness(self, seconds: float, reply: Reply | None = None, **changes: Any) -> None:
        other = answered("other", **changes)
        self.health.note(reply or ok(), self.at(seconds), job=other)


def test_three_5xx_over_30_seconds_with_a_witness_convict() -> None:
    court = Court(answered())
    assert court.hear(error(500), 0) is None
    court.witness(1)
    assert court.hear(error(500), 15) is None
    verdict = court.hear(error(500), 30)
    assert verdict == Verdict(
        JobState.FAILED, "3 answers 500 over 30 s while job other was answered 2xx"
    )


def test_two_5xx_do_not_convict_however_long_they_last() -> None:
    court = Court(answered())
    court.hear(error(500), 0)
    court.witness(1)
    assert court.hear(error(500), 500) is None


def test_three_5xx_in_less_than_30_seconds_do_not_convict() -> None:
    court = Court(answered())
    court.hear(error(500), 0)
    court.witness(1)
    court.hear(error(500), 10)
    assert court.hear(error(500), 29.99) is None


def test_without_a_witness_nobody_is_convicted() -> None:
    court = Court(answered())
    for seconds in range(0, 3000, 15):
        assert court.hear(error(500), seconds) is None


def test_a_witness_from_before_the_row_does_not_count() -> None:
    court = Court(answered())
    court.witness(0)
    for seconds in (1, 16, 31, 46):
        assert court.hear(error(500), seconds) is None


def test_a_job_is_no_witness_against_itself() -> None:
    court = Court(answered())
    court.hear(error(500), 0)
    court.health.note(ok(), court.at(1), job=answered(JOB_ID))
    for seconds in (16, 31, 46):
        assert court.hear(error(500), seconds) is None


def test_a_finished_job_is_no_strong_witness() -> None:
    court = Court(answered())
    court.hear(error(500), 0)
    court.witness(1, state=JobState.FAILED)
    for seconds in (16, 31, 46):
        assert court.hear(error(500), seconds) is None


def test_another_answer_of_its_own_begins_the_row_again() -> None:
    court = Court(answered())
    court.hear(error(500), 0)
    court.hear(error(500), 15)
    court.hear(ok(), 20)
    court.witness(25)
    assert court.hear(error(500), 31) is None
    court.witness(40)
    assert court.hear(error(500), 46) is None
    assert court.hear(error(500), 61) is not None


def test_while_the_upstream_is_down_nobody_is_convicted_and_patience_stands_still() -> None:
    court = Court(answered())
    court.hear(error(500), 0)
    court.witness(1)
    for name in ("a", "b", "c", "d", "e"):
        court.health.note(error(503), court.at(70), job=answered(name))
    assert court.health.state == "down"
    for seconds in (80, 90, 100):
        assert court.hear(error(500), seconds) is None
    assert court.job.suspicion is not None
    assert court.job.suspicion.until == 70.0


def test_a_404_for_a_job_never_well_is_not_found_after_three_over_five_minutes() -> None:
    court = Court(job())
    assert court.hear(error(404), 0) is None
    assert court.hear(error(404), 150) is None
    assert court.hear(error(404), 299.9) is None
    assert court.hear(error(404), 300) == Verdict(
        JobState.NOT_FOUND, "4 answers 404 over 300 s, never a good answer"
    )


def test_two_404_are_not_enough() -> None:
    court = Court(job())
    court.hear(error(404), 0)
    assert court.hear(error(404), 400) is None


def test_a_422_for_a_job_never_well_is_invalid_at_once() -> None:
    court = Court(job())
    assert court.hear(error(422), 0) == Verdict(JobState.INVALID, "422, never a good answer")


@pytest.mark.parametrize("http_status", [404, 422])
def test_a_known_job_that_turns_404_or_422_is_not_found_after_ten_minutes(
    http_status: int,
) -> None:
    court = Court(answered())
    for seconds in (0, 300, 599.9):
        assert court.hear(error(http_status), seconds) is None
    verdict = court.hear(error(http_status), 600)
    assert verdict is not None
    assert verdict.state is JobState.NOT_FOUND
    assert verdict.evidence == (
        f"4 answers {http_status} over 600 s after good answers, other jobs are known"
    )


def test_an_upstream_that_forgets_its_jobs_condemns_none() -> None:
    court = Court(answered())
    for seconds in (0, 300, 600, 900):
        for name in ("a", "b", "c", "d"):
            court.health.note(error(404), court.at(seconds), job=answered(name))
        assert court.hear(error(404), seconds) is None
    assert court.job.suspicion is not None


def test_a_few_lost_jobs_among_many_known_are_no_mass() -> None:
    court = Court(answered())
    for seconds in (0, 300, 600):
        for number in range(40):
            court.health.note(ok(), court.at(seconds), job=answered(f"well{number}"))
        for name in ("a", "b", "c", "d"):
            court.health.note(error(404), court.at(seconds), job=answered(name))
        court.hear(error(404), seconds)
    assert court.verdict is not None


@pytest.mark.parametrize(
    "reply",
    [ok(), error(401), error(403, b"<html>"), error(429), error(418), error(200, b"{}"), timeout()],
)
def test_no_other_answer_ends_a_job(reply: Reply) -> None:
    court = Court(answered())
    for seconds in range(0, 1000, 50):
        court.witness(seconds)
        assert court.hear(reply, seconds) is None


def test_after_a_day_a_job_expires_with_its_next_answer_of_any_kind() -> None:
    court = Court(answered())
    assert court.hear(ok(), GIVE_UP - 0.1) is None
    assert court.hear(ok(), GIVE_UP) == Verdict(
        JobState.EXPIRED, "no end in 86400 s, last answer 200"
    )
    suspected = Court(answered())
    assert suspected.hear(error(500), GIVE_UP + 5) == Verdict(
        JobState.EXPIRED, "no end in 86405 s, last answer 500"
    )


def test_silence_expires_nobody() -> None:
    assert Court(answered()).hear(timeout(), 2 * GIVE_UP) is None


def test_an_outage_expires_nobody() -> None:
    court = Court(answered())
    for name in ("a", "b", "c", "d", "e"):
        court.health.note(error(503), court.at(GIVE_UP - 10), job=answered(name))
    assert court.hear(error(500), 3 * GIVE_UP) is None
    assert court.at(3 * GIVE_UP).well_time == GIVE_UP - 10


def test_a_rejected_key_expires_nobody() -> None:
    court = Court(answered())
    court.health.note(error(401), court.at(10), job=None)
    assert court.hear(error(401), 3 * GIVE_UP) is None


def test_a_down_upstream_after_the_deadline_expires_nobody() -> None:
    court = Court(answered())
    court.at(GIVE_UP)
    for name in ("a", "b", "c", "d", "e"):
        court.health.note(error(503), court.at(GIVE_UP + 1), job=answered(name))
    assert court.hear(error(418), GIVE_UP + 2) is None


def test_a_job_that_has_ended_is_not_judged() -> None:
    court = Court(answered(state=JobState.FAILED))
    assert court.hear(error(422), 0) is None


def test_the_table_names_every_answer_that_can_end_a_job() -> None:
    assert set(RULES) == {Kind.SERVER_ERROR, Kind.NOT_FOUND, Kind.INVALID}


def test_the_span_of_a_verdict_is_what_its_rule_asks() -> None:
    assert span(answered(), RULES_OF) == (3, 30.0)
    suspected, _ = observe(job(), error(404), now())
    assert span(suspected, RULES_OF) == (3, 300.0)
    lost, _ = observe(answered(), error(404), now())
    assert span(lost, RULES_OF) == (3, 600.0)
