"""The open SQLite database: one thread, one connection, and transactions on it.

WAL with `synchronous=FULL`: what was acknowledged survives kill -9 and a power cut (SQLite,
"Write-Ahead Logging" and "PRAGMA synchronous"). One thread owns the one connection, so each piece
of work is one hop to that thread.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any, Final, TypeVar

from ..daemon_threads import DaemonThread
from ..logs import Logger
from .database_file import DamagedError, DatabaseFile, LogGoneError, LogReplacedError
from .log_index import LogIndex
from .queries import check_ours, upgrade
from .recent_commits import RecentCommits
from .store import SetAside, StoreError, StoreUnusableError

CACHE_KIB: Final = 16 * 1024

Result = TypeVar("Result")
Work = Callable[[sqlite3.Connection], Result]
Hook = Callable[[], None]


def _nothing(_: object) -> None:
    pass


class Database:
    """The database in the file `path`.

    `before_commit` is called in each transaction just before it commits; tests make it fail there.
    `log` is used in the thread of the database.
    """

    def __init__(self, path: Path, busy_seconds: float, before_commit: Hook, log: Logger) -> None:
        self.path = path
        self.before_commit = before_commit
        self._busy_seconds = busy_seconds
        self._deadline: float | None = None
        self._thread = DaemonThread("store")
        self._log = log
        self.file = DatabaseFile(path, log)
        self._connected: sqlite3.Connection | None = None
        self._index: LogIndex | None = None
        self._recent = RecentCommits()
        self._is_cut_short = False
        """Whether the log lacks commits that are to be written again."""

    async def open(self) -> SetAside | None:
        """Open or create the file; return what was damaged and set aside.

        Raises `StoreUnusableError`.
        """
        try:
            return await self._run(self._open)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close the file and leave it whole for the next exporter that opens it."""
        if self._connected is not None:
            await self._run(self._close)
        self.file.unlock()
        self._thread.shutdown(wait=False)

    def set_deadline(self, seconds: float) -> None:
        """Wait at most `seconds` from now, over all transactions, while others lock the file."""
        self._deadline = monotonic() + seconds

    async def read(self, work: Work[Result]) -> Result:
        """Return what `work` reads from the connection; raises `StoreError`."""

        def run() -> Result:
            with self._errors():
                self._restore_log()
                return work(self._connection())

        return await self._run(run)

    async def transaction(
        self, work: Work[Result], after_commit: Callable[[Result], None] = _nothing
    ) -> Result:
        """Do `work` in a transaction and commit; after a `StoreError` nothing is stored.

        `after_commit` is called with the result before anybody else sees it.
        """

        def run() -> Result:
            with self._errors():
                self._check_in_place()
                with self._begin() as connection:
                    result = work(connection)
                    self.before_commit()
                    self._check_log_is_whole()
                self._keep(work)
            after_commit(result)
            return result

        return await self._run(run)

    async def _run(self, function: Callable[[], Result]) -> Result:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function)
        except RuntimeError as error:  # the thread has ended: closed
            raise StoreError(f"{self.path}: {error}") from error

    def _connection(self) -> sqlite3.Connection:
        if self._connected is None:
            raise StoreError(f"{self.path}: not open")
        return self._connected

    @contextlib.contextmanager
    def _begin(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection()
        if self._deadline is not None:
            left = min(self._busy_seconds, max(0.0, self._deadline - monotonic()))
            connection.execute(f"PRAGMA busy_timeout = {left * 1000:.0f}")
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # on a full disk SQLite may have rolled back
                connection.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{self.path}: {self.file.why(error)}") from error

    def _check_in_place(self) -> None:
        """Ensure that the next commit goes into the files that an exporter finds after a kill."""
        self._restore_log()
        try:
            self.file.check_in_place(self._bytes_needed)
        except LogGoneError as error:
            self._leave_log(error)
        except LogReplacedError:
            if self._connected is not None:
                with contextlib.suppress(sqlite3.Error):  # our log goes with this process
                    self._connected.execute("PRAGMA wal_checkpoint")
                raise
        if self._connected is None:
            self._connect_again()
        if self._index is not None:
            self._recent.begin(self._index.read())

    def _keep(self, work: Work[Any]) -> None:
        """Keep the work of a commit; the log may have been cut short during it."""
        if self._index is not None:
            self._recent.add(work, self._index.read())
            self._restore_log()

    def _check_log_is_whole(self) -> None:
        """Raise `StoreError` if the log was cut short: SQLite would leave a gap in it."""
        if self._index is not None and self.file.is_log_cut_short(self._index.read()):
            raise StoreError(f"{self.path}: its write-ahead log was cut short")

    def _restore_log(self) -> None:
        """Commit again what the log has lost if it was cut short; raises `StoreError`."""
        if self._index is None:
            return
        self._index.keep_size()
        log = self._index.read()
        if self.file.is_log_cut_short(log):
            # Later frames would come after a gap, and nothing behind it can be read after a kill.
            self._recent.begin(log)
            if log.is_copied:
                self.file.empty_log()
            elif log.frames_in(self.file.log_size() or 0) < log.copied:
                self._recent.is_complete = False  # a part of the commits is in the database
            self._index.clear()
            self._is_cut_short = True
        if self._is_cut_short:
            self._commit_again(self._index)

    def _commit_again(self, index: LogIndex) -> None:
        if not self._recent.is_complete:
            raise StoreError(
                f"{self.path}: its write-ahead log was cut short, and not all of it is in memory;"
                " restart the exporter"
            )
        with self._begin() as connection:
            works = self._recent.after(index.read().frames)
            for work in works:
                work(connection)
        self._recent.replayed(works, index.read())
        self._is_cut_short = False
        self._log.error(
            "the write-ahead log was cut short while it was in use; what it lost was written again",
            path=str(self.path),
            commits=len(works),
        )

    def _bytes_needed(self) -> int:
        pages, size = (
            self._connection().execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "page_size")
        )
        return int(pages * size)

    def _leave_log(self, error: LogGoneError) -> None:
        """Copy the removed log, which is still open, into the database, and close it then."""
        if self._connected is not None:
            if self._connected.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                raise StoreError(f"{error}, and another process reads the database") from error
            self._disconnect()

    def _connect_again(self) -> None:
        """Go on with the log that is there now, or a new one; the database is in its place."""
        try:
            self._connected = self._connect()
            self._begin_log()
            self._watch()
        except BaseException:
            self._disconnect()  # the next commit tries again
            raise

    def _disconnect(self) -> None:
        if self._connected is not None:
            self._connected.close()
            self._connected = None
        if self._index is not None:  # not earlier; see `LogIndex`
            self._index.close()
            self._index = None

    def _open(self) -> SetAside | None:
        self.file.lock()
        try:
            self._open_file()
        except DamagedError as damage:
            set_aside = self._set_aside(damage)
            self._open_file()
            return set_aside
        return None

    def _open_file(self) -> None:
        try:
            self.file.set_stray_log_aside()
            self.file.check_whole()
            is_new = not self.file.place.exists()
            self._connected = self._connect()
            with self._begin() as connection:
                check_ours(connection, self.path)
            self.file.restrict_access(is_new=is_new)
            self._begin_log()
            with self._begin() as connection:
                upgrade(connection)
            damage = self._connected.execute("PRAGMA quick_check(1)").fetchone()[0]
            if damage != "ok":
                raise DamagedError(damage)
            self._watch()
        except (sqlite3.Error, OSError) as error:
            if "malformed" in str(error):
                raise DamagedError(str(error)) from error
            raise StoreUnusableError(f"{self.path}: {self.file.why(error)}") from error

    def _set_aside(self, damage: DamagedError) -> SetAside:
        try:
            moved_to = self.file.set_aside()
        except OSError as error:
            raise StoreUnusableError(
                f"{self.path}: damaged: {damage}; it cannot be set aside: {self.file.why(error)}"
            ) from error
        self._disconnect()  # not earlier: closing deletes the log by its name
        return SetAside(str(self.path), str(moved_to), str(damage))

    def _watch(self) -> None:
        """Remember the files that are open; raises `OSError`."""
        with contextlib.suppress(sqlite3.Error):  # a full disk: later
            self._connection().execute("PRAGMA wal_checkpoint")
        self.file.remember()
        self._recent = RecentCommits()
        self._index = self.file.open_index()

    def _close(self) -> None:
        connection = self._connection()
        with contextlib.suppress(sqlite3.Error, OSError, StoreError):
            self._restore_log()
            # SQLite does this when it closes, but not if the file was renamed meanwhile.
            connection.execute("PRAGMA wal_checkpoint")
        with self.file.closing():
            self._disconnect()

    def _begin_log(self) -> None:
        # These cannot be set within a transaction.
        self._connection().execute("PRAGMA journal_mode = WAL")
        self._connection().execute("PRAGMA synchronous = FULL")

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.file.place,
            timeout=self._busy_seconds,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            # Bytes that are not UTF-8 must not fail a whole query; exact readers cast to BLOB.
            connection.text_factory = _text
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        except sqlite3.Error:
            connection.close()
            raise
        return connection


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
