"""Reading the config again: on SIGHUP, `POST /-/reload`, or when its file changes.

All or nothing: a config with any error changes nothing. What only a restart can change says so
and keeps its old value.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from ..metrics.instruments import Instruments
from . import Config, ConfigError, ConfigFile, LiveConfig
from .files import Stamp, read_stamp
from .live import pin
from .loading import label_clashes


class NoConfigFileError(Exception):
    """The config was given by the host application; there is no file to read again."""


class Reloader:
    """Puts what the file says in force. `jobs` takes in what the new config names."""

    def __init__(
        self,
        live: LiveConfig,
        file: ConfigFile | None,
        jobs: Callable[[], Awaitable[None]],
        instruments: Instruments,
        log: structlog.stdlib.BoundLogger,
        time: Callable[[], float],
    ) -> None:
        self._live = live
        self._file = file
        self._jobs = jobs
        self._instruments = instruments
        self._log = log
        self._time = time
        self._busy = asyncio.Lock()
        self._seen = _stamp(file.path) if file else None
        self._changing: Stamp | None = None
        instruments.reloaded(time())

    async def reload(self) -> list[str]:
        """Read the file and put it in force; return the changed keys that wait for a restart.

        Raises `ConfigError` with all that is wrong, `NoConfigFileError`, `StoreError`.
        """
        if self._file is None:
            raise NoConfigFileError("the config was given by the program that embeds the exporter")
        async with self._busy:
            self._seen = _stamp(self._file.path)
            try:
                config = await asyncio.to_thread(self._file.load)
                config, held = pin(self._live(), config)
                _check_held(config, held)
                self._live.apply(config)
            except ConfigError as error:
                self._instruments.reload_failed()
                self._log.error("config rejected", file=str(self._file.path), errors=error.errors)
                raise
            self._instruments.reloaded(self._time())
            self._log.info("config reloaded", file=str(self._file.path))
            if held:
                self._log.warning("config keys that need a restart keep their value", keys=held)
            await self._jobs()
            return held

    async def check(self) -> None:
        """Reload when the file has changed and stood still since the last look."""
        if self._file is None:
            return
        stamp = _stamp(self._file.path)
        if stamp == self._seen or stamp is None:
            self._changing = None
        elif stamp == self._changing:
            with contextlib.suppress(ConfigError):  # it is in the log, and in a metric
                await self.reload()
        else:
            self._changing = stamp


def _check_held(config: Config, held: list[str]) -> None:
    """Raise `ConfigError` when what keeps its old value does not go with the new ones."""
    errors = [
        f"{path[0]}.{path[1]}: {message}, which keeps its value until a restart"
        for path, message in label_clashes(config)
    ]
    if errors:
        raise ConfigError([*errors, f"restart the exporter to change {', '.join(held)}"])


def _stamp(path: Path) -> Stamp | None:
    try:
        return read_stamp(path)
    except OSError:
        return None
