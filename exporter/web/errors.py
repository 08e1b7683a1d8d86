"""Errors of our own, in the upstream's form: `{"error": code}` with `details` or `message`."""

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from aiohttp import HttpVersion11, web

from ..registry.staging import RegistryFullError
from ..storage.store import StoreError
from .context import Context, answer
from .early_answer import answer_early

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

Details = dict[str, list[str]]
"""Errors by field or parameter."""

RETRY_AFTER_SECONDS: Final = 5

_CODES: Final = {
    400: "malformed",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "timeout",
    409: "conflict",
    410: "gone",
    413: "too_large",
    415: "unsupported_media_type",
    422: "validation",
    503: "exporter_unavailable",
}


class ApiError(Exception):
    """An error to answer with. Handlers raise it, and `answer_errors` writes the answer."""

    def __init__(
        self,
        status: int,
        message: str | None = None,
        *,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message or details)
        self.status = status
        self.message = message
        self.details = details
        self.headers = dict(headers or {})


def error_response(error: ApiError) -> web.Response:
    """Return the answer for an error."""
    body: dict[str, Any] = {"error": _CODES.get(error.status, "internal")}
    if error.message is not None:
        body["message"] = error.message
    if error.details is not None:
        body["details"] = error.details
    return answer(body, error.status, error.headers)


def unavailable(message: str, retry_after: float = RETRY_AFTER_SECONDS) -> ApiError:
    """Return a 503 for a temporary fault of ours, with `Retry-After` (seconds)."""
    headers = {"Retry-After": str(max(1, math.ceil(retry_after)))}
    return ApiError(503, message, headers=headers)


def invalid_key() -> ApiError:
    """Return the upstream's 401 in its words; HTTP demands the header (RFC 9110, 15.5.2)."""
    headers = {"WWW-Authenticate": 'Bearer realm="removit"'}
    return ApiError(401, "API key invalid", headers=headers)


async def answer_errors(
    context: Context, handler: Handler, request: web.Request
) -> web.StreamResponse:
    """Call a handler, and turn whatever it raises into an answer in JSON.

    A handler that does not answer before the deadline of a stop is cancelled and answered 503.
    """
    if request.version < HttpVersion11 and "Transfer-Encoding" in request.headers:
        # Where its body ends is uncertain (RFC 9112, 6.1).
        response = error_response(ApiError(400, "Transfer-Encoding takes HTTP/1.1"))
        response.force_close()
        return response
    try:
        async with context.stop.limit_request():
            return await _answer(context, handler, request)
    except TimeoutError:
        if request.writer.output_size > 0:  # only a cut shows that the answer is not whole
            raise
    message = "the exporter is shutting down; the request may or may not have been carried out"
    response = error_response(unavailable(message))
    await answer_early(request, response)
    return response


async def _answer(context: Context, handler: Handler, request: web.Request) -> web.StreamResponse:
    try:
        return await handler(request)
    except ApiError as error:
        return error_response(error)
    except RegistryFullError:
        most = context.config().registration.max_pending
        return error_response(
            unavailable(f"registration.max_pending: {most} jobs are pending already")
        )
    except StoreError as error:
        context.log.error("store unavailable", error=str(error))
        return error_response(unavailable("the store is currently unavailable"))
    except web.HTTPException as error:
        return error_response(from_http_exception(error))
    except Exception as error:
        gone = request.transport is None or request.transport.is_closing()
        if gone and isinstance(error, ConnectionError):  # the client's end
            return error_response(ApiError(400, "the client has gone away"))
        context.log.error("request failed", error=str(error), exc_info=error)
        return error_response(ApiError(500, "internal error; see the exporter's log"))


def from_http_exception(error: web.HTTPException) -> ApiError:
    """Return an error of aiohttp (unknown route, wrong method) in our form."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        message = f"{error.method} is not allowed here; allowed: {allowed}"
        return ApiError(405, message, headers={"Allow": allowed})
    if error.status == 404:
        return ApiError(404, "no such route")
    return ApiError(error.status, error.reason)
