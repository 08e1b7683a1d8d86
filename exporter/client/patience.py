"""How long a failed call is repeated, and how long each attempt may take."""

import asyncio
import random
from typing import Final

from .errors import UnreachableError

_FIRST_WAIT: Final = 0.2
_LONGEST_WAIT: Final = 10.0
_SHORTEST_ATTEMPT: Final = 1.0


class Patience:
    """The time that is left without success, for one call; seconds."""

    def __init__(self, url: str, seconds: float) -> None:
        self._url = url
        self._seconds = seconds
        self.renew()

    def renew(self) -> None:
        """Begin anew after a success."""
        self._deadline = asyncio.get_running_loop().time() + self._seconds
        self._tried = 0

    def limit(self, timeout: float) -> float:
        """Return how long the next attempt may take: `timeout`, or what is left."""
        return min(timeout, max(_SHORTEST_ATTEMPT, self._left()))

    async def wait(self, problem: str, least: float = 0.0) -> None:
        """Wait before the next attempt; raises `UnreachableError` once the time is used up."""
        left = self._left()
        if left <= 0:
            raise UnreachableError(f"{self._url}: {problem}")
        wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2**self._tried) * random.uniform(0.5, 1.0)  # noqa: S311
        self._tried += 1
        await asyncio.sleep(min(left, max(least, wait)))

    def _left(self) -> float:
        return self._deadline - asyncio.get_running_loop().time()
