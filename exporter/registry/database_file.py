"""The files of the database: the lock beside it, and whether they are still those that are open.

SQLite goes by what it has open: into a file that was removed, replaced or cut short it writes on,
and all of that is lost with the process. So before each commit their names are looked at. Here no
file of the database is ever opened, for closing any handle of one drops SQLite's own locks
(SQLite, "How To Corrupt An SQLite Database File", 2.2).
"""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

from .store import StoreError, StoreUnusableError

Identity = tuple[int, int]
"""Device and inode."""


class DamagedError(Exception):
    """The file is ours, and its content is not whole."""


class LogGoneError(StoreError):
    """The file's write-ahead log has no name any more: it ends with the process."""


class DatabaseFile:
    """The file `path`, and those that SQLite and we keep beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._log = _beside(path, "-wal")
        self._index = _beside(path, "-shm")
        self._lock: IO[str] | None = None
        self._open: dict[Path, Identity] = {}
        self._size = 0

    def lock(self) -> None:
        """Two exporters on one file would count everything twice; the second is refused."""
        # The file beside it, for closing any handle of the database drops SQLite's own locks.
        try:
            self._lock = _beside(self.path, ".lock").open("w")
        except OSError as error:
            raise StoreUnusableError(f"{self.path}: {explain(error)}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreUnusableError(
                f"{self.path}: in use by another removit-exporter; each needs a file of its own"
            ) from None

    def unlock(self) -> None:
        """Let another exporter have the file."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def remember(self) -> None:
        """Take the files as they are now for those that are open; raises `OSError`."""
        self._open = {part: _identity(part.stat()) for part in (self.path, self._log, self._index)}
        self._size = self.path.stat().st_size

    def check_in_place(self, needed: Callable[[], int]) -> None:
        """Raise `StoreError` unless the names still lead to the files that are open.

        `needed` tells how many bytes the database takes up: who shrinks it properly needs fewer.
        """
        if not self._open:
            return
        try:
            status = self.path.stat()
        except OSError as error:
            raise StoreError(f"{self.path}: {error.strerror}; was it moved away?") from error
        if _identity(status) != self._open[self.path]:
            raise StoreError(f"{self.path}: another file is in its place; restart, or put it back")
        if status.st_size < self._size and status.st_size < needed():
            raise StoreError(
                f"{self.path}: it was cut short, from {self._size} to {status.st_size} bytes; stop"
                " the exporter, and put a whole file there"
            )
        self._size = status.st_size
        self._check_log_in_place()

    def _check_log_in_place(self) -> None:
        for part in (self._log, self._index):
            try:
                found = _identity(part.stat())
            except FileNotFoundError:
                raise LogGoneError(f"{part}: removed while it was in use") from None
            except OSError as error:
                raise StoreError(f"{part}: {error.strerror}") from error
            if found != self._open[part]:
                raise StoreError(
                    f"{part}: another file is in its place; move it away, and restart the exporter"
                )

    def set_aside(self) -> Path:
        """Move a damaged file away, with what belongs to it; it is never deleted."""
        moved = _free_name(self.path)
        for suffix in ("", "-wal", "-shm"):
            part = _beside(self.path, suffix)
            if part.exists():
                part.rename(_beside(moved, suffix))
        return moved


def explain(error: Exception) -> str:
    """Say what went wrong at opening, and what would be right."""
    text = str(error)
    if "locked" in text:
        return f"{text}: another process holds it; stop that one, or use another file"
    if "not a database" in text:
        return f"{text}; it is left as it is, give storage.path another file"
    if isinstance(error, OSError):
        return error.strerror or text
    return text


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _free_name(path: Path) -> Path:
    """Return a name beside `path` for a damaged file, one that nothing has."""
    number = 1
    while (name := _beside(path, f".damaged-{number}")).exists():
        number += 1
    return name


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino
