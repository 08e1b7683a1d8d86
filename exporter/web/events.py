"""`GET /api/v1/events`: past and new events, as NDJSON or as server-sent events (WHATWG HTML, 9.2).

A client resumes a stream with the id of the last event that it received, so a broken connection or
a restart of either side loses nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from aiohttp import web

from ..core.events import EventType
from ..registry.feed import KEPT_ITEMS, Block, HistoryGapError, Item, Progress, Wanted
from ..storage.store import StoredEvent, StoreError
from .auth import has_token
from .context import Context, dump_json, rfc3339, show_event
from .errors import ApiError, unavailable
from .parameters import flag_errors, is_number, unknown_parameters

Key = TypeVar("Key")
Value = TypeVar("Value")

MAX_FOLLOWERS: Final = 500
RESERVED_FOLLOWERS: Final = 50
"""Further places for holders of the token and of logins: strangers cannot take them."""
CHECK_SECONDS: Final = 1.0
"""How often a stream without items checks whether its client is still there."""
GAP_SECONDS: Final = 0.002
"""How long new items are collected for each follower that there is: hundreds of followers must not
take the loop's time from the work that they follow."""
KEEPALIVE_SECONDS: Final = 15.0
"""After this long without an item a keep-alive is sent, so that a dead connection is noticed."""
RETRY_MS: Final = 2000
"""How long a browser waits before it connects again."""
_PARAMETERS: Final = ("after", "type", "job_id", "variation", "warning", "follow")
_TYPE_OF: Final = {
    "variation": EventType.VARIATION_IGNORED,
    "warning": EventType.WARNING_RAISED,
}
"""Parameters that name a variation, and the only type of event that each admits."""


@dataclass(frozen=True, slots=True)
class Form:
    """The format of a stream."""

    media_type: str
    write: Callable[[Item], bytes]
    keepalive: bytes
    begin: Callable[[int], bytes] = lambda after: b""


class EventRoutes:
    """The route of the events."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._followers = 0
        self._encoded: dict[Form, Encoded] = {NDJSON: Encoded(NDJSON), SSE: Encoded(SSE)}

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, without prefix."""
        return [web.get("/api/v1/events", self.events)]

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Stream events: `?after=<id>&type=&job_id=&variation=&warning=&follow=true`.

        `Accept` chooses the format.
        """
        as_sse = _accepts_sse(request)
        wanted, after, follow = _read_query(request, as_sse=as_sse)
        feed = self._context.registry.feed
        if after is not None:
            try:
                await feed.check(after)
            except HistoryGapError as error:
                raise ApiError(410, f"{error}; begin again without `after`") from None
        if not follow:
            start = await feed.oldest() if after is None else after
            return await self._send(request, feed.past(start, wanted), wanted, NDJSON, start)
        most = MAX_FOLLOWERS
        if self._context.logins.required or has_token(self._context, request):
            most += RESERVED_FOLLOWERS
        if self._followers >= most:
            raise unavailable(f"{most} streams are open already")
        if after is None:
            after = feed.newest_id if as_sse else await feed.oldest()
        form = SSE if as_sse else NDJSON
        blocks = feed.blocks(after, wanted, idle=CHECK_SECONDS)
        self._count(1)
        try:
            return await self._send(request, blocks, wanted, form, after)
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        self._followers += change
        self._context.registry.feed.gap = self._followers * GAP_SECONDS

    async def _send(
        self,
        request: web.Request,
        blocks: AsyncIterator[Block | None],
        wanted: Wanted,
        form: Form,
        after: int,
    ) -> web.StreamResponse:
        headers = {"Content-Type": form.media_type, "Cache-Control": "no-store"}
        # Without the last header nginx would buffer the stream.
        response = web.StreamResponse(headers={**headers, "X-Accel-Buffering": "no"})
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        try:
            await response.write(form.begin(after))
            async for piece in _pieces(blocks, wanted, self._encoded[form]):
                if request.transport is None:
                    break  # the client has gone away
                if piece:
                    await response.write(piece)
            await response.write_eof()
        except ConnectionError:
            pass  # the client has gone away
        except (StoreError, HistoryGapError) as error:
            # The head is sent: only a closed connection shows that the stream is incomplete.
            self._context.log.error("stream of events broken off", error=str(error))
            if request.transport is not None:
                request.transport.abort()
        return response


class Encoded:
    """The newest items as bytes in one format: written once for all followers."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self._written: dict[tuple[str, int], tuple[Item, bytes]] = {}
        """By an event's id, or the identity of a progress item, which is kept here for that."""

    def write(self, block: Block, wanted: Wanted) -> bytes:
        """Return the bytes of those items of a block that are wanted.

        They are joined once for all who want everything; a format that has no progress writes
        nothing for it.
        """
        if not wanted.everything:
            return b"".join(self._write(item) for item in block.items if wanted.admits(item))
        known = block.written.get(self.form.media_type)
        if known is None:
            known = b"".join(map(self._write, block.items))
            block.written[self.form.media_type] = known
        return known

    def _write(self, item: Item) -> bytes:
        key = ("event", item.id) if isinstance(item, StoredEvent) else ("progress", id(item))
        known = self._written.get(key)
        if known is not None:
            return known[1]
        written = self.form.write(item)
        _keep(self._written, key, (item, written), KEPT_ITEMS)
        return written


