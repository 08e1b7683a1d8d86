"""The table of judgement: for each rule what convicts, and what just does not."""

import math
from dataclasses import replace
from typing import Any

import pytest
from support import JOB_ID, Judgement, Polling, answered, error, job, now, ok, timeout

from exporter.core.events import Now
from exporter.core.health.chance import Share
from exporter.core.health.control import ControlTarget
from exporter.core.health.health import Health
from exporter.core.job import Job, JobState, Suspicion, Verdict
from exporter.core.judgement import MOST_ANSWERS, RULES, judge, span, weigh_loss
from exporter.core.observation import observe
from exporter.core.reply import Kind, Reply

RULES_OF = Judgement()
GIVE_UP = 86400.0


class Court:
    """One job, the upstream's health, and a clock; every answer is taken in as the poller does."""

    def __init__(self, subject: Job) -> None:
        self.job = subject
        self.health = Health(RULES_OF, Polling(), steady=1000.0)
        self.health.origin.served_before = True
        self.verdict: Verdict | None = None

    def at(self, seconds: float) -> Now:
        moment = now(seconds)
        return Now(moment.time, moment.steady, self.health.healthy_time(moment.steady))

    def hear(self, reply: Reply, seconds: float) -> Verdict | None:
        moment = self.at(seconds)
        self.health.note(reply, moment, job=self.job)
        self.job, _ = observe(self.job, reply, moment, RULES_OF.gateway_codes)
        self.job = weigh_loss(self.job, self.health, moment, RULES_OF)
        self.verdict = judge(self.job, reply, self.health, moment, RULES_OF, GIVE_UP)
        return self.verdict

    def others(self, seconds: float, count: int, bad: int = 0, **changes: Any) -> None:
        """Have other pending jobs answered, some of them 5xx."""
        for number in range(count):
            reply = error(500) if number < bad else ok(**changes)
            other = answered(f"other{number}", **changes)
            self.health.note(reply, self.at(seconds), job=other)

    def control(self, target: ControlTarget, reply: Reply, seconds: float) -> None:
        """Make a control request."""
        self.health.note(reply, self.at(seconds), job=None, target=target, asked="old")


def row_of(court: Court, until: float, every: float, first: float = 0.0) -> Verdict | None:
    """Hear 5xx of the service itself until a time; return the last verdict."""
    seconds = first
    while seconds <= until and court.verdict is None:
        court.hear(error(500), seconds)
        seconds += every
    return court.verdict


def test_a_row_that_chance_does_not_make_convicts_while_a_pending_job_is_served() -> None:
    court = Court(answered())
    court.hear(error(500), 0)
    court.others(1, 100)  # of 100 none fails: below 3 %, so that six in a row say enough
    for seconds in (6, 12, 18, 24):
        assert court.hear(error(500), seconds) is None
    verdict = court.hear(error(500), 30)
    assert verdict is not None
    assert verdict.state is JobState.FAILED
    assert verdict.evidence == (
        "6 answers over 30 s were 5xx, the last 500; meanwhile job other99 was answered 2xx,"
        " and of 100 other answers 0 were 5xx"
    )


def test_a_single_5xx_of_another_job_is_counted_in_the_singular() -> None:
    court = Court(answered())
    court.hear(error(500), 0)
    court.others(1, 100, bad=1)
    verdict = row_of(court, 60, every=6, first=6)
    assert verdict is not None
    assert verdict.evidence.endswith(", and of 100 other answers 1 was 5xx")
    assert verdict.weak is False


def test_five_5xx_are_one_too_few_however_long_they_last() -> None:
    court = Court(answered())
    court.hear(error(500), 0)
    court.others(1, 100)
    assert row_of(court, 400, 100, first=100) is None


def test_a_row_of_less_than_30_seconds_does_not_convict() -> None:
    court = Court(answered())
    court.hear(error(500), 0)
    court.others(1, 100)
    assert row_of(court, 29.9, 2, first=2) is None


def test_a_service_that_fails_often_takes_a_longer_row() -> None:
    court = Court(answered())
    court.hear(error(500), 0)
    court.others(1, 60, bad=20)  # a third; below 45 %
    for number in range(1, 20):
        assert court.hear(error(500), number * 5) is None, number
        court.others(number * 5 + 1, 6, bad=2)
    assert row_of(court, 400, 5, first=100) is not None
    assert court.job.suspicion is not None
    assert 21 <= court.job.suspicion.answers <= 30


