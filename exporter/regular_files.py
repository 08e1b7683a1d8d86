"""Reading regular files, and nothing else: a pipe, a device or a socket may never end."""

import os
import stat
from pathlib import Path


class FileError(Exception):
    """A file cannot be read; the message names the file, never its content."""


def read_limited(path: Path, limit: int) -> bytes:
    """Read a regular file of at most `limit` bytes; raises `FileError`.

    It does not wait for the other end of a pipe. A network share may still hang: read what may be
    on one with `daemon_threads`.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise FileError(f"{path}: not a regular file")
            with open(descriptor, "rb", closefd=False) as file:
                content = file.read(limit + 1)
        finally:
            os.close(descriptor)  # `open` would leave that of a folder open
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(content) > limit:
        raise FileError(f"{path}: longer than {limit} bytes")
    return content
