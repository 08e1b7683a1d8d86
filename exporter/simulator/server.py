"""The simulator's server: `POST /api/v1/upload` and `GET /api/v1/status` by the vendor's docs.

A job's state is a pure function of its script and its age; nothing runs between requests.
"""

import hmac
import random
import re
import time
import uuid
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
from aiohttp import web

from .faults import Asked, Faults, failure
from .ledger import Entry, Ledger
from .script import STEPS, Kind, Script, body_at, draw

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
MAX_UPLOAD_BYTES: Final = 64 * 1024 * 1024

OUTPUT_FORMATS: Final = ("png", "jpg", "jpeg", "psd", "tiff", "webp")


class Simulator:
    """A fake Removit API.

    `speed` divides every scripted duration; `clock` gives monotonic seconds.
    """

    def __init__(
        self,
        *,
        api_key: str,
        seed: int = 0,
        speed: float = 1.0,
        weights: Mapping[str, float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.api_key = api_key
        self.ledger = Ledger()
        self.speed = speed
        self.url = ""
        self._weights = weights
        self._clock = clock
        self._rng = random.Random(seed)
        self.faults = Faults(random.Random(seed + 1))
        self.faults.listen, self.faults.unlisten = self._listen, self._unlisten
        self.app = web.Application(middlewares=[self._middleware], client_max_size=MAX_UPLOAD_BYTES)
        self.app.add_routes(
            [web.get("/api/v1/status", self._status), web.post("/api/v1/upload", self._upload)]
        )
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None
        self._address = ("127.0.0.1", 0)
        self._late: dict[str, float] = {}

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Start to listen; then `url` is set."""
        self._runner = web.AppRunner(self.app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        self._address = (host, port)
        await self._listen()
        self._address = (host, self._runner.addresses[0][1])
        self.url = f"http://{host}:{self._address[1]}"

    async def stop(self) -> None:
        """Stop listening and close all connections."""
        if self._runner is not None:
            await self._runner.cleanup()

    def add(self, script: Script) -> str:
        """Add a job without an upload; return its id, in the vendor's format."""
        job_id = self._new_id()
        self.ledger.jobs[job_id] = Entry(script, self._clock())
        if self.faults.extra_delay:
            self._late[job_id] = self.faults.extra_delay
        return job_id

    def draw(
        self, *, mode: str | None = None, weights: Mapping[str, float] | None = None
    ) -> Script:
        """Draw a script from the simulator's own seed."""
        return draw(self._rng, mode, weights if weights is not None else self._weights)

    async def _listen(self) -> None:
        assert self._runner is not None  # noqa: S101 - started
        self._site = web.TCPSite(self._runner, *self._address)
        await self._site.start()

    async def _unlisten(self) -> None:
        assert self._site is not None  # noqa: S101 - started
        await self._site.stop()

    def _new_id(self) -> str:
        """Return a UUID like the vendor's: its first 48 bits are milliseconds since 1970."""
        bits = (int(time.time() * 1000) << 80) | self._rng.getrandbits(80)
        return str(uuid.UUID(int=bits))

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Any) -> web.StreamResponse:
        endpoint = request.path.rpartition("/")[2]
        job_id = request.query.get("job_id")
        entry = self.ledger.jobs.get(job_id or "")
        tracked = job_id or "(none)"
        self.ledger.opened(tracked)
        try:
            mode = entry.script.mode if entry else None
            asked = Asked(request, endpoint, job_id, mode)
            response = await self.faults.answer(asked)
            if response is None:
                response = await self._answer(request, handler)
        finally:
            self.ledger.closed(tracked)
        self.ledger.requests[request.method, request.path, response.status] += 1
        if job_id is not None and request.method == "GET":
            self.ledger.answered(job_id, response.status, self._clock())
        return response

    async def _answer(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.match_info.http_exception is None and not self._has_key(request):
            return _error(401, "unauthorized", message="API key invalid")
        try:
            response: web.StreamResponse = await handler(request)
        except web.HTTPMethodNotAllowed:
            return _error(405, "method_not_allowed")
        except web.HTTPNotFound:
            return _error(404, "not_found")
        return response

    def _has_key(self, request: web.Request) -> bool:
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        offered = request.headers.get("X-API-Key") or (
            bearer.strip() if scheme.casefold() == "bearer" else ""
        )
        return hmac.compare_digest(
            offered.encode("utf-8", "surrogateescape"), self.api_key.encode()
        )

    async def _status(self, request: web.Request) -> web.Response:
        job_id = request.query.get("job_id", "")
        if not job_id:
            return _invalid("job_id", "The job_id field is required.")
        if not _UUID.fullmatch(job_id):
            self.ledger.malformed_ids.add(job_id)
            return _invalid("job_id", "The job_id field must be a valid UUID.")
        entry = self.ledger.jobs.get(job_id)
        if entry is None:
            self.ledger.unknown_ids[job_id] += 1
            return _error(404, "not_found")
        since = self._clock() - entry.uploaded_at
        script, age = entry.script, since * self.speed
        if age < script.visible_after or since < self._late.get(job_id, 0.0):
            return _error(404, "not_found")
        body = body_at(script, job_id, age)
        if body is None:
            return failure(script.failure_status, script.failure_body)
        entry.shown = entry.shown or "warnings" in body or "ignored_variations" in body
        return web.json_response(body)

    async def _upload(self, request: web.Request) -> web.Response:
        fields = await _read_upload(request)
        if fields is None:
            return _invalid("file", "Send JSON with file_url, or multipart with file.")
        if ("file" in fields) == ("file_url" in fields):
            return _invalid("file", "Exactly one of file and file_url is required.")
        if not _is_url(fields.get("file_url", "https://")):
            return _invalid("file_url", "The file_url field must be a valid URL.")
        mode = fields.get("mode", "clipping")
        if not isinstance(mode, str) or mode not in STEPS:
            return _invalid("mode", "The selected mode is invalid.")
        if mode == "params" and not fields.get("params"):
            return _invalid("params", "The params field is required when mode is params.")
        delivery = fields.get("delivery_mode", "url")
        if delivery not in ("url", "final_url"):
            return _invalid("delivery_mode", "The selected delivery_mode is invalid.")
        if fields.get("output_format", "png") not in OUTPUT_FORMATS:
            return _invalid("output_format", "The selected output_format is invalid.")
        kind = request.headers.get("X-Simulator-Kind")
        if kind is not None and kind not in list(Kind):
            return _invalid("X-Simulator-Kind", f"One of: {', '.join(Kind)}.")
        script = self.draw(mode=mode, weights={kind: 1.0} if kind else None)
        return web.json_response({"job_id": self.add(script), "status": "queued", "mode": mode})


async def _read_upload(request: web.Request) -> dict[str, Any] | None:
    """Return an upload's fields; a file is read and discarded."""
    if request.content_type == "application/json":
        try:
            document = await request.json()
        except ValueError:
            return None
        return document if isinstance(document, dict) else None
    if request.content_type != "multipart/form-data":
        return None
    try:
        return await _read_multipart(request)
    except (ValueError, AssertionError, aiohttp.http_exceptions.HttpProcessingError):
        return None  # no boundary, or invalid parts


async def _read_multipart(request: web.Request) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    async for part in await request.multipart():
        name = getattr(part, "name", None)
        if name == "file":
            while await part.read_chunk():  # type: ignore[union-attr]
                pass
            fields["file"] = True
        elif name:
            fields[name] = await part.text()  # type: ignore[union-attr]
    return fields


def _is_url(value: object) -> bool:
    return isinstance(value, str) and value.startswith(("http://", "https://"))


def _error(status: int, error: str, **more: Any) -> web.Response:
    return web.json_response({"error": error, **more}, status=status)


def _invalid(field: str, message: str) -> web.Response:
    return _error(422, "validation", details={field: [message]})
