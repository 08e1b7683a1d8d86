"""The store in one SQLite file.

A group of changes is one transaction. The row id of a job is its incarnation, so an id that is
registered again gets another row, and a late change for the former job is fenced.
"""

import sqlite3
import uuid
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from ..core.job import Job
from ..core.ledger import LedgerChange, OpenFailure
from ..logs import Logger, make_logger
from .database import Database
from .job_rows import DamagedRow, select_jobs, select_page, select_resident, set_aside
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
SET_ASIDE: Final = "the stored row of a job is damaged and was set aside: the job is not known now"


def _no_hook() -> None:
    pass


class _Loaded(NamedTuple):
    snapshot: Snapshot
    counters: str
    newest_event: int
    damaged: list[DamagedRow]
    damaged_totals: list[tuple[str, str]]
    """Pairs of a series' name and what is wrong with it."""


class SqliteStore:
    """A `Store` in the file `path`, which logs damage; see `Database` for `before_commit`."""

    def __init__(
        self,
        path: Path,
        log: Logger | None = None,
        *,
        busy_seconds: float = BUSY_SECONDS,
        before_commit: Callable[[], None] = _no_hook,
    ) -> None:
        self.path = path
        self._log = log or make_logger()
        self.database = Database(path, busy_seconds, before_commit, self._log)
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

        def load(database: sqlite3.Connection) -> _Loaded:
            meta = dict(database.execute("SELECT name, value FROM meta"))
            newest_event = select_newest_event(database)
            if not continues:
                database.execute("DELETE FROM totals")
                meta["counters"] = None
            counters = meta.get("counters") or new_counters
            put_meta(database, layout=request.layout, alive_at=request.time, counters=counters)
            jobs, damaged = select_resident(database, request)
            set_aside(database, damaged)
            totals, damaged_totals = select_totals(database)
            snapshot = Snapshot(
                jobs=jobs,
                totals=totals,
                admitted=database.execute("SELECT label, value FROM admitted").fetchall(),
                by_state=count_by_state(database),
                healthy_time=meta.get("well_time", 0.0),
                unresolved=count_unresolved(database),
                kept=kept_of(meta),
            )
            return _Loaded(snapshot, counters, newest_event, damaged, damaged_totals)

        def note(loaded: _Loaded) -> None:
            self.database.file.note_counters(loaded.counters, loaded.newest_event)

        loaded = await self.database.transaction(load, note)
        self._log_damage(loaded.damaged, SET_ASIDE)
        for series, damage in loaded.damaged_totals:
            self._log.error("a stored total is damaged and left out", series=series, damage=damage)
        return loaded.snapshot

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
            self._log_damage(damaged, SET_ASIDE)
        return {job.job_id: job for job in jobs}

    async def final_answer(self, job_id: str) -> FinalAnswer | None:
        """See `Store.final_answer`."""
        return await self.database.read(lambda database: select_final_answer(database, job_id))

    async def page(self, request: PageRequest) -> Page[Job]:
        """See `Store.page`."""
        page, damaged = await self.database.read(lambda database: select_page(database, request))
        # Not set aside: memory may hold the job whole, and its next change rewrites the row.
        new = [row for row in damaged if row.id not in self._reported]
        self._reported.update(row.id for row in new)
        self._log_damage(new, "the stored row of a job is damaged and left out of a list")
        return page

    def _log_damage(self, rows: Iterable[DamagedRow], message: str) -> None:
        for row in rows:
            self._log.error(message, job_id=row.job_id, row=row.id, damage=row.damage)

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
