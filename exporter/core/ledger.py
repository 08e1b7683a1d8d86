"""The failure ledger: which keys are still without what they wanted.

A key is the user's own name for what a job makes (a SKU, a file). It is open from the moment that
its last job ends badly until a later job of the same key is done, or someone acknowledges it. The
store keeps the open keys, for they outlive their jobs; here is what a job's change means to them.
"Later" is by registration: a job that was registered earlier opens nothing that a later one has
closed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from .job import FINAL_STATES, Job, JobState


class LedgerStep(StrEnum):
    """What a change of a job does to its key."""

    OPEN = "open"
    CLOSE = "close"
    WITHDRAW = "withdraw"
    """The bad end was overturned and nothing else has come yet: close what this very job opened."""


@dataclass(frozen=True, slots=True)
class OpenFailure:
    """An open key, and the end of its last job. `finished_at` is in seconds since 1970."""

    key: str
    job_id: str
    state: JobState
    finished_at: float
    evidence: str | None
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LedgerChange:
    """What became of the ledger: the entries that went and came; labels of their jobs."""

    closed: OpenFailure | None = None
    opened: OpenFailure | None = None


def ledger_step(before: Job | None, after: Job) -> LedgerStep | None:
    """Return what a change means to the job's key; None when nothing."""
    if after.key is None:
        return None
    former = before.state if before is not None and before.key is not None else JobState.PENDING
    if after.state is former:
        return None
    if after.state is JobState.DONE:
        return LedgerStep.CLOSE
    return LedgerStep.OPEN if after.state in FINAL_STATES else LedgerStep.WITHDRAW


def takes_effect(
    step: LedgerStep, *, job: int, open_by: int | None, done_later: Callable[[], bool]
) -> bool:
    """Say whether a job's step changes the ledger.

    `job` is its incarnation, `open_by` that of the job whose end the key's entry is, if it has one;
    `done_later` tells whether a job registered later has made what the key stands for.
    """
    if step is LedgerStep.OPEN:
        return (open_by is None or open_by <= job) and not done_later()
    if open_by is None:
        return False
    return open_by <= job if step is LedgerStep.CLOSE else open_by == job


def open_failure(job: Job) -> OpenFailure:
    """Return a job's bad end as an entry."""
    return OpenFailure(
        key=job.key or "",
        job_id=job.job_id,
        state=job.state,
        finished_at=job.finished_at or 0.0,
        evidence=job.evidence,
        labels=job.labels,
    )
