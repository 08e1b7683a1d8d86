"""Faults that a test switches on and off while the simulator runs; they can be combined.

Each is a context manager: `with simulator.faults.outage(): ...`. `simulate --fault NAME[=ARG]`
takes them from the table `FAULTS`.
"""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Final

from aiohttp import web

HTML: Final = "<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"
MAINTENANCE: Final = HTML.format(title="We will be back soon").encode()


@dataclass(frozen=True, slots=True)
class Asked:
    """A fault may depend on this: the request, the endpoint (`status`, `upload`), the mode."""

    request: web.Request
    endpoint: str
    job_id: str | None
    mode: str | None


Answer = Callable[[Asked], Awaitable[web.StreamResponse | None]]
"""A fault: returns an answer that replaces the true one, or None."""


def failure(status: int, style: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return an error as the service (json) or something in front of it (html, empty) gives it."""
    if style == "json":
        text = json.dumps({"error": "server_error", "message": "internal error"})
        return web.Response(
            status=status, text=text, content_type="application/json", headers=headers
        )
    if style == "html":
        text = HTML.format(title=f"{status} error")
        return web.Response(status=status, text=text, content_type="text/html", headers=headers)
    return web.Response(status=status, headers=headers)


class Faults:
    """The faults of one simulator."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._active: list[Answer] = []
        self.extra_delay = 0.0
        self.listen: Callable[[], Awaitable[None]] | None = None
        self.unlisten: Callable[[], Awaitable[None]] | None = None

    async def answer(self, asked: Asked) -> web.StreamResponse | None:
        """Return the answer of the newest active fault that gives one."""
        for fault in reversed(self._active):
            response = await fault(asked)
            if response is not None:
                return response
        return None

    def outage(
        self, status: int = 503, body: str = "json", retry_after: int | None = None
    ) -> AbstractContextManager[None]:
        """Answer every request with a 5xx."""
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        return self._always(lambda: failure(status, body, headers))

    def partial_outage(
        self, share: float = 0.3, status: int = 500, mode: str | None = None, body: str = "json"
    ) -> AbstractContextManager[None]:
        """Answer a share of the status requests with a 5xx; with `mode`, only of its jobs."""

        async def fault(asked: Asked) -> web.StreamResponse | None:
            concerned = asked.endpoint == "status" and mode in (None, asked.mode)
            return failure(status, body) if concerned and self._rng.random() < share else None

        return self._with(fault)

    @contextmanager
    def stall(self) -> Iterator[None]:
        """Accept requests, but do not answer until the fault ends."""
        ended = asyncio.Event()

        async def fault(asked: Asked) -> web.StreamResponse | None:
            await ended.wait()
            return None

        with self._with(fault):
            try:
                yield
            finally:
                ended.set()

    def dropped_connection(self, share: float = 1.0) -> AbstractContextManager[None]:
        """Close connections without an answer."""

        async def fault(asked: Asked) -> web.StreamResponse | None:
            if self._rng.random() >= share:
                return None
            if asked.request.transport is not None:
                asked.request.transport.abort()
            return web.Response(status=500)  # goes nowhere

        return self._with(fault)

    @contextlib.asynccontextmanager
    async def refused(self) -> AsyncIterator[None]:
        """Stop listening, and listen on the same port again afterwards."""
        if self.unlisten is None or self.listen is None:
            raise RuntimeError("the simulator was not started by itself")
        await self.unlisten()
        try:
            yield
        finally:
            await self.listen()

    def cut_body(self) -> AbstractContextManager[None]:
        """Answer 200 with a body that ends before its Content-Length."""

        async def fault(asked: Asked) -> web.StreamResponse | None:
            response = web.StreamResponse(headers={"Content-Length": "500"})
            response.content_type = "application/json"
            await response.prepare(asked.request)
            await response.write(b'{"job_id": "')
            if asked.request.transport is not None:
                asked.request.transport.close()
            return response

        return self._with(fault)

    def garbage(self, body: bytes = MAINTENANCE) -> AbstractContextManager[None]:
        """Answer 200 with a body that is not JSON, by default a maintenance page."""
        return self._always(lambda: web.Response(body=body, content_type="text/html"))

    def misrouted(self, status: int = 404) -> AbstractContextManager[None]:
        """Answer as a gateway that has lost the way to the API: a page of its own."""
        return self._always(lambda: failure(status, "html"))

    def throttled(
        self, retry_after: int = 2, as_date: bool = False
    ) -> AbstractContextManager[None]:
        """Answer 429 with `Retry-After`, in seconds or as a date."""

        def response() -> web.Response:
            at = datetime.now(UTC) + timedelta(seconds=retry_after)
            value = format_datetime(at, usegmt=True) if as_date else str(retry_after)
            return failure(429, "json", {"Retry-After": value})

        return self._always(response)

    def revoked_key(self) -> AbstractContextManager[None]:
        """Reject every key."""
        return self._always(
            lambda: web.json_response(
                {"error": "unauthorized", "message": "API key invalid"}, status=401
            )
        )

    def forbidden(self, html: bool = True) -> AbstractContextManager[None]:
        """Answer 403, as a firewall or as the API."""
        return self._always(lambda: failure(403, "html" if html else "json"))

    def slow(self, seconds: float = 1.0) -> AbstractContextManager[None]:
        """Delay every answer."""

        async def fault(asked: Asked) -> web.StreamResponse | None:
            await asyncio.sleep(seconds)
            return None

        return self._with(fault)

    @contextmanager
    def late_visibility(self, seconds: float = 2.0) -> Iterator[None]:
        """Answer 404 for new jobs, for this many real seconds."""
        self.extra_delay += seconds
        try:
            yield
        finally:
            self.extra_delay -= seconds

    def no_credits(self) -> AbstractContextManager[None]:
        """Answer uploads with 402."""

        async def fault(asked: Asked) -> web.StreamResponse | None:
            if asked.endpoint != "upload":
                return None
            return web.json_response({"error": "insufficient_credits"}, status=402)

        return self._with(fault)

    def oversized(self, size: int = 2 * 1024 * 1024) -> AbstractContextManager[None]:
        """Answer 200 with valid JSON of more than `size` bytes."""

        def response() -> web.Response:
            body = {"state": "pending", "padding": "x" * size}
            return web.json_response(body)

        return self._always(response)

    def override(
        self,
        job_id: str,
        status: int,
        body: bytes,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> AbstractContextManager[None]:
        """Give exactly this answer for one job."""

        async def fault(asked: Asked) -> web.StreamResponse | None:
            if asked.job_id != job_id:
                return None
            named = {"Content-Type": content_type, **(headers or {})}
            return web.Response(status=status, body=body, headers=named)

        return self._with(fault)

    def forgets(self, share: float = 1.0) -> AbstractContextManager[None]:
        """Answer 404 for a share of the known jobs, chosen by their ids."""

        async def fault(asked: Asked) -> web.StreamResponse | None:
            if asked.mode is None or asked.job_id is None:
                return None
            chosen = int(asked.job_id.replace("-", "")[-6:], 16) / 0x1000000 < share
            return web.json_response({"error": "not_found"}, status=404) if chosen else None

        return self._with(fault)

    def _always(self, make: Callable[[], web.Response]) -> AbstractContextManager[None]:
        async def fault(asked: Asked) -> web.StreamResponse | None:
            return make()

        return self._with(fault)

    @contextmanager
    def _with(self, fault: Answer) -> Iterator[None]:
        self._active.append(fault)
        try:
            yield
        finally:
            self._active.remove(fault)


FAULTS: Final[Mapping[str, tuple[Callable[..., Any], Callable[[str], Any] | None]]] = {
    "outage": (Faults.outage, int),
    "partial-outage": (Faults.partial_outage, float),
    "stall": (Faults.stall, None),
    "dropped-connection": (Faults.dropped_connection, float),
    "cut-body": (Faults.cut_body, None),
    "garbage": (Faults.garbage, str.encode),
    "misrouted": (Faults.misrouted, int),
    "throttled": (Faults.throttled, int),
    "revoked-key": (Faults.revoked_key, None),
    "forbidden": (Faults.forbidden, None),
    "slow": (Faults.slow, float),
    "late-visibility": (Faults.late_visibility, float),
    "no-credits": (Faults.no_credits, None),
    "oversized": (Faults.oversized, int),
    "forgets": (Faults.forgets, float),
}
"""For the command line: the faults, and how an argument is read where there is one."""


def parse_fault(text: str) -> Callable[[Faults], AbstractContextManager[None]]:
    """Read `NAME` or `NAME=ARG`; raises `ValueError` with what is expected."""
    name, _, argument = text.partition("=")
    if name not in FAULTS:
        raise ValueError(f"unknown fault {name!r}; known are: {', '.join(FAULTS)}")
    make, read = FAULTS[name]
    if not argument:
        return make
    if read is None:
        raise ValueError(f"the fault {name} takes no argument")
    try:
        value = read(argument)
    except ValueError:
        raise ValueError(f"the fault {name} takes a number, got {argument!r}") from None
    return lambda faults: make(faults, value)
