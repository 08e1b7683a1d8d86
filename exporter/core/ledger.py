"""The failure ledger: which keys still lack their result.

A key is the user's own name for what a job makes (a SKU, a file); a job without one counts under
its id. A key is open from the moment when its last job ends badly until a later job with the same
key is done, or a user acknowledges it.
The store keeps the open keys, because they outlive their jobs; this module says what a job's change
means to its key. "Later" means registered later: an earlier job opens nothing that a later one has
closed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from .job import FINAL_STATES, Job, JobState

MAX_OPEN: Final = 100_000
"""Open entries that are kept; past it the oldest are dropped, so that the store stays bounded."""


class LedgerStep(StrEnum):
    """The effect of a job's change on its key."""

    OPEN = "open"
    CLOSE = "close"
    WITHDRAW = "withdraw"
    """The job's bad end was overturned and it goes on: close the key if this job opened it."""


@dataclass(frozen=True, slots=True)
class OpenFailure:
    """An open key and the bad end of its last job. `finished_at` is in seconds since 1970."""

    key: str
    job_id: str
    state: JobState
    finished_at: float
    evidence: str | None
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LedgerChange:
    """How the ledger changed: the failures that were closed, and the one that was opened."""

    closed: tuple[OpenFailure, ...] = ()
    opened: OpenFailure | None = None


def ledger_key(job: Job) -> str:
    """Return the key under which a job counts: its own, or its id."""
    return job.job_id if job.key is None else job.key


def ledger_step(before: Job | None, after: Job) -> LedgerStep | None:
    """Return what a change of a job does to its key; None if nothing."""
    same_key = before is not None and ledger_key(before) == ledger_key(after)
    former = before.state if before is not None and same_key else JobState.PENDING
    if after.state is former:
        return None
    if after.state is JobState.DONE:
        return LedgerStep.CLOSE
    return LedgerStep.OPEN if after.state in FINAL_STATES else LedgerStep.WITHDRAW


def takes_effect(
    step: LedgerStep, *, job: int, open_by: int | None, done_later: Callable[[], bool]
) -> bool:
    """Return whether a job's step changes the ledger.

    `job` is the job's incarnation; `open_by` is that of the job which opened the key, if it is
    open. `done_later` returns whether a later job of the key is done.
    """
    if step is LedgerStep.OPEN:
        return (open_by is None or open_by <= job) and not done_later()
    if open_by is None:
        return False
    return open_by <= job if step is LedgerStep.CLOSE else open_by == job


def open_failure(job: Job) -> OpenFailure:
    """Return the open failure of a job that ended badly."""
    return OpenFailure(
        key=ledger_key(job),
        job_id=job.job_id,
        state=job.state,
        finished_at=job.finished_at or 0.0,
        evidence=job.evidence,
        labels=job.labels,
    )
