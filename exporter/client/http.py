"""The headers of the client's requests, and its reading of answers and errors."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import aiohttp


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


def say(error: BaseException) -> str:
    """Return what an error says; its type where it says nothing."""
    return str(error) or type(error).__name__
