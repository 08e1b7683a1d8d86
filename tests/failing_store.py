"""A store that fails as told."""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence

from exporter.storage.memory import MemoryStore
from exporter.storage.store import Accepted, Change, Fenced, SignOfLife, Store, StoreError


class FailingStore(MemoryStore):
    """A store that cannot be written while `broken`, or after `left` commits.

    It waits for `gate` before each commit, takes `room` changes in one, and never that of the job
    `poison`.
    """

    def __init__(self, former: MemoryStore | None = None) -> None:
        super().__init__(former.tables if former else None)
        self.broken = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.at_gate = 0
        self.left = 1_000_000
        self.room = 10_000
        self.poison = ""

    async def apply(self, changes: Sequence[Change]) -> list[Accepted | Fenced]:
        self.at_gate += 1
        await self.gate.wait()
        self._check()
        if self.left == 0:
            raise StoreError("disk full")
        if len(changes) > self.room:
            raise StoreError("no room for so many")
        if any(change.job and change.job.job_id == self.poison for change in changes):
            raise ValueError("no such text can be written")
        self.left -= 1
        return await super().apply(changes)

    async def stamp(self, sign: SignOfLife) -> None:
        self._check()
        await super().stamp(sign)

    def _check(self) -> None:
        if self.broken:
            raise StoreError("disk full")


class Held:
    """Commits of a store that wait, and how many have come so far."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.commits = 0


@contextlib.contextmanager
def held(store: Store) -> Iterator[Held]:
    """Let a store take its time: no commit goes on before the end of the context."""
    held, apply = Held(), store.apply

    async def later(changes: Sequence[Change]) -> list[Accepted | Fenced]:
        held.commits += 1
        await held.go_on.wait()
        return await apply(changes)

    store.apply = later  # type: ignore[method-assign]
    try:
        yield held
    finally:
        store.apply = apply  # type: ignore[method-assign]
        held.go_on.set()
