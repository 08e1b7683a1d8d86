"""The failure ledger: lists keys whose last job failed, and acknowledges them."""

from typing import Any

from aiohttp import web

from ..config.registration import check_key
from ..core.ledger import OpenFailure
from ..storage.store import FailuresRequest
from .auth import require_writer
from .bodies import load_json, read_body, require_media_type
from .context import Context, answer, rfc3339
from .errors import ApiError
from .paging import read_page


class FailureRoutes:
    """The routes under `/api/v1/failures`."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, without prefix."""
        return [
            web.get("/api/v1/failures", self.page),
            web.post("/api/v1/failures/ack", self.acknowledge),
        ]

    async def page(self, request: web.Request) -> web.Response:
        """`GET /api/v1/failures`: list the open keys, newest first, in pages."""
        paging = read_page(request.query, "key")
        page = await self._context.registry.store.failures(
            FailuresRequest(paging.limit, paging.before, request.query.get("key"))
        )
        shown = [_show(failure) for failure in page.items]
        return answer({"failures": shown, "next": None if page.next is None else str(page.next)})

    async def acknowledge(self, request: web.Request) -> web.Response:
        """`POST /api/v1/failures/ack`: close a key, and answer with its failure."""
        context = self._context
        require_writer(context, request)
        require_media_type(request, "application/json")
        document = load_json(await read_body(request, context.config().registration.max_body_bytes))
        key = document.get("key") if isinstance(document, dict) else None
        if not isinstance(key, str) or len(document) != 1:
            raise ApiError(422, details={"key": ['expected {"key": "…"} and nothing else']})
        if (wrong := check_key(key)) is not None:
            raise ApiError(422, details={"key": [wrong]})
        closed = await context.registry.acknowledge(key)
        if closed is None:
            raise ApiError(404, f"no open failure of key {key[:128]!r}")
        context.log.info("failure acknowledged", key=key, job_id=closed.job_id)
        return answer(_show(closed))


def _show(failure: OpenFailure) -> dict[str, Any]:
    return {
        "key": failure.key,
        "job_id": failure.job_id,
        "state": failure.state.value,
        "evidence": failure.evidence,
        "labels": dict(failure.labels),
        "finished_at": rfc3339(failure.finished_at),
    }
