"""Readers go on a few at a time: hundreds of them must not hold up the event loop together."""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Final

AT_ONCE: Final = 4
"""How many go on in one turn of the loop: a send to a socket takes about 0.1 ms."""
REST_SECONDS: Final = 0.001


class Turns:
    """A queue of futures: each is set in its turn."""

    def __init__(self) -> None:
        self._queue: deque[asyncio.Future[None]] = deque()
        self._serving = False

    async def wait(self) -> None:
        """Go to the end of the queue, and go on when it is served."""
        turn = asyncio.get_running_loop().create_future()
        self.add([turn])
        await turn

    def add(self, futures: Iterable[asyncio.Future[None]]) -> None:
        """Add those who wait; one that was cancelled meanwhile takes no turn."""
        self._queue.extend(futures)
        if self._queue and not self._serving:
            self._serving = True
            self._queue[0].get_loop().call_soon(self._serve)

    def _serve(self) -> None:
        served = 0
        while self._queue and served < AT_ONCE:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                served += 1
        self._serving = bool(self._queue)
        if self._queue:
            self._queue[0].get_loop().call_later(REST_SECONDS, self._serve)
