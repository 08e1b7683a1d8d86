"""`GET /`: the page for people and its files, from the folder `page/`.

The page uses relative URLs and this server only, so it works under any prefix. The policy (W3C,
"Content Security Policy Level 3" and "Trusted Types") admits only its own files, and no text that
could become markup: texts from jobs are shown literally.
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
    """A file to serve. `etag` is a hash of its content, without quotes."""

    body: bytes
    content_type: str
    etag: str


def _read(path: Path) -> File:
    body = path.read_bytes()
    return File(body, _TYPES[path.suffix], hashlib.sha256(body).hexdigest()[:32])


FILES: Final = {
    path.name: _read(path) for path in sorted(FOLDER.iterdir()) if path.suffix in _TYPES
}
"""The files by name. They are read once, so that an update on disk never mixes two versions."""


class PageRoutes:
    """The routes of the page."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, without prefix."""
        routes = [web.get("/", self.page), web.get("/page/{name}", self.file)]
        return [*routes, web.get("", self.to_page)] if self._context.prefix else routes

    async def page(self, request: web.Request) -> web.Response:
        """Answer with the page."""
        return _serve(request, FILES["index.html"])

    async def file(self, request: web.Request) -> web.Response:
        """Answer with one of its files."""
        name = request.match_info["name"]
        if name not in FILES or name == "index.html":
            raise ApiError(404, f"the page has no file {name[:128]!r}")
        return _serve(request, FILES[name])

    async def to_page(self, request: web.Request) -> web.Response:
        """Redirect the bare prefix, because relative URLs need the slash at its end."""
        location = self._context.prefix.rpartition("/")[2] + "/"
        return web.Response(status=308, headers={**HEADERS, "Location": location})


def _serve(request: web.Request, file: File) -> web.Response:
    """Answer with a file, or with 304 if the client has it (RFC 9110, 13.1.2)."""
    headers = {**HEADERS, "ETag": f'"{file.etag}"'}
    if any(tag.value in (file.etag, "*") for tag in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    headers["Content-Type"] = file.content_type
    return web.Response(body=file.body, headers=headers)
