"""Registration at volume: a stream of NDJSON in, a stream of results out.

Each batch of lines is one commit, which is then acknowledged. Only after that the next batch is
read, so that TCP slows down a sender that is faster than the disk. Good lines are kept, and bad
ones are reported by number. A sender that disconnects loses nothing that was acknowledged. When
the exporter stops, the answer ends after the current batch, and the sender can resume from there.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from aiohttp import web

from ..config.registration import RegistrationRules
from ..core.job import Source
from ..core.value import value
from ..registry.staging import Refused, Registration
from ..stop import Stop
from ..storage.store import StoreError
from .bodies import load_json
from .context import Context, dump_json
from .early_answer import answer_early
from .errors import RETRY_AFTER_SECONDS, ApiError
from .registrations import read_registration

NDJSON: Final = "application/x-ndjson"
MAX_LINE_BYTES: Final = 64 * 1024
IDLE_SECONDS: Final = 3600.0
"""How long a sender may be silent; one that waits longer can send blank lines. A body with broken
chunks looks the same, because aiohttp does not report it."""
BATCH_LINES: Final = 250
"""At most this many lines in one commit, so that no step of the event loop takes long."""


@value(frozen=True, slots=True)
class Line:
    """A line and its number, from 1. The content is None when the line is too long."""

    number: int
    content: bytes | None


class StoppingError(Exception):
    """The exporter stops, and reads no further."""


class CutShortError(Exception):
    """The body was cut off, or nothing more of it comes."""


async def read_lines(content: Any, limit: int = MAX_LINE_BYTES) -> AsyncIterator[list[Line]]:
    """Yield the lines in batches as they arrive. Blank lines are skipped, but counted.

    Raises `CutShortError` for a body that is cut off or cannot be read. What followed its last line
    feed is dropped.
    """
    rest, number, skipping = b"", 0, False
    while True:
        try:
            chunk = await content.readany()
        except (web.RequestPayloadError, ConnectionError) as error:
            raise CutShortError from error
        if not chunk and not rest and not skipping:
            return
        pieces = (rest + (chunk or b"\n")).split(b"\n")
        rest = pieces.pop()
        lines = []
        for piece in pieces:
            number += 1
            too_long, skipping = skipping or len(piece) > limit, False
            if too_long or piece.strip():
                lines.append(Line(number, None if too_long else piece))
        if len(rest) > limit:  # drop the content, and wait for the end of the line
            rest, skipping = b"", True
        for start in range(0, len(lines), BATCH_LINES):
            yield lines[start : start + BATCH_LINES]
        if not chunk:
            return


class _Body:
    """The body of a request, read until the exporter stops."""

    def __init__(self, content: Any, stop: Stop) -> None:
        self._content = content
        self._stop = stop

    async def readany(self) -> bytes:
        """Return the bytes that have arrived; raises `CutShortError`, `StoppingError`."""
        try:
            async with self._stop.limit_wait(IDLE_SECONDS):
                data: bytes = await self._content.readany()
                return data
        except TimeoutError as error:
            raise (StoppingError if self._stop.begun else CutShortError) from error


class BulkRegistration:
    """One request that registers many jobs."""

    def __init__(self, context: Context, request: web.Request) -> None:
        self._context = context
        self._request = request
        self._response = web.StreamResponse(headers={"Content-Type": NDJSON})
        self._registered = 0
        self._known = 0
        self._refused = 0

    async def answer(self) -> web.StreamResponse:
        """Register jobs until the body ends, the registry is full, or one of both sides stops."""
        await self._response.prepare(self._request)
        try:
            await self._take_all()
            await self._response.write_eof()
        except CutShortError:  # no last line: the sender sends again what is not acknowledged
            with contextlib.suppress(ConnectionError):
                await self._response.write_eof()
        except StoppingError:
            await self._stop()
        except asyncio.CancelledError:
            if not self._context.stop.time_is_up:
                raise
            await self._stop()
        except ConnectionError:
            pass  # the sender has left; what is committed stays
        return self._response

    async def _take_all(self) -> None:
        stop = self._context.stop
        async for lines in read_lines(_Body(self._request.content, stop)):
            if not await self._take(lines):
                return
            if stop.begun:
                raise StoppingError
        await self._write({"done": True, **self._counts(), "refused": self._refused})

    async def _stop(self) -> None:
        with contextlib.suppress(ConnectionError):
            await self._end("exporter_unavailable", "the exporter stops")
            await answer_early(self._request, self._response)

    async def _take(self, lines: list[Line]) -> bool:
        """Register a batch and write the results; False when nothing more can be registered."""
        registrations: list[Registration] = []
        numbers: list[int] = []
        rules = self._context.config().registration
        for line in lines:
            registration = await self._read(line, rules)
            if registration is not None:
                registrations.append(registration)
                numbers.append(line.number)
        await asyncio.sleep(0)
        try:
            results = await self._context.registry.register_each(registrations, Source.API)
        except StoreError as error:
            self._context.log.error("store unavailable", error=str(error))
            self._context.instruments.refused("store", len(registrations))
            await self._end("exporter_unavailable", "the store cannot be written at the moment")
            return False
        for number, result in zip(numbers, results, strict=False):
            if isinstance(result, Refused):
                details = {one.field: [str(one)] for one in result.conflicts}
                await self._refuse(number, "conflict", details=details)
            elif result.new:
                self._registered += 1
            else:
                self._known += 1
        full = len(results) < len(registrations)
        through = numbers[len(results)] - 1 if full else lines[-1].number
        await self._write({"acknowledged_through": through, **self._counts()})
        if full:
            self._context.instruments.refused("full", len(registrations) - len(results))
            limit = self._context.config().registration.max_pending
            await self._end("full", f"registration.max_pending: {limit} jobs are pending already")
        return not full

    async def _read(self, line: Line, rules: RegistrationRules) -> Registration | None:
        """Return the registration of a line; a bad line is reported, and gives None."""
        if line.content is None:
            message = f"the line is longer than {MAX_LINE_BYTES} bytes"
            await self._refuse(line.number, "too_large", message=message)
            return None
        try:
            document = load_json(line.content)
        except ApiError as error:
            await self._refuse(line.number, "malformed", message=error.message)
            return None
        now = self._context.poller.now
        registration, details = read_registration(document, rules, now)
        if registration is None:
            await self._refuse(line.number, "validation", details=details)
        return registration

    async def _refuse(self, number: int, error: str, **more: Any) -> None:
        self._refused += 1
        reason = "conflict" if error == "conflict" else "invalid"
        self._context.instruments.refused(reason)
        await self._write({"line": number, "error": error, **more})

    async def _end(self, error: str, message: str) -> None:
        document = {"error": error, "message": message, "retry_after": RETRY_AFTER_SECONDS}
        await self._write(document)

    def _counts(self) -> Mapping[str, int]:
        """Count the jobs of all batches so far."""
        return {"registered": self._registered, "known": self._known}

    async def _write(self, document: Mapping[str, Any]) -> None:
        await self._response.write(dump_json(document) + b"\n")
