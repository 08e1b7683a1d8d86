"""The failure ledger of the store in memory."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ..core.job import Job
from ..core.ledger import (
    LedgerChange,
    LedgerStep,
    OpenFailure,
    ledger_key,
    open_failure,
    takes_effect,
)


@dataclass(frozen=True, slots=True)
class _Entry:
    cursor: int
    job: int
    """The incarnation of the job that opened it."""
    failure: OpenFailure


@dataclass(slots=True)
class MemoryLedger:
    """The open failures by key; see `core/ledger.py`."""

    entries: dict[str, _Entry] = field(default_factory=dict)
    last: int = 0

    @property
    def labels(self) -> list[tuple[Mapping[str, str], int]]:
        """The labels of each open failure; see `Snapshot.unresolved`."""
        return [(entry.failure.labels, 1) for entry in self.entries.values()]

    @property
    def jobs(self) -> set[int]:
        """The incarnations of the jobs that have an open entry."""
        return {entry.job for entry in self.entries.values()}

    def newest_first(self) -> list[tuple[int, OpenFailure]]:
        """Return each open failure with its cursor."""
        found = [(entry.cursor, entry.failure) for entry in self.entries.values()]
        return sorted(found, key=lambda pair: pair[0], reverse=True)

    def close(self, key: str) -> OpenFailure | None:
        """Close a key; return what was open."""
        entry = self.entries.pop(key, None)
        return None if entry is None else entry.failure

    def drop_oldest(self, kept: int) -> tuple[OpenFailure, ...]:
        """Drop all entries except the newest `kept`; return the dropped ones."""
        dropped: Sequence[tuple[int, OpenFailure]] = self.newest_first()[kept:]
        for _, failure in dropped:
            del self.entries[failure.key]
        return tuple(failure for _, failure in dropped)

    def take_step(
        self, job: Job, step: LedgerStep, done_later: Callable[[], bool]
    ) -> LedgerChange | None:
        """Take a job's step; None when it changes nothing."""
        key, closed, opened = ledger_key(job), list[OpenFailure](), None
        own = self.entries.get(job.job_id)
        if job.key not in (None, job.job_id) and own is not None and own.job == job.incarnation:
            closed.append(self.entries.pop(job.job_id).failure)
        former = self.entries.get(key)
        open_by = None if former is None else former.job
        if takes_effect(step, job=job.incarnation, open_by=open_by, done_later=done_later):
            closed += [] if former is None else [former.failure]
            self.entries.pop(key, None)
            if step is LedgerStep.OPEN:
                self.last += 1
                opened = open_failure(job)
                self.entries[key] = _Entry(self.last, job.incarnation, opened)
        return LedgerChange(tuple(closed), opened) if closed or opened else None
