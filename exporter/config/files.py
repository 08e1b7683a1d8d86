"""Files from outside: their stamps, and reading one up to a limit."""

from pathlib import Path
from typing import NamedTuple


class FileError(Exception):
    """A file cannot be read; the message names the file, never its content."""


class Stamp(NamedTuple):
    """What changes when a file gets another content; the time is in nanoseconds since 1970."""

    inode: int
    size: int
    modified_at: int


def read_stamp(path: Path) -> Stamp:
    """Return the stamp of a file; raises `OSError`."""
    status = path.stat()
    return Stamp(status.st_ino, status.st_size, status.st_mtime_ns)


def read_limited(path: Path, limit: int) -> bytes:
    """Read a file of at most `limit` bytes; raises `FileError`."""
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(content) > limit:
        raise FileError(f"{path}: longer than {limit} bytes")
    return content


def read_text(path: Path, limit: int) -> str:
    """Read UTF-8, with or without a byte order mark; raises `FileError`."""
    content = read_limited(path, limit)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise FileError(f"{path}:{line}: not UTF-8") from None
