"""Which fields an upload takes along to the upstream, and which its answer brings back.

Everything goes both ways unchanged, but for what is about one connection (RFC 9110, 7.6.1), about
the length of a body, or about the two parties: credentials and cookies are between us and each of
them, and an answer's word about its whole origin must not be taken for one about ours.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import aiohttp
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from ..core.contract import is_field_value

_CONNECTION: Final = frozenset(
    {
        *("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding"),
        *("upgrade", "proxy-authenticate", "proxy-authorization", "proxy-authentication-info"),
        "content-length",
    }
)
"""About one connection, or set by our own framing."""
_REQUEST: Final = frozenset(
    {
        *("host", "expect", "authorization", "x-api-key", "cookie", "accept-encoding"),
        "forwarded",
    }
)
_REQUEST_PREFIXES: Final = ("removit-exporter-", "x-forwarded-")
"""Set by our own client, answered by us, or nobody's business upstream."""
_ORIGIN: Final = frozenset(
    {
        *("set-cookie", "strict-transport-security", "public-key-pins", "expect-ct", "alt-svc"),
        *("clear-site-data", "nel", "report-to", "reporting-endpoints", "accept-ch"),
        *("origin-agent-cluster", "timing-allow-origin"),
    }
)
_ORIGIN_PREFIXES: Final = ("access-control-", "cross-origin-", "x-accel-", "x-sendfile")
"""About the upstream's whole origin: they would bind browsers to, or open to other pages, the host
that the exporter is reached at. The last two are orders to a proxy before us, not for strangers."""


def passed_on(request: web.Request) -> CIMultiDict[str]:
    """Return the request's fields that are the upstream's.

    aiohttp has undone a body's `Content-Encoding` where it could; then that does not hold any more.
    """
    fields = CIMultiDict(_passed(request.headers, _REQUEST, _REQUEST_PREFIXES))
    if is_decoded(request):
        fields.popall("Content-Encoding", None)
    return fields


def passed_back(response: aiohttp.ClientResponse) -> CIMultiDict[str]:
    """Return the answer's fields that are the client's; `Date` too, from which it counts."""
    return CIMultiDict(_passed(response.headers, _ORIGIN, _ORIGIN_PREFIXES))


def is_decoded(request: web.Request) -> bool:
    """Whether what is read is not what was sent, so that `Content-Length` is not its length."""
    # An empty body's reader lacks the attribute.
    return getattr(request.content, "total_compressed_bytes", None) is not None


def _passed(
    fields: CIMultiDictProxy[str], left_out: Iterable[str], prefixes: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    listed = ",".join(fields.getall("Connection", [])).split(",")
    left_out = _CONNECTION.union(left_out, (name.strip().casefold() for name in listed))
    for name, value in fields.items():
        low = name.casefold()
        if low not in left_out and not low.startswith(prefixes) and is_field_value(value):
            yield name, value
