"""Files from outside: their stamps, and reading one up to a limit."""

from pathlib import Path
from typing import NamedTuple

from ..regular_files import FileError, read_limited

__all__ = ["FileError", "Stamp", "is_missing", "read_limited", "read_stamp", "read_text"]


class Stamp(NamedTuple):
    """What changes when a file gets another content; the time is in nanoseconds since 1970."""

    inode: int
    size: int
    modified_at: int


def read_stamp(path: Path) -> Stamp:
    """Return the stamp of a file; raises `OSError`."""
    status = path.stat()
    return Stamp(status.st_ino, status.st_size, status.st_mtime_ns)


def is_missing(path: Path) -> bool:
    """Return whether there is nothing at a path.

    False for what this user may not see (`Path.exists` raises `PermissionError`): reading it says
    why it cannot be read.
    """
    try:
        path.stat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def read_text(path: Path, limit: int) -> str:
    """Read UTF-8, with or without a byte order mark; raises `FileError`."""
    content = read_limited(path, limit)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise FileError(f"{path}:{line}: not UTF-8") from None
