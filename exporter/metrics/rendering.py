"""One rendering of a page for all who ask for it at the same time.

Its pieces are made as the fastest reader asks for them; the others read the same ones. Who comes
while it is being made joins it. Nobody joins one that is made, nor one begun before another that
is: so no reader gets an older page than the one before. Nor one that its readers are slow to read.
"""

import contextlib
import math
import time
from collections.abc import Callable, Hashable, Iterator
from typing import Final

OLDEST_SECONDS: Final = 1.0
"""Nobody joins a rendering begun longer ago: its numbers are of its beginning."""


class Rendering:
    """A page that is being made, since `begun` (steady seconds)."""

    def __init__(self, pieces: Iterator[bytes], begun: float) -> None:
        self.begun = begun
        self.made = False
        """Whether nothing more is made: it is at its end, or could not be made."""
        self.readers = 0
        self._source = pieces
        self._pieces: list[bytes] = []
        self._error: Exception | None = None

    def piece(self, at: int) -> bytes | None:
        """Return a piece, None past the last one; raises what the making raised, for all alike."""
        if at == len(self._pieces) and not self.made:
            try:
                self._pieces.append(next(self._source))
            except StopIteration:
                self.made = True
            except Exception as error:  # noqa: BLE001 - each reader is told
                self.made, self._error = True, error
        if at < len(self._pieces):
            return self._pieces[at]
        if self._error is not None:
            raise self._error
        return None


class Renderings:
    """Those that are being made, by what tells one page from another: its format, say."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._under_way: dict[Hashable, Rendering] = {}
        self._newest_made = -math.inf
        """When the newest of those that are made was begun."""

    def __len__(self) -> int:
        return len(self._under_way)

    @contextlib.contextmanager
    def join(self, key: Hashable, make: Callable[[], Iterator[bytes]]) -> Iterator[Iterator[bytes]]:
        """Read a page from its first piece; `make` begins one where there is none to join."""
        rendering, now = self._under_way.get(key), self._clock()
        oldest = max(self._newest_made, now - OLDEST_SECONDS)
        if rendering is None or rendering.begun < oldest:
            rendering = self._under_way[key] = Rendering(make(), now)
        rendering.readers += 1
        try:
            yield self._read(key, rendering)
        finally:
            rendering.readers -= 1
            if not rendering.readers:  # nobody would make it to its end
                self._forget(key, rendering)

    def _read(self, key: Hashable, rendering: Rendering) -> Iterator[bytes]:
        at = 0
        while True:
            piece = rendering.piece(at)
            if rendering.made:
                self._newest_made = max(self._newest_made, rendering.begun)
                self._forget(key, rendering)
            if piece is None:
                return
            yield piece
            at += 1

    def _forget(self, key: Hashable, rendering: Rendering) -> None:
        if self._under_way.get(key) is rendering:
            del self._under_way[key]
