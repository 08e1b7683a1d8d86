"""Jobs out of their rows. A row that is damaged costs no other job: it is left out, or set aside.

What is set aside stays in the file as it is (`forgotten = 2`), and its id is free again.
"""

import logging
import sqlite3
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from ..core.job import INFERRED_STATES, Job, JobState
from .queries import conditions, json_list
from .records import RecordError, load_job
from .store import JobFilter, RecheckDue

_LOG: Final = logging.getLogger("removit_exporter.store")

# As bytes: SQLite does not look whether a text is one, and what is none would fail every row.
COLUMNS: Final = "CAST(job_id AS BLOB), id, version, CAST(document AS BLOB)"

Row = tuple[bytes, int, int, bytes]


@dataclass(frozen=True, slots=True)
class DamagedRow:
    """A row that no job can be made of, and why."""

    id: int
    job_id: str
    damage: str


def read_jobs(rows: Iterable[Row]) -> tuple[list[Job], list[DamagedRow]]:
    """Make jobs of rows of `COLUMNS`."""
    jobs, damaged = [], []
    for job_id, id_, version, document in rows:
        try:
            jobs.append(load_job(job_id, id_, version, document))
        except RecordError as error:
            damaged.append(DamagedRow(id_, job_id.decode(errors="replace"), str(error)))
    return jobs, damaged


def set_aside(database: sqlite3.Connection, rows: Iterable[DamagedRow]) -> None:
    """Keep damaged rows in the file, out of the way, and say which; within a transaction."""
    for row in rows:
        database.execute("UPDATE jobs SET forgotten = 2 WHERE id = ? AND forgotten = 0", (row.id,))
        tell(row, "the stored row of a job is damaged and was set aside: the job is not known now")


def tell(row: DamagedRow, what: str) -> None:
    """Log what became of a damaged row."""
    _LOG.error(what, extra={"job_id": row.job_id, "row": row.id, "damage": row.damage})


def select_to_hold(
    database: sqlite3.Connection, finished_after: float, recheck: RecheckDue
) -> tuple[list[Job], list[DamagedRow]]:
    """Return the jobs that memory holds from the start; see `Store.load`."""
    # Of a state that is none, or rechecks that cannot be read, only the document can tell.
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
                "finished_after": finished_after,
                "states": json_list([state.value for state in JobState]),
                "inferred": json_list([state.value for state in INFERRED_STATES]),
                "kept_after": recheck.finished_after,
                "rechecks": recheck.times,
            },
        )
    )


def select_jobs(
    database: sqlite3.Connection, job_ids: Collection[str]
) -> tuple[list[Job], list[DamagedRow]]:
    """Return those of the jobs that are known."""
    return read_jobs(
        database.execute(
            f"SELECT {COLUMNS} FROM jobs"  # noqa: S608 - no input in it
            " WHERE forgotten = 0 AND job_id IN (SELECT value FROM json_each(?))",
            (json_list(job_ids),),
        )
    )


def select_page(
    database: sqlite3.Connection, job_filter: JobFilter, limit: int, before: int | None
) -> tuple[list[Job], list[DamagedRow], int | None]:
    """Return jobs, newest first, and where the next page begins; see `Store.page`."""
    where, values = conditions(job_filter, before)
    rows = database.execute(
        f"SELECT {COLUMNS} FROM jobs WHERE {where} ORDER BY id DESC LIMIT ?",  # noqa: S608 - no input in it
        (*values, limit + 1),
    ).fetchall()
    following = rows[limit - 1][1] if len(rows) > limit else None
    return *read_jobs(rows[:limit]), following