def _keep(kept: dict[Key, Value], key: Key, value: Value, most: int) -> None:
    """Add an entry; the oldest one goes where there are `most` already."""
    if len(kept) >= most:
        del kept[next(iter(kept))]
    kept[key] = value


async def _pieces(
    blocks: AsyncIterator[Block | None], wanted: Wanted, encoded: Encoded
) -> AsyncIterator[bytes]:
    """Yield each block as bytes, and keep-alives.

    An empty piece comes each second without an item, so that a client that has gone is noticed.
    """
    time = asyncio.get_running_loop().time
    written = time()
    async for block in blocks:
        if block is not None:
            piece = encoded.write(block, wanted)
        else:
            piece = encoded.form.keepalive if time() - written >= KEEPALIVE_SECONDS else b""
        if piece:
            written = time()
        yield piece


def _accepts_sse(request: web.Request) -> bool:
    offered = request.headers.get("Accept", "").split(",")
    return SSE.media_type in (media.partition(";")[0].strip().casefold() for media in offered)


def _read_query(request: web.Request, *, as_sse: bool) -> tuple[Wanted, int | None, bool]:
    """Read the parameters; raises `ApiError` 422 by parameter."""
    query = request.query
    details = unknown_parameters(query, _PARAMETERS) | flag_errors(query, "follow")
    last = request.headers.get("Last-Event-ID") if as_sse else None
    after = last or query.get("after")
    if after is not None and not is_number(after):
        details["after"] = ["expected the id of an event, a whole number"]
    kinds = [kind.value for kind in EventType]
    if query.get("type", kinds[0]) not in kinds:
        details["type"] = [f"expected one of: {', '.join(kinds)}"]
    kind, variation = query.get("type"), None
    for name, only in _TYPE_OF.items():
        if name in query:
            if kind not in (None, only):
                details[name] = [f"admits events of the type {only} only, not of the type {kind}"]
            kind, variation = only.value, query[name]
    if details:
        raise ApiError(422, details=details)
    wanted = Wanted(kind, query.get("job_id"), variation, progress=as_sse and kind is None)
    follow = as_sse or query.get("follow") == "true"
    return wanted, None if after is None else int(after), follow


def _ndjson(item: Item) -> bytes:
    return b"" if isinstance(item, Progress) else dump_json(show_event(item)) + b"\n"


def _sse(item: Item) -> bytes:
    if isinstance(item, Progress):
        shown = {
            "job_id": item.job_id,
            "time": rfc3339(item.time),
            "mode": item.mode,
            "step": item.step,
            "progress": item.progress,
        }
        return b"event: progress\ndata: " + dump_json(shown) + b"\n\n"
    head = f"id: {item.id}\nevent: {item.event.type.value}\ndata: ".encode()
    return head + dump_json(show_event(item)) + b"\n\n"


def _begin_sse(after: int) -> bytes:
    """Send an id at once, so that a browser can resume even before the first event."""
    return f"id: {after}\nretry: {RETRY_MS}\n\n".encode()


NDJSON: Final = Form("application/x-ndjson", _ndjson, b"\n")
SSE: Final = Form("text/event-stream", _sse, b":\n\n", _begin_sse)
