"""Serves one exporter from the command line: settings of the process, signals, the socket.

Only this module and `cli.py` change anything global: uvloop, logging, signal handlers, the garbage
collector, the C library's free memory, the interpreter's switch interval, the limit of file
descriptors.
"""

import asyncio
import ctypes
import errno
import gc
import signal
import sys
from collections.abc import Awaitable, Callable, Collection, Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

from aiohttp import web
from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR

from .app import EXPORTER, create_app
from .config import Config, ConfigError, ConfigFile
from .config.reload import NoConfigFileError
from .config.values import split_address
from .core.published import Published
from .daemon_threads import call_in_daemon
from .listener import Listener
from .logs import configure, set_level
from .malformed_requests import MalformedRequests
from .stop import SERVER_SECONDS
from .storage.store import StoreError
from .waiting_connections import WaitingConnections, raise_descriptors
from .web_security import WebSecurity

Result = TypeVar("Result")

SETTLE_JOBS: Final = 2000
"""The number of new jobs after which they are taken out of the garbage collector's rounds."""

SWITCH_SECONDS: Final = 0.001
"""How long the store's thread may keep the interpreter while the event loop wants it."""

TRIM_SECONDS: Final = 60.0
"""How often free memory is given back to the system."""


class ServeError(Exception):
    """The server cannot start; the message says why and what to do."""


def run_in_loop(main: Coroutine[Any, Any, Result]) -> Result:
    """Run in uvloop's event loop where uvloop is installed, otherwise in asyncio's."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main)


async def _reload_at(hang_up: asyncio.Event, server: "Server") -> None:
    while True:
        await hang_up.wait()
        hang_up.clear()
        await _reload(server)


async def _reload(server: "Server") -> None:
    try:
        await server.exporter.reloader.reload()
    except (ConfigError, NoConfigFileError):
        return  # the reloader has logged it
    except StoreError as error:
        server.exporter.log.error("store unavailable", operation="reload", error=str(error))
    except Exception as error:  # a later reload may succeed
        server.exporter.log.error("reload failed", exc_info=error)


async def _trim_memory() -> None:
    """Give free memory back to the system, again and again, where the C library can (glibc).

    The lines of the page are freed in another order than they were made: glibc by itself keeps the
    holes between those that are left. A trim holds up the event loop for as long as it frees: 4 ms
    for 46 MiB after a page with the series of 100,000 jobs, 1 ms after one of 2,000.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    while trim is not None:
        await asyncio.sleep(TRIM_SECONDS)
        trim(0)


class _Settler:
    """A listener of the registry that takes new jobs out of the garbage collector's rounds.

    A round over 100,000 jobs would stall the event loop. Jobs form no cycles, so their reference
    counts still free them.
    """

    def __init__(self) -> None:
        self._new = 0

    def __call__(self, published: Published) -> None:
        self._new += published.before is None and published.after is not None
        if self._new >= SETTLE_JOBS:
            self._new = 0
            gc.collect(1)
            gc.freeze()


class Server:
    """An exporter and the socket on which it answers."""

    def __init__(
        self,
        config: Config,
        config_file: ConfigFile | None = None,
        web_config_file: Path | None = None,
    ) -> None:
        self._config = config
        app = create_app(config, config.web.prefix, config_file=config_file)
        self.exporter = app[EXPORTER]
        self._tasks: list[asyncio.Task[None]] = []
        malformed = MalformedRequests(
            lambda: self.exporter.instruments.answered("malformed", "other", 400, 0.0),
            self.exporter.log,
            self.exporter.clock.monotonic,
        )
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=malformed.logger(),
            # No body is inflated unread: a megabyte may inflate to a gigabyte.
            auto_decompress=False,
            handle_signals=False,
            shutdown_timeout=SERVER_SECONDS,
        )
        self._listener = Listener(self._runner)
        self._security = WebSecurity(web_config_file, self.exporter.logins, self.exporter.log)
        self.url = ""

    async def start(self) -> None:
        """Start the exporter, then listen.

        Raises `ServeError`, `StoreUnusableError`, and `ConfigError` for the web config file.
        """
        secure = await call_in_daemon(self._security.load, "read the web config file")
        sys.setswitchinterval(SWITCH_SECONDS)
        exporter, web_config = self.exporter, self._config.web
        host, port = split_address(web_config.listen_address)
        exporter.config.subscribe(lambda config: set_level(config.log.level))
        for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
            exporter.metrics.register(collector)
        most_waiting = raise_descriptors()
        waiting = WaitingConnections(most=most_waiting)
        self._runner.app.middlewares[:0] = [waiting.middleware, self._security.check_client]
        self._runner.app.on_response_prepare.append(self._security.add_headers)
        try:
            await self._listener.bind(host, port)  # before the database is opened
        except OSError as error:
            raise self._cannot_listen(error) from error
        # While jobs are loaded the collector's rounds would only grow longer and find nothing.
        gc.collect(1)
        gc.disable()
        try:
            await self._runner.setup()
        except BaseException:
            self._listener.close()
            raise
        finally:
            gc.enable()
        gc.freeze()
        await secure()
        exporter.registry.listen(_Settler())
        try:
            await self._listener.open(self._security.tls, most_waiting // 4)
        except OSError as error:  # another program was faster
            await self.stop()
            raise self._cannot_listen(error) from error
        self._security.listen_again = self._listener.change_tls
        await exporter.reloader.add(self._security)
        for work in (waiting.watch(self._connections), _trim_memory()):
            self._tasks.append(asyncio.create_task(work))
        host, port = self._listener.address
        shown = f"[{host}]" if ":" in host else host
        scheme = "http" if self._security.tls is None else "https"
        self.url = f"{scheme}://{shown}:{port}{web_config.prefix}"

    async def stop(self) -> None:
        """Stop listening, and the exporter with it; see `stop.py`."""
        for task in self._tasks:
            task.cancel()
        self._listener.close()
        await self._runner.cleanup()
        self.exporter.logins.close()

    def _cannot_listen(self, error: OSError) -> ServeError:
        hint = "; is another exporter running?" if error.errno == errno.EADDRINUSE else ""
        return ServeError(
            f"web.listen_address: cannot listen on {self._config.web.listen_address}:"
            f" {error.strerror or error}{hint}"
        )

    def _connections(self) -> Collection[Any]:
        server = self._runner.server
        return server.connections if server is not None else ()


async def serve(
    config: Config,
    started: Callable[[Server], Awaitable[None]],
    config_file: ConfigFile | None = None,
    web_config_file: Path | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; `started` is called once the server listens.

    SIGHUP reloads the config file. Logs go to stderr.
    """
    server = Server(config, config_file, web_config_file)
    configure(config.log.level, config.log.format, server.exporter.secrets.known)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    # Before the start: SIGHUP may arrive while the jobs are loaded, and by default it kills.
    hang_up = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, hang_up.set)
    stopped = asyncio.create_task(stop.wait())
    starting = asyncio.create_task(server.start())
    # A file that the start reads may hang.
    await asyncio.wait([stopped, starting], return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.wait([starting], timeout=SERVER_SECONDS)
        return
    starting.result()
    reloading = asyncio.create_task(_reload_at(hang_up, server))
    try:
        await started(server)
        await stopped
    finally:
        reloading.cancel()
        await server.stop()