def test_with_nothing_known_of_others_nobody_is_convicted() -> None:
    assert row_of(Court(answered()), 3000, 15) is None


def test_answers_from_before_the_row_do_not_count() -> None:
    court = Court(answered())
    court.others(0, 100)
    assert row_of(court, 500, 10, first=10) is None


def test_a_job_is_no_witness_against_itself() -> None:
    court = Court(answered())
    court.hear(error(500), 0)
    for _ in range(50):
        court.health.note(ok(), court.at(1), job=answered(JOB_ID))
    assert row_of(court, 500, 10, first=10) is None


def test_the_first_5xx_of_its_own_row_is_not_held_against_the_others() -> None:
    court = Court(answered())
    court.hear(error(500), 0)
    assert court.health.evidence.share_of_errors(court.job, 0.0, of_mode=True) == Share(0, 0)


def test_another_answer_of_its_own_begins_the_row_again() -> None:
    court = Court(answered())
    row_of(court, 25, 5)
    court.hear(ok(), 28)
    court.hear(error(500), 30)
    court.others(31, 100)
    assert row_of(court, 59, 5, first=35) is None
    assert court.hear(error(500), 60) is not None


def test_a_witness_is_of_the_same_mode_where_that_is_known() -> None:
    court = Court(answered(mode="clipping"))
    court.hear(error(500), 0)
    court.others(1, 100, mode="params")
    assert row_of(court, 300, 6, first=6) is None
    court.others(301, 100, mode="clipping")
    assert court.hear(error(500), 306) is not None


def test_of_its_mode_and_of_all_the_worse_share_counts() -> None:
    court = Court(answered(mode="clipping"))
    court.hear(error(500), 0)
    court.others(1, 200, mode="params")
    court.others(1, 20, bad=10, mode="clipping")
    assert court.health.evidence.share_of_errors(court.job, 0.0, of_mode=True) == Share(10, 20)
    assert court.health.evidence.share_of_errors(court.job, 0.0, of_mode=False) == Share(10, 220)


def test_gateway_answers_take_twice_the_row_and_two_minutes() -> None:
    for reply in (error(502), error(503), error(524), error(500, b"<html>")):
        court = Court(answered())
        court.hear(reply, 0)
        court.others(1, 100)
        for number in range(1, 11):
            assert court.hear(reply, number * 12) is None, number
        assert court.hear(reply, 132) is not None
    court = Court(answered())
    court.hear(error(502), 0)
    court.others(1, 100)
    for number in range(1, 40):
        assert court.hear(error(502), number * 3) is None, number


def test_a_gateway_answer_among_those_of_the_service_is_not_counted_with_them() -> None:
    court = Court(answered())
    court.hear(error(502), 0)
    court.others(1, 100)
    for number in range(1, 6):
        assert court.hear(error(500), number * 6) is None
    assert court.hear(error(500), 36) is not None


def test_weak_witnesses_take_ten_answers_over_ten_minutes() -> None:
    court = Court(answered())
    for number in range(15):
        assert court.hear(error(500), number * 40) is None, number
        court.control(ControlTarget.FINISHED, ok("done"), number * 40 + 1)
    verdict = court.hear(error(500), 600)
    assert verdict is not None
    assert "; meanwhile the finished job old was answered 2xx again, and of " in verdict.evidence
    assert verdict.weak is True


def test_an_unknown_id_that_is_answered_404_is_a_weak_witness_and_422_is_none() -> None:
    for target, reply, convicts in (
        (ControlTarget.RANDOM, error(404), True),
        (ControlTarget.BARE, error(422), False),
        (ControlTarget.FINISHED, error(404), False),
    ):
        court = Court(answered())
        for number in range(32):
            court.hear(error(500), number * 40)
            court.control(target, reply, number * 40 + 1)
        assert (court.verdict is not None) is convicts, target


@pytest.mark.parametrize(
    ("target", "reply", "convicts"),
    [(ControlTarget.RANDOM, error(404), False), (ControlTarget.FINISHED, ok("done"), True)],
)
def test_while_two_jobs_fail_only_data_that_are_served_are_a_witness(
    target: ControlTarget, reply: Reply, convicts: bool
) -> None:
    """A dead database looks like that: the API answers, ids are looked up, known jobs fail."""
    court = Court(answered(mode="clipping"))
    run = Suspicion(Kind.SERVER_ERROR, 1, 0.0, 0.0, 500)
    other = answered("other", mode="params", suspicion=run)
    for number in range(30):
        court.hear(error(500), number * 40)
        court.health.note(error(500), court.at(number * 40 + 1), job=other)
        court.control(target, reply, number * 40 + 2)
    assert (court.verdict is not None) is convicts


