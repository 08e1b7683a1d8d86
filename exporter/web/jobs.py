"""Registering, reading and forgetting jobs."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from aiohttp import web

from ..core.job import JobState, Source
from ..registry.staging import (
    Registered,
    Registration,
    RegistrationConflictError,
    RegistryFullError,
)
from ..storage.store import HistoryRequest, JobFilter, PageRequest, StoreError
from .auth import may_see_results, require_writer
from .bodies import load_json, read_body, require_media_type, require_plain
from .bulk import NDJSON, BulkRegistration
from .context import (
    Context,
    answer,
    dump_json,
    show_event,
    show_job,
    show_polls,
    show_suspicion,
)
from .errors import ApiError, Details
from .paging import Paging, read_page
from .registrations import read_registration

SHOWN_EVENTS: Final = 1000
MAX_DETAILS: Final = 100
"""Errors of one list that are reported."""
SLICE: Final = 250
"""Jobs of a list that are read in one go."""
SHOWN_SLICE: Final = 50
"""Jobs of a list that are written in one go."""
JOB_PATH: Final = "/api/v1/jobs/{job_id:[^/]+}"
"""aiohttp's own pattern has no braces, and would answer that there is no such route."""


class JobRoutes:
    """The routes under `/api/v1/jobs`."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, without prefix."""
        return [
            web.get("/api/v1/jobs", self.page),
            web.post("/api/v1/jobs", self.register_many),
            web.get(JOB_PATH, self.one),
            web.put(JOB_PATH, self.register_one),
            web.delete(JOB_PATH, self.forget),
        ]

    async def register_one(self, request: web.Request) -> web.Response:
        """`PUT /api/v1/jobs/{job_id}`: register a job; 201 if it is new, 200 if known."""
        context = self._context
        require_writer(context, request)
        body = await read_body(request, context.config().registration.max_body_bytes)
        document: Any = {}
        if body:
            require_media_type(request, "application/json")
            document = load_json(body)
        registration, details = self._read(document, request.match_info["job_id"])
        if registration is None:
            self._refuse(details)
        [registered] = await self._register([registration], {0: ""})
        status = 201 if registered.new else 200
        return answer(show_job(context, registered.job, results=True), status)

    async def register_many(self, request: web.Request) -> web.StreamResponse:
        """`POST /api/v1/jobs`: register a JSON list, all or none, or NDJSON, line by line."""
        context = self._context
        require_writer(context, request)
        if require_media_type(request, "application/json", NDJSON) == NDJSON:
            require_plain(request)  # the lines of a compressed body that is cut short look complete
            return await BulkRegistration(context, request).answer()
        body = await read_body(request, context.config().registration.max_body_bytes)
        documents = load_json(body)
        if not isinstance(documents, list):
            self._refuse({"": ['expected a list of jobs such as [{"job_id": "…"}]']})
        registrations: list[Registration] = []
        details: Details = {}
        for at, document in enumerate(documents):
            registration, wrong = self._read(document)
            details |= {f"{at}.{field}".rstrip("."): texts for field, texts in wrong.items()}
            if registration is not None:
                registrations.append(registration)
            if len(details) >= MAX_DETAILS:
                details[""] = [f"the first {MAX_DETAILS} errors; there may be more"]
                break
            if at % SLICE == SLICE - 1:
                await asyncio.sleep(0)  # a list may be long, and others have their turn
        if details:
            self._refuse(details, jobs=len(documents))
        paths = {at: f"{at}." for at in range(len(registrations))}
        registered = await self._register(registrations, paths)
        new = sum(one.new for one in registered)
        return answer({"registered": new, "known": len(registered) - new})

    async def one(self, request: web.Request) -> web.Response:
        """`GET /api/v1/jobs/{job_id}`: answer with a job, its last polls and its newest events."""
        context, job_id = self._context, request.match_info["job_id"]
        newest = context.registry.feed.newest_id
        job = await context.registry.get(job_id)
        if job is None:
            raise _unknown(job_id)
        events = await context.registry.store.history(
            HistoryRequest(SHOWN_EVENTS, job_id=job_id, newest=True)
        )
        shown = show_job(context, job, results=may_see_results(context, request))
        shown["suspicion"] = show_suspicion(context, job)
        shown["polls"] = show_polls(context, job_id)
        shown["events"] = [show_event(event) for event in events]
        shown["newest_event_id"] = newest
        return answer(shown)

    async def page(self, request: web.Request) -> web.Response:
        """`GET /api/v1/jobs`: list jobs, newest first, filtered, in pages.

        `newest_event_id` is read first, so that a client that follows the events after it misses
        no change that the answer does not show.
        """
        job_filter, paging = _read_query(request.query)
        context = self._context
        newest = context.registry.feed.newest_id
        page = await context.registry.page(PageRequest(paging.limit, paging.before, job_filter))
        results = may_see_results(context, request)
        shown = []
        for at, job in enumerate(page.items, 1):
            shown.append(dump_json(show_job(context, job, results=results)))
            if at % SHOWN_SLICE == 0:
                await asyncio.sleep(0)
        rest = {"next": None if page.next is None else str(page.next), "newest_event_id": newest}
        body = b"".join((b'{"jobs": [', b", ".join(shown), b"], ", dump_json(rest)[1:], b"\n"))
        return web.Response(body=body, content_type="application/json", charset="utf-8")

    async def forget(self, request: web.Request) -> web.Response:
        """`DELETE /api/v1/jobs/{job_id}`: forget a job; 404 if unknown, 409 if configured."""
        context, job_id = self._context, request.match_info["job_id"]
        require_writer(context, request)
        if job_id in context.registry.configured:
            message = f"{job_id} is listed in the config or in a job file; remove it there first"
            raise ApiError(409, message)
        if not await context.registry.forget(job_id):
            raise _unknown(job_id)
        return web.Response(status=204)

    def _read(
        self, document: Any, path_id: str | None = None
    ) -> tuple[Registration | None, Details]:
        context = self._context
        return read_registration(
            document, context.config().registration, context.poller.now, path_id
        )

    async def _register(
        self, registrations: list[Registration], paths: Mapping[int, str]
    ) -> list[Registered]:
        instruments = self._context.instruments
        try:
            return await self._context.registry.register(registrations, Source.API)
        except RegistrationConflictError as error:
            instruments.refused("conflict", len(registrations))
            details = {
                f"{paths[at]}{conflict.field}": [str(conflict)]
                for at, conflicts in error.conflicts.items()
                for conflict in conflicts
            }
            raise ApiError(409, details=details) from None
        except RegistryFullError:
            instruments.refused("full", len(registrations))
            raise
        except StoreError:
            instruments.refused("store", len(registrations))
            raise

    def _refuse(self, details: Details, jobs: int = 1) -> NoReturn:
        self._context.instruments.refused("invalid", jobs)
        raise ApiError(422, details=details)


def _unknown(job_id: str) -> ApiError:
    return ApiError(404, f"no job {job_id[:128]!r} is known here")


def _read_query(query: Mapping[str, str]) -> tuple[JobFilter, Paging]:
    """Read the parameters of a list; raises `ApiError` 422 by parameter."""
    errors: Details = {}
    for name, admitted in (("state", JobState), ("source", Source)):
        values = [member.value for member in admitted]
        if name in query and query[name] not in values:
            errors[name] = [f"expected one of: {', '.join(values)}"]
    filters = ("state", "source", "mode", "key")
    paging = read_page(query, *filters, "variation", "warning", prefixes=("label.",), errors=errors)
    labels = {
        name.removeprefix("label."): value
        for name, value in query.items()
        if name.startswith("label.")
    }
    state, source, mode, key = (query.get(name) for name in filters)
    variation, warning = query.get("variation"), query.get("warning")
    return JobFilter(state, source, mode, key, labels, variation, warning), paging
