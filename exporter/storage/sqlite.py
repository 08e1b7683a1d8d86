"""The store in one SQLite file.

WAL with `synchronous=FULL`: what was acknowledged survives kill -9 and a power cut (SQLite,
"Write-Ahead Logging" and "PRAGMA synchronous"). One thread owns the one connection; a group of
changes is one hop there and one transaction. The row id of a job is its incarnation, so an id
that is registered again is another row, and a late change for the former one is fenced.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Final, TypeVar

from ..core.job import Job
from ..core.ledger import LedgerChange, OpenFailure
from .database_file import DamagedError, DatabaseFile, LogGoneError
from .job_rows import select_jobs, select_page, select_to_hold, set_aside, tell
from .ledger_queries import count_unresolved, delete_failure, select_failures
from .queries import (
    apply_changes,
    check_ours,
    count_by_state,
    kept_of,
    prune,
    put_kept,
    put_meta,
    select_history,
    select_history_bounds,
    select_totals,
    upgrade,
)
from .store import (
    NO_RECHECK,
    Accepted,
    Change,
    Fenced,
    FinalAnswer,
    JobFilter,
    Pruned,
    RecheckDue,
    SetAside,
    Snapshot,
    StoredEvent,
    StoreError,
    StoreUnusableError,
)

BUSY_SECONDS: Final = 5.0
CACHE_KIB: Final = 16 * 1024

Result = TypeVar("Result")


class SqliteStore:
    """Jobs, events and totals in the file `path`.

    `before_commit` is called in each transaction just before it commits: a place to fail at.
    """

    def __init__(
        self,
        path: Path,
        *,
        busy_seconds: float = BUSY_SECONDS,
        before_commit: Callable[[], None] = lambda: None,
    ) -> None:
        self.path = path
        self._busy_seconds = busy_seconds
        self._before_commit = before_commit
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._file = DatabaseFile(path)
        self._database: sqlite3.Connection | None = None
        self._told: set[int] = set()
        self.set_aside: Path | None = None
        """Where a damaged file was moved when this one was opened in its place."""
        self.damage = ""
        self._deadline: float | None = None

    async def open(self) -> SetAside | None:
        """See `Store.open`."""
        try:
            await self._run(self._open)
        except BaseException:
            await self.close()
            raise
        if self.set_aside is None:
            return None
        return SetAside(str(self.path), str(self.set_aside), self.damage)

    async def close(self) -> None:
        """Close the file; the next to open it finds it whole."""
        if self._database is not None:
            await self._run(self._close)
        self._file.unlock()
        self._thread.shutdown(wait=False)

    def set_deadline(self, seconds: float) -> None:
        """See `Store.set_deadline`."""
        self._deadline = monotonic() + seconds

    async def load(
        self,
        *,
        time: float,
        finished_after: float,
        resume_within: float,
        layout: str,
        recheck: RecheckDue = NO_RECHECK,
    ) -> Snapshot:
        """See `Store.load`."""

        def load(database: sqlite3.Connection) -> Snapshot:
            meta = dict(database.execute("SELECT name, value FROM meta"))
            lived = meta.get("alive_at")
            resumed = lived is not None and time - lived <= resume_within
            if not resumed or meta.get("layout") != layout:
                database.execute("DELETE FROM totals")
            put_meta(database, layout=layout, alive_at=time)
            jobs, damaged = select_to_hold(database, finished_after, recheck)
            set_aside(database, damaged)
            return Snapshot(
                jobs=jobs,
                totals=select_totals(database),
                admitted=database.execute("SELECT label, value FROM admitted").fetchall(),
                by_state=count_by_state(database),
                healthy_time=meta.get("well_time", 0.0),
                unresolved=count_unresolved(database),
                kept=kept_of(meta),
            )

        return await self._transaction(load)

    async def apply(self, changes: Sequence[Change]) -> list[Accepted | Fenced]:
        """See `Store.apply`."""
        return await self._transaction(lambda database: apply_changes(database, changes))

    async def get(self, job_ids: Collection[str]) -> dict[str, Job]:
        """See `Store.get`."""

        jobs, damaged = await self._read(lambda database: select_jobs(database, job_ids))
        if damaged:
            await self._transaction(lambda database: set_aside(database, damaged))
        return {job.job_id: job for job in jobs}

    async def final_answer(self, job_id: str) -> FinalAnswer | None:
        """See `Store.final_answer`."""

        def final_answer(database: sqlite3.Connection) -> FinalAnswer | None:
            row = database.execute(
                "SELECT final_status, final_type, final_body FROM jobs"
                " WHERE forgotten = 0 AND job_id = ? AND final_status IS NOT NULL",
                (job_id,),
            ).fetchone()
            return FinalAnswer(*row) if row else None

        return await self._read(final_answer)

    async def page(
        self, job_filter: JobFilter, *, limit: int, before: int | None
    ) -> tuple[list[Job], int | None]:
        """See `Store.page`."""
        jobs, damaged, following = await self._read(
            lambda database: select_page(database, job_filter, limit, before)
        )
        # Not set aside: memory may hold the job whole, and its next change writes the row anew.
        for row in damaged:
            if row.id not in self._told:
                self._told.add(row.id)
                tell(row, "the stored row of a job is damaged and left out of a list")
        return jobs, following

    async def history(
        self,
        *,
        after: int,
        limit: int,
        type: str | None = None,  # noqa: A002 - the name in the interface
        job_id: str | None = None,
        newest: bool = False,
    ) -> list[StoredEvent]:
        """See `Store.history`."""

        return await self._read(
            lambda database: select_history(database, after, limit, type, job_id, newest=newest)
        )

    async def history_bounds(self) -> tuple[int, int]:
        """See `Store.history_bounds`."""
        return await self._read(select_history_bounds)

    async def failures(
        self, *, limit: int, before: int | None, key: str | None = None
    ) -> tuple[list[OpenFailure], int | None]:
        """See `Store.failures`."""
        return await self._read(lambda database: select_failures(database, limit, before, key))

    async def acknowledge(self, key: str) -> LedgerChange | None:
        """See `Store.acknowledge`."""
        return await self._transaction(lambda database: delete_failure(database, key))

    async def stamp(self, *, time: float, healthy_time: float) -> None:
        """See `Store.stamp`."""
        await self._transaction(
            lambda database: put_meta(database, alive_at=time, well_time=healthy_time)
        )

    async def keep(self, name: str, text: str) -> None:
        """See `Store.keep`."""
        await self._transaction(lambda database: put_kept(database, name, text))

    async def prune(
        self, *, finished_before: float, keep: Collection[str], history: int, limit: int
    ) -> Pruned:
        """See `Store.prune`."""
        return await self._transaction(
            lambda database: prune(database, finished_before, keep, history, limit)
        )

    async def _run(self, function: Callable[[], Result]) -> Result:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function)
        except RuntimeError as error:  # the thread is gone: closed
            raise StoreError(f"{self.path}: {error}") from error

    async def _transaction(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        def run() -> Result:
            with self._errors(), self._begin() as database:
                result = work(database)
                self._before_commit()
                return result

        return await self._run(run)

    async def _read(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        def run() -> Result:
            with self._errors():
                return work(self._connection())

        return await self._run(run)

    def _connection(self) -> sqlite3.Connection:
        if self._database is None:
            raise StoreError(f"{self.path}: not open")
        return self._database

    @contextlib.contextmanager
    def _begin(self) -> Iterator[sqlite3.Connection]:
        self._keep_in_place()
        database = self._connection()
        if self._deadline is not None:
            left = min(self._busy_seconds, max(0.0, self._deadline - monotonic()))
            database.execute(f"PRAGMA busy_timeout = {left * 1000:.0f}")
        database.execute("BEGIN IMMEDIATE")
        try:
            yield database
            database.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # a full disk may have rolled back by itself
                database.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: {self._file.why(error)}") from error

    def _keep_in_place(self) -> None:
        """See to it that what is committed now is in the files that are found after a kill."""
        try:
            self._file.check_in_place(self._needed)
        except LogGoneError as error:
            self._begin_another_log(error)

    def _needed(self) -> int:
        pages, size = (
            self._connection().execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "page_size")
        )
        return int(pages * size)

    def _begin_another_log(self, error: LogGoneError) -> None:
        """The log that was removed is open still: put all it holds into the file, and begin anew.

        The file itself is in its place. It is let go of only when it holds everything.
        """
        database = self._connection()
        busy = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            raise StoreError(f"{error}, and another process reads the database") from error
        database.close()
        try:
            self._database = self._connect()
            self._begin_log()
            self._file.remember()
        except OSError as failure:
            raise StoreError(f"{self.path}: {self._file.why(failure)}; restart") from failure

    def _open(self) -> None:
        self._file.lock()
        try:
            self._open_file()
        except DamagedError as damage:
            self._set_aside(damage)
            self._open_file()

    def _set_aside(self, damage: DamagedError) -> None:
        self.damage = str(damage)
        try:
            self.set_aside = self._file.set_aside()
        except OSError as error:
            raise StoreUnusableError(
                f"{self.path}: damaged: {damage}; it cannot be set aside: {self._file.why(error)}"
            ) from error
        if self._database is not None:
            self._database.close()  # only now: it deletes the log, by its name
            self._database = None

    def _close(self) -> None:
        database = self._connection()
        with contextlib.suppress(sqlite3.Error):
            # As it closes SQLite does this too, but not when the file was given another name.
            database.execute("PRAGMA wal_checkpoint")
        with self._file.closing():
            database.close()
        self._database = None

    def _open_file(self) -> None:
        try:
            self._file.set_stray_log_aside()
            self._file.check_whole()
            is_new = not self._file.place.exists()
            self._database = self._connect()
            with self._begin() as database:
                check_ours(database, self.path)
            self._file.restrict_access(is_new=is_new)
            self._begin_log()
            with self._begin() as database:
                upgrade(database)
            damage = self._database.execute("PRAGMA quick_check(1)").fetchone()[0]
            if damage != "ok":
                raise DamagedError(damage)
            self._file.remember()
        except (sqlite3.Error, OSError) as error:
            if "malformed" in str(error):
                raise DamagedError(str(error)) from error
            raise StoreUnusableError(f"{self.path}: {self._file.why(error)}") from error

    def _begin_log(self) -> None:
        # These cannot be set within a transaction.
        self._connection().execute("PRAGMA journal_mode = WAL")
        self._connection().execute("PRAGMA synchronous = FULL")

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(
            self._file.place,
            timeout=self._busy_seconds,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            # A text that is none must not fail every row; where it matters bytes are read.
            database.text_factory = _text
            database.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        except sqlite3.Error:
            database.close()
            raise
        return database


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
