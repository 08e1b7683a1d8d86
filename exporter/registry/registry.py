"""The registry: the sole owner and writer of jobs.

Memory holds the jobs that are pending, linger after their end, or will be asked again; older ones
are read from the store. Nothing is seen before it is stored: a change goes to the store, and only
after the commit into memory and to the listeners (metrics, log, pages). Changes of one job go one
after the other. Progress is no event: it shows at once and is stored by `flush`.
"""

import asyncio
import heapq
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from ..core.events import Event, Now
from ..core.job import INFERRED_STATES, Job, JobState, Source
from ..core.ledger import LedgerChange, OpenFailure, ledger_step
from ..core.registration import forget
from ..core.tally import Delta, Tally, layout
from .commit import GroupCommit, Settled
from .feed import Feed
from .staging import (
    Outcome,
    Refused,
    Registered,
    RegistrationConflictError,
    RegistryFullError,
    Stage,
    Staged,
    Telling,
    fitting,
    stage,
)
from .store import (
    Accepted,
    Change,
    Fenced,
    FinalAnswer,
    JobFilter,
    RecheckDue,
    Snapshot,
    Store,
    StoredEvent,
    StoreError,
)
from .waiting import ExporterStoppedError, Waiting

PRUNE_SLICE = 1000
"""Rows dropped in one commit: old jobs and events go in slices, so that no commit takes long."""
LOOK_AGAIN_SECONDS = 30.0
"""How often a finished job whose recheck is late is looked at: thousands may be, all at once."""


@dataclass(frozen=True, slots=True)
class Published:
    """A change that is now visible. `after` is None for a job that is forgotten or left memory.

    `event_ids` are those of `events`; empty while the store cannot be written.
    """

    before: Job | None
    after: Job | None
    events: Sequence[Event] = ()
    deltas: Sequence[Delta] = ()
    event_ids: Sequence[int] = ()
    ledger: LedgerChange | None = None


@dataclass(slots=True)
class RegistryLimits:
    """Config that the registry goes by; times in seconds."""

    max_pending: int = 100_000
    retention: float = 86_400.0
    history_events: int = 100_000
    resume_within: float = 3600.0
    linger: float = 300.0
    linger_failed: float = 3600.0
    recheck_after: Sequence[float] = (60.0, 600.0, 3600.0)
    named: Collection[str] = field(default_factory=frozenset)
    """Ids that the config names: they are not pruned."""


