"""Whether an exporter can have its database at a place. Nothing is changed or locked here."""

import contextlib
import errno
import os
import sqlite3
import stat
from pathlib import Path

from .opening import explain, is_closed
from .queries import check_ours
from .store import StoreUnusableError


def check_usable(path: Path) -> None:
    """Raise `StoreUnusableError` where `run` would; an exporter may be running on the file.

    Damage is not looked for: see `inspection.py`.
    """
    place = Path(os.path.realpath(path))
    check_is_file(path, place)
    try:
        _check_access(place)
    except OSError as error:
        raise StoreUnusableError(f"{path}: {explain(error, place)}") from error
    lock = place.with_name(place.name + ".lock")
    if lock.is_symlink() or (lock.exists() and not lock.is_file()):
        raise StoreUnusableError(f"{path}: its lock {lock.name} is not a regular file")
    if place.exists():
        _check_ours(path, place)


def check_is_file(path: Path, place: Path) -> None:
    """Raise `StoreUnusableError` for a folder, a device or a pipe."""
    try:
        mode = place.stat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreUnusableError(f"{path}: {explain(error, place)}") from error
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a device or a pipe"
        raise StoreUnusableError(f"{path}: {what}; storage.path must name a file")


def _check_access(place: Path) -> None:
    """Raise `OSError` unless this user may write the file, and make its log and lock next to it."""
    place.parent.stat()
    if not os.access(place.parent, os.W_OK | os.X_OK) or is_closed(place):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _check_ours(path: Path, place: Path) -> None:
    # `immutable` leaves the log, its index and all locks alone.
    database = sqlite3.connect(f"{place.as_uri()}?mode=ro&immutable=1", uri=True)
    with contextlib.closing(database):
        try:
            check_ours(database, path)
        except sqlite3.DatabaseError as error:
            if "not a database" in str(error):
                raise StoreUnusableError(f"{path}: {explain(error, place)}") from error
