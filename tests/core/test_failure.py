"""With weak witnesses: how long a run of 5xx must be, as a table."""

import pytest
from support import JOB_ID, Judgement, Polling, answered, error, now, ok

from exporter.core.failure import cases, likely_case, proof
from exporter.core.health.control import ControlTarget
from exporter.core.health.health import Health
from exporter.core.job import Job, Suspicion
from exporter.core.reply import Kind

RULES = Judgement()
FINISHED, RANDOM = ControlTarget.FINISHED, ControlTarget.RANDOM
MINUTE = 60.0


class Evening:
    """A job that goes on failing, other suspects, and control requests each minute."""

    def __init__(self, suspects: int = 1, code: int = 500) -> None:
        self.health = Health(RULES, Polling(), steady=1000.0)
        self.health.control.remember_finished("old")
        self.health.origin.served_before = True
        self.code = code
        self.others = [f"other{number}" for number in range(suspects - 1)]
        self.run = Suspicion(Kind.SERVER_ERROR, 0, 0.0, 0.0, code)

    @property
    def job(self) -> Job:
        return answered(JOB_ID, suspicion=self.run)

    def passes(self, until: float, target: ControlTarget | None, every: float = 40.0) -> None:
        """Go on to a time: a bad answer every 40 s, a control request each minute."""
        seconds = self.run.until
        while seconds <= until:
            self.fails(seconds)
            if target is not None and seconds % MINUTE < every:
                self.controls(target, seconds)
            seconds += every

    def fails(self, seconds: float) -> None:
        gateway = int(self.code == 502)
        for name in self.others:
            run = Suspicion(Kind.SERVER_ERROR, 2, 0.0, 0.0, 500)
            self.health.note(error(500), now(seconds), job=answered(name, suspicion=run))
        self.health.note(error(self.code), now(seconds), job=self.job)
        gateways = self.run.gateway_answers + gateway
        self.run = Suspicion(
            Kind.SERVER_ERROR, self.run.answers + 1, 0.0, seconds, self.code, gateways
        )

    def controls(self, target: ControlTarget, seconds: float) -> None:
        reply, asked = (ok("done"), "old") if target is FINISHED else (error(404), None)
        self.health.note(reply, now(seconds), job=None, target=target, asked=asked)

    @property
    def proven(self) -> bool:
        return any(case.proven for case in cases(self.job, self.run, self.health, RULES))


@pytest.mark.parametrize(
    ("suspects", "code", "target", "minutes"),
    [
        (1, 500, FINISHED, 10),
        (4, 500, FINISHED, 10),
        (1, 502, FINISHED, 30),
        (5, 500, FINISHED, 60),
        (5, 502, FINISHED, 60),
        (1, 500, RANDOM, 20),
        (1, 502, RANDOM, 60),
    ],
)
def test_with_a_weak_witness_a_verdict_takes(
    suspects: int, code: int, target: ControlTarget, minutes: float
) -> None:
    evening = Evening(suspects, code)
    evening.passes(minutes * MINUTE - 1, target)
    assert not evening.proven
    evening.fails(minutes * MINUTE)
    assert evening.proven


@pytest.mark.parametrize(("suspects", "target"), [(1, None), (2, RANDOM), (5, RANDOM)])
def test_without_a_witness_there_is_no_verdict(suspects: int, target: ControlTarget | None) -> None:
    evening = Evening(suspects)
    evening.passes(5 * 3600, target)
    assert not evening.proven


@pytest.mark.parametrize(("silence", "proven"), [(180.0, True), (181.0, False)])
def test_the_witness_must_go_on_being_served(silence: float, proven: bool) -> None:
    evening = Evening()
    evening.passes(1200, FINISHED)
    served = evening.health.evidence.witnesses.served.until
    evening.fails(served + silence)
    assert evening.proven is proven


def test_a_witness_that_comes_late_counts_from_when_it_came() -> None:
    evening = Evening()
    evening.passes(1000, None)
    evening.passes(1039 + 600, FINISHED)
    assert not evening.proven
    evening.fails(1040 + 600)
    assert evening.proven


