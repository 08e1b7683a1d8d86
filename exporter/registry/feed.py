"""The stream of events. Any number of readers follow it, each from the id of its choice.

The newest items are kept in memory, once for all readers. A reader that starts at an older id, or
falls behind, reads the store until it has caught up, so that each event comes exactly once.
Progress is not an event: it has no id and is not stored, and a reader that fell behind misses it.
"""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from ..core.events import Event
from ..core.job import Job
from ..storage.store import HistoryRequest, Store, StoredEvent
from .turns import Turns

KEPT_ITEMS: Final = 10_000
SLICE: Final = 250
"""How many events are read from the store at once."""
BLOCK: Final = 500
"""How many items a reader gets at most at once."""
KEPT_BLOCKS: Final = 32


@dataclass(frozen=True, slots=True)
class Progress:
    """A job has moved on: `time` is in seconds since 1970, `progress` in percent.

    In the stream it comes before the events of the same answer.
    """

    job_id: str
    time: float | None
    mode: str | None
    step: str | None
    progress: float | None


Item = StoredEvent | Progress


@dataclass(frozen=True, slots=True)
class Block:
    """Some items that follow each other; readers who are at the same item get the same object."""

    items: Sequence[Item]
    written: dict[str, bytes] = field(default_factory=dict)
    """The items as bytes, by media type: what is written once for all readers is kept here."""

    @property
    def last_id(self) -> int:
        """The id of the last event; 0 without any."""
        return next((item.id for item in reversed(self.items) if isinstance(item, StoredEvent)), 0)


class HistoryGapError(Exception):
    """The stream cannot go on after an id: later events are not kept any more, or never existed."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which items a reader wants; a field that is None admits all."""

    type: str | None = None
    job_id: str | None = None
    variation: str | None = None
    """The variation that an event is about."""
    progress: bool = False

    @property
    def everything(self) -> bool:
        """Whether the reader wants all events, with or without progress."""
        return self.type is self.job_id is self.variation is None

    def admits(self, item: Item) -> bool:
        """Return whether the reader wants an item."""
        if isinstance(item, Progress):
            return self.progress and self.job_id in (None, item.job_id)
        event = item.event
        return (
            self.type in (None, event.type)
            and self.job_id in (None, event.job_id)
            and self.variation in (None, event.data.get("variation"))
        )


