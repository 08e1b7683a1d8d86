"""One rendering of a page for all requests for it that come at the same time.

Its pieces are made when the fastest reader needs them, and the others read the same pieces. A
request joins a rendering that is still being made. It joins none that is complete, none that began
before a complete one, and none that its readers read slowly; so a later request never gets older
values than an earlier one got.
"""

import contextlib
import math
import time
from collections.abc import Callable, Hashable, Iterator
from typing import Final, Generic, TypeVar

Piece = TypeVar("Piece")

OLDEST_SECONDS: Final = 1.0
"""No request joins an older rendering, because its values are those of its beginning."""


class Rendering(Generic[Piece]):
    """A page that is being made. `begun` is in seconds of the monotonic clock."""

    def __init__(self, pieces: Iterator[Piece], begun: float) -> None:
        self.begun = begun
        self.made = False
        """Whether no more pieces come: the page is complete, or an error ended it."""
        self.readers = 0
        self._source = pieces
        self._pieces: list[Piece] = []
        self._error: Exception | None = None

    def piece(self, at: int) -> Piece | None:
        """Return a piece, or None past the last one. An error is raised for every reader."""
        if at == len(self._pieces) and not self.made:
            try:
                self._pieces.append(next(self._source))
            except StopIteration:
                self.made = True
            except Exception as error:  # noqa: BLE001 - raised for each reader
                self.made, self._error = True, error
        if at < len(self._pieces):
            return self._pieces[at]
        if self._error is not None:
            raise self._error
        return None


class Renderings(Generic[Piece]):
    """The renderings that are being made, by a key that includes their format."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._under_way: dict[Hashable, Rendering[Piece]] = {}
        self._newest_made = -math.inf
        """When the newest complete rendering began."""

    def __len__(self) -> int:
        return len(self._under_way)

    @contextlib.contextmanager
    def join(self, key: Hashable, make: Callable[[], Iterator[Piece]]) -> Iterator[Iterator[Piece]]:
        """Read a page from its first piece; `make` begins one if there is none to join."""
        rendering, now = self._under_way.get(key), self._clock()
        oldest = max(self._newest_made, now - OLDEST_SECONDS)
        if rendering is None or rendering.begun < oldest:
            rendering = self._under_way[key] = Rendering(make(), now)
        rendering.readers += 1
        try:
            yield self._read(key, rendering)
        finally:
            rendering.readers -= 1
            if not rendering.readers:  # nothing would complete it
                self._forget(key, rendering)

    def _read(self, key: Hashable, rendering: Rendering[Piece]) -> Iterator[Piece]:
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

    def _forget(self, key: Hashable, rendering: Rendering[Piece]) -> None:
        if self._under_way.get(key) is rendering:
            del self._under_way[key]