def test_one_job_that_goes_on_failing_once_the_other_is_served_is_suspected_alone() -> None:
    court = Court(answered(mode="clipping"))
    other = answered("other", mode="params")
    court.health.note(error(500), court.at(0), job=other)
    for number in range(32):
        court.health.note(error(404), court.at(number * 40), job=other)
        court.hear(error(500), number * 40)
        court.control(ControlTarget.RANDOM, error(404), number * 40 + 2)
    assert court.verdict is not None


def test_what_a_verdict_will_take_is_what_its_rule_asks() -> None:
    court = Court(answered())
    assert span(answered(), court.health, RULES_OF) == (3, 600.0)
    court.hear(error(500), 0)
    assert span(court.job, court.health, RULES_OF) == (20, 600.0)
    court.others(1, 100)
    assert span(court.job, court.health, RULES_OF) == (6, 30.0)
    gateway = Court(answered())
    gateway.hear(error(502), 0)
    gateway.others(1, 100)
    assert span(gateway.job, gateway.health, RULES_OF) == (12, 120.0)
    lost = Court(job())
    lost.hear(error(404), 0)
    assert span(lost.job, lost.health, RULES_OF) == (3, 300.0)


def test_while_the_upstream_is_down_nobody_is_convicted_and_patience_stands_still() -> None:
    court = Court(answered())
    court.hear(error(500), 0)
    court.others(1, 1)
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
        JobState.NOT_FOUND, "4 answers over 300 s were 404; no answer before was 2xx"
    )


def test_two_404_are_not_enough() -> None:
    court = Court(job())
    court.hear(error(404), 0)
    assert court.hear(error(404), 400) is None


def test_a_422_for_a_job_never_well_is_invalid_at_once() -> None:
    court = Court(job())
    assert court.hear(error(422), 0) == Verdict(
        JobState.INVALID, "answered 422; no answer before was 2xx"
    )


@pytest.mark.parametrize(("code", "seconds"), [(404, 300), (422, 0)])
def test_before_anything_was_served_a_job_is_unknown_only_if_the_bare_request_says_422(
    code: int, seconds: float
) -> None:
    court = Court(job())
    court.health.origin.served_before = False
    court.control(ControlTarget.BARE, error(422), 5)  # before the run
    assert court.health.control.target(RULES_OF.control) == (ControlTarget.RANDOM, None)
    for at in (10, 10 + seconds / 2, 10 + seconds, 70 + seconds):
        assert court.hear(error(code), at) is None
    assert court.health.control.target(RULES_OF.control) == (ControlTarget.BARE, None)
    assert court.health.control.target(("random",)) == (ControlTarget.RANDOM, None)
    assert court.health.next_control() == 1010
    court.control(ControlTarget.RANDOM, error(404), seconds + 71)
    court.control(ControlTarget.BARE, error(404), seconds + 72)
    court.control(ControlTarget.BARE, error(422, b"<html>"), seconds + 73)
    assert court.hear(error(code), seconds + 74) is None
    court.control(ControlTarget.BARE, error(422), seconds + 75)
    assert court.hear(error(code), seconds + 76) is not None


def test_one_good_answer_of_any_job_shows_that_it_is_the_api() -> None:
    court = Court(job())
    court.health.origin.served_before = False
    court.hear(error(404), 0)
    assert court.health.control.target(()) == (ControlTarget.BARE, None)
    court.others(1, 1)
    assert court.hear(error(404), 150) is None
    assert court.hear(error(404), 300) is not None


def test_a_bare_control_is_wanted_once_for_a_run() -> None:
    court = Court(job())
    court.health.origin.served_before = False
    court.hear(error(404), 0)
    court.control(ControlTarget.BARE, error(422), 1)
    court.hear(error(404), 20)
    assert court.health.next_control() == math.inf


@pytest.mark.parametrize("code", [404, 422])
def test_while_known_jobs_are_lost_at_once_no_unknown_job_is_decided(code: int) -> None:
    court = Court(job())
    for name in "abcde":
        court.health.note(error(404), court.at(0), job=answered(name))
    for seconds in (0, 150, 299):
        assert court.hear(error(code), seconds) is None
    court.others(500, 1)
    assert court.hear(error(code), 700) is not None


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
        f"4 answers over 600 s were {http_status} after good answers;"
        " of 1 jobs asked lately 1 is lost"
    )


