"""SQL of the failure ledger. The caller has begun a transaction."""

import sqlite3
from typing import Final

from ..core.job import Job, JobState
from ..core.ledger import (
    LedgerChange,
    LedgerStep,
    OpenFailure,
    ledger_key,
    open_failure,
    takes_effect,
)
from .records import dump, load_mapping
from .store import FailuresRequest, Page

_COLUMNS: Final = "key, job_id, state, finished_at, evidence, labels"
_STATES: Final = frozenset(JobState)


def take_step(database: sqlite3.Connection, job: Job, step: LedgerStep) -> LedgerChange | None:
    """Take a job's step in the ledger; None when it changes nothing."""
    key, closed, opened = ledger_key(job), _leave_id(database, job), None
    row = database.execute(
        f"SELECT job, {_COLUMNS} FROM failures WHERE key = ?",  # noqa: S608 - no input in it
        (key,),
    ).fetchone()
    if takes_effect(
        step,
        job=job.incarnation,
        open_by=row[0] if row else None,
        done_later=lambda: _is_done_later(database, job),
    ):
        database.execute("DELETE FROM failures WHERE key = ?", (key,))
        closed += [_failure(row[1:])] if row else []
        if step is LedgerStep.OPEN:
            opened = open_failure(job)
            _insert(database, job, opened)
    return LedgerChange(tuple(closed), opened) if closed or opened else None


def _leave_id(database: sqlite3.Connection, job: Job) -> list[OpenFailure]:
    """Close the entry that a job opened under its id before it was given a key."""
    if job.key in (None, job.job_id):
        return []
    rows = database.execute(
        f"DELETE FROM failures WHERE key = ? AND job = ? RETURNING {_COLUMNS}",  # noqa: S608 - no input in it
        (job.job_id, job.incarnation),
    )
    return [_failure(row) for row in rows.fetchall()]


def _insert(database: sqlite3.Connection, job: Job, opened: OpenFailure) -> None:
    database.execute(
        "INSERT INTO failures (job, key, job_id, state, finished_at, evidence, labels)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            job.incarnation,
            opened.key,
            opened.job_id,
            opened.state,
            opened.finished_at,
            opened.evidence,
            dump(opened.labels),
        ),
    )


def select_failures(database: sqlite3.Connection, request: FailuresRequest) -> Page[OpenFailure]:
    """Return a page of open failures."""
    rows = database.execute(
        f"SELECT id, {_COLUMNS} FROM failures"  # noqa: S608 - no input in it
        " WHERE (:before IS NULL OR id < :before) AND (:key IS NULL OR key = :key)"
        " ORDER BY id DESC LIMIT :limit",
        {"before": request.before, "key": request.key, "limit": request.limit + 1},
    ).fetchall()
    more = len(rows) > request.limit
    found = [_failure(row[1:]) for row in rows[: request.limit]]
    return Page(found, rows[request.limit - 1][0] if more else None)


def delete_failure(database: sqlite3.Connection, key: str) -> LedgerChange | None:
    """Close a key; None when it is not open."""
    row = database.execute(
        f"DELETE FROM failures WHERE key = ? RETURNING {_COLUMNS}",  # noqa: S608 - no input in it
        (key,),
    ).fetchone()
    return LedgerChange(closed=(_failure(row),)) if row else None


def drop_oldest(database: sqlite3.Connection, kept: int) -> tuple[OpenFailure, ...]:
    """Drop all entries except the newest `kept`; return the dropped ones."""
    rows = database.execute(
        "DELETE FROM failures WHERE id IN"  # noqa: S608 - no input in it
        f" (SELECT id FROM failures ORDER BY id DESC LIMIT -1 OFFSET ?) RETURNING {_COLUMNS}",
        (kept,),
    )
    return tuple(_failure(row) for row in rows.fetchall())


def count_unresolved(database: sqlite3.Connection) -> list[tuple[dict[str, str], int]]:
    """Return how many keys are open, by their jobs' labels."""
    rows = database.execute("SELECT labels, count(*) FROM failures GROUP BY labels")
    return [(load_mapping(labels), count) for labels, count in rows]


def _is_done_later(database: sqlite3.Connection, job: Job) -> bool:
    query = (
        "SELECT EXISTS (SELECT 1 FROM jobs"
        " WHERE key = ? AND id > ? AND state = 'done' AND forgotten = 0)"
    )
    return bool(database.execute(query, (ledger_key(job), job.incarnation)).fetchone()[0])


def _failure(row: tuple[str, str, str, float, str | None, str]) -> OpenFailure:
    key, job_id, state, finished_at, evidence, labels = row
    # A key stays open even if the rest of its row is damaged.
    known = JobState(state) if state in _STATES else JobState.FAILED
    return OpenFailure(key, job_id, known, finished_at, evidence, load_mapping(labels))
