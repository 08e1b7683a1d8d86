"""`GET /`: the page for people, and the files it is made of, from `page/` beside this module.

The page speaks only to this server, by relative URLs, so it works under any prefix. The policy
(W3C, "Content Security Policy Level 3" and "Trusted Types") admits nothing but its own files, and
no text that could become markup: whatever a job says is shown as it is written.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

from .context import Context
from .errors import ApiError

FOLDER: Final = Path(__file__).parent / "page"
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class File:
    """A file as it is served. `etag` is of its content, without quotes."""

    body: bytes
    content_type: str
    etag: str


def _read(path: Path) -> File:
    body = path.read_bytes()
    return File(body, _TYPES[path.suffix], hashlib.sha256(body).hexdigest()[:32])


FILES: Final = {
    path.name: _read(path) for path in sorted(FOLDER.iterdir()) if path.suffix in _TYPES
}
"""By name; read once, so a file that is replaced under a running exporter mixes no two versions."""


class PageRoutes:
    """The page."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, without prefix."""
        routes = [web.get("/", self.page), web.get("/page/{name}", self.file)]
        return [*routes, web.get("", self.to_page)] if self._context.prefix else routes

    async def page(self, request: web.Request) -> web.Response:
        """The page itself."""
        return _serve(request, FILES["index.html"])

    async def file(self, request: web.Request) -> web.Response:
        """One of its files."""
        name = request.match_info["name"]
        if name not in FILES or name == "index.html":
            raise ApiError(404, f"the page has no file {name[:128]!r}")
        return _serve(request, FILES[name])

    async def to_page(self, request: web.Request) -> web.Response:
        """The bare prefix: relative URLs need the slash at its end."""
        location = self._context.prefix.rpartition("/")[2] + "/"
        return web.Response(status=308, headers={**HEADERS, "Location": location})


def _serve(request: web.Request, file: File) -> web.Response:
    """Answer with a file, or with 304 to one who has it (RFC 9110, 13.1.2)."""
    headers = {**HEADERS, "ETag": f'"{file.etag}"'}
    if any(tag.value in (file.etag, "*") for tag in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    headers["Content-Type"] = file.content_type
    return web.Response(body=file.body, headers=headers)
