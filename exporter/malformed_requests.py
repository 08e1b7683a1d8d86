"""Counts requests that are not HTTP, in place of aiohttp's log of a traceback for each.

A stranger sends thousands of them a second. They are counted, and one line a minute says how many.
"""

import logging
from collections.abc import Callable
from typing import Final

import structlog
from aiohttp.http_exceptions import HttpProcessingError

LOG_SECONDS: Final = 60.0


class MalformedRequests(logging.Filter):
    """A filter of aiohttp's server log. `count` is called for each malformed request."""

    def __init__(
        self,
        count: Callable[[], None],
        log: structlog.stdlib.BoundLogger,
        steady: Callable[[], float],
    ) -> None:
        super().__init__()
        self._count = count
        self._log = log
        self._steady = steady
        self._log_at = 0.0
        self._unlogged = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Count a record about a malformed request and drop it; admit any other."""
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, HttpProcessingError):
            return record.levelno >= logging.INFO
        self._count()
        self._unlogged += 1
        now = self._steady()
        if now >= self._log_at:
            first_line = str(error.message).partition("\n")[0][:200]
            self._log.warning("malformed requests", requests=self._unlogged, error=first_line)
            self._unlogged, self._log_at = 0, now + LOG_SECONDS
        return False

    def logger(self) -> logging.Logger:
        """Return a logger for one server of aiohttp; what is admitted goes to our own."""
        made = logging.Logger("removit_exporter.http", logging.DEBUG)
        made.parent = logging.getLogger("removit_exporter")
        made.addFilter(self)
        return made