class Feed:
    """The stream of one registry."""

    def __init__(self, store: Store, kept: int = KEPT_ITEMS) -> None:
        self._store = store
        self._items: deque[Item] = deque(maxlen=kept)
        self._passed = 0  # how many items were ever added
        self._mark = 0  # how many of them the readers may have
        self._blocks: dict[tuple[int, int], Block] = {}  # the newest ones, by their positions
        self._dropped_id = 0  # the newest event that was dropped from memory
        self._newest_id = 0
        self._waiting: dict[asyncio.Future[None], None] = {}  # the readers who have everything
        self._turns = Turns()
        self._marked = -math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self.gap = 0.0
        """Readers get new items at most once in as many seconds. What happens meanwhile comes
        together, in the same blocks for all of them, so that many readers cost little each."""

    async def start(self) -> None:
        """Read where the stored history ends; raises `StoreError`."""
        _, self._newest_id = await self._store.history_bounds()
        self._dropped_id = self._newest_id

    def close(self) -> None:
        """End the stream of every reader."""
        self._closed = True
        self._set_mark()

    @property
    def newest_id(self) -> int:
        """The id of the newest event."""
        return self._newest_id

    def add_events(self, events: Sequence[Event], ids: Sequence[int]) -> None:
        """Add events that are stored. Without ids they are not stored yet and come again later."""
        if not ids:
            return
        for id_, event in zip(ids, events, strict=False):
            self._add(StoredEvent(id_, event))
            self._newest_id = id_
        self._wake()

    def add_progress(self, before: Job, after: Job) -> None:
        """Add a job's progress, if its step or its percentage has changed."""
        if (before.progress, before.step) != (after.progress, after.step):
            self._add(
                Progress(
                    *(after.job_id, after.last_polled_at, after.mode, after.step, after.progress)
                )
            )
            self._wake()

    async def check(self, after: int) -> None:
        """Raise `HistoryGapError` unless a stream can go on after an id; raises `StoreError`."""
        oldest, newest = await self._store.history_bounds()
        if after > newest:
            raise HistoryGapError(f"no event has an id above {newest}; was the store replaced?")
        if after < oldest - 1:
            raise HistoryGapError(f"events up to {oldest - 1} are not kept any more")

    async def oldest(self) -> int:
        """Return the id after which all events are kept; raises `StoreError`."""
        return (await self._store.history_bounds())[0] - 1

    async def past(self, after: int, wanted: Wanted) -> AsyncIterator[Block]:
        """Yield the stored events after an id, up to the one that is the newest at the call.

        Raises `HistoryGapError` if some are dropped before they are read, and `StoreError`.
        """
        newest = self._newest_id
        while after < newest:
            events = await self._store.history(
                HistoryRequest(SLICE, after, wanted.type, wanted.job_id, wanted.variation)
            )
            await self.check(after)  # after the read: what is kept now was there to be read
            yield Block([event for event in events if event.id <= newest])
            after = events[-1].id if len(events) == SLICE else newest
            if after < newest:
                await asyncio.sleep(self.gap)

    async def follow(
        self, after: int, wanted: Wanted, idle: float = math.inf
    ) -> AsyncIterator[Item | None]:
        """Yield what happens after an id and is wanted, until the feed is closed.

        None means that the reader has everything so far; it comes again after each `idle` seconds
        without an item. Raises `HistoryGapError` if the reader is so far behind that the next
        events are not kept any more, and `StoreError`.
        """
        async for block in self.blocks(after, wanted, idle):
            if block is None:
                yield None
                continue
            for item in block.items:
                if wanted.admits(item):
                    yield item

    async def blocks(
        self, after: int, wanted: Wanted, idle: float = math.inf
    ) -> AsyncIterator[Block | None]:
        """Yield the same as `follow`, in blocks; these have unwanted items as well."""
        at = self._position(after)
        while not self._closed:
            if at is None or at < self._passed - len(self._items):
                newest = self._newest_id
                async for block in self.past(after, wanted):
                    yield block
                after = max(after, newest)
                at = self._position(after)
                continue
            while self._passed - len(self._items) <= at < self._mark:
                block = self._block(at)
                at += len(block.items)
                after = max(after, block.last_id)
                yield block
                if at < self._mark:
                    await self._turns.wait()
            if at >= self._mark:
                yield None
                if at >= self._mark and not self._closed:
                    await self._wait(idle)

    def _block(self, at: int) -> Block:
        """Return the items from a position in memory up to the mark, or to a full block."""
        end = min(self._mark, at - at % BLOCK + BLOCK)
        known = self._blocks.get((at, end))
        if known is None:
            first = self._passed - len(self._items)
            known = Block([self._items[each - first] for each in range(at, end)])
            self._blocks[at, end] = known
            if len(self._blocks) > KEPT_BLOCKS:
                del self._blocks[next(iter(self._blocks))]
        return known

    async def _wait(self, idle: float) -> None:
        """Wait until there are new items, and for the reader's turn; at most `idle` seconds."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting[turn] = None
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if idle == math.inf else idle):
                    await turn
        finally:
            self._waiting.pop(turn, None)

    def _position(self, after: int) -> int | None:
        """Return the position in the stream after an event, as a number of items.

        None if some of the items after it are not in memory.
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

    def _add(self, item: Item) -> None:
        if len(self._items) == self._items.maxlen:
            dropped = self._items[0]
            if isinstance(dropped, StoredEvent):
                self._dropped_id = dropped.id
        self._items.append(item)
        self._passed += 1

    def _wake(self) -> None:
        """Give the readers the new items, now or once the gap is over."""
        if self._timer is not None:
            return
        loop = asyncio.get_running_loop()
        wait = self._marked + self.gap - loop.time()
        if wait > 0:
            self._timer = loop.call_later(wait, self._set_mark)
        else:
            self._set_mark()

    def _set_mark(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._mark = None, self._passed
        self._marked = asyncio.get_running_loop().time()
        waiting, self._waiting = self._waiting, {}
        self._turns.add(waiting)
