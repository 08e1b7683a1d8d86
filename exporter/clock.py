"""The one clock. Each part takes it as an argument, so that all can run in simulated time."""

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol


class Clock(Protocol):
    """Time, in seconds."""

    def monotonic(self) -> float:
        """Return steady seconds, for due times; the origin means nothing."""
        ...

    def time(self) -> float:
        """Return seconds since 1970, for stamps. It goes back only where the clock was wrong."""
        ...


class Timer(Clock, Protocol):
    """A clock that can also be waited on."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Wait for an event, but no longer than `seconds` (infinity: as long as it takes)."""


STEP_SECONDS: Final = 1.0
"""A wall clock that is off by less than this is not followed."""
FOLLOWED_AFTER: Final = 30.0
"""Seconds for which the wall clock must say the same before its step is followed."""


class SystemClock:
    """The machine's clocks: `CLOCK_MONOTONIC`, and stamps that are counted from it.

    Stamps begin at the wall time and go on with the steady clock. When the wall clock is set, or
    the machine has slept, they follow once the wall clock has kept to its new time for
    `FOLLOWED_AFTER`. So a wall clock that is wrong for a moment leaves no stamp.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall = wall
        self._steady = steady
        self._offset: float | None = None
        self._stepped: tuple[float, float] | None = None
        """The offset to which the wall clock was set, and when (steady seconds)."""

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return self._steady()

    def time(self) -> float:
        """See `Clock.time`."""
        steady = self._steady()
        offset = self._wall() - steady
        if self._offset is None:
            self._offset = offset
        if abs(offset - self._offset) < STEP_SECONDS:
            self._stepped = None
        elif self._stepped is None or abs(offset - self._stepped[0]) >= STEP_SECONDS:
            self._stepped = offset, steady
        elif steady - self._stepped[1] >= FOLLOWED_AFTER:
            self._offset, self._stepped = offset, None
        return steady + self._offset

    async def sleep(self, seconds: float) -> None:
        """See `Timer.sleep`."""
        await asyncio.sleep(seconds)

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """See `Timer.wait`."""
        if seconds == float("inf"):
            await event.wait()
            return
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await event.wait()
        except TimeoutError:
            pass
