"""Why a request got no answer: one word in the metrics, and a sentence to read."""

import errno
import os
import socket
import ssl
from collections.abc import Iterator
from typing import Final, NamedTuple

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

MAX_DETAIL_CHARS: Final = 200
PROXY_REFUSES: Final = 407
"""The HTTP status by which a proxy asks for a login (RFC 9110, 15.5.8)."""


class Reason(NamedTuple):
    """`word` is one of dns, refused, reset, unreachable, tls, proxy, protocol, other.

    `detail` is a sentence to read. It never contains a URL, because a proxy's URL may contain a
    password.
    """

    word: str
    detail: str


def find_reason(error: BaseException) -> Reason:
    """Return why a request failed with this error."""
    word, detail = _find(error)
    return Reason(word, _one_line(detail))


_BY_ERRNO: Final = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.EPIPE: "reset",
    errno.ECONNABORTED: "reset",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.ENETDOWN: "unreachable",
    errno.EHOSTDOWN: "unreachable",
    errno.ETIMEDOUT: "unreachable",
}


def _find(error: BaseException) -> tuple[str, str]:
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return "proxy", proxy_refusal(error.status, error.message)
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return "proxy", f"no connection to the proxy: {_os_error(error.os_error)}"
    for find in (_tls_or_name, _by_errno):
        for one in _chain(error):
            if found := find(one):
                return found
    return _by_type(error)


def _tls_or_name(error: BaseException) -> tuple[str, str] | None:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        error = error.certificate_error
    if isinstance(error, ssl.SSLCertVerificationError):
        return "tls", f"the certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return "tls", error.reason or str(error)
    if isinstance(error, aiohttp.ClientSSLError):
        return "tls", _os_error(error.os_error)
    if isinstance(error, socket.gaierror):
        return "dns", f"the name cannot be looked up: {_os_error(error)}"
    return None


def _by_errno(error: BaseException) -> tuple[str, str] | None:
    if not isinstance(error, OSError):
        return None
    word = _BY_ERRNO.get(error.errno or 0)
    return (word, _os_error(error)) if word else None


_NOT_HTTP: Final = HttpProcessingError | aiohttp.ClientResponseError | aiohttp.ClientPayloadError


def _by_type(error: BaseException) -> tuple[str, str]:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "dns", "the name cannot be looked up"
    if isinstance(error, _NOT_HTTP):
        return "protocol", "the answer is not valid HTTP"
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionError):
        return "reset", "the connection was closed before the answer"
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(
        error.os_error, ConnectionError
    ):
        return "reset", "the connection was closed during the TLS handshake"
    if isinstance(error, aiohttp.ClientConnectionError):
        return "other", str(error) or type(error).__name__
    return "other", type(error).__name__


def proxy_refusal(status: int, phrase: str | None) -> str:
    """Return a sentence that explains a proxy's refusal."""
    if status == PROXY_REFUSES:
        return "the proxy wants a user and password (407)"
    return f"the proxy answered {status} {phrase or ''}".rstrip()


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes, each once."""
    seen: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop(0)
        if one is None or one in seen:
            continue
        seen.append(one)
        yield one
        waiting += [getattr(one, "os_error", None), one.__cause__, one.__context__]


def _os_error(error: OSError) -> str:
    if isinstance(error, socket.gaierror) or not error.errno or error.errno < 0:
        return error.strerror or str(error) or type(error).__name__
    return os.strerror(error.errno)


def _one_line(text: str) -> str:
    line = "".join(character if character.isprintable() else " " for character in text)
    return line if len(line) <= MAX_DETAIL_CHARS else line[: MAX_DETAIL_CHARS - 1] + "…"
