"""The store in one SQLite file.

A group of changes is one transaction. The row id of a job is its incarnation, so an id that is
registered again gets another row, and a late change for the former job is fenced.
"""

import sqlite3
import uuid
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final

from ..core.job import Job
from ..core.ledger import LedgerChange, OpenFailure
from .database import Database
from .job_rows import log_damage, select_jobs, select_page, select_resident, set_aside
from .ledger_queries import count_unresolved, delete_failure, select_failures
from .queries import (
    apply_changes,
    count_by_state,
    kept_of,
    prune,
    put_kept,
    put_meta,
    select_final_answer,
    select_history,
    select_history_bounds,
    select_newest_event,
    select_totals,
)
from .store import (
    Accepted,
    Change,
    FailuresRequest,
    Fenced,
    FinalAnswer,
    HistoryRequest,
    LoadRequest,
    Page,
    PageRequest,
    Pruned,
    PruneRequest,
    SetAside,
    SignOfLife,
    Snapshot,
    StoredEvent,
)

BUSY_SECONDS: Final = 5.0
"""How long a transaction waits while another process locks the file."""


def _no_hook() -> None:
    pass


class SqliteStore:
    """A `Store` in the file `path`; see `Database` for `before_commit`."""

    def __init__(
        self,
        path: Path,
        *,
        busy_seconds: float = BUSY_SECONDS,
        before_commit: Callable[[], None] = _no_hook,
    ) -> None:
        self.path = path
        self.database = Database(path, busy_seconds, before_commit)
        self._reported: set[int] = set()
        """Damaged rows that are in the log already."""

    async def open(self) -> SetAside | None:
        """See `Store.open`."""
        return await self.database.open()

    async def close(self) -> None:
        """See `Store.close`."""
        await self.database.close()

    def set_deadline(self, seconds: float) -> None:
        """See `Store.set_deadline`."""
        self.database.set_deadline(seconds)

    async def load(self, request: LoadRequest) -> Snapshot:
        """See `Store.load`."""

        # Before the transaction, which may be done again: see `recent_commits.py`.
        continues = await self.database.read(
            lambda database: self._counters_continue(database, request)
        )
        new_counters = uuid.uuid4().hex

        def load(database: sqlite3.Connection) -> tuple[Snapshot, str, int]:
            meta = dict(database.execute("SELECT name, value FROM meta"))
            newest_event = select_newest_event(database)
            if not continues:
                database.execute("DELETE FROM totals")
                meta["counters"] = None
            counters = meta.get("counters") or new_counters
            put_meta(database, layout=request.layout, alive_at=request.time, counters=counters)
            jobs, damaged = select_resident(database, request)
            set_aside(database, damaged)
            snapshot = Snapshot(
                jobs=jobs,
                totals=select_totals(database),
                admitted=database.execute("SELECT label, value FROM admitted").fetchall(),
                by_state=count_by_state(database),
                healthy_time=meta.get("well_time", 0.0),
                unresolved=count_unresolved(database),
                kept=kept_of(meta),
            )
            return snapshot, counters, newest_event

        def note(loaded: tuple[Snapshot, str, int]) -> None:
            self.database.file.note_counters(*loaded[1:])

        snapshot, _, _ = await self.database.transaction(load, note)
        return snapshot

    def _counters_continue(self, database: sqlite3.Connection, request: LoadRequest) -> bool:
        """Whether this is the very database that was in use last, and it was so lately."""
        meta = dict(database.execute("SELECT name, value FROM meta"))
        alive_at, counters = meta.get("alive_at"), meta.get("counters")
        recent = alive_at is not None and request.time - alive_at <= request.resume_within
        same = self.database.file.note.continues(counters, select_newest_event(database))
        return recent and same and meta.get("layout") == request.layout

    async def apply(self, changes: Sequence[Change]) -> list[Accepted | Fenced]:
        """See `Store.apply`."""
        return await self.database.transaction(
            lambda database: apply_changes(database, changes), self._note_events
        )

    def _note_events(self, results: Sequence[Accepted | Fenced]) -> None:
        ids = [id_ for one in results if isinstance(one, Accepted) for id_ in one.event_ids]
        if ids:
            self.database.file.note_event(max(ids))

    async def get(self, job_ids: Collection[str]) -> dict[str, Job]:
        """See `Store.get`."""
        jobs, damaged = await self.database.read(lambda database: select_jobs(database, job_ids))
        if damaged:
            await self.database.transaction(lambda database: set_aside(database, damaged))
        return {job.job_id: job for job in jobs}

    async def final_answer(self, job_id: str) -> FinalAnswer | None:
        """See `Store.final_answer`."""
        return await self.database.read(lambda database: select_final_answer(database, job_id))

    async def page(self, request: PageRequest) -> Page[Job]:
        """See `Store.page`."""
        page, damaged = await self.database.read(lambda database: select_page(database, request))
        # Not set aside: memory may hold the job whole, and its next change rewrites the row.
        for row in damaged:
            if row.id not in self._reported:
                self._reported.add(row.id)
                log_damage(row, "the stored row of a job is damaged and left out of a list")
        return page

    async def history(self, request: HistoryRequest) -> list[StoredEvent]:
        """See `Store.history`."""
        return await self.database.read(lambda database: select_history(database, request))

    async def history_bounds(self) -> tuple[int, int]:
        """See `Store.history_bounds`."""
        return await self.database.read(select_history_bounds)

    async def failures(self, request: FailuresRequest) -> Page[OpenFailure]:
        """See `Store.failures`."""
        return await self.database.read(lambda database: select_failures(database, request))

    async def acknowledge(self, key: str) -> LedgerChange | None:
        """See `Store.acknowledge`."""
        return await self.database.transaction(lambda database: delete_failure(database, key))

    async def stamp(self, sign: SignOfLife) -> None:
        """See `Store.stamp`."""
        await self.database.transaction(
            lambda database: put_meta(database, alive_at=sign.time, well_time=sign.healthy_time)
        )

    async def keep(self, name: str, text: str) -> None:
        """See `Store.keep`."""
        await self.database.transaction(lambda database: put_kept(database, name, text))

    async def prune(self, request: PruneRequest) -> Pruned:
        """See `Store.prune`."""
        return await self.database.transaction(lambda database: prune(database, request))
