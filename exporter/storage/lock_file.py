"""The lock file next to a database: it keeps a second exporter out, and notes what is open."""

import contextlib
import fcntl
import os
from pathlib import Path
from typing import IO

from .note import NOTE_BYTES, Note, load_note
from .opening import explain
from .store import StoreUnusableError

Identity = tuple[int, int]
"""Device and inode."""


class LockFile:
    """The lock `path` of the database that the config calls `database`.

    It is not the database itself: closing any handle of that drops SQLite's own locks.
    """

    def __init__(self, path: Path, database: Path) -> None:
        self._path = path
        self._database = database
        self._open: IO[str] | None = None
        self.note = Note()
        """The content of the file; after `take` it is the last exporter's."""

    def exists(self) -> bool:
        """Return whether there is such a file."""
        return self._path.exists()

    def check(self) -> None:
        """Raise `StoreUnusableError` if the file is there and `take` could not open it."""
        if os.path.lexists(self._path):
            self._opened("r+").close()

    def take(self, mode: str = "a+") -> None:
        """Take the lock; raises `StoreUnusableError` if another exporter has it."""
        self.release()
        lock = self._opened(mode)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise StoreUnusableError(
                f"{self._database}: in use by another removit-exporter; each needs a file of its"
                " own"
            ) from None
        except OSError as error:
            lock.close()
            raise StoreUnusableError(
                f"{lock.name}: cannot be locked: {self._why(error)}"
            ) from error
        self._open = lock
        self.note = load_note(os.pread(lock.fileno(), NOTE_BYTES, 0))

    def keep(self) -> None:
        """Take the lock again if its file was removed, and write the note again.

        Raises `StoreUnusableError` if another exporter has it.
        """
        with contextlib.suppress(OSError):
            held = self._open and os.fstat(self._open.fileno())
            if held and identity(held) == identity(self._path.stat()):
                return
        note = self.note
        self.take()
        self.write_note(note)

    def release(self) -> None:
        """Let another exporter have the lock."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def write_note(self, note: Note) -> None:
        """Replace the note."""
        # Without a note the next start trusts the files, and counts from 0.
        self.note = note
        with contextlib.suppress(OSError):
            if self._open is not None:
                os.pwrite(self._open.fileno(), note.dump(), 0)

    def _opened(self, mode: str) -> IO[str]:
        try:
            return open(self._path, mode, opener=_open_privately)
        except OSError as error:
            what = ""
            if os.path.lexists(self._path):
                is_file = self._path.is_file() and not self._path.is_symlink()
                what = "cannot be opened" if is_file else "is not a regular file"
                what = f"its lock {self._path.name} {what}: "
            raise StoreUnusableError(f"{self._database}: {what}{self._why(error)}") from error

    def _why(self, error: Exception) -> str:
        return explain(error, self._path)


def identity(status: os.stat_result) -> Identity:
    """Return the device and inode of a file."""
    return status.st_dev, status.st_ino


def _open_privately(path: str, flags: int) -> int:
    """Open a file for its owner alone; a symbolic link is not followed, it may lead anywhere."""
    # O_APPEND would make `pwrite` append.
    return os.open(path, flags & ~os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
