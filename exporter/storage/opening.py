"""Why a database cannot be opened, and what to do about it."""

import errno
import os
from pathlib import Path
from typing import Final

ROOM_TO_START: Final = 256 * 1024
"""A disk with less free space counts as full: SQLite's log index alone takes 32 KiB."""


def explain(error: Exception, path: Path) -> str:
    """Return what went wrong with the file `path`, and what to do about it."""
    text = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    if "locked" in text:
        return f"{text}: another process holds it; stop that one, or use another file"
    if "not a database" in text:
        return f"{text}; it was not changed; give storage.path another file"
    if is_closed(path) and ("unable to open" in text or isinstance(error, PermissionError)):
        return f"{text}: this user may not read and write it; change its owner or its mode"
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{text}; give storage.path a folder that this user may write to"
    if isinstance(error, FileNotFoundError) and not path.parent.exists():
        return f"{text}: the folder {path.parent} does not exist; create it, or change storage.path"
    if _is_full(error, path):
        return f"{text}: the disk of {path.parent} is full; make room there"
    return text


def is_closed(path: Path) -> bool:
    """Whether a file is there and this user may not read and write it."""
    exists = os.path.exists(path)  # noqa: PTH110 - `Path.exists` raises where this is False
    return exists and not os.access(path, os.R_OK | os.W_OK)


def _is_full(error: Exception, path: Path) -> bool:
    """Whether a full disk explains an error, which SQLite may report as a mere I/O error."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    if not any(text in str(error) for text in ("disk I/O error", "is full", "unable to open")):
        return False
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < ROOM_TO_START or (disk.f_files > 0 and not disk.f_favail)
