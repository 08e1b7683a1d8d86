"""Inspecting the whole database of a stopped exporter without changing it.

The log is read too, if there is one. Only the log's index (`-shm`), which SQLite rebuilds at any
time, may be written.
"""

import contextlib
import itertools
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ..core.events import EventType
from ..core.job import JobState
from ..logs import make_logger
from .database_file import DamagedError, DatabaseFile
from .job_rows import COLUMNS, read_jobs
from .queries import check_ours
from .records import RecordError, load_labels, load_object
from .store import StoreUnusableError

MAX_LINES: Final = 100


def inspect(path: Path) -> list[str]:
    """Return what is wrong with a database, in at most `MAX_LINES` lines; empty if it is whole.

    Raises `StoreUnusableError` if it cannot be inspected: missing, in use, or another program's.
    """
    file = DatabaseFile(path, make_logger())
    try:
        with file.inspected() as stray_log, _reading(file, stray_log) as database:
            check_ours(database, path)
            lines = itertools.chain(stray_log, _pages(database) or _rows(database))
            wrong = list(itertools.islice(lines, MAX_LINES + 1))
    except DamagedError as damage:
        return [str(damage)]
    except (sqlite3.Error, OSError) as error:
        if "malformed" in str(error):
            return [str(error)]
        raise StoreUnusableError(f"{path}: {file.why(error)}") from error
    return wrong if len(wrong) <= MAX_LINES else [*wrong[:MAX_LINES], "and more"]


@contextlib.contextmanager
def _reading(file: DatabaseFile, stray_log: list[str]) -> Iterator[sqlite3.Connection]:
    # Without a log SQLite would begin one, unless `immutable` promises that nobody writes.
    how = "mode=ro" if file.has_log() and not stray_log else "mode=ro&immutable=1"
    database = sqlite3.connect(f"{file.place.as_uri()}?{how}", uri=True, isolation_level=None)
    with contextlib.closing(database):
        database.text_factory = lambda data: data.decode(errors="replace")
        yield database


def _pages(database: sqlite3.Connection) -> list[str]:
    rows = database.execute("PRAGMA integrity_check").fetchall()
    return [text for (text,) in rows if text != "ok"]


def _rows(database: sqlite3.Connection) -> Iterator[str]:
    yield from _jobs(database)
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
    if "events" in tables:
        yield from _events(database)
    if "totals" in tables:
        yield from _totals(database)
    if "failures" in tables:
        yield from _failures(database)


def _jobs(database: sqlite3.Connection) -> Iterator[str]:
    rows = database.execute(f"SELECT {COLUMNS}, state, key FROM jobs WHERE forgotten = 0")  # noqa: S608 - no input in it
    for *row, state, key in rows:
        jobs, damaged = read_jobs([tuple(row)])
        for one in damaged:
            yield f"jobs, row {one.id}: job {one.job_id}: damaged: {one.damage}"
        for job in jobs:
            if (job.state, job.key) != (state, key):
                yield (
                    f"jobs, row {job.incarnation}: job {job.job_id}: state {state} and key {key}"
                    f", but the document has {job.state} and {job.key}"
                )


def _events(database: sqlite3.Connection) -> Iterator[str]:
    for id_, kind, data in database.execute("SELECT id, type, CAST(data AS BLOB) FROM events"):
        yield from _damage(f"events, row {id_}", data)
        if kind not in frozenset(EventType):
            yield f"events, row {id_}: unknown type: {kind}"


def _totals(database: sqlite3.Connection) -> Iterator[str]:
    for name, labels in database.execute("SELECT name, CAST(labels AS BLOB) FROM totals"):
        try:
            load_labels(labels)
        except RecordError as error:
            yield f"totals of {name}: damaged: {error}"


def _failures(database: sqlite3.Connection) -> Iterator[str]:
    rows = database.execute("SELECT id, state, CAST(labels AS BLOB) FROM failures")
    for id_, state, labels in rows:
        yield from _damage(f"failures, row {id_}", labels)
        if state not in frozenset(JobState):
            yield f"failures, row {id_}: unknown state: {state}"


def _damage(where: str, text: bytes) -> Iterator[str]:
    try:
        load_object(text)
    except RecordError as error:
        yield f"{where}: damaged: {error}"
