"""Why a database cannot be opened, in words that help."""

import errno
import os
from pathlib import Path
from typing import Final

ROOM_TO_START: Final = 256 * 1024
"""A disk with less free counts as full: SQLite's index of the log alone takes 32 KiB."""


def explain(error: Exception, path: Path) -> str:
    """Say what went wrong at opening, and what would be right."""
    text = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    if "locked" in text:
        return f"{text}: another process holds it; stop that one, or use another file"
    if "not a database" in text:
        return f"{text}; it is left as it is, give storage.path another file"
    if _is_full(error, path):
        return f"{text}: the disk of {path.parent} is full; make room there"
    return text


def _is_full(error: Exception, path: Path) -> bool:
    """Whether a disk without room explains an error: SQLite calls it an I/O error, or even less."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    if not any(text in str(error) for text in ("disk I/O error", "is full", "unable to open")):
        return False
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < ROOM_TO_START or (disk.f_files > 0 and not disk.f_favail)