class Registry:
    """Jobs by id, their changes, and who listens to them."""

    def __init__(
        self,
        store: Store,
        commit: GroupCommit,
        tally: Tally,
        limits: RegistryLimits,
        now: Callable[[], Now],
    ) -> None:
        self.store = store
        self.commit = commit
        self.tally = tally
        self.limits = limits
        self.feed = Feed(store)
        self.endings = Waiting()
        """Rings, by job_id, when a job has ended or is gone."""
        self.by_state: Counter[JobState] = Counter()
        self.jobs: dict[str, Job] = {}
        self.pending = 0
        commit.written_late = self._written_late
        self._now = now
        self._listeners: list[Callable[[Published], None]] = []
        self._busy: dict[str, asyncio.Event] = {}
        self._unsaved: set[str] = set()
        self._leaving: list[tuple[float, str, int]] = []
        self._registering = asyncio.Lock()
        self._released = False

    def listen(self, listener: Callable[[Published], None]) -> None:
        """Have `listener` called with each change, right after its commit. It must be quick."""
        self._listeners.append(listener)

    async def load(self) -> Snapshot:
        """Read what is stored, after `store.open()`."""
        limits, now = self.limits, self._now()
        longest = max(limits.linger, limits.linger_failed, *limits.recheck_after, 0.0)
        await self.feed.start()
        return await self.store.load(
            time=now.time,
            finished_after=now.time - longest,
            resume_within=limits.resume_within,
            layout=layout(self.tally.group_labels),
            recheck=RecheckDue(len(limits.recheck_after), now.time - limits.retention),
        )

    def start(self, snapshot: Snapshot) -> None:
        """Go on from what was loaded; its jobs are published without events."""
        self.by_state.update(snapshot.by_state)
        for job in snapshot.jobs:
            self._hold(None, job)
            self._publish(Published(None, job))
        self.commit.start()

    def release(self) -> None:
        """Let go of all who follow the events or wait for an end: the exporter is about to stop."""
        self._released = True
        self.feed.close()
        self.endings.ring_all()

    async def close(self) -> None:
        """Store what is not stored yet, and end; raises `StoreError`. The store stays open."""
        try:
            await self.flush()
            await self.stamp()
        finally:
            await self.commit.close()

    async def get(self, job_id: str) -> Job | None:
        """Return a job from memory or the store; raises `StoreError`."""
        return self.jobs.get(job_id) or (await self.store.get([job_id])).get(job_id)

    async def wait_for_end(self, job_id: str) -> Job | None:
        """Return a job once it has ended; None when it is unknown or forgotten meanwhile.

        Raises `ExporterStoppedError` for one that had not ended by then, `StoreError`.
        """
        while (job := await self.get(job_id)) is not None and job.pending:
            if job_id in self.jobs and not self.jobs[job_id].pending:
                continue  # it ended while the store was read
            if self._released:
                raise ExporterStoppedError(f"job {job_id} has not ended")
            await self.endings.wait(job_id)
        return job

    async def page(
        self, job_filter: JobFilter, *, limit: int, before: int | None
    ) -> tuple[list[Job], int | None]:
        """Return jobs, newest first, as memory has them; see `Store.page`."""
        jobs, following = await self.store.page(job_filter, limit=limit, before=before)
        return [self._newest(job) for job in jobs], following

    async def register(self, tellings: Sequence[Telling], source: Source) -> list[Registered]:
        """Take in jobs, all or none, and return them once they are safe.

        Raises `RegistrationConflictError`, `RegistryFullError`, `StoreError`.
        """
        results = await self._take_in(tellings, source, whole=True)
        return [result for result in results if isinstance(result, Registered)]

    async def register_each(
        self, tellings: Sequence[Telling], source: Source
    ) -> list[Registered | Refused]:
        """Take in each job that can be, and return what became of them once they are safe.

        Fewer results than tellings: from there on there was no room. Raises `StoreError`.
        """
        return await self._take_in(tellings, source, whole=False)

    async def change(
        self, job_id: str, incarnation: int, work: Callable[[Job], Outcome]
    ) -> Job | None:
        """Do `work` on a job as it is now, commit, and return the job as it then is.

        None when it is not in memory any more, or not in this incarnation. When the store cannot
        be written the change counts all the same (see `commit.py`).
        """
        job = await self._settle(job_id)
        if job is None or job.incarnation != incarnation:
            return None
        outcome = work(job)
        if not outcome.events:
            self._touch(job, outcome.job)
            return self.jobs.get(job_id)
        change = self._change(job, outcome.job, outcome.events, final=outcome.final)
        await self._submit([(job, change)], must_store=False)
        return self.jobs.get(job_id)

    async def forget(self, job_id: str, reason: str = "deleted") -> bool:
        """Forget a job; False when it is unknown. Raises `StoreError`."""
        async with self._registering:
            job = (await self._known([job_id])).get(job_id)
            if job is None:
                return False
            change = self._change(job, job, forget(job, self._now(), reason), forgotten=True)
            await self._submit([(job, change)], must_store=True)
            return True

    async def failures(
        self, *, limit: int, before: int | None, key: str | None = None
    ) -> tuple[list[OpenFailure], int | None]:
        """Return the keys that are open; see `Store.failures`."""
        return await self.store.failures(limit=limit, before=before, key=key)

    async def acknowledge(self, key: str) -> OpenFailure | None:
        """Close a key and return what was open; None when it is not. Raises `StoreError`."""
        change = await self.store.acknowledge(key)
        if change is None:
            return None
        self._publish(Published(None, None, ledger=change))
        return change.closed

    async def record(self, event: Event) -> None:
        """Put an event that concerns no job into the history."""
        await self._submit([(None, Change(None, events=(event,)))], must_store=False)

    async def flush(self) -> None:
        """Store the progress of the jobs that moved since the last time; raises `StoreError`."""
        if not self.commit.writable:
            await self.stamp()
        names = [name for name in self._unsaved if name in self.jobs and name not in self._busy]
        jobs = [self.jobs[name] for name in names]
        self._unsaved.intersection_update(self._busy)
        if jobs:
            try:
                await self._submit(
                    [(job, self._change(job, job, ())) for job in jobs], must_store=True
                )
            except StoreError:
                self._unsaved.update(names)
                raise

    async def stamp(self) -> None:
        """Write a sign of life, by which the counters may resume; raises `StoreError`."""
        now = self._now()
        try:
            await self.store.stamp(time=now.time, well_time=now.well_time)
        except StoreError as error:
            self.commit.failed(error)
            raise
        self.commit.worked()

    async def prune(self) -> None:
        """Drop finished jobs and events that are older than is kept; raises `StoreError`.

        In slices, so that no commit takes long and others come between.
        """
        held = [job_id for job_id, job in self.jobs.items() if not job.pending]
        keep = {*self.limits.named, *held}
        more = True
        while more:
            pruned = await self.store.prune(
                finished_before=self._now().time - self.limits.retention,
                keep=keep,
                history=self.limits.history_events,
                limit=PRUNE_SLICE,
            )
            self.by_state.subtract(pruned.jobs)
            more = pruned.more

    async def history(
        self,
        *,
        after: int,
        limit: int,
        type: str | None = None,  # noqa: A002 - the name in the interface
        job_id: str | None = None,
    ) -> list[StoredEvent]:
        """Return stored events; see `Store.history`."""
        return await self.store.history(after=after, limit=limit, type=type, job_id=job_id)

    def evict(self) -> None:
        """Let go of the jobs that have lingered; the store still has them."""
        now = self._now().time
        while self._leaving and self._leaving[0][0] <= now:
            _, job_id, incarnation = heapq.heappop(self._leaving)
            job = self.jobs.get(job_id)
            if job is None or job.incarnation != incarnation or job.pending:
                continue
            leaves_at = self._leaves_at(job)
            if leaves_at > now or job_id in self._busy or job_id in self._unsaved:
                heapq.heappush(self._leaving, (max(leaves_at, now + 1), job_id, incarnation))
                continue
            del self.jobs[job_id]
            self._publish(Published(job, None))

    async def _known(self, job_ids: Collection[str]) -> dict[str, Job]:
        """Return the jobs as they are once no change of theirs is under way."""
        stored = await self.store.get([name for name in job_ids if name not in self.jobs])
        while busy := [self._busy[name] for name in job_ids if name in self._busy]:
            for change in busy:
                await change.wait()
        # Between here and the commit nothing else runs, so what is read now still holds then.
        held = {name: self.jobs[name] for name in job_ids if name in self.jobs}
        return stored | held

    async def _take_in(
        self, tellings: Sequence[Telling], source: Source, *, whole: bool
    ) -> list[Registered | Refused]:
        self.commit.check()
        async with self._registering:
            while True:
                self.commit.check()  # who waited for another's failure need not wait for their own
                known = await self._known({one.job_id for one in tellings})
                room = self.limits.max_pending - self.pending
                taken = tellings[: fitting(tellings, known, room)]
                if whole and len(taken) < len(tellings):
                    raise RegistryFullError
                staged = stage(taken, known, source, self._now())
                if whole and staged.conflicts:
                    raise RegistrationConflictError(staged.conflicts)
                if await self._store_staged(staged.jobs.values()):
                    break
        return [self._result(at, one, staged) for at, one in enumerate(taken)]

    def _result(self, at: int, telling: Telling, staged: Stage) -> Registered | Refused:
        if at in staged.conflicts:
            return Refused(staged.conflicts[at])
        one = staged.jobs[telling.job_id]
        return Registered(self.jobs.get(telling.job_id) or one.after, new=one.new_at == at)

    async def _store_staged(self, staged: Iterable[Staged]) -> bool:
        """Commit what differs; False when another writer was first with one of the jobs."""
        changed = [
            (job.before, self._change(job.before, job.after, job.events, final=job.final))
            for job in staged
            if job.after != job.before
        ]
        results = await self._submit(changed, must_store=True) if changed else []
        return not any(isinstance(result, Fenced) for result in results)

    async def _settle(self, job_id: str) -> Job | None:
        """Wait until no change of the job is under way; return it as memory has it."""
        while (busy := self._busy.get(job_id)) is not None:
            await busy.wait()
        return self.jobs.get(job_id)

    def _change(
        self,
        before: Job | None,
        after: Job,
        events: Iterable[Event],
        *,
        final: FinalAnswer | None = None,
        forgotten: bool = False,
    ) -> Change:
        expected = before.version if before else 0
        events = tuple(events)
        return Change(
            job=replace(after, version=expected + 1),
            expected=expected,
            events=events,
            deltas=tuple(self.tally.deltas(after, events)),
            admitted=self.tally.bounds.take_fresh(),
            final=final,
            forgotten=forgotten,
            ledger=None if forgotten else ledger_step(before, after),
        )

    async def _submit(
        self, changes: Sequence[tuple[Job | None, Change]], *, must_store: bool
    ) -> list[Accepted | Fenced]:
        for _, change in changes:
            if change.job is not None:
                self._busy[change.job.job_id] = asyncio.Event()
        futures = self.commit.submit(
            [(change, self._settler(before, change)) for before, change in changes],
            must_store=must_store,
        )
        # Whoever waits may be cancelled; the commit goes on and is published all the same.
        gathered = asyncio.gather(*futures)
        gathered.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen
        return await asyncio.shield(gathered)

    def _settler(self, before: Job | None, change: Change) -> Settled:
        def settled(result: Accepted | Fenced | None) -> None:
            if isinstance(result, Accepted):
                self._accept(before, change, result)
            else:
                self.tally.bounds.give_back(change.admitted)
                if isinstance(result, Fenced) and before is not None:
                    self._yield_to(before, result.known)
            if change.job is not None:
                self._busy.pop(change.job.job_id).set()

        return settled

    def _accept(self, before: Job | None, change: Change, accepted: Accepted) -> None:
        after = change.job
        if after is not None and change.forgotten:
            self.by_state[after.state] -= 1
            self._let_go(after)
            after = None
        elif after is not None:
            after = replace(after, incarnation=accepted.incarnation)
            if before is not None:
                self.by_state[before.state] -= 1
            self.by_state[after.state] += 1
            if before is None or before.job_id in self.jobs:
                self._hold(before, after)
        self._publish(
            Published(
                before, after, change.events, change.deltas, accepted.event_ids, accepted.ledger
            )
        )

    def _written_late(self, change: Change, result: Accepted | Fenced) -> None:
        """Only now have the events their ids, and the ledger changes; all else was published."""
        if not isinstance(result, Accepted):
            return
        self.feed.written(change.events, result.event_ids)
        if result.ledger is not None:
            self._publish(Published(None, None, ledger=result.ledger))

    def _yield_to(self, before: Job, known: Job | None) -> None:
        """Another writer was first: what it stored is what is true."""
        if before.job_id not in self.jobs:
            return
        if known is None:
            self._let_go(before)
        else:
            self._hold(before, known)
        self._publish(Published(before, known))

    def _touch(self, before: Job, after: Job) -> None:
        """Show a change that is no event; store it with the next flush if it is worth it."""
        self.jobs[after.job_id] = after
        if replace(after, last_polled_at=before.last_polled_at) != before:
            self._unsaved.add(after.job_id)
        self._publish(Published(before, after))

    def _hold(self, before: Job | None, after: Job) -> None:
        self.jobs[after.job_id] = after
        self._unsaved.discard(after.job_id)
        self.pending += after.pending - (before is not None and before.pending)
        if not after.pending:
            entry = (self._leaves_at(after), after.job_id, after.incarnation)
            heapq.heappush(self._leaving, entry)

    def _let_go(self, job: Job) -> None:
        if self.jobs.pop(job.job_id, None) is not None:
            self.pending -= job.pending

    def _leaves_at(self, job: Job) -> float:
        """When (seconds since 1970) a finished job may leave memory."""
        limits = self.limits
        failed = job.state is JobState.FAILED
        leaves = (job.finished_at or 0.0) + (limits.linger_failed if failed else limits.linger)
        if job.state in INFERRED_STATES and job.rechecks < len(limits.recheck_after):
            # Asked again, however late: a recheck waits while the upstream is not well.
            recheck = (job.finished_at or 0.0) + limits.recheck_after[job.rechecks]
            leaves = max(leaves, recheck, self._now().time + LOOK_AGAIN_SECONDS)
        return leaves

    def _newest(self, job: Job) -> Job:
        held = self.jobs.get(job.job_id)
        return held if held is not None and held.incarnation == job.incarnation else job

    def _publish(self, published: Published) -> None:
        for listener in self._listeners:
            listener(published)
        before, after = published.before, published.after
        if before is not None and after is not None:
            # First, so that nothing of a job comes after its end.
            self.feed.moved(before, after)
        self.feed.written(published.events, published.event_ids)
        if before is not None and before.pending and (after is None or not after.pending):
            self.endings.ring(before.job_id)
