"""The files of the database, and whether their names still lead to the files that are open.

SQLite works on the files that it has open. If one of them is removed, replaced or truncated, SQLite
goes on writing to it, and everything written is lost when the process ends. So the names are
checked before each commit. No file of the database is opened here, but the log's index: closing
any handle of one drops SQLite's own locks (SQLite, "How To Corrupt An SQLite Database File", 2.2).
"""

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from ..logs import Logger
from .lock_file import Identity, LockFile, identity
from .log_index import LogIndex, LogState
from .note import Note
from .opening import explain
from .place import check_is_file, sibling
from .store import StoreError, StoreUnusableError


class DamagedError(Exception):
    """The file is a database of this program, and its content is damaged."""


class LogGoneError(StoreError):
    """The log or its index was removed while it was open; the log is lost with the process."""


class LogReplacedError(StoreError):
    """Another file has the name of the log, which is lost with the process."""


class DatabaseFile:
    """The database file `path`, with SQLite's log and index next to it and this program's lock."""

    def __init__(self, path: Path, log: Logger) -> None:
        self.path = path
        self.place = Path(os.path.realpath(path))
        """The file itself, with all links resolved; its log, index and lock are next to it."""
        self._logger = log
        self._log = sibling(self.place, "-wal")
        self._index = sibling(self.place, "-shm")
        self._lock = LockFile(sibling(self.place, ".lock"), path)
        self._open: dict[Path, Identity] = {}
        self._size = 0

    def lock(self) -> None:
        """Refuse a second exporter on the same file: the two would count everything twice."""
        check_is_file(self.path, self.place)
        self._lock.take()

    @property
    def note(self) -> Note:
        """The content of the lock file; after `lock` it is the last exporter's."""
        return self._lock.note

    def note_counters(self, counters: str, newest_event: int) -> None:
        """Note what counts from now on, and the newest event so far."""
        self._lock.write_note(replace(self.note, counters=counters, newest_event=newest_event))

    def note_event(self, newest_event: int) -> None:
        """Note the newest event of a commit, before anything of it is visible."""
        self._lock.write_note(replace(self.note, newest_event=newest_event))

    def why(self, error: Exception) -> str:
        """Return what went wrong with the file, and what to do about it."""
        return explain(error, self.place)

    def restrict_access(self, *, is_new: bool) -> None:
        """Take the files away from other accounts: they contain URLs of results.

        A new file is for its owner alone. The group of an older one keeps its access.
        """
        with contextlib.suppress(OSError):  # of another account: usable nevertheless
            for part in (self.place, self._log, self._index):
                if part.exists():
                    mode = stat.S_IMODE(part.stat().st_mode)
                    part.chmod(mode & (0o700 if is_new else 0o770))

    def unlock(self) -> None:
        """Release the file for another exporter."""
        self._lock.release()

    def remember(self) -> None:
        """Note which files are open now; raises `OSError`."""
        self._open = {part: identity(part.stat()) for part in (self.path, self._log, self._index)}
        self._size = self.path.stat().st_size
        self._lock.write_note(
            replace(self.note, open=(*self._open[self.path], *self._open[self._log]))
        )

    def open_index(self) -> LogIndex:
        """Open the log's index; raises `OSError`."""
        return LogIndex(self._index)

    def log_size(self) -> int | None:
        """Return the size of the log; None if the name does not lead to it any more."""
        with contextlib.suppress(OSError):
            status = self._log.stat()
            if identity(status) == self._open.get(self._log):
                return status.st_size
        return None

    def is_log_cut_short(self, log: LogState) -> bool:
        """Return whether the open log is shorter than its index says."""
        size = self.log_size()
        return size is not None and size < log.bytes_needed

    def empty_log(self) -> None:
        """Cut the log to nothing, without opening it."""
        os.truncate(self._log, 0)

    @contextlib.contextmanager
    def inspected(self) -> Iterator[list[str]]:
        """Keep exporters out while the file is inspected; leave no lock file behind.

        Yields what is wrong with the log, if anything. Raises `StoreUnusableError`, `DamagedError`.
        """
        check_is_file(self.path, self.place)
        if not self.path.exists() and not self.has_log():
            raise StoreUnusableError(f"{self.path}: no such file")
        if self._lock.exists():
            self._lock.take("r")
        try:
            self.check_whole()
            if not self.path.stat().st_size:
                raise DamagedError("the file is empty")
            yield [f"{self._log.name} is the log of another database"] if self._is_stray() else []
        finally:
            self.unlock()

    def has_log(self) -> bool:
        """Return whether there is a log that is not empty."""
        return self._log.exists() and self._log.stat().st_size > 0

    def set_stray_log_aside(self) -> None:
        """Move away the log of another database, which SQLite would replay over this one.

        Call it before the database is opened.
        """
        if self._is_stray():
            self._set_log_aside()

    def _is_stray(self) -> bool:
        """Whether the log is the one that the last exporter had open, and the database is not.

        Any other pair may be a copy with its own log (see `decisions.md`).
        """
        note = self._lock.note.open
        if note is None or not self._log.exists() or not self.path.exists():
            return False
        main, log = identity(self.path.stat()), identity(self._log.stat())
        same_device = main[0] == note[0]
        return log == note[2:] and same_device and main != note[:2]

    def check_whole(self) -> None:
        """Raise `DamagedError` for a log whose database is gone: SQLite would delete the log.

        Call it before the database is opened.
        """
        if not self.has_log():
            return
        if not self.path.exists():
            raise DamagedError("the file is gone, and its write-ahead log is left")
        if not self.path.stat().st_size:
            raise DamagedError(
                "the file is empty, and its write-ahead log is not: it was cut short"
            )

    @contextlib.contextmanager
    def closing(self) -> Iterator[None]:
        """Let SQLite close without leaving a log next to a database that it does not belong to.

        The next start would replay our log over another database, and SQLite would delete another
        log next to our database. A database and a log that were put there together stay.
        """
        ours = [self._is_open(part) for part in (self.path, self._log)]
        if self._open and any(ours) and not all(ours) and self._log.exists():
            try:
                self._set_log_aside()
            except OSError as error:  # the note stays, and with it the next start does it
                self._logger.error("a stray log stays", path=str(self._log), error=self.why(error))
        yield
        if not self._log.exists():
            self._lock.write_note(replace(self.note, open=None))
        self._open = {}

    def _is_open(self, part: Path) -> bool:
        try:
            return identity(part.stat()) == self._open.get(part)
        except OSError:
            return False

    def _set_log_aside(self) -> None:
        moved = _free_name(self.place, "replaced")
        self._move(moved, "-wal", "-shm")
        self._logger.error(
            "a write-ahead log that is not of the database beside it was set aside: the database"
            " was replaced or removed while its log was in use",
            path=str(self.path),
            set_aside=str(sibling(moved, "-wal")),
        )

    def check_in_place(self, needed: Callable[[], int]) -> None:
        """Raise `StoreError` unless the names still lead to the files that are open.

        `needed` returns the size that the database should have, in bytes; SQLite itself may have
        shrunk the file.
        """
        if not self._open:
            raise StoreError(f"{self.path}: not open")
        try:
            status = self.path.stat()
        except OSError as error:
            raise StoreError(f"{self.path}: {error.strerror}; was it moved away?") from error
        if identity(status) != self._open[self.path]:
            raise StoreError(
                f"{self.path}: another file is in its place; put the former one back, or stop the"
                " exporter, and only then replace the file"
            )
        if status.st_size < self._size and status.st_size < needed():
            raise StoreError(
                f"{self.path}: it was cut short, from {self._size} to {status.st_size} bytes; stop"
                " the exporter, and put a whole file there"
            )
        self._size = status.st_size
        self._lock.keep()
        self._check_log_in_place()

    def _check_log_in_place(self) -> None:
        for part in (self._log, self._index):
            try:
                found = identity(part.stat())
            except FileNotFoundError:
                raise LogGoneError(f"{part}: removed while it was in use") from None
            except OSError as error:
                raise StoreError(f"{part}: {error.strerror}") from error
            if found != self._open[part] and part == self._index:
                raise LogGoneError(f"{part}: replaced while it was in use")
            if found != self._open[part]:
                raise LogReplacedError(
                    f"{part}: another file is in its place; move it away, and restart the exporter"
                )

    def set_aside(self) -> Path:
        """Move a damaged file away, with its log and index; nothing is deleted."""
        moved = _free_name(self.place, "damaged")
        # The log first: SQLite would delete a log without its database.
        self._move(moved, "-wal", "-shm", "")
        return moved

    def _move(self, moved: Path, *suffixes: str) -> None:
        for suffix in suffixes:
            with contextlib.suppress(FileNotFoundError):
                sibling(self.place, suffix).rename(sibling(moved, suffix))


def _free_name(path: Path, why: str) -> Path:
    """Return an unused name in the folder of `path` for a file that is set aside, and its log."""
    number = 1
    while any(
        sibling(path, f".{why}-{number}{suffix}").exists() for suffix in ("", "-wal", "-shm")
    ):
        number += 1
    return sibling(path, f".{why}-{number}")
