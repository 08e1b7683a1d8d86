"""What happens, as a stream that any number of readers follow, each from where it likes.

The newest items are kept in memory, once for all readers. One who comes with an older id, or falls
behind, reads the store until it has caught up, so that no event is lost and none comes twice.
Progress is no event: it has no id, is not stored, and is passed over by one who fell behind.
"""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from ..core.events import Event
from ..core.job import Job
from ..storage.store import HistoryRequest, Store, StoredEvent

KEPT_ITEMS: Final = 10_000
SLICE: Final = 500
"""Events read from the store at once."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A job has moved: when (since 1970), to which step, how far in percent.

    It comes before the events of the same answer.
    """

    job_id: str
    time: float | None
    mode: str | None
    step: str | None
    progress: float | None


Item = StoredEvent | Progress


class HistoryGapError(Exception):
    """The stream cannot go on from there: what came next is not kept any more, or never was."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which items a reader wants; None admits all."""

    type: str | None = None
    job_id: str | None = None
    progress: bool = False

    def admits(self, item: Item) -> bool:
        """Whether the reader wants an item."""
        if isinstance(item, Progress):
            return self.progress and self.job_id in (None, item.job_id)
        event = item.event
        return self.type in (None, event.type) and self.job_id in (None, event.job_id)


class Feed:
    """The stream of one registry."""

    def __init__(self, store: Store, kept: int = KEPT_ITEMS) -> None:
        self._store = store
        self._items: deque[Item] = deque(maxlen=kept)
        self._passed = 0  # items that were ever put in
        self._dropped_id = 0  # the newest event that memory holds no more
        self._newest_id = 0
        self._more = asyncio.Event()
        self._closed = False

    async def start(self) -> None:
        """Learn where the stored history ends; raises `StoreError`."""
        _, self._newest_id = await self._store.history_bounds()
        self._dropped_id = self._newest_id

    def close(self) -> None:
        """End the stream of everyone who follows it."""
        self._closed = True
        self._wake()

    @property
    def newest_id(self) -> int:
        """The id of the newest event."""
        return self._newest_id

    def written(self, events: Sequence[Event], ids: Sequence[int]) -> None:
        """Put in events that are stored; without ids they are not, and come again later."""
        for id_, event in zip(ids, events, strict=False):
            self._put(StoredEvent(id_, event))
            self._newest_id = id_
        if ids:
            self._wake()

    def moved(self, before: Job, after: Job) -> None:
        """Put in a job's progress, if it has moved."""
        if (before.progress, before.step) != (after.progress, after.step):
            moved = Progress(
                *(after.job_id, after.last_polled_at, after.mode, after.step, after.progress)
            )
            self._put(moved)
            self._wake()

    async def check(self, after: int) -> None:
        """Raise `HistoryGapError` unless a stream can go on after an id; `StoreError`."""
        oldest, newest = await self._store.history_bounds()
        if after > newest:
            raise HistoryGapError(f"no event has an id above {newest}; was the store replaced?")
        if after < oldest - 1:
            raise HistoryGapError(f"events up to {oldest - 1} are not kept any more")

    async def oldest(self) -> int:
        """Return the id after which everything is kept; raises `StoreError`."""
        return (await self._store.history_bounds())[0] - 1

    async def past(self, after: int, wanted: Wanted) -> AsyncIterator[StoredEvent]:
        """Yield the stored events after an id, to the newest as it is now.

        Raises `HistoryGapError` when some are dropped before they are read, `StoreError`.
        """
        newest = self._newest_id
        while after < newest:
            events = await self._store.history(
                HistoryRequest(SLICE, after, wanted.type, wanted.job_id)
            )
            await self.check(after)  # only now: what was kept after reading was there to be read
            for event in events:
                if event.id <= newest:
                    yield event
            after = events[-1].id if len(events) == SLICE else newest

    async def follow(
        self, after: int, wanted: Wanted, idle: float = math.inf
    ) -> AsyncIterator[Item | None]:
        """Yield what happens after an id, until the feed is closed.

        None says that all there is was given; it comes again when nothing has happened for `idle`
        seconds. Raises `HistoryGapError` when the reader is so far behind that what comes next is
        not kept any more, `StoreError`.
        """
        at = self._position(after)
        while not self._closed:
            if at is None or at < self._passed - len(self._items):
                newest = self._newest_id
                async for event in self.past(after, wanted):
                    yield event
                after = max(after, newest)
                at = self._position(after)
                continue
            while at < self._passed and at >= self._passed - len(self._items):
                item = self._items[at - self._passed]
                at += 1
                if isinstance(item, StoredEvent):
                    if item.id <= after:
                        continue
                    after = item.id
                if wanted.admits(item):
                    yield item
            if at == self._passed:
                more = self._more
                yield None
                if at == self._passed and not self._closed:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(None if idle == math.inf else idle):
                            await more.wait()

    def _position(self, after: int) -> int | None:
        """Return how many items had passed when what follows an event came.

        None when memory does not hold all of it.
        """
        if after >= self._newest_id:
            return self._passed
        if after < self._dropped_id:
            return None
        at = self._passed
        for item in reversed(self._items):
            if isinstance(item, StoredEvent) and item.id <= after:
                break
            at -= 1
        return at

    def _put(self, item: Item) -> None:
        if len(self._items) == self._items.maxlen:
            gone = self._items[0]
            if isinstance(gone, StoredEvent):
                self._dropped_id = gone.id
        self._items.append(item)
        self._passed += 1

    def _wake(self) -> None:
        self._more.set()
        self._more = asyncio.Event()
