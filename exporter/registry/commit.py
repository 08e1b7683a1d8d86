"""Group commit: changes queue up while one commit runs, and the next takes them all.

While the store cannot be written, a change that must be safe before it is acknowledged (a
registration) is refused; the others (what polls found) count at once and are written when that is
possible again, in their order. Neither waits for a store that has just failed: SQLite may take
seconds to say so. `writable` tells, and the metrics with it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from ..storage.store import Accepted, Change, Fenced, Store, StoreError

RETRY_SECONDS: Final = 1.0
SETTLE_SLICE: Final = 50
"""So many changes are shown before others have their turn on the loop."""
BACKLOG_SLICE: Final = 500
"""So many are written late in one commit: a disk with little room takes some where not all fit."""

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
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self.writable = True
        """Whether the last write succeeded, and nothing is left from before."""
        self._store = store
        self._watcher = watcher
        self._steady = steady
        self._sleep = sleep
        self._log = log
        self._queue: list[_Item] = []
        self._unwritten: list[Change] = []
        self._reason = ""
        self._retry_at = 0.0
        self._writing = False
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
        return self._task is not None and not self._ended

    @property
    def _ended(self) -> bool:
        return self._task is not None and self._task.done()

    def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._run(), name="group commit")

    async def close(self) -> None:
        """Write what is queued, once, and end."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task

    def check(self) -> None:
        """Raise `StoreError` when a change that must be stored would be refused without a try.

        One is tried every `RETRY_SECONDS`, unless there is a backlog, whose writing tells as much.
        """
        if self._ended:
            raise StoreError("the exporter has stopped writing")
        waits = self._writing or self._steady() < self._retry_at
        if not self.writable and (self._unwritten or waits):
            raise StoreError(self._reason)

    def failed(self, error: StoreError) -> None:
        """Another write of the store failed."""
        self.writable = False
        self._reason = str(error)
        self._retry_at = self._steady() + RETRY_SECONDS

    def worked(self) -> None:
        """Another write of the store succeeded."""
        # On a disk that is all but full a small one may where the backlog does not.
        self.writable = not self._unwritten

    def submit(
        self, changes: Sequence[tuple[Change, Settled]], *, must_store: bool
    ) -> "list[asyncio.Future[Accepted | Fenced]]":
        """Queue changes that go into one commit together.

        With `must_store` a future raises `StoreError` when its change could not be stored; without,
        the change is accepted without event ids and written later.
        """
        loop = asyncio.get_running_loop()
        items = [_Item(change, must_store, done, loop.create_future()) for change, done in changes]
        try:
            self.check()
        except StoreError as error:
            self._settle_unstored(items, error)
        else:
            self._queue += items
        self._wake.set()
        return [item.result for item in items]

    async def _run(self) -> None:
        while True:
            if not self._unwritten:
                await self._wake.wait()
            self._wake.clear()
            self._writing = True
            if self._queue:
                items, self._queue = self._queue, []
                await self._commit(items)
            while self._unwritten and await self._commit_late():
                pass
            self._writing = False
            if self._closing and not self._queue:
                return
            if self._unwritten:
                await self._sleep(RETRY_SECONDS)

    async def _commit(self, items: Sequence[_Item]) -> None:
        while items:
            try:
                results = await self._apply([item.change for item in items])
            except StoreError as error:
                # What came meanwhile need not wait for the next failure.
                waiting, self._queue = self._queue, []
                self._settle_unstored([*items, *waiting], error)
                return
            for at, (item, result) in enumerate(zip(items, results, strict=False), start=1):
                if result is None:
                    _refuse(item, StoreError("a value of it cannot be stored"))
                else:
                    _resolve(item, result)
                if at % SETTLE_SLICE == 0:
                    await asyncio.sleep(0)
            items = items[len(results) :]

    async def _commit_late(self) -> bool:
        """Write some of the backlog; whether it could be written."""
        written = self._unwritten[:BACKLOG_SLICE]
        try:
            results = await self._apply(written)
        except StoreError:
            return False
        del self._unwritten[: len(results)]
        self.worked()
        for change, result in zip(written, results, strict=False):
            if result is not None:
                self.written_late(change, result)
        return True

    async def _apply(self, changes: Sequence[Change]) -> Sequence[Accepted | Fenced | None]:
        """Store the first of the changes: all, or as many as come before one that cannot be.

        That one's result is None: no store will ever take it, and it must not hold up the rest.
        Raises `StoreError` when none could be stored now.
        """
        started = self._steady()
        try:
            results = await self._store.apply(changes)
        except StoreError as error:
            self.failed(error)
            self._watcher.failed("commit")
            raise
        except Exception as error:  # noqa: BLE001 - the writer must outlive what it is given
            if len(changes) > 1:
                return await self._apply(changes[: len(changes) // 2])
            self._watcher.failed("commit")
            self._log.error("a change cannot be stored", exc_info=error)
            return [None]
        self._watcher.committed(self._steady() - started)
        self.worked()
        return results

    def _settle_unstored(self, items: Sequence[_Item], error: StoreError) -> None:
        for item in items:
            if item.must_store:
                _refuse(item, error)
                continue
            self._unwritten.append(item.change)
            job = item.change.job
            _resolve(item, Accepted((), job.incarnation if job else 0))


def _refuse(item: _Item, error: StoreError) -> None:
    item.settled(None)
    if not item.result.done():
        item.result.set_exception(error)
        item.result.exception()  # seen, should nobody be waiting any more


def _resolve(item: _Item, result: Accepted | Fenced) -> None:
    item.settled(result)
    if not item.result.done():
        item.result.set_result(result)
