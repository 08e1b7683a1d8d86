"""SQL over the schema. The functions take a connection, and the caller has begun a transaction."""

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from ..core.events import Event, EventType
from ..core.job import Job, JobState
from .ledger_queries import drop_oldest, take_step
from .records import (
    RecordError,
    dump,
    dump_job,
    dump_labels,
    json_list,
    load_job,
    load_labels,
    load_mapping,
)
from .schema import APPLICATION_ID, SCHEMA_VERSION, UPGRADES
from .store import (
    Accepted,
    Change,
    Fenced,
    FinalAnswer,
    HistoryRequest,
    Pruned,
    PruneRequest,
    SeriesTotal,
    StoredEvent,
    StoreUnusableError,
    parts_of,
)

_KEPT: Final = "kept:"
"""Texts of `Store.keep` are values of the table `meta` with this before their name."""


def check_ours(database: sqlite3.Connection, path: Path) -> None:
    """Refuse a file of another program or of a newer version; raises `StoreUnusableError`."""
    application = database.execute("PRAGMA application_id").fetchone()[0]
    version = database.execute("PRAGMA user_version").fetchone()[0]
    tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application != APPLICATION_ID and (tables or application):
        raise StoreUnusableError(
            f"{path}: a database of another program; give storage.path a file of its own"
        )
    if version > SCHEMA_VERSION:
        raise StoreUnusableError(
            f"{path}: written by a newer removit-exporter (schema {version}, this one knows"
            f" {SCHEMA_VERSION}); upgrade the program, or use another file"
        )


def upgrade(database: sqlite3.Connection) -> None:
    """Bring an empty or older file to the present schema."""
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version == SCHEMA_VERSION:
        return
    for script in UPGRADES[version:]:
        for statement in script.split(";"):
            database.execute(statement)
    database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    database.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def apply_changes(
    database: sqlite3.Connection, changes: Sequence[Change]
) -> list[Accepted | Fenced]:
    """Write a group of changes; return what became of each, in order."""
    results: list[Accepted | Fenced] = []
    totals: dict[tuple[str, str, int], float] = {}
    for change in changes:
        incarnation = _put_job(database, change)
        if incarnation is None:
            results.append(Fenced(_known(database, change)))
            continue
        ids = tuple(
            _put_event(database, event, incarnation if change.job else None)
            for event in change.events
        )
        if change.admitted:
            database.executemany("INSERT OR IGNORE INTO admitted VALUES (?, ?)", change.admitted)
        _add_up(totals, change)
        ledger = None
        if change.job is not None and change.ledger is not None:
            ledger = take_step(database, change.job, change.ledger)
        results.append(Accepted(ids, incarnation, ledger))
    database.executemany(
        "INSERT INTO totals VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET amount = amount + excluded.amount",
        [(*series, amount) for series, amount in totals.items()],
    )
    return results


def _put_job(database: sqlite3.Connection, change: Change) -> int | None:
    """Insert or update by version; None when the change is fenced, 0 when it has no job."""
    job = change.job
    if job is None:
        return 0
    final = change.final
    answer = (final.http_status, final.content_type, final.body) if final else (None, None, None)
    columns = (job.version, job.state, job.mode, job.key, job.finished_at, dump_job(job))
    if change.expected == 0:
        done = database.execute(_INSERT_JOB, (job.job_id, job.source, *columns, *answer))
        return done.lastrowid if done.rowcount else None
    if change.forgotten:
        done = database.execute(_FORGET_JOB, (job.incarnation, change.expected))
    else:
        done = database.execute(_UPDATE_JOB, (*columns, *answer, job.incarnation, change.expected))
    return job.incarnation if done.rowcount else None


def _known(database: sqlite3.Connection, change: Change) -> Job | None:
    row = database.execute(
        "SELECT job_id, id, version, CAST(document AS BLOB) FROM jobs"
        " WHERE forgotten = 0 AND job_id = ?",
        (change.job.job_id if change.job else None,),
    ).fetchone()
    try:
        return load_job(*row) if row else None
    except RecordError:
        return None  # as if it were gone; the next read sets it aside


def _put_event(database: sqlite3.Connection, event: Event, job: int | None) -> int:
    done = database.execute(
        "INSERT INTO events (job, time, type, data) VALUES (?, ?, ?, ?)",
        (job, event.time, event.type, dump(event.data)),
    )
    assert done.lastrowid is not None  # noqa: S101 - it was an INSERT
    return done.lastrowid


def _add_up(totals: dict[tuple[str, str, int], float], change: Change) -> None:
    """Add up the deltas of a group, so that each series is written once per commit."""
    for delta in change.deltas:
        labels = dump_labels(delta.labels)
        for bucket, amount in parts_of(delta):
            series = (delta.name, labels, bucket)
            totals[series] = totals.get(series, 0.0) + amount


def put_meta(database: sqlite3.Connection, **values: object) -> None:
    """Write values of the table `meta`."""
    database.executemany(
        "INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
        list(values.items()),
    )


def put_kept(database: sqlite3.Connection, name: str, text: str) -> None:
    """Write a text of `Store.keep`."""
    put_meta(database, **{_KEPT + name: text})


def kept_of(meta: Mapping[str, object]) -> dict[str, str]:
    """Return the texts of `Store.keep` among the values of the table `meta`."""
    return {
        name.removeprefix(_KEPT): text
        for name, text in meta.items()
        if name.startswith(_KEPT) and isinstance(text, str)
    }


