"""Reload of the config: on SIGHUP, `POST /-/reload`, or when its file changes.

A config with any error changes nothing. Keys that only a restart can change keep their value, and
a warning names them.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import structlog

from ..daemon_threads import HangingError, LimitedCalls
from ..metrics.instruments import Instruments
from . import Config, ConfigError, ConfigFile, LiveConfig
from .files import Stamp, read_stamp
from .live import pin
from .loading import label_clashes

Stamps = Mapping[Path, Stamp | None]
Switch = Callable[[], Awaitable[None]]
"""Puts in force what was read."""


class NoConfigFileError(Exception):
    """The host application gave the config, not a file that could be read again."""


class ReloadedFile(Protocol):
    """Another file that is read again together with the config."""

    @property
    def paths(self) -> Sequence[Path]:
        """The files whose change is a change of this one."""
        ...

    def load(self) -> Switch:
        """Read it in a thread; return what puts it in force. Raises `ConfigError`."""
        ...


class Reloader:
    """Puts what the files say in force. `jobs` takes in what the new config names."""

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
        self._others: list[ReloadedFile] = []
        self._calls = LimitedCalls()
        """Files may be on a network share that hangs: they are not read on the event loop."""
        self._seen: Stamps = {}
        self._changing: Stamps | None = None
        instruments.reloaded(time())

    async def start(self) -> None:
        """Take note of the files as they are now: a later change makes a reload."""
        with contextlib.suppress(HangingError):  # reading them shows that
            self._seen = await self._stamps()

    async def add(self, other: ReloadedFile) -> None:
        """Read another file again as well, from now on."""
        self._others.append(other)
        await self.start()

    async def reload(self) -> list[str]:
        """Read the file and put it in force; return the changed keys that need a restart.

        Raises `ConfigError` with all errors, `NoConfigFileError`, `StoreError`.
        """
        file = self._file
        if file is None:
            raise NoConfigFileError("the config was given by the program that embeds the exporter")
        async with self._busy:
            await self.start()
            try:
                config, switches = await self._read(file)
                config, held = pin(self._live(), config)
                _check_held(config, held)
                self._live.apply(config)
                for switch in switches:
                    await switch()
                await self.start()  # other files may be named now
            except ConfigError as error:
                self._instruments.reload_failed()
                self._log.error("config rejected", file=str(file.path), errors=error.errors)
                raise
            self._instruments.reloaded(self._time())
            self._log.info("config reloaded", file=str(file.path))
            if held:
                self._log.warning("config keys that need a restart keep their value", keys=held)
            await self._jobs()
            return held

    async def check(self) -> None:
        """Reload when a file has changed and stood still since the last check."""
        if self._file is None:
            return
        try:
            stamps = await self._stamps()
        except HangingError:
            return
        if stamps == self._seen or None in stamps.values():
            self._changing = None
        elif stamps == self._changing:
            with contextlib.suppress(ConfigError):  # it is in the log, and in a metric
                await self.reload()
        else:
            self._changing = stamps

    async def _stamps(self) -> Stamps:
        """Return the stamps of all files that are read; None for one that is missing.

        Raises `HangingError`.
        """
        paths = [self._file.path] if self._file else []
        paths += [path for other in self._others for path in other.paths]
        if not paths:
            return {}
        return await self._calls.call(
            lambda: {path: _stamp(path) for path in paths}, "looking for changes of the config"
        )

    async def _read(self, file: ConfigFile) -> tuple[Config, list[Switch]]:
        """Read all files; raises `ConfigError`, also if one of them hangs."""
        try:
            return await self._calls.call(lambda: self._load(file), "reading the config")
        except HangingError as error:
            raise ConfigError([f"{file.path}: {error}"]) from None

    def _load(self, file: ConfigFile) -> tuple[Config, list[Switch]]:
        """Read all files; raises `ConfigError` with the errors of all."""
        errors: list[str] = []
        config, switches = None, list[Switch]()
        try:
            config = file.load()
        except ConfigError as error:
            errors += error.errors
        for other in self._others:
            try:
                switches.append(other.load())
            except ConfigError as error:
                errors += error.errors
        if config is None or errors:
            raise ConfigError(errors)
        return config, switches


def _check_held(config: Config, held: list[str]) -> None:
    """Raise `ConfigError` if a key that keeps its value conflicts with a new value."""
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