def test_an_upstream_that_forgets_its_jobs_condemns_none() -> None:
    court = Court(answered())
    for seconds in (0, 300, 600, 900):
        for name in ("a", "b", "c", "d"):
            court.health.note(error(404), court.at(seconds), job=answered(name))
        assert court.hear(error(404), seconds) is None
    assert court.job.suspicion is not None


def asked(court: Court, seconds: float, *, lost: int, known: int, name: str = "") -> None:
    """Have other jobs asked that had good answers before."""
    for number in range(lost):
        court.health.note(error(404), court.at(seconds), job=answered(f"lost{number}"))
    for number in range(known):
        court.health.note(ok(), court.at(seconds), job=answered(f"{name}well{number}"))


def test_a_few_lost_jobs_among_many_known_are_no_mass() -> None:
    court = Court(answered())
    for seconds in (0, 300, 600):
        asked(court, seconds, lost=4, known=40)
        court.hear(error(404), seconds)
    assert court.verdict is not None
    assert court.verdict.evidence.endswith("; of 45 jobs asked lately 5 are lost")


@pytest.mark.parametrize(("known", "condemned"), [(20, False), (21, True)])
def test_new_jobs_do_not_make_a_loss_look_smaller_than_it_was(known: int, condemned: bool) -> None:
    court = Court(answered())
    asked(court, 0, lost=4, known=known)
    court.hear(error(404), 0)
    for seconds in (200, 400, 600):
        asked(court, seconds, lost=4, known=30, name=f"new{seconds}")
        verdict = court.hear(error(404), seconds)
    assert (verdict is not None) is condemned


def test_jobs_that_end_do_not_make_a_loss_look_larger_for_good() -> None:
    court = Court(answered())
    asked(court, 0, lost=4, known=40)
    court.hear(error(404), 0)
    for seconds in (300, 301, 600):
        asked(court, seconds, lost=4, known=0)
        assert court.hear(error(404), seconds) is None  # now it looks as if all were lost
    asked(court, 700, lost=4, known=40, name="new")
    assert court.hear(error(404), 700) is not None


@pytest.mark.parametrize(("seconds", "held"), [(300, True), (300.1, False)])
def test_who_is_lost_with_many_shows_within_five_minutes(seconds: float, held: bool) -> None:
    court = Court(answered())
    court.hear(ok(), 0)
    court.hear(error(404), 500)
    asked(court, 500 + seconds, lost=4, known=0)
    court.hear(error(404), 500 + seconds)
    asked(court, 1400, lost=0, known=1)
    assert (court.hear(error(404), 1400) is None) is held


def test_one_of_many_lost_jobs_is_held_after_a_restart_until_it_expires() -> None:
    court = Court(answered())
    asked(court, 0, lost=4, known=0)
    court.hear(error(404), 0)
    court.health = Health(RULES_OF, Polling(), steady=1000.0)
    for seconds in (300, 600, 86399):
        assert court.hear(error(404), seconds) is None
    assert court.hear(error(404), GIVE_UP) == Verdict(
        JobState.EXPIRED, "no end in 86400 s, last answer 404"
    )


@pytest.mark.parametrize("between", [error(502), error(422), error(418), error(200, b"<html>")])
def test_one_of_many_lost_jobs_is_held_whatever_else_is_answered_between(between: Reply) -> None:
    court = Court(answered())
    asked(court, 0, lost=4, known=0)
    court.hear(error(404), 0)
    asked(court, 400, lost=0, known=50)
    court.hear(between, 400)
    for seconds in (500, 800, 1100, 1400):
        asked(court, seconds, lost=4, known=50)
        assert court.hear(error(404), seconds) is None


def test_one_of_many_lost_jobs_that_is_known_again_may_be_lost_again_alone() -> None:
    court = Court(answered())
    asked(court, 0, lost=4, known=0)
    court.hear(error(404), 0)
    assert court.job.lost_with_others
    court.job = replace(court.job, setbacks=1)
    court.hear(ok(), 10)
    assert (court.job.lost_with_others, court.job.setbacks) == (False, 0)
    for seconds in (1000, 1300, 1600):
        court.hear(error(404), seconds)
    assert court.verdict is not None


@pytest.mark.parametrize(
    ("subject", "reply"), [(job(), error(404)), (answered(), error(500)), (answered(), ok())]
)
def test_only_known_jobs_that_turn_404_or_422_are_lost_with_others(
    subject: Job, reply: Reply
) -> None:
    court = Court(subject)
    asked(court, 0, lost=5, known=0)
    court.hear(reply, 0)
    assert not court.job.lost_with_others