def count_by_state(database: sqlite3.Connection) -> dict[JobState, int]:
    """Return how many jobs are kept, by state."""
    rows = database.execute("SELECT state, count(*) FROM jobs WHERE forgotten = 0 GROUP BY state")
    return {JobState(state): count for state, count in rows if state in _STATES}


def select_totals(
    database: sqlite3.Connection,
) -> tuple[list[SeriesTotal], list[tuple[str, str]]]:
    """Return all totals, and the name and damage of those that cannot be read.

    These begin at 0 again.
    """
    totals, damaged = [], []
    for name, labels, bucket, amount in database.execute(
        "SELECT name, CAST(labels AS BLOB), bucket, amount FROM totals"
    ):
        try:
            totals.append(SeriesTotal(name, load_labels(labels), bucket, amount))
        except RecordError as error:
            damaged.append((name, str(error)))
    return totals, damaged


def select_final_answer(database: sqlite3.Connection, job_id: str) -> FinalAnswer | None:
    """Return the answer that ended a job."""
    row = database.execute(
        "SELECT final_status, final_type, final_body FROM jobs"
        " WHERE forgotten = 0 AND job_id = ? AND final_status IS NOT NULL",
        (job_id,),
    ).fetchone()
    return FinalAnswer(*row) if row else None


def select_history(database: sqlite3.Connection, request: HistoryRequest) -> list[StoredEvent]:
    """Return events, without those whose type is damaged; see `HistoryRequest`."""
    rows = database.execute(
        "SELECT events.id, type, job_id, time, data FROM events"  # noqa: S608 - no input in it
        " LEFT JOIN jobs ON jobs.id = events.job"
        " WHERE events.id > :after AND (:type IS NULL OR type = :type)"
        " AND type IN (SELECT value FROM json_each(:types))"
        " AND (:job_id IS NULL OR job IN (SELECT id FROM jobs WHERE job_id = :job_id))"
        " AND (:variation IS NULL OR CASE WHEN json_valid(data)"
        " THEN json_extract(data, '$.variation') = :variation END)"
        f" ORDER BY events.id {'DESC' if request.newest else ''} LIMIT :limit",
        {
            "after": request.after,
            "type": request.type,
            "types": json_list([kind.value for kind in EventType]),
            "job_id": request.job_id,
            "variation": request.variation,
            "limit": request.limit,
        },
    )
    events = [
        StoredEvent(id_, Event(EventType(kind), job, time, load_mapping(data)))
        for id_, kind, job, time, data in rows
    ]
    return events[::-1] if request.newest else events


def select_history_bounds(database: sqlite3.Connection) -> tuple[int, int]:
    """See `Store.history_bounds`."""
    newest = select_newest_event(database)
    oldest: int | None = database.execute("SELECT min(id) FROM events").fetchone()[0]
    return (newest + 1 if oldest is None else oldest), newest


def select_newest_event(database: sqlite3.Connection) -> int:
    """Return the highest id that an event was ever assigned, 0 before the first."""
    # AUTOINCREMENT remembers it (SQLite, "Autoincrement").
    row = database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
    return int(row[0]) if row else 0


def prune(database: sqlite3.Connection, request: PruneRequest) -> Pruned:
    """Drop old finished jobs, old events, and emptied rows that no event names any more."""
    limit, failures = request.limit, drop_oldest(database, request.open_failures)
    old = database.execute(
        "SELECT id, state FROM jobs WHERE forgotten = 0 AND state <> 'pending'"
        " AND finished_at < ? AND job_id NOT IN (SELECT value FROM json_each(?))"
        " AND id NOT IN (SELECT job FROM failures) LIMIT ?",
        (request.finished_before, json_list(request.keep), limit),
    ).fetchall()
    database.executemany(_EMPTY_JOB, [(id_,) for id_, _ in old])
    events = database.execute(
        "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE id <="
        " (SELECT max(id) FROM events) - ? ORDER BY id LIMIT ?)",
        (request.history_events, limit),
    ).rowcount
    rows = database.execute(
        "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE forgotten = 1 AND"
        " NOT EXISTS (SELECT 1 FROM events WHERE job = jobs.id) LIMIT ?)",
        (limit,),
    ).rowcount
    gone = Counter(JobState(state) for _, state in old if state in _STATES)
    return Pruned(gone, limit in (len(old), events, rows), failures)


_STATES: Final = frozenset(JobState)

_INSERT_JOB: Final = (
    "INSERT INTO jobs (job_id, source, version, state, mode, key, finished_at, document,"
    " final_status, final_type, final_body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT DO NOTHING"
)
_UPDATE_JOB: Final = (
    "UPDATE jobs SET version = ?, state = ?, mode = ?, key = ?, finished_at = ?, document = ?,"
    " final_status = coalesce(?, final_status), final_type = coalesce(?, final_type),"
    " final_body = coalesce(?, final_body)"
    " WHERE id = ? AND version = ? AND forgotten = 0"
)
_EMPTY_JOB: Final = (
    "UPDATE jobs SET forgotten = 1, document = '{}', final_status = NULL, final_type = NULL,"
    " final_body = NULL WHERE id = ?"
)
_FORGET_JOB: Final = _EMPTY_JOB + " AND version = ? AND forgotten = 0"
