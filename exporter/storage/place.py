"""Whether an exporter can have its database at a place. Nothing is changed or locked here."""

import contextlib
import errno
import os
import sqlite3
import stat
from pathlib import Path

from .lock_file import LockFile
from .opening import explain, is_closed
from .queries import check_ours
from .store import StoreUnusableError


class NotHereError(StoreUnusableError):
    """This user cannot have a database there on this machine; an exporter elsewhere might."""


def sibling(place: Path, suffix: str) -> Path:
    """Return the path of a file that belongs to a database: its log, index or lock."""
    return place.with_name(place.name + suffix)


def check_usable(path: Path) -> None:
    """Raise `StoreUnusableError` where `run` would; an exporter may be running on the file.

    Raises `NotHereError` for what may differ on the exporter's own machine: a missing folder, and
    files that this user may not write. Damage is not looked for: see `inspection.py`.
    """
    place = Path(os.path.realpath(path))
    check_is_file(path, place)
    _check_access(path, place)
    LockFile(sibling(place, ".lock"), path).check()
    if place.exists():
        _check_ours(path, place)


def check_is_file(path: Path, place: Path) -> None:
    """Raise `StoreUnusableError` for a folder, a device or a pipe."""
    try:
        mode = place.stat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise _refusal(path, place, error) from error
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a device or a pipe"
        raise StoreUnusableError(f"{path}: {what}; storage.path must name a file")


def _refusal(path: Path, place: Path, error: OSError) -> StoreUnusableError:
    is_of_here = isinstance(error, FileNotFoundError | PermissionError)
    kind = NotHereError if is_of_here else StoreUnusableError
    return kind(f"{path}: {explain(error, place)}")


def _check_access(path: Path, place: Path) -> None:
    """Raise `NotHereError` unless this user may write the files and make those that are missing."""
    if not place.parent.exists():
        raise _refusal(path, place, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))
    denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    if not os.access(place.parent, os.W_OK | os.X_OK):
        raise _refusal(path, place, denied)
    for part in (sibling(place, suffix) for suffix in ("", "-wal", "-shm", ".lock")):
        if is_closed(part):
            raise _refusal(part, part, denied)


def _check_ours(path: Path, place: Path) -> None:
    # `immutable` leaves the log, its index and all locks alone.
    database = sqlite3.connect(f"{place.as_uri()}?mode=ro&immutable=1", uri=True)
    with contextlib.closing(database):
        try:
            check_ours(database, path)
        except sqlite3.DatabaseError as error:
            if "not a database" in str(error):
                raise StoreUnusableError(f"{path}: {explain(error, place)}") from error
