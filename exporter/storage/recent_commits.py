"""The commits that only the log has: they are kept in memory, in case the log is cut short.

The same work on the same database gives the same rows, with the same ids.
"""

import sqlite3
from collections.abc import Callable
from typing import Final

from .log_index import LogState

MAX_LOG_BYTES: Final = 64 * 1024 * 1024
"""A longer log is not kept in memory. SQLite copies it into the database after 4 MiB, unless
another program reads there all the time."""

Work = Callable[[sqlite3.Connection], object]


class RecentCommits:
    """The work of each commit since the last moment when the database had everything.

    `is_complete` is False while the log has commits that are not here.
    """

    def __init__(self) -> None:
        self.is_complete = False
        self._works: list[tuple[int, Work]] = []

    def begin(self, log: LogState) -> None:
        """Take note of the log before a transaction."""
        if log.is_copied:
            self._works.clear()
            self.is_complete = True

    def add(self, work: Work, log: LogState) -> None:
        """Keep the work of a transaction that has just been committed."""
        if self._works and log.frames < self._works[-1][0]:  # all was copied, and it began anew
            self._works.clear()
            self.is_complete = True
        if log.bytes_needed > MAX_LOG_BYTES:
            self._works.clear()
            self.is_complete = False
        if self.is_complete:
            self._works.append((log.frames, work))

    def after(self, frames: int) -> list[Work]:
        """Return the work of the commits that a log with this many frames lacks."""
        return [work for at, work in self._works if at > frames]

    def replayed(self, works: list[Work], log: LogState) -> None:
        """Take note that this work was committed again, and ends with the log as given."""
        kept = [(at, work) for at, work in self._works if work not in works]
        self._works = [*kept, *((log.frames, work) for work in works)]
