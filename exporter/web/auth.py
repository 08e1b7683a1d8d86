"""Permissions.

| who shows           | reading                    | writing, result URLs | status, upload |
| ------------------- | -------------------------- | -------------------- | -------------- |
| nothing             | where no login is required | no                   | no             |
| a login             | yes                        | no                   | no             |
| the token           | yes                        | yes                  | no             |
| the upstream's key  | no                         | no                   | yes            |

Nothing follows from an address or another header: behind a proxy every request looks local, and
newer proxies leave no trace. Only a browser's `Origin` counts, and only against a request: a page
of another site writes nothing, whatever it shows. `/-/healthy` and `/-/ready` need no login.
"""

from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from .context import Context
from .errors import ApiError, invalid_key, unavailable
from .logins import TooManyLoginsError

_REALM: Final = 'realm="removit-exporter"'
OPEN_ROUTES: Final = frozenset({"/-/healthy", "/-/ready"})
KEY_ROUTES: Final = frozenset({"/api/v1/status", "/api/v1/upload"})
"""Routes of the upstream's contract: they take its key, and no login."""
LOGINLESS_ROUTES: Final = OPEN_ROUTES | KEY_ROUTES
"""Routes (without the prefix) that ask for no login."""


async def require_reader(context: Context, request: web.Request) -> None:
    """Raise `ApiError` 401 unless the request may read; see `LOGINLESS_ROUTES`."""
    if not context.logins.required or has_token(context, request):
        return
    try:
        if await context.logins.admit(request.headers.get("Authorization", "")):
            return
    except TooManyLoginsError:
        raise unavailable("too many logins are being checked") from None
    headers = {"WWW-Authenticate": f'Basic {_REALM}, charset="UTF-8"'}
    raise ApiError(
        401, "log in, or send the token as: Authorization: Bearer TOKEN", headers=headers
    )


def require_writer(context: Context, request: web.Request) -> None:
    """Raise `ApiError` 401 or 403, with the reason, unless the request may write."""
    if not has_token(context, request):
        raise ApiError(
            401,
            "send the exporter's token as: Authorization: Bearer TOKEN;"
            " `removit-exporter token` prints the path of its file",
            headers={"WWW-Authenticate": f"Bearer {_REALM}"},
        )
    origin = request.headers.get("Origin")
    if origin is not None and not _is_own(context, request, origin):
        raise ApiError(403, f"the request's Origin is {origin!r}, which is not this exporter")


def require_api_key(context: Context, request: web.Request) -> None:
    """Raise `ApiError` 401, as the upstream does, unless the request bears the upstream's key."""
    offered = request.headers.get("X-API-Key") or _bearer(request)
    key = context.api_key()
    if key is None or not key.matches(offered):
        raise invalid_key()


def may_see_results(context: Context, request: web.Request) -> bool:
    """Whether result URLs are shown to a request."""
    return has_token(context, request)


def has_token(context: Context, request: web.Request) -> bool:
    """Whether a request shows the token."""
    token = context.token()
    return token is not None and token.matches(_bearer(request))


def _bearer(request: web.Request) -> str:
    """Return the value of `Authorization: Bearer`; empty where there is none."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    return value.strip() if scheme.casefold() == "bearer" else ""


def _is_own(context: Context, request: web.Request, origin: str) -> bool:
    """Whether an `Origin` is the exporter itself, by its `Host` or by `web.external_url`."""
    external = context.config().web.external_url
    try:
        if external is not None and origin == "{0.scheme}://{0.netloc}".format(urlsplit(external)):
            return True
        scheme, host, *_ = urlsplit(origin)
        # The origin `null`, a sandboxed page's, has no host: an empty `Host` is not the same.
        return scheme in ("http", "https") and host != "" and host == request.headers.get("Host")
    except ValueError:
        return False
