"""Reading jobs from their rows. A damaged row costs no other job: it is left out, or set aside.

A row that is set aside stays in the file unchanged (`forgotten = 2`), and its job id is free again.
"""

import sqlite3
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Final

from ..core.job import INFERRED_STATES, Job, JobState
from .records import RecordError, json_list, load_job, parse_documents
from .store import JobFilter, LoadRequest, Page, PageRequest

# As bytes: SQLite does not check that a text is valid, and an invalid one would fail every row.
COLUMNS: Final = "CAST(job_id AS BLOB), id, version, CAST(document AS BLOB)"

Row = tuple[bytes, int, int, bytes]

PARSED_AT_ONCE: Final = 200
"""Documents that are parsed in one pass."""

MAX_PAGE_BYTES: Final = 8 * 1024 * 1024
"""Documents in one page of a list: a page of very large jobs has fewer of them."""


@dataclass(frozen=True, slots=True)
class DamagedRow:
    """A row that cannot be read as a job, and why."""

    id: int
    job_id: str
    damage: str


def read_jobs(rows: Iterable[Row]) -> tuple[list[Job], list[DamagedRow]]:
    """Read jobs from rows of `COLUMNS`."""
    jobs, damaged, rest = list[Job](), list[DamagedRow](), iter(rows)
    while batch := list(islice(rest, PARSED_AT_ONCE)):
        documents = parse_documents([row[3] for row in batch])
        for (job_id, id_, version, _), document in zip(batch, documents, strict=True):
            try:
                jobs.append(load_job(job_id, id_, version, document))
            except RecordError as error:
                damaged.append(DamagedRow(id_, job_id.decode(errors="replace"), str(error)))
    return jobs, damaged


def set_aside(database: sqlite3.Connection, rows: Iterable[DamagedRow]) -> None:
    """Mark damaged rows so that nothing reads them; within a transaction."""
    for row in rows:
        database.execute("UPDATE jobs SET forgotten = 2 WHERE id = ? AND forgotten = 0", (row.id,))


def select_resident(
    database: sqlite3.Connection, request: LoadRequest
) -> tuple[list[Job], list[DamagedRow]]:
    """Return the jobs that memory holds from the start; see `LoadRequest`."""
    # Where the state or the rechecks cannot be read here, the job is loaded to be on the safe side.
    return read_jobs(
        database.execute(
            f"SELECT {COLUMNS} FROM jobs WHERE forgotten = 0"  # noqa: S608 - no input in it
            " AND (state = 'pending' OR finished_at > :finished_after"
            " OR state NOT IN (SELECT value FROM json_each(:states))"
            " OR (state IN (SELECT value FROM json_each(:inferred)) AND finished_at > :kept_after"
            " AND CASE WHEN json_valid(document)"
            " THEN coalesce(json_extract(document, '$.rechecks'), 0) ELSE 0 END < :rechecks))"
            " ORDER BY id",
            {
                "finished_after": request.finished_after,
                "states": json_list([state.value for state in JobState]),
                "inferred": json_list([state.value for state in INFERRED_STATES]),
                "kept_after": request.recheck.finished_after,
                "rechecks": request.recheck.times,
            },
        )
    )


def select_jobs(
    database: sqlite3.Connection, job_ids: Collection[str]
) -> tuple[list[Job], list[DamagedRow]]:
    """Return the jobs that are known."""
    return read_jobs(
        database.execute(
            f"SELECT {COLUMNS} FROM jobs"  # noqa: S608 - no input in it
            " WHERE forgotten = 0 AND job_id IN (SELECT value FROM json_each(?))",
            (json_list(job_ids),),
        )
    )


def select_page(
    database: sqlite3.Connection, request: PageRequest
) -> tuple[Page[Job], list[DamagedRow]]:
    """Return a page of jobs without its damaged rows, and those rows."""
    where, values = _conditions(request.job_filter, request.before)
    found = database.execute(
        f"SELECT {COLUMNS} FROM jobs WHERE {where} ORDER BY id DESC LIMIT ?",  # noqa: S608 - no input in it
        (*values, request.limit + 1),
    )
    rows, room, more = list[Row](), MAX_PAGE_BYTES, False
    for row in found:
        room -= len(row[3])
        more = len(rows) == request.limit or (bool(rows) and room < 0)
        if more:
            break
        rows.append(row)
    jobs, damaged = read_jobs(rows)
    return Page(jobs, rows[-1][1] if more else None), damaged


def _conditions(job_filter: JobFilter, before: int | None) -> tuple[str, list[object]]:
    """Return the WHERE clause of a list, and its values."""
    tests, values = ["forgotten = 0"], list[object]()
    for test, value in (
        ("state = ?", job_filter.state),
        ("source = ?", job_filter.source),
        ("mode = ?", job_filter.mode),
        ("key = ?", job_filter.key),
        ("id < ?", before),
    ):
        if value is not None:
            tests.append(test)
            values.append(value)
    for name, value in job_filter.labels.items():
        # Without the check a damaged document would fail the whole list.
        tests.append(
            "CASE WHEN json_valid(document)"
            " THEN json_extract(document, '$.labels.' || json_quote(?)) END = ?"
        )
        values += [name, value]
    for test, noted in ((_IGNORED, job_filter.variation), (_WARNED, job_filter.warning)):
        if noted is not None:
            tests.append(test)
            values.append(noted)
    return " AND ".join(tests), values


# A damaged document admits no job, and fails no list.
_IGNORED: Final = (
    "CASE WHEN json_valid(document)"
    " THEN ? IN (SELECT value FROM json_each(document, '$.told_ignored')) END"
)
_WARNED: Final = (
    "CASE WHEN json_valid(document)"
    " THEN ? IN (SELECT key FROM json_each(document, '$.told_warnings')) END"
)
