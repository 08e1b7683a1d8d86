"""Group commit: changes queue up while one commit runs, and the next takes them all.

While the store cannot be written, a change that must be safe before it is acknowledged (a
registration) fails; the others (what polls found) count at once and are written when that is
possible again, in their order. `writable` tells, and the metrics with it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from .store import Accepted, Change, Fenced, Store, StoreError

RETRY_SECONDS: Final = 1.0
SETTLE_SLICE: Final = 50
"""So many changes are shown before others have their turn on the loop."""

Settled = Callable[[Accepted | Fenced | None], None]
"""Called once a change's fate is known, before anyone who waits for it goes on; None: it failed."""


class CommitWatcher(Protocol):
    """Who is told how the store fares, for the metrics."""

    def committed(self, seconds: float) -> None:
        """A commit took so long."""

    def failed(self, operation: str) -> None:
        """An operation of the store failed."""


@dataclass(slots=True)
class _Item:
    change: Change
    must_store: bool
    settled: Settled
    result: "asyncio.Future[Accepted | Fenced]"


class GroupCommit:
    """The one writer to a store. `steady` gives monotonic seconds, `sleep` waits for some."""

    def __init__(
        self,
        store: Store,
        watcher: CommitWatcher,
        steady: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self.writable = True
        self._store = store
        self._watcher = watcher
        self._steady = steady
        self._sleep = sleep
        self._queue: list[_Item] = []
        self._unwritten: list[Change] = []
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self.written_late: Callable[[Change, Accepted | Fenced], None] = lambda change, result: None
        """Called with the fate of each change that counted before it could be stored."""

    @property
    def unwritten(self) -> int:
        """How many changes are counted, but not stored yet."""
        return len(self._unwritten)

    @property
    def alive(self) -> bool:
        """Whether it writes."""
        return self._task is not None and not self._task.done()

    def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._run(), name="group commit")

    async def close(self) -> None:
        """Write what is queued, once, and end."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task

    def submit(
        self, changes: Sequence[tuple[Change, Settled]], *, must_store: bool
    ) -> "list[asyncio.Future[Accepted | Fenced]]":
        """Queue changes that go into one commit together.

        With `must_store` a future raises `StoreError` when its change could not be stored; without,
        the change is accepted without event ids and written later.
        """
        loop = asyncio.get_running_loop()
        items = [_Item(change, must_store, done, loop.create_future()) for change, done in changes]
        self._queue += items
        self._wake.set()
        return [item.result for item in items]

    async def _run(self) -> None:
        while True:
            if not self._unwritten:
                await self._wake.wait()
            self._wake.clear()
            items, self._queue = self._queue, []
            if items or self._unwritten:
                await self._commit(items)
            if self._closing and not self._queue:
                return
            if self._unwritten and not self._queue:
                await self._sleep(RETRY_SECONDS)

    async def _commit(self, items: Sequence[_Item]) -> None:
        late = len(self._unwritten)
        started = self._steady()
        try:
            results = await self._store.apply([*self._unwritten, *(item.change for item in items)])
        except StoreError as error:
            self.writable = False
            self._watcher.failed("commit")
            self._keep_for_later(items, error)
            return
        self._watcher.committed(self._steady() - started)
        self.writable = True
        written, self._unwritten = self._unwritten, []
        for change, result in zip(written, results[:late], strict=True):
            self.written_late(change, result)
        for at, (item, result) in enumerate(zip(items, results[late:], strict=True), start=1):
            item.settled(result)
            _resolve(item, result)
            if at % SETTLE_SLICE == 0:
                await asyncio.sleep(0)

    def _keep_for_later(self, items: Sequence[_Item], error: StoreError) -> None:
        for item in items:
            if item.must_store:
                item.settled(None)
                if not item.result.done():
                    item.result.set_exception(error)
                    item.result.exception()  # seen, should nobody be waiting any more
                continue
            self._unwritten.append(item.change)
            job = item.change.job
            result = Accepted((), job.incarnation if job else 0)
            item.settled(result)
            _resolve(item, result)


def _resolve(item: _Item, result: Accepted | Fenced) -> None:
    if not item.result.done():
        item.result.set_result(result)
