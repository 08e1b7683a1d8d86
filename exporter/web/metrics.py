"""`GET /metrics`: in the format that `Accept` asks for, gzip by `Accept-Encoding`."""

import asyncio
import re
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

from aiohttp import web

from ..metrics.catalogue import Part
from .context import Context
from .errors import ApiError

try:
    from isal import isal_zlib as zlib
except ImportError:
    import zlib  # type: ignore[no-redef]

GZIP_WINDOW: Final = 31
"""zlib's `wbits` for a gzip header (RFC 1952)."""
GZIP_LEVEL: Final = 1


class MetricsRoute:
    """The page of metrics."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, without prefix."""
        return [web.get("/metrics", self.metrics)]

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        """`?collect[]=totals|jobs|exporter` picks parts."""
        started = time.perf_counter()
        parts = _parts(request.query.getall("collect[]", []))
        page = self._context.exposition.page(request.headers.get("Accept", ""), parts)
        response = web.StreamResponse(headers={"Content-Type": page.content_type})
        response.headers["Vary"] = "Accept, Accept-Encoding"
        slices, size = _measured(page.slices)
        if _accepts_gzip(request):
            response.headers["Content-Encoding"] = "gzip"
            slices = _gzip(slices)
        await response.prepare(request)
        if request.method != "HEAD":
            for piece in slices:
                if piece:
                    await response.write(piece)
                await asyncio.sleep(0)  # a write that is not held up gives nobody else a turn
        await response.write_eof()
        instruments = self._context.instruments
        if request.method == "HEAD":
            return response
        if page.left_out is not None:
            instruments.left_out.set(page.left_out)
        instruments.scrape_bytes.set(size())
        instruments.scrape_seconds.set(time.perf_counter() - started)
        return response


def _parts(names: Iterable[str]) -> tuple[Part, ...]:
    wrong = [name for name in names if name not in list(Part)]
    if wrong:
        message = f"expected one of: {', '.join(Part)}; got {wrong[0]!r}"
        raise ApiError(422, details={"collect[]": [message]})
    return tuple(Part(name) for name in names) or tuple(Part)


def _measured(slices: Iterable[bytes]) -> tuple[Iterator[bytes], Any]:
    """Pass slices on and count their bytes."""
    size = 0

    def count() -> Iterator[bytes]:
        nonlocal size
        for piece in slices:
            size += len(piece)
            yield piece

    return count(), lambda: size


def _gzip(slices: Iterable[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, GZIP_WINDOW)
    for piece in slices:
        yield packer.compress(piece)
    yield packer.flush()


def _accepts_gzip(request: web.Request) -> bool:
    """`Accept-Encoding` (RFC 9110, 12.5.3), as far as gzip goes."""
    for offer in request.headers.get("Accept-Encoding", "").split(","):
        coding, *parameters = (part.strip().casefold() for part in offer.split(";"))
        if coding in ("gzip", "*"):
            return not any(_NO_WEIGHT.fullmatch(parameter) for parameter in parameters)
    return False


_NO_WEIGHT: Final = re.compile(r"q=0(\.0{0,3})?")
