"""Which header fields of an upload are passed to the upstream, and which of its answer come back.

All fields are passed on unchanged, with three exceptions: fields about one connection (RFC 9110,
7.6.1) or the length of a body; credentials and cookies, which are valid between two parties only;
and fields about the upstream's whole origin, which browsers would apply to our origin.
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
"""Fields about one connection, or set by our own framing."""
_REQUEST: Final = frozenset(
    {
        *("host", "expect", "authorization", "x-api-key", "cookie", "accept-encoding"),
        "forwarded",
    }
)
_REQUEST_PREFIXES: Final = ("removit-exporter-", "x-forwarded-")
"""Fields that our own client sets, that we answer, or that do not concern the upstream."""
_ORIGIN: Final = frozenset(
    {
        *("set-cookie", "strict-transport-security", "public-key-pins", "expect-ct", "alt-svc"),
        *("clear-site-data", "nel", "report-to", "reporting-endpoints", "accept-ch"),
        *("origin-agent-cluster", "timing-allow-origin"),
    }
)
_ORIGIN_PREFIXES: Final = ("access-control-", "cross-origin-", "x-accel-", "x-sendfile")
"""Fields about the upstream's whole origin, which browsers would apply to the exporter's host. The
last two are commands to a proxy in front of us, which the upstream must not give."""


def passed_on(request: web.Request) -> CIMultiDict[str]:
    """Return the request's fields that are passed to the upstream.

    `Content-Encoding` is left out if aiohttp has decoded the body.
    """
    fields = CIMultiDict(_passed(request.headers, _REQUEST, _REQUEST_PREFIXES))
    if is_decoded(request):
        fields.popall("Content-Encoding", None)
    return fields


def passed_back(response: aiohttp.ClientResponse) -> CIMultiDict[str]:
    """Return the answer's fields that are passed to the client, `Date` included."""
    return CIMultiDict(_passed(response.headers, _ORIGIN, _ORIGIN_PREFIXES))


def is_decoded(request: web.Request) -> bool:
    """Whether aiohttp decodes the body, so that `Content-Length` is not its length."""
    # The reader of an empty body has no such attribute.
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
