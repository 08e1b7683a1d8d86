"""Who may write, and who may see result URLs.

Writing takes the bearer token of `registration.token_file`. Without a token it is open to this
machine only: the server must listen on loopback, and the request must name a loopback `Host`
(else a web page could reach it by DNS rebinding), come from no foreign `Origin`, and not through
a proxy (`Forwarded`, `X-Forwarded-*`), which would make a stranger look local.

The upstream's own routes (status, upload) take the upstream's key and nothing else.
"""

import ipaddress
from urllib.parse import SplitResult, urlsplit

from aiohttp import web

from .context import Context
from .errors import ApiError, invalid_key


def require_writer(context: Context, request: web.Request) -> None:
    """Raise `ApiError` 401 or 403, with the reason, unless the request may write."""
    token = context.token()
    if token is None:
        reason = _not_local(context, request)
        if reason is not None:
            message = f"without registration.token_file only this machine may write; {reason}"
            raise ApiError(403, message)
    elif not _bears(request, context):
        raise ApiError(
            401,
            "send the token of registration.token_file as: Authorization: Bearer TOKEN",
            headers={"WWW-Authenticate": 'Bearer realm="removit-exporter"'},
        )


def require_api_key(context: Context, request: web.Request) -> None:
    """Raise `ApiError` 401, as the upstream does, unless the request bears the upstream's key."""
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    offered = request.headers.get("X-API-Key") or (
        bearer.strip() if scheme.casefold() == "bearer" else ""
    )
    key = context.api_key()
    if key is None or not key.matches(offered):
        raise invalid_key()


def may_see_results(context: Context, request: web.Request) -> bool:
    """Whether result URLs are shown: to this machine, and to whoever has the token."""
    return _bears(request, context) or _not_local(context, request) is None


def _bears(request: web.Request, context: Context) -> bool:
    token = context.token()
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    return token is not None and scheme.casefold() == "bearer" and token.matches(value.strip())


def _not_local(context: Context, request: web.Request) -> str | None:
    """Say why a request does not count as this machine's own; None when it does."""
    if context.listen_host is not None and not is_loopback(context.listen_host):
        return f"the server listens on {context.listen_host or 'every address'}"
    for end, what in (("sockname", "reached the server at"), ("peername", "came from")):
        address = request.transport.get_extra_info(end) if request.transport else None
        if not isinstance(address, tuple) or not is_loopback(address[0]):
            return f"the request {what} an address that is not loopback"
    host = _split(f"//{request.headers.get('Host', '')}").hostname or ""
    if not is_loopback(host):
        return f"the request's Host is {host!r}"
    origin = request.headers.get("Origin")
    if origin is not None and _split(origin).netloc != request.headers.get("Host"):
        return f"the request's Origin is {origin!r}"
    for name in request.headers:
        if name.casefold() == "forwarded" or name.casefold().startswith("x-forwarded-"):
            return f"the request came through a proxy ({name})"
    return None


def _split(url: str) -> SplitResult:
    """Take a URL apart; in what is none there is nothing."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    if host.rstrip(".").casefold() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
