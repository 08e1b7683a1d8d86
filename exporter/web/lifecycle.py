"""`/-/healthy`, `/-/ready` and `/-/reload`, spelt as Prometheus spells them.

Ready means that the jobs are loaded. It does not depend on the upstream or on a full disk: a
restart would help neither.
"""

from aiohttp import web

from ..config import ConfigError
from ..config.reload import NoConfigFileError
from ..stop import State
from .auth import require_writer
from .context import Context, answer
from .errors import ApiError, unavailable


class LifecycleRoutes:
    """Tells whether the exporter works and has loaded its jobs, and reloads its config."""

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
        """200 while the event loop answers and no permanent task has ended; otherwise 503."""
        if ended := self._context.ended_tasks():
            names = ", ".join(ended)
            raise unavailable(f"stopped by an internal error: {names}; restart the exporter")
        return web.Response(text="removit-exporter is healthy.\n")

    async def ready(self, request: web.Request) -> web.Response:
        """200, or 503 while the jobs are being loaded and when the exporter stops."""
        match self._context.stop.state:
            case State.LOADING:
                raise unavailable("jobs are still being loaded")
            case State.STOPPING:
                raise unavailable("the exporter is shutting down")
        return web.Response(text="removit-exporter is ready.\n")

    async def reload(self, request: web.Request) -> web.Response:
        """`POST /-/reload`: put the config file in force, or list everything wrong with it."""
        require_writer(self._context, request)
        try:
            held = await self._context.reload()
        except ConfigError as error:
            raise ApiError(422, details={"config": error.errors}) from None
        except NoConfigFileError as error:
            raise ApiError(409, str(error)) from None
        return answer({"reloaded": True, "needs_restart": held})
