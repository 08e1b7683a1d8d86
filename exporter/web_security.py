"""The web config file in force: TLS, logins and headers of the command's server."""

import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from .config.document import ConfigError
from .config.web_file import TlsServer, WebFile, load_web_file
from .tls import client_names, date_warnings, make_context
from .web.logins import Logins

Switch = Callable[[], Awaitable[None]]


class WebSecurity:
    """What `--web.config.file` says. Without a file: plain HTTP, no logins, no headers."""

    def __init__(
        self,
        path: Path | None,
        logins: Logins,
        log: structlog.stdlib.BoundLogger | None = None,
    ) -> None:
        self._path = path
        self._logins = logins
        self._log = log
        self._file = WebFile()
        self._headers: Mapping[str, str] = {}
        self.tls: ssl.SSLContext | None = None
        self.listen_again: Callable[[ssl.SSLContext | None], Awaitable[None]] | None = None
        """Called with each new TLS context."""
        self.warnings: Sequence[str] = ()
        """Faults of the file that was read last, in spite of which it can be put in force."""

    @property
    def paths(self) -> Sequence[Path]:
        """The file and the files that it names: a change of any is a change of this."""
        if self._path is None:
            return ()
        rules = self._file.tls_server_config
        return (self._path, *(rules.files if rules else ()))

    def load(self) -> Switch:
        """Read the file and what it names; return what puts it in force.

        Raises `ConfigError`; then nothing has changed. It reads files: call it in a thread.
        """
        file = WebFile() if self._path is None else load_web_file(self._path)
        rules = file.tls_server_config
        try:
            tls = None if rules is None else make_context(rules)
            warnings = [] if rules is None else date_warnings(rules, datetime.now(UTC))
        except ConfigError as error:
            raise ConfigError([f"{self._path}: {text}" for text in error.errors]) from None

        self.warnings = [f"{self._path}: {text}" for text in warnings]

        async def switch() -> None:
            self._log_warnings()
            self._file, self.tls = file, tls
            self._headers = file.http_server_config.headers.as_dict()
            self._logins.change(file.basic_auth_users)
            if self.listen_again is not None:
                await self.listen_again(tls)

        return switch

    def _log_warnings(self) -> None:
        if self._log is not None:
            for text in self.warnings:
                self._log.warning("certificate not valid", error=text)

    @web.middleware
    async def check_client(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Close a connection whose certificate has none of the names that are allowed."""
        rules = self._file.tls_server_config
        if rules is not None and rules.client_allowed_sans and not _is_allowed(request, rules):
            if request.transport is not None:
                request.transport.abort()
            raise web.HTTPForbidden
        return await handler(request)

    async def add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add the headers of the file to an answer; a signal of aiohttp's."""
        for name, value in self._headers.items():
            response.headers[name] = value


def _is_allowed(request: web.Request, rules: TlsServer) -> bool:
    transport = request.transport
    certificate = transport.get_extra_info("peercert") if transport is not None else None
    return bool(client_names(certificate) & set(rules.client_allowed_sans))
