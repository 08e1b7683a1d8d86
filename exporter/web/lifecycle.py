"""`/-/healthy`, `/-/ready` and `/-/reload`, as Prometheus and its family have them.

Ready means that the jobs are loaded; never that the upstream is well or the disk has room, for a
restart would help neither.
"""

from aiohttp import web

from ..config import ConfigError
from ..config.reload import NoConfigFileError
from .auth import require_writer
from .context import Context, answer
from .errors import ApiError, unavailable


class LifecycleRoutes:
    """Whether the process is alive, and whether it has loaded its jobs."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, without prefix."""
        return [
            web.get("/-/healthy", self.healthy),
            web.get("/-/ready", self.ready),
            web.post("/-/reload", self.reload),
        ]

    async def healthy(self, request: web.Request) -> web.Response:
        """Alive: the event loop answers, and what must go on goes on; else 503: restart it."""
        if broken := self._context.broken():
            tasks = ", ".join(broken)
            raise unavailable(f"stopped by an internal error: {tasks}; restart the exporter")
        return web.Response(text="removit-exporter is healthy.\n")

    async def ready(self, request: web.Request) -> web.Response:
        """Ready, or 503 while jobs are being loaded or the exporter stops."""
        if self._context.closing.is_set():
            raise unavailable("the exporter is shutting down")
        if not self._context.ready:
            raise unavailable("jobs are still being loaded")
        return web.Response(text="removit-exporter is ready.\n")

    async def reload(self, request: web.Request) -> web.Response:
        """`POST /-/reload`: put the config's file in force, or say all that is wrong with it."""
        require_writer(self._context, request)
        try:
            held = await self._context.reload()
        except ConfigError as error:
            raise ApiError(422, details={"config": error.errors}) from None
        except NoConfigFileError as error:
            raise ApiError(409, str(error)) from None
        return answer({"reloaded": True, "needs_restart": held})
