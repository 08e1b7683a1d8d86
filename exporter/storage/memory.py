"""The store in memory: the in-process double, for simulated time and for tests.

It keeps the promises of `Store`, but nothing survives the process. It encodes jobs as the other
stores do, so that a field that does not survive a round trip shows here too.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from ..core.events import Event
from ..core.job import INFERRED_STATES, Job, JobState
from ..core.ledger import LedgerChange, OpenFailure, ledger_key
from ..core.tally import Labels
from .memory_ledger import MemoryLedger
from .records import dump_job, load_job
from .store import (
    Accepted,
    Change,
    FailuresRequest,
    Fenced,
    FinalAnswer,
    HistoryRequest,
    JobFilter,
    LoadRequest,
    Page,
    PageRequest,
    Pruned,
    PruneRequest,
    RecheckDue,
    SeriesTotal,
    SignOfLife,
    Snapshot,
    StoredEvent,
    parts_of,
)

Item = TypeVar("Item")


@dataclass(slots=True)
class _Row:
    job_id: str
    version: int
    document: str
    finished_at: float | None = None
    final: FinalAnswer | None = None
    forgotten: bool = False

    def job(self, incarnation: int) -> Job:
        return load_job(self.job_id, incarnation, self.version, self.document)


@dataclass(slots=True)
class _Tables:
    """What another store keeps on disk; a test hands it on from one store to the next."""

    rows: dict[int, _Row] = field(default_factory=dict)
    known: dict[str, int] = field(default_factory=dict)
    done: dict[str, set[int]] = field(default_factory=dict)
    """By key, the rows of the jobs that were done."""
    events: list[tuple[int, int | None, Event]] = field(default_factory=list)
    totals: dict[tuple[str, Labels, int], float] = field(default_factory=dict)
    admitted: dict[tuple[str, str], None] = field(default_factory=dict)
    meta: dict[str, float | str] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    last_row: int = 0
    last_event: int = 0


class MemoryStore:
    """A `Store`. `MemoryStore(former.tables)` is the former store after a restart."""

    def __init__(self, tables: _Tables | None = None) -> None:
        self.tables = tables or _Tables()

    async def open(self) -> None:
        """Nothing to open."""

    def set_deadline(self, seconds: float) -> None:
        """Nothing locks it."""

    async def close(self) -> None:
        """Nothing to close."""

    async def load(self, request: LoadRequest) -> Snapshot:
        """See `Store.load`."""
        tables = self.tables
        alive_at = tables.meta.get("alive_at")
        recent = isinstance(alive_at, float) and request.time - alive_at <= request.resume_within
        if not recent or tables.meta.get("layout") != request.layout:
            tables.totals.clear()
        tables.meta |= {"layout": request.layout, "alive_at": request.time}
        jobs = self._jobs()
        return Snapshot(
            jobs=[job for job in jobs if _is_resident(job, request)],
            totals=[SeriesTotal(*series, amount) for series, amount in tables.totals.items()],
            admitted=list(tables.admitted),
            by_state=Counter(job.state for job in jobs),
            healthy_time=float(tables.meta.get("well_time", 0.0)),
            unresolved=tables.ledger.labels,
            kept=dict(tables.kept),
        )

    async def apply(self, changes: Sequence[Change]) -> list[Accepted | Fenced]:
        """See `Store.apply`."""
        return [self._apply(change) for change in changes]

    async def get(self, job_ids: Collection[str]) -> dict[str, Job]:
        """See `Store.get`."""
        known = self.tables.known
        return {name: self._job(known[name]) for name in job_ids if name in known}

    async def final_answer(self, job_id: str) -> FinalAnswer | None:
        """See `Store.final_answer`."""
        row = self.tables.known.get(job_id)
        return None if row is None else self.tables.rows[row].final

    async def page(self, request: PageRequest) -> Page[Job]:
        """See `Store.page`."""
        found = [
            (job.incarnation, job)
            for job in reversed(self._jobs())
            if _is_below(job.incarnation, request.before) and _admits(request.job_filter, job)
        ]
        return _page(found, request.limit)

    async def history(self, request: HistoryRequest) -> list[StoredEvent]:
        """See `Store.history`."""
        found = [
            StoredEvent(id_, event)
            for id_, _, event in self.tables.events
            if id_ > request.after
            and request.type in (None, event.type)
            and request.job_id in (None, event.job_id)
            and request.variation in (None, event.data.get("variation"))
        ]
        return found[-request.limit :] if request.newest else found[: request.limit]

    async def history_bounds(self) -> tuple[int, int]:
        """See `Store.history_bounds`."""
        newest = self.tables.last_event
        return (self.tables.events[0][0] if self.tables.events else newest + 1), newest

    async def failures(self, request: FailuresRequest) -> Page[OpenFailure]:
        """See `Store.failures`."""
        found = [
            (cursor, failure)
            for cursor, failure in self.tables.ledger.newest_first()
            if _is_below(cursor, request.before) and request.key in (None, failure.key)
        ]
        return _page(found, request.limit)

    async def acknowledge(self, key: str) -> LedgerChange | None:
        """See `Store.acknowledge`."""
        closed = self.tables.ledger.close(key)
        return None if closed is None else LedgerChange(closed=(closed,))

    async def stamp(self, sign: SignOfLife) -> None:
        """See `Store.stamp`."""
        self.tables.meta |= {"alive_at": sign.time, "well_time": sign.healthy_time}

    async def keep(self, name: str, text: str) -> None:
        """See `Store.keep`."""
        self.tables.kept[name] = text

    async def prune(self, request: PruneRequest) -> Pruned:
        """See `Store.prune`."""
        tables, limit = self.tables, request.limit
        dropped = tables.ledger.drop_oldest(request.open_failures)
        missing = tables.ledger.jobs
        old = [
            self._job(id_)
            for name, id_ in sorted(tables.known.items(), key=lambda item: item[1])
            if (ended := tables.rows[id_].finished_at) is not None
            and ended < request.finished_before
            and name not in request.keep
            and id_ not in missing
        ][:limit]
        for job in old:
            self._forget(job.incarnation)
        last_dropped = tables.last_event - request.history_events
        surplus = [id_ for id_, _, _ in tables.events[:limit] if id_ <= last_dropped]
        del tables.events[: len(surplus)]
        named = {row for _, row, _ in tables.events}
        for id_ in [i for i, row in tables.rows.items() if row.forgotten and i not in named]:
            del tables.rows[id_]
        return Pruned(
            Counter(job.state for job in old),
            limit in (len(old), len(surplus)),
            dropped,
        )

    def _apply(self, change: Change) -> Accepted | Fenced:
        row = self._put(change)
        if row is None:
            known = self.tables.known.get(change.job.job_id if change.job else "")
            return Fenced(None if known is None else self._job(known))
        ids = []
        for event in change.events:
            self.tables.last_event += 1
            ids.append(self.tables.last_event)
            self.tables.events.append((ids[-1], row or None, event))
        self.tables.admitted |= dict.fromkeys(change.admitted)
        for delta in change.deltas:
            for bucket, amount in parts_of(delta):
                series = (delta.name, delta.labels, bucket)
                self.tables.totals[series] = self.tables.totals.get(series, 0.0) + amount
        ledger = None
        if change.job is not None and change.ledger is not None:
            job = change.job
            ledger = self.tables.ledger.take_step(
                job, change.ledger, lambda: self._is_done_later(job)
            )
        return Accepted(tuple(ids), row, ledger)

    def _is_done_later(self, job: Job) -> bool:
        rows = self.tables.rows
        return any(
            later > job.incarnation and later in rows and not rows[later].forgotten
            for later in self.tables.done.get(ledger_key(job), ())
        )

    def _put(self, change: Change) -> int | None:
        row, job = self._put_row(change), change.job
        if row and job is not None and job.state is JobState.DONE and job.key is not None:
            self.tables.done.setdefault(job.key, set()).add(row)
        return row

    def _put_row(self, change: Change) -> int | None:
        job, tables = change.job, self.tables
        if job is None:
            return 0
        if change.expected == 0:
            if job.job_id in tables.known:
                return None
            tables.last_row += 1
            tables.known[job.job_id] = tables.last_row
            tables.rows[tables.last_row] = _Row(
                job.job_id, job.version, dump_job(job), job.finished_at, change.final
            )
            return tables.last_row
        row = tables.rows.get(job.incarnation)
        if row is None or row.forgotten or row.version != change.expected:
            return None
        if change.forgotten:
            self._forget(job.incarnation)
        else:
            row.version, row.document, row.finished_at = job.version, dump_job(job), job.finished_at
            row.final = change.final or row.final
        return job.incarnation

    def _forget(self, incarnation: int) -> None:
        row = self.tables.rows[incarnation]
        row.forgotten, row.document, row.final = True, "{}", None
        del self.tables.known[row.job_id]

    def _job(self, incarnation: int) -> Job:
        return self.tables.rows[incarnation].job(incarnation)

    def _jobs(self) -> list[Job]:
        return [self._job(incarnation) for incarnation in sorted(self.tables.known.values())]


def _is_resident(job: Job, request: LoadRequest) -> bool:
    lingers = (job.finished_at or 0) > request.finished_after
    return job.pending or lingers or _is_due(job, request.recheck)


def _is_due(job: Job, recheck: RecheckDue) -> bool:
    due = job.state in INFERRED_STATES and job.rechecks < recheck.times
    return due and (job.finished_at or 0) > recheck.finished_after


def _is_below(cursor: int, before: int | None) -> bool:
    return before is None or cursor < before


def _page(found: Sequence[tuple[int, Item]], limit: int) -> Page[Item]:
    """Return the first `limit` of what was found, each with its cursor."""
    more = len(found) > limit
    return Page([item for _, item in found[:limit]], found[limit - 1][0] if more else None)


def _admits(job_filter: JobFilter, job: Job) -> bool:
    wanted = (
        (job_filter.state, job.state),
        (job_filter.source, job.source),
        (job_filter.mode, job.mode),
        (job_filter.key, job.key),
        *((value, job.labels.get(name)) for name, value in job_filter.labels.items()),
    )
    noted = (
        (job_filter.variation, job.reported_ignored),
        (job_filter.warning, job.reported_warnings),
    )
    return all(want in (None, have) for want, have in wanted) and all(
        name is None or name in names for name, names in noted
    )