@pytest.mark.parametrize(
    "reply",
    [ok(), error(401), error(403, b"<html>"), error(429), error(418), error(200, b"{}"), timeout()],
)
def test_no_other_answer_ends_a_job(reply: Reply) -> None:
    court = Court(answered())
    for seconds in range(0, 1000, 50):
        court.others(seconds, 1)
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
    assert court.at(3 * GIVE_UP).healthy_time == GIVE_UP - 10


def test_a_rejected_key_expires_nobody() -> None:
    court = Court(answered())
    court.health.note(error(401), court.at(10), job=None, target=ControlTarget.BARE)
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


def test_while_the_key_is_rejected_a_straggler_convicts_nobody() -> None:
    court = Court(answered())
    for number in range(15):
        assert court.hear(error(500), number * 40) is None
        court.control(ControlTarget.FINISHED, ok("done"), number * 40 + 1)
    court.control(ControlTarget.FINISHED, error(401), 599)
    assert court.hear(error(500), 601) is None
    court.control(ControlTarget.FINISHED, ok("done"), 661)
    assert court.hear(error(500), 670) is not None


def test_a_witness_of_another_mode_is_weak_and_is_named_with_it() -> None:
    court = Court(answered(mode="clipping"))
    for number in range(16):
        seconds = number * 40.0
        court.hear(error(500), seconds)
        court.others(seconds + 1, 20, mode="params")
    assert court.verdict is not None
    assert court.verdict.evidence.startswith(
        "16 answers over 600 s were 5xx, the last 500;"
        " meanwhile job other19 of mode params was answered 2xx, and of "
    )


def test_with_a_strong_witness_the_share_of_the_mode_counts_and_is_told() -> None:
    court = Court(answered(mode="clipping"))
    court.hear(error(500), 0)
    court.others(1, 400, mode="params")
    court.others(1, 20, bad=4, mode="clipping")
    verdict = row_of(court, 400, 10, first=10)
    assert verdict is not None
    assert verdict.evidence.endswith(", and of 20 other answers 4 were 5xx")
    assert verdict.weak is False
    assert court.job.suspicion is not None
    assert court.job.suspicion.answers == 23  # 43 % at most: the 23rd power is below 1e-9


def test_with_weak_witnesses_the_share_of_all_counts() -> None:
    court = Court(answered(mode="clipping"))
    for number in range(16):
        seconds = number * 40.0
        court.hear(error(500), seconds)
        court.others(seconds + 1, 20, bad=1, mode="params")
    assert court.verdict is not None
    assert court.verdict.evidence.endswith(", and of 300 other answers 15 were 5xx")


def test_a_control_about_nothing_that_answers_404_is_no_witness() -> None:
    court = Court(answered())
    for number in range(30):
        court.hear(error(500), number * 40)
        court.control(ControlTarget.BARE, error(404), number * 40 + 1)
    assert court.verdict is None


def test_the_random_ids_404_is_named_as_evidence() -> None:
    court = Court(answered())
    for number in range(31):
        assert court.verdict is None
        court.hear(error(500), number * 40)
        court.control(ControlTarget.RANDOM, error(404), number * 40 + 1)
    assert court.verdict is not None
    assert "; meanwhile a random id was answered 404, and of " in court.verdict.evidence


def test_the_day_of_a_job_begins_with_its_registration() -> None:
    court = Court(answered(registered_healthy_time=1000.0))
    assert court.hear(ok(), GIVE_UP) is None
    assert court.hear(ok(), GIVE_UP + 1000) == Verdict(
        JobState.EXPIRED, "no end in 86400 s, last answer 200"
    )


def test_a_run_that_can_never_be_long_enough_is_planned_as_a_very_long_one() -> None:
    court = Court(answered())
    court.hear(error(500), 0)
    court.others(1, 10)
    for _ in range(2990):
        court.health.evidence.shares.add(None, bad=True, at=1)
    assert span(court.job, court.health, RULES_OF) == (MOST_ANSWERS, 30.0)


def test_while_the_upstream_is_suspect_the_answers_come_at_leisure() -> None:
    court = Court(answered())
    court.hear(error(500), 0)
    court.others(1, 30, bad=20)
    assert court.health.state == "suspect"
    assert span(court.job, court.health, RULES_OF) == (10, 600.0)