@pytest.mark.parametrize(
    ("served", "until", "seconds"),
    [(1180.0, 1200.0, 200.0), (1181.0, 1200.0, 19.0), (1181.0, 1150.0, 0.0)],
)
def test_a_weak_witness_counts_from_the_runs_beginning_unless_it_comes_three_minutes_later(
    served: float, until: float, seconds: float
) -> None:
    evening = Evening()
    evening.controls(FINISHED, served)
    run = Suspicion(Kind.SERVER_ERROR, 9, 1000.0, until, 500)
    found = cases(evening.job, run, evening.health, RULES)
    assert {case.seconds for case in found if not case.strong} == {seconds}


def test_a_strong_witness_from_before_an_outage_does_not_count_after_it() -> None:
    """Most jobs were answered badly, and nobody was served, after the witness was."""
    evening = Evening()
    evening.fails(0)
    for number in range(100):
        evening.health.note(ok(), now(1), job=answered(f"other{number}"))
    evening.passes(63, None, every=6)
    assert evening.proven
    for name in "abcde":
        evening.health.note(error(500), now(64), job=answered(name))
    assert not evening.proven


def test_both_ways_are_tried_when_no_job_of_the_mode_is_asked_about_any_more() -> None:
    """Too few good answers of the mode rule out chance; those of all modes do in the end."""
    evening = Evening()
    evening.fails(0)
    evening.health.note(ok(mode="clipping"), now(1), job=answered("last", mode="clipping"))
    job = answered(JOB_ID, mode="clipping")
    seconds = 0.0
    while seconds < 640:
        seconds += 40
        evening.fails(seconds)
        evening.controls(FINISHED, seconds)
        found = cases(job, evening.run, evening.health, RULES)
        assert not any(case.proven for case in found if case.strong)
    assert any(case.proven for case in found)


def test_chance_must_be_ruled_out_with_a_weak_witness_too() -> None:
    evening = Evening()
    for number in range(40):
        evening.fails(number * 40)
        evening.controls(FINISHED, number * 40)
        for _ in range(9):  # nine in ten requests fail
            evening.health.evidence.shares.add(None, bad=True, at=number * 40)
    assert not evening.proven


def test_the_polls_are_planned_for_the_way_that_ends_first() -> None:
    evening = Evening()
    evening.fails(0)
    assert not likely_case(evening.job, evening.run, evening.health, RULES).strong
    evening.health.note(ok(), now(1), job=answered("other"))
    assert likely_case(evening.job, evening.run, evening.health, RULES).strong


def test_there_are_two_ways_with_a_strong_witness_and_two_with_a_weak_one() -> None:
    evening = Evening()
    evening.fails(0)
    found = cases(evening.job, evening.run, evening.health, RULES)
    assert [case.strong for case in found] == [True, True, False, False]


def test_a_mixed_run_is_expected_to_be_decided_by_the_services_own_answers() -> None:
    evening = Evening()
    run = Suspicion(Kind.SERVER_ERROR, 9, 0.0, 60.0, 502, 3)
    found = likely_case(evening.job, run, evening.health, RULES)
    assert (found.answers, found.needed_seconds) == (6, 600.0)


def test_with_a_weak_witness_a_run_has_at_least_ten_answers() -> None:
    evening = Evening()
    evening.passes(600, FINISHED)
    for number in range(500):
        evening.health.evidence.shares.add(None, bad=False, at=600 - number)
    found = cases(evening.job, evening.run, evening.health, RULES)
    assert min(case.needed or 0 for case in found if not case.strong) == RULES.weak_answers


def test_while_the_upstream_is_down_nothing_is_proven() -> None:
    evening = Evening()
    evening.passes(1200, FINISHED)
    assert proof(evening.job, evening.run, evening.health, RULES) is not None
    evening.health.note(error(500), now(1200), job=None, target=FINISHED, asked="old")
    assert evening.health.state == "down"
    assert proof(evening.job, evening.run, evening.health, RULES) is None
