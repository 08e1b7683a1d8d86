"""Runs the periodic chores: store progress, look at files, drop old rows, write an alive stamp."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from .clock import Timer
from .metrics.instruments import Instruments
from .storage.store import StoreError

TICK_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Chore:
    """A piece of work that is done periodically. After a failure it is tried at the next turn."""

    every: int
    """Seconds from one turn to the next."""
    operation: str
    work: Callable[[], Awaitable[None]]
    may_hang: bool = False
    """Whether the work reads files that may be on a network share: the other chores go on."""


class Housekeeping:
    """Does the chores one after the other."""

    def __init__(
        self,
        chores: Sequence[Chore],
        clock: Timer,
        instruments: Instruments,
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self._chores = chores
        self._clock = clock
        self._instruments = instruments
        self._log = log
        self._task: asyncio.Task[None] | None = None
        self._apart: dict[str, asyncio.Task[None]] = {}
        """The chores that may hang, by operation."""

    @property
    def alive(self) -> bool:
        """Whether the chores are being done."""
        return self._task is not None and not self._task.done()

    def start(self) -> None:
        """Begin to do the chores."""
        self._task = asyncio.create_task(self._run(), name="housekeeping")

    async def begin(self, operation: str, seconds: float) -> None:
        """Do a chore that may hang now, and wait for it for at most `seconds`."""
        [chore] = [chore for chore in self._chores if chore.operation == operation]
        await self._start(chore)
        await asyncio.wait([self._apart[operation]], timeout=seconds)

    async def close(self) -> None:
        """Cancel the chore under way, and end."""
        if self._task is not None:
            tasks = [self._task, *self._apart.values()]
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _run(self) -> None:
        tick = 0
        while True:
            due = self._clock.monotonic() + TICK_SECONDS
            await self._clock.sleep(TICK_SECONDS)
            self._instruments.loop_lag.set(max(0.0, self._clock.monotonic() - due))
            tick += 1
            for chore in self._chores:
                if tick % chore.every == 0:
                    await self._start(chore)

    async def _start(self, chore: Chore) -> None:
        if not chore.may_hang:
            await self._try(chore)
            return
        former = self._apart.get(chore.operation)
        if former is None or former.done():
            self._apart[chore.operation] = asyncio.create_task(
                self._try(chore), name=f"chore {chore.operation}"
            )

    async def _try(self, chore: Chore) -> None:
        try:
            await chore.work()
        except StoreError as error:
            self._instruments.failed(chore.operation)
            self._log.error("store unavailable", operation=chore.operation, error=str(error))
        except Exception as error:  # noqa: BLE001 - the other chores must go on
            self._log.error("chore failed", operation=chore.operation, exc_info=error)
