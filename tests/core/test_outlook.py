"""The outlook on a verdict: how much a suspected job still lacks."""

import pytest
from support import Judgement, Polling, answered, error, job, now, ok

from exporter.core.events import Now
from exporter.core.health.control import ControlTarget
from exporter.core.health.health import Health
from exporter.core.job import Job, JobState, Suspicion
from exporter.core.outlook import (
    LOST_WITH_OTHERS,
    NO_OTHERS,
    NO_WITNESS,
    NOT_THE_API,
    Outlook,
    outlook,
)
from exporter.core.reply import Kind

RULES = Judgement()


@pytest.fixture
def health() -> Health:
    found = Health(RULES, Polling(), steady=1000.0)
    found.control.remember_finished("old")
    return found


def run(answers: int, until: float, kind: Kind = Kind.SERVER_ERROR, code: int = 500) -> Suspicion:
    return Suspicion(kind, answers, 0.0, until, code)


def looked(job: Job, health: Health, at: Now) -> Outlook:
    found = outlook(job, health, at, RULES)
    assert found is not None
    return found


def test_a_job_that_is_not_suspected_has_none(health: Health) -> None:
    assert outlook(answered(), health, now(0), RULES) is None
    ended = answered(state=JobState.FAILED, suspicion=run(3, 60))
    assert outlook(ended, health, now(0), RULES) is None


def test_without_a_witness_nothing_can_be_decided(health: Health) -> None:
    found = looked(answered(suspicion=run(3, 60)), health, now(60))
    assert found.missing == (NO_WITNESS, NO_OTHERS, "600 s more")
    assert (found.answers, found.answers_needed) == (3, None)
    assert (found.seconds, found.seconds_needed) == (0.0, 600.0)  # it counts with the witness
    assert found.verdict_at is None


def test_with_a_strong_witness_it_is_short(health: Health) -> None:
    for number in range(100):
        health.note(ok(), now(10), job=answered(f"other{number}"))
    found = looked(answered(suspicion=run(4, 20)), health, now(22))
    assert found.witness == "job other99 was answered 2xx"
    assert found.missing == ("2 more answers", "10 s more")
    assert (found.answers_needed, found.seconds_needed) == (6, 30.0)
    assert found.verdict_at == now(30).time


def test_with_a_weak_witness_it_is_long(health: Health) -> None:
    for minute in range(5):
        at = now(minute * 60)
        health.note(ok("done"), at, job=None, target=ControlTarget.FINISHED, asked="old")
    found = looked(answered(suspicion=run(9, 240)), health, now(250))
    assert found.witness == "the finished job old was answered 2xx again"
    assert found.answers_needed == 27  # of five other answers none was 5xx: below 46 %
    assert found.missing == ("18 more answers", "360 s more")
    assert found.verdict_at == now(600).time


def test_one_answer_more(health: Health) -> None:
    for number in range(100):
        health.note(ok(), now(10), job=answered(f"other{number}"))
    found = looked(answered(suspicion=run(5, 40)), health, now(40))
    assert found.missing == ("1 more answer",)
    assert found.verdict_at == now(40).time


def test_while_the_upstream_is_down_the_verdict_waits(health: Health) -> None:
    health.note(error(500), now(5), job=None, target=ControlTarget.FINISHED, asked="old")
    found = looked(answered(suspicion=run(9, 240)), health, now(250))
    assert found.missing[0] == "an upstream that works: it is down, so nothing is decided"
    assert found.verdict_at is None


def test_a_404_takes_three_answers_over_five_minutes(health: Health) -> None:
    health.origin.served_before = True
    found = looked(job(suspicion=run(2, 100, Kind.NOT_FOUND, 404)), health, now(110))
    assert (found.answers, found.answers_needed) == (2, 3)
    assert found.missing == ("1 more answer", "200 s more")
    assert found.verdict_at == now(300).time


def test_a_known_jobs_404_takes_ten_minutes(health: Health) -> None:
    found = looked(answered(suspicion=run(3, 100, Kind.NOT_FOUND, 404)), health, now(100))
    assert found.missing == ("500 s more",)


@pytest.mark.parametrize(("kind", "code"), [(Kind.NOT_FOUND, 404), (Kind.INVALID, 422)])
def test_until_the_api_is_known_to_answer_no_id_is_unknown(
    health: Health, kind: Kind, code: int
) -> None:
    found = looked(job(suspicion=run(3, 400, kind, code)), health, now(400))
    assert found.missing == (NOT_THE_API,)


def test_a_422_for_a_job_never_well_takes_one_answer(health: Health) -> None:
    found = looked(job(suspicion=run(1, 0, Kind.INVALID, 422)), health, now(0))
    assert (found.answers_needed, found.seconds_needed) == (1, 0.0)


def test_a_job_that_was_lost_with_others_waits_for_them(health: Health) -> None:
    lost = answered(suspicion=run(9, 900, Kind.NOT_FOUND, 404), lost_with_others=True)
    assert looked(lost, health, now(900)).missing == (LOST_WITH_OTHERS,)


def test_a_known_jobs_422_takes_as_long_as_its_404(health: Health) -> None:
    found = looked(answered(suspicion=run(1, 0, Kind.INVALID, 422)), health, now(0))
    assert (found.answers_needed, found.seconds_needed) == (3, 600.0)


def test_while_the_upstream_is_down_a_404_has_no_time_of_its_verdict(health: Health) -> None:
    health.note(error(500), now(5), job=None, target=ControlTarget.FINISHED, asked="old")
    found = looked(answered(suspicion=run(1, 0, Kind.NOT_FOUND, 404)), health, now(10))
    assert found.verdict_at is None


@pytest.mark.parametrize(("lasted", "missing"), [(599.0, ("1 s more",)), (600.0, ())])
def test_a_run_of_the_time_it_takes_lacks_no_seconds(
    health: Health, lasted: float, missing: tuple[str, ...]
) -> None:
    found = looked(answered(suspicion=run(3, lasted, Kind.NOT_FOUND, 404)), health, now(lasted))
    assert found.missing == missing
    assert found.http_status == 404
