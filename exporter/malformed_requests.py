"""Counts requests that are not HTTP, in place of aiohttp's log of a traceback for each.

A stranger sends thousands of them a second. They are counted, and one line a minute says how many.
"""

import logging
from collections.abc import Callable
from typing import Final

import structlog
from aiohttp.http_exceptions import HttpProcessingError

LOG_SECONDS: Final = 60.0


class MalformedRequests(logging.Handler):
    """Takes aiohttp's server log. `count` is called for each malformed request."""

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

    def emit(self, record: logging.LogRecord) -> None:
        """Count a record about a malformed request; log any other, unless it is for debugging."""
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, HttpProcessingError):
            if record.levelno >= logging.INFO:
                self._log.log(record.levelno, record.getMessage(), exc_info=record.exc_info)
            return
        self._count()
        self._unlogged += 1
        now = self._steady()
        if now >= self._log_at:
            first_line = str(error.message).partition("\n")[0][:200]
            self._log.warning("malformed requests", requests=self._unlogged, error=first_line)
            self._unlogged, self._log_at = 0, now + LOG_SECONDS

    def logger(self) -> logging.Logger:
        """Return a logger for one server of aiohttp."""
        made = logging.Logger("removit_exporter.http", logging.DEBUG)
        made.addHandler(self)
        return made
