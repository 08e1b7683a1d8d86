"""The rule of the failure ledger, case by case: how a job's change opens or closes its key."""

import pytest
from support import START, answered

from exporter.core.job import JobState
from exporter.core.ledger import (
    LedgerStep,
    OpenFailure,
    ledger_key,
    ledger_step,
    open_failure,
    takes_effect,
)

PENDING = answered(key="sku")


@pytest.mark.parametrize("state", ["failed", "not_found", "invalid", "expired"])
def test_a_bad_end_opens_the_key_and_overturned_withdraws(state: str) -> None:
    ended = answered(key="sku", state=JobState(state))
    assert ledger_step(PENDING, ended) is LedgerStep.OPEN
    assert ledger_step(ended, PENDING) is LedgerStep.WITHDRAW
    assert ledger_step(ended, ended) is None


def test_done_closes_the_key() -> None:
    assert ledger_step(PENDING, answered(key="sku", state=JobState.DONE)) is LedgerStep.CLOSE


def test_a_job_without_a_key_counts_under_its_id() -> None:
    ended = answered("a", state=JobState.FAILED)
    assert ledger_step(answered("a"), ended) is LedgerStep.OPEN
    assert ledger_step(ended, answered("a")) is LedgerStep.WITHDRAW
    assert (ledger_key(ended), ledger_key(PENDING)) == ("a", "sku")


def test_a_job_without_a_change_means_nothing() -> None:
    assert ledger_step(None, answered()) is None
    assert ledger_step(None, PENDING) is None
    assert ledger_step(PENDING, PENDING) is None


def test_a_key_told_after_the_end_counts_as_if_the_job_ended_now() -> None:
    before = answered(state=JobState.FAILED)
    assert ledger_step(before, answered(key="sku", state=JobState.FAILED)) is LedgerStep.OPEN
    assert ledger_step(None, answered(key="sku", state=JobState.DONE)) is LedgerStep.CLOSE


OPEN, CLOSE, WITHDRAW = LedgerStep.OPEN, LedgerStep.CLOSE, LedgerStep.WITHDRAW


@pytest.mark.parametrize(
    ("step", "open_by", "done_later", "effect"),
    [
        (OPEN, None, False, True),
        (OPEN, None, True, False),
        (OPEN, 4, False, True),
        (OPEN, 5, False, True),
        (OPEN, 6, False, False),
        (OPEN, 4, True, False),
        (CLOSE, None, False, False),
        (CLOSE, 4, False, True),
        (CLOSE, 5, False, True),
        (CLOSE, 6, False, False),
        (WITHDRAW, None, False, False),
        (WITHDRAW, 4, False, False),
        (WITHDRAW, 5, False, True),
        (WITHDRAW, 6, False, False),
    ],
)
def test_a_step_of_job_5_takes_effect_against_what_opened_the_key(
    step: LedgerStep, open_by: int | None, done_later: bool, effect: bool
) -> None:
    found = takes_effect(step, job=5, open_by=open_by, done_later=lambda: done_later)
    assert found is effect


def test_an_entry_tells_the_bad_end() -> None:
    ended = answered(
        "a",
        key="sku",
        state=JobState.FAILED,
        finished_at=START,
        evidence="because",
        labels={"shop": "eu"},
    )
    assert open_failure(ended) == OpenFailure(
        "sku", "a", JobState.FAILED, START, "because", {"shop": "eu"}
    )
    assert open_failure(answered("a")) == OpenFailure("a", "a", JobState.PENDING, 0.0, None, {})
