"""Group commit: changes queue up while one commit runs, and the next commit takes them all.

While the store cannot be written, a change that must be stored before it is acknowledged (a
registration) is refused. All other changes (what polls found) count at once; they form a backlog,
which is written in order as soon as the store can be written again. Neither kind waits for a store
that has just failed, because SQLite may take seconds to fail. `writable` says which it is, and a
gauge shows it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVarTuple

import structlog

from ..storage.store import Accepted, Change, Fenced, Store, StoreError

RETRY_SECONDS: Final = 1.0
SETTLE_SLICE: Final = 50
"""After this many published changes the other tasks of the loop get a turn."""
BACKLOG_SLICE: Final = 500
"""The most changes of the backlog in one commit: a disk with little room may take a part of it."""

Settled = Callable[[Accepted | Fenced | StoreError], None]
"""Called with a change's result, or with the error because of which it was not stored."""

_UNSTORABLE: Final = "the change has a value that cannot be stored"

Ts = TypeVarTuple("Ts")


class CommitWatcher(Protocol):
    """Counts the results of commits in the metrics."""

    def committed(self, seconds: float) -> None:
        """A commit succeeded after `seconds`."""

    def failed(self, operation: str) -> None:
        """An operation of the store failed."""


@dataclass(slots=True)
class _Item:
    change: Change
    must_store: bool
    settled: Settled


class GroupCommit:
    """The only writer to a store. `steady` gives monotonic seconds, `sleep` waits for some."""

    def __init__(
        self,
        store: Store,
        watcher: CommitWatcher,
        steady: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self.writable = True
        """Whether the last write succeeded and the backlog is empty."""
        self._store = store
        self._watcher = watcher
        self._steady = steady
        self._sleep = sleep
        self._log = log
        self._queue: list[_Item] = []
        self._backlog: list[Change] = []
        self._reason = ""
        self._retry_at = 0.0
        self._writing = False
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self.written_late: Callable[[Change, Accepted | Fenced], None] = lambda change, result: None
        """Called with the result of each change of the backlog, once it is written."""

    @property
    def unwritten(self) -> int:
        """How many changes have counted but are not stored yet: the length of the backlog."""
        return len(self._backlog)

    @property
    def alive(self) -> bool:
        """Whether its task is running."""
        return self._task is not None and not self._ended

    @property
    def _ended(self) -> bool:
        return self._task is not None and self._task.done()

    def start(self) -> None:
        """Start the task that writes."""
        self._task = asyncio.create_task(self._run(), name="group commit")

    async def close(self) -> None:
        """Write what is queued, try the backlog once more, and end."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task

    def check(self) -> None:
        """Raise `StoreError` if a change that must be stored would be refused without a try.

        One such change is tried every `RETRY_SECONDS`. While there is a backlog none is tried:
        writing the backlog shows as well whether the store works again.
        """
        if self._ended:
            raise StoreError("the exporter has stopped writing")
        waits = self._writing or self._steady() < self._retry_at
        if not self.writable and (self._backlog or waits):
            raise StoreError(self._reason)

    def failed(self, error: StoreError) -> None:
        """Take note that a write outside of the group commit failed."""
        self.writable = False
        self._reason = str(error)
        self._retry_at = self._steady() + RETRY_SECONDS

    def worked(self) -> None:
        """Take note that a write succeeded."""
        # On a nearly full disk a small write may succeed and the backlog still fail.
        is_writable = not self._backlog
        if is_writable and not self.writable:
            self._log.info("store writable again")
        self.writable = is_writable

    def submit(self, changes: Sequence[tuple[Change, Settled]], *, must_store: bool) -> None:
        """Queue changes for the same commit; each is called back with its result, in order.

        With `must_store` that is a `StoreError` if the change could not be stored. Without it,
        such a change is accepted without event ids and joins the backlog.
        """
        items = [_Item(change, must_store, settled) for change, settled in changes]
        try:
            self.check()
        except StoreError as error:
            self._settle_unstored(items, error)
        else:
            self._queue += items
        self._wake.set()

    async def _run(self) -> None:
        while True:
            if not self._backlog:
                await self._wake.wait()
            self._wake.clear()
            self._writing = True
            if self._queue:
                items, self._queue = self._queue, []
                await self._commit(items)
            while self._backlog and await self._commit_backlog():
                pass
            self._writing = False
            if self._closing and not self._queue:
                return
            if self._backlog:
                await self._sleep(RETRY_SECONDS)

    async def _commit(self, items: Sequence[_Item]) -> None:
        while items:
            try:
                results = await self._apply([item.change for item in items])
            except StoreError as error:
                # Changes that were queued meanwhile need not wait for the next failure.
                waiting, self._queue = self._queue, []
                self._settle_unstored([*items, *waiting], error)
                return
            for at, (item, result) in enumerate(zip(items, results, strict=False), start=1):
                self._call(item.settled, StoreError(_UNSTORABLE) if result is None else result)
                if at % SETTLE_SLICE == 0:
                    await asyncio.sleep(0)
            items = items[len(results) :]

    async def _commit_backlog(self) -> bool:
        """Write the first part of the backlog; return whether the store took it."""
        written = self._backlog[:BACKLOG_SLICE]
        try:
            results = await self._apply(written)
        except StoreError:
            return False
        del self._backlog[: len(results)]
        self.worked()
        for change, result in zip(written, results, strict=False):
            if result is not None:
                self._call(self.written_late, change, result)
        return True

    async def _apply(self, changes: Sequence[Change]) -> Sequence[Accepted | Fenced | None]:
        """Store some of the changes, from the first on, and return their results.

        Usually these are all. If one has a value that no store will ever take, the changes before
        it are stored; it comes next, with the result None, so that it does not block the rest.
        Raises `StoreError` if the store cannot be written at the moment.
        """
        started = self._steady()
        try:
            results = await self._store.apply(changes)
        except StoreError as error:
            self.failed(error)
            self._watcher.failed("commit")
            raise
        except Exception as error:  # noqa: BLE001 - the writer must survive any change
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
                self._call(item.settled, error)
                continue
            self._backlog.append(item.change)
            job = item.change.job
            self._call(item.settled, Accepted((), job.incarnation if job else 0))

    def _call(self, callback: Callable[[*Ts], None], *values: *Ts) -> None:
        """Call back; an error is logged, because the writer must survive it."""
        try:
            callback(*values)
        except Exception as error:  # noqa: BLE001
            self._log.error("callback of a commit failed", exc_info=error)
