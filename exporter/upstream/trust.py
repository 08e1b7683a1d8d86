"""The certificates trusted for the upstream: the system's, or those of `upstream.ca_file`."""

import ssl
from collections.abc import Callable
from pathlib import Path

import structlog

from ..ca_file import CaFileError, make_trust, read_ca_file
from ..daemon_threads import call_in_daemon


class Trust:
    """The TLS settings in force. The CA file is read again when its content changes.

    While it cannot be used, the settings before it stay in force.
    """

    def __init__(
        self, path: Callable[[], Path | None], log: structlog.stdlib.BoundLogger | None = None
    ) -> None:
        self._path = path
        self._log = log
        self._content: bytes | None = None
        self._told: str | None = None
        self.tls: ssl.SSLContext | bool = True
        """The value for aiohttp: True trusts the system's certificates."""

    async def load(self) -> None:
        """Read the file; raises `CaFileError`."""
        path = self._path()
        if path is None:
            self.tls, self._content = True, None
            return
        content = await call_in_daemon(lambda: read_ca_file(path), f"read {path}")
        if content != self._content:
            self.tls, self._content = make_trust(path, content), content

    async def check(self) -> None:
        """Read the file again; log a change or an error once."""
        before = self.tls
        try:
            await self.load()
        except CaFileError as error:
            if self._log is not None and str(error) != self._told:
                self._log.error("upstream.ca_file cannot be used", error=str(error))
            self._told = str(error)
            return
        self._told = None
        if self._log is not None and self.tls is not before:
            self._log.info("upstream.ca_file loaded", file=str(self._path()))
