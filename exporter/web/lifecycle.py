"""`/-/healthy` and `/-/ready`, as Prometheus and its family have them.

Ready means that the jobs are loaded; never that the upstream is well or the disk has room, for a
restart would help neither.
"""

from aiohttp import web

from .context import Context
from .errors import unavailable


class LifecycleRoutes:
    """Whether the process is alive, and whether it has loaded its jobs."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, without prefix."""
        return [web.get("/-/healthy", self.healthy), web.get("/-/ready", self.ready)]

    async def healthy(self, request: web.Request) -> web.Response:
        """Alive: the event loop answers."""
        return web.Response(text="removit-exporter is healthy.\n")

    async def ready(self, request: web.Request) -> web.Response:
        """Ready, or 503 while jobs are being loaded."""
        if not self._context.ready:
            raise unavailable("jobs are being loaded")
        return web.Response(text="removit-exporter is ready.\n")
