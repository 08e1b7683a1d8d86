"""The one clock. Rooms take it as an argument, so that all of them can run under simulated time."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """Time and waiting, in seconds."""

    def monotonic(self) -> float:
        """Return steady seconds, for due times; the origin means nothing."""
        ...

    def time(self) -> float:
        """Return seconds since 1970, for stamps. Never less than before."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Wait for an event, but no longer than `seconds` (infinity: as long as it takes)."""


class SystemClock:
    """The machine's clock. When its wall time is set back, stamps stand still until it catches up;
    due times do not notice (`CLOCK_MONOTONIC`, which stands still while the machine sleeps)."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._latest = 0.0

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return time.monotonic()

    def time(self) -> float:
        """See `Clock.time`."""
        self._latest = max(self._latest, self._wall())
        return self._latest

    async def sleep(self, seconds: float) -> None:
        """See `Clock.sleep`."""
        await asyncio.sleep(seconds)

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """See `Clock.wait`."""
        timeout = None if seconds == float("inf") else max(0.0, seconds)
        try:
            async with asyncio.timeout(timeout):
                await event.wait()
        except TimeoutError:
            pass
