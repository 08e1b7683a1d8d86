"""Puts an exporter into an aiohttp application.

`setup` changes nothing global: not the logging, the event loop policy, the signals, the host's
middleware or prometheus-client's default registry. Two exporters can share a process, each in its
own application.
"""

import re
import time
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web

from .config import Config, ConfigFile
from .daemon_threads import call_in_daemon
from .embedding import JOBS, Jobs
from .service import Exporter
from .storage.store import Store
from .web.auth import LOGINLESS_ROUTES, require_reader
from .web.context import Context
from .web.errors import Handler, answer_errors

EXPORTER: Final = web.AppKey("EXPORTER", Exporter)
"""The key under which `setup` puts the exporter: `app[EXPORTER]`."""


def setup(
    app: web.Application,
    config: Config,
    prefix: str = "",
    *,
    store: Store | None = None,
    config_file: ConfigFile | None = None,
) -> Exporter:
    """Put an exporter into an application, with its routes under `prefix` (such as `/removit`).

    It starts and stops with the application. `config_file` is what a reload reads; without one
    nothing can be reloaded. `store` replaces the one that the config names. Where the config names
    no token, one is created next to the database.
    Raises `RuntimeError` on a second call for one application, `ValueError` for a bad prefix.
    """
    if EXPORTER in app:
        raise RuntimeError(
            "this application has an exporter already; give a second upstream an application of"
            " its own (add_subapp)"
        )
    if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
        raise ValueError(f'prefix: expected a path such as "/removit", got {prefix!r}')
    exporter = Exporter(
        config,
        prefix=prefix,
        store=store,
        config_file=config_file,
    )
    app[EXPORTER] = exporter
    app[JOBS] = Jobs(exporter.registry, lambda: exporter.config().registration)
    for route in exporter.routes():
        admitted = _for_readers(exporter.context, route.path, route.handler)
        handler = _observed(exporter.context, prefix + _plain(route.path), admitted)
        web.RouteDef(route.method, prefix + route.path, handler, route.kwargs).register(app.router)

    async def run(app: web.Application) -> AsyncIterator[None]:
        await exporter.start()
        try:
            await call_in_daemon(exporter.secrets.create_token, "create the token")
        except OSError as error:
            exporter.log.error("no token could be created, so nobody can write", error=str(error))
        yield
        await exporter.stop()

    async def begin_stop(app: web.Application) -> None:
        exporter.begin_stop()

    app.cleanup_ctx.append(run)
    app.on_shutdown.append(begin_stop)
    return exporter


def create_app(
    config: Config,
    prefix: str = "",
    *,
    store: Store | None = None,
    config_file: ConfigFile | None = None,
) -> web.Application:
    """Return an application with nothing but the exporter; errors are JSON on every path."""

    @web.middleware
    async def answer_unknown(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.match_info.http_exception is None:
            return await handler(request)
        admitted = _for_readers(exporter.context, "unknown", handler)
        return await _observed(exporter.context, "unknown", admitted)(request)

    app = web.Application(middlewares=[answer_unknown])
    exporter = setup(
        app,
        config,
        prefix,
        store=store,
        config_file=config_file,
    )
    return app


def _plain(path: str) -> str:
    """Return a route without the patterns of its parts, as metrics name it."""
    return re.sub(r":[^}]*}", "}", path)


def _for_readers(context: Context, route: str, handler: Handler) -> Handler:
    """Wrap a handler so that it is called for requests that may read its route."""
    if route in LOGINLESS_ROUTES:
        return handler

    async def handle(request: web.Request) -> web.StreamResponse:
        await require_reader(context, request)
        return await handler(request)

    return handle


def _observed(context: Context, route: str, handler: Handler) -> Handler:
    """Wrap a handler: its errors become JSON, and its answers are counted."""

    async def handle(request: web.Request) -> web.StreamResponse:
        started = time.perf_counter()
        response = await answer_errors(context, handler, request)
        seconds = time.perf_counter() - started
        method = request.method if request.method in _METHODS else "other"
        context.instruments.answered(route, method, response.status, seconds)
        return response

    return handle


_METHODS: Final = frozenset({"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"})
