"""A store that fails as told."""

import asyncio
from collections.abc import Sequence

from exporter.storage.memory import MemoryStore
from exporter.storage.store import Accepted, Change, Fenced, SignOfLife, StoreError


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
