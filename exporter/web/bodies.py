"""Reading request bodies up to a limit, as JSON, with errors that say what is expected."""

import asyncio
import json
from typing import Any, Final

from aiohttp import web

from .errors import ApiError

BODY_SECONDS: Final = 60.0
"""Maximum time for a body to arrive."""


async def read_body(request: web.Request, limit: int) -> bytes:
    """Read a body of at most `limit` bytes; raises `ApiError` 400, 408, 413 or 415."""
    require_plain(request)
    content = request.content
    body = bytearray()
    try:
        if content.is_eof():  # a small body usually comes with the head: a timer would cost more
            body += content.read_nowait()
        else:
            async with asyncio.timeout(BODY_SECONDS):
                while len(body) <= limit and (chunk := await content.readany()):
                    body += chunk
    except TimeoutError:
        message = f"the body was not complete within {BODY_SECONDS:g} s"
        raise ApiError(408, message) from None
    except web.RequestPayloadError as error:
        raise ApiError(400, f"the body cannot be read: {error}") from None
    if len(body) > limit:
        raise ApiError(413, f"the body is longer than registration.max_body_bytes: {limit} bytes")
    return bytes(body)


def require_plain(request: web.Request) -> None:
    """Raise `ApiError` 415 for a compressed body: what it inflates to has no limit."""
    if request.headers.get("Content-Encoding", "identity").casefold() != "identity":
        raise ApiError(415, "send the body uncompressed, without Content-Encoding")


def require_media_type(request: web.Request, *admitted: str) -> str:
    """Return the request's media type; raises `ApiError` 415 unless it is admitted."""
    if request.content_type not in admitted:
        wanted = " or ".join(admitted)
        raise ApiError(415, f"send Content-Type: {wanted}, not {request.content_type}")
    return request.content_type


def load_json(body: bytes) -> Any:
    """Read JSON; raises `ApiError` 400 with the place of the error."""
    try:
        return json.loads(body)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise ApiError(400, f"the body is not JSON: {error.msg} at {where}") from None
    except UnicodeDecodeError as error:
        raise ApiError(400, f"the body is not UTF-8: at byte {error.start}") from None
    except (RecursionError, ValueError):
        raise ApiError(
            400, "the JSON cannot be read: it is nested too deeply or a number is too long"
        ) from None
