"""`GET /metrics`: in the format of `Accept`, compressed by `Accept-Encoding`.

Scrapes of the same page at the same time share one rendering; `metrics/exposition.py` lists the
steps.
"""

import asyncio
import re
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from aiohttp import web

from ..metrics.catalogue import Part
from ..metrics.exposition import Encoder, Page, negotiate
from ..metrics.rendering import Renderings
from ..metrics.slices import GzipStream
from .context import Context
from .errors import ApiError

MAX_WRITING: Final = 8
"""Pages that are written at the same time."""
WRITE_BYTES: Final = 48 * 1024
"""How much is written at once: each write costs as much as a few KiB of text. It is less than the
64 KiB up to which a transport takes more without a wait."""


class MetricsRoute:
    """The page of metrics."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._renderings = Renderings[Sequence[bytes]]()
        # Pieces are joined for each reader: several whole pages would take too much memory.
        self._turns = asyncio.Semaphore(MAX_WRITING)

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, without prefix."""
        return [web.get("/metrics", self.metrics)]

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        """Answer with the whole page, or the parts that `?collect[]=totals|jobs|exporter` picks."""
        started = time.perf_counter()
        parts = _parts(request.query.getall("collect[]", []))
        encode, content_type = negotiate(request.headers.get("Accept", ""))
        gzipped = _accepts_gzip(request)
        response = web.StreamResponse(headers={"Content-Type": content_type})
        response.headers["Vary"] = "Accept, Accept-Encoding"
        if gzipped:
            response.headers["Content-Encoding"] = "gzip"
        if request.method == "HEAD":
            await response.prepare(request)
            return response
        key = (content_type, frozenset(parts), gzipped)
        with self._renderings.join(key, lambda: self._render(encode, parts, gzipped)) as pieces:
            await response.prepare(request)
            await _write(request, response, pieces, self._turns)
        await response.write_eof()
        self._context.instruments.scrape_seconds.set(time.perf_counter() - started)
        return response

    def _render(
        self, encode: Encoder, parts: Collection[Part], gzipped: bool
    ) -> Iterator[Sequence[bytes]]:
        page = self._context.exposition.page(encode, parts)  # now: its values are of this moment
        return self._pieces(page, gzipped)

    def _pieces(self, page: Page, gzipped: bool) -> Iterator[Sequence[bytes]]:
        """Yield the bytes to send; then set the metrics about the page."""
        stream = GzipStream() if gzipped else None
        size = 0
        if stream:
            yield (stream.HEADER,)
        for slices in page:
            size += sum(one.size for one in slices)
            yield stream.add(slices) if stream else [one.plain for one in slices]
        if stream:
            yield (stream.end(),)
        self._context.instruments.scrape_bytes.set(size)
        if page.left_out is not None:
            self._context.instruments.left_out.set(page.left_out)


async def _write(
    request: web.Request,
    response: web.StreamResponse,
    pieces: Iterator[Sequence[bytes]],
    turns: asyncio.Semaphore,
) -> None:
    """Write a page, in turns with other pages; other tasks run after each piece.

    Hundreds of pages at the same time would fill the loop's every round. While a client does not
    keep up, its page has no turn, so that clients that never read hold nobody up.
    """
    unwritten: list[bytes] = []
    await turns.acquire()
    has_turn = True
    try:
        for piece in pieces:
            unwritten += piece
            if sum(map(len, unwritten)) >= WRITE_BYTES:
                data = b"".join(unwritten)
                unwritten.clear()
                # In parts that fit into an empty buffer: no write waits while it has a turn.
                for at in range(0, len(data), WRITE_BYTES):
                    if has_turn and _lags(request):
                        turns.release()
                        has_turn = False
                    await response.write(data[at : at + WRITE_BYTES])
            await asyncio.sleep(0)  # a write that need not wait lets no other task run
            if not has_turn and not _lags(request):
                await turns.acquire()
                has_turn = True
    finally:
        if has_turn:
            turns.release()
    await response.write(b"".join(unwritten))


def _lags(request: web.Request) -> bool:
    """Whether the client has yet to read what was written."""
    return request.transport is not None and request.transport.get_write_buffer_size() > 0


def _parts(names: Iterable[str]) -> tuple[Part, ...]:
    wrong = [name for name in names if name not in list(Part)]
    if wrong:
        message = f"expected one of: {', '.join(Part)}; got {wrong[0]!r}"
        raise ApiError(422, details={"collect[]": [message]})
    return tuple(Part(name) for name in names) or tuple(Part)


def _accepts_gzip(request: web.Request) -> bool:
    """Whether `Accept-Encoding` admits gzip (RFC 9110, 12.5.3); its own name counts before `*`."""
    admitted = {}
    for offer in request.headers.get("Accept-Encoding", "").split(","):
        coding, *parameters = (part.strip().casefold() for part in offer.split(";"))
        admitted[coding] = not any(_NO_WEIGHT.fullmatch(parameter) for parameter in parameters)
    return admitted.get("gzip", admitted.get("*", False))


_NO_WEIGHT: Final = re.compile(r"q=0(\.0{0,3})?")
