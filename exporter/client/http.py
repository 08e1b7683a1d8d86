"""The headers of the client's requests, and its reading of answers and errors."""

import base64
import errno
import json
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
from yarl import URL

DEFAULT_URL: Final = "http://127.0.0.1:10977"


def read_url(text: str) -> URL:
    """Read an exporter's URL; raises `ValueError` with the right value for one without scheme."""
    text = text.strip().rstrip("/")
    if "://" not in text:
        raise ValueError(f'the scheme is missing in "{text}"; expected "http://{text}"')
    try:
        url = URL(text)
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f'expected a URL such as "{DEFAULT_URL}", got "{text}"')
    return url


def authorization(token: str | None, login: tuple[str, str] | None) -> dict[str, str]:
    """Return the header of a token, which admits to everything, or of a login."""
    if token:
        return {"Authorization": f"Bearer {token}"}
    if login:
        credentials = base64.b64encode(":".join(login).encode()).decode()
        return {"Authorization": f"Basic {credentials}"}
    return {}


async def error_body(response: aiohttp.ClientResponse) -> Mapping[str, Any]:
    """Return the body of an error of the exporter, or of something in front of it."""
    text = await response.text()
    try:
        body = json.loads(text)
    except ValueError:
        return {"error": "refused", "message": text[:200]}
    return body if isinstance(body, dict) else {"error": "refused", "message": text[:200]}


def problem_of(body: Mapping[str, Any], otherwise: str) -> str:
    """Return the exporter's own message in an error body, or else its error's name."""
    return str(body.get("message") or body.get("error") or otherwise)


def say(error: BaseException) -> str:
    """Return what an error says; its type where it says nothing."""
    if isinstance(error, aiohttp.ClientConnectorError) and error.errno == errno.ECONNREFUSED:
        return "connection refused; is the exporter running there?"
    return str(error) or type(error).__name__
