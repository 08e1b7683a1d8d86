"""The registry: the sole owner and writer of jobs.

Memory holds the jobs that are pending, linger after their end, or will be asked again (`held.py`);
older ones are read from the store. Nothing is seen before it is stored (`changes.py`), but for
progress, which is no event: it shows at once and is stored by `flush`.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from ..core.events import Event, Now
from ..core.job import Job, JobState, Source
from ..core.ledger import OpenFailure
from ..core.published import Published
from ..core.registration import forget
from ..core.tally import Tally, layout
from ..storage.store import (
    Change,
    Fenced,
    LoadRequest,
    Page,
    PageRequest,
    PruneRequest,
    RecheckDue,
    SignOfLife,
    Snapshot,
    Store,
    StoreError,
)
from .changes import Changes
from .commit import GroupCommit
from .feed import Feed
from .limits import RegistryLimits
from .resident import ResidentJobs
from .staging import (
    Outcome,
    Refused,
    Registered,
    Registration,
    RegistrationConflictError,
    RegistryFullError,
    Stage,
    Staged,
    fitting,
    stage,
)
from .waiting import Waiting

PRUNE_SLICE: Final = 1000
"""Rows dropped in one commit: old jobs and events go in slices, so that no commit takes long."""


class Registry:
    """Jobs by id, their changes, and who listens to them."""

    def __init__(
        self,
        store: Store,
        commit: GroupCommit,
        tally: Tally,
        limits: Callable[[], RegistryLimits],
        now: Callable[[], Now],
    ) -> None:
        self.store = store
        self.commit = commit
        self.tally = tally
        self.feed = Feed(store)
        self.endings = Waiting()
        """Rings, by job_id, when a job has ended or is gone."""
        self.configured: Collection[str] = frozenset()
        """Ids listed in the config or in job files: they are neither pruned nor deleted."""
        self._limits = limits
        self._now = now
        self._resident = ResidentJobs(limits, lambda: now().time)
        self._changes = Changes(commit, tally, self._resident, self.feed, self.endings)
        self._registering = asyncio.Lock()

    @property
    def jobs(self) -> Mapping[str, Job]:
        """The jobs in memory, by id."""
        return self._resident.jobs

    @property
    def pending(self) -> int:
        """How many jobs are pending."""
        return self._resident.pending

    @property
    def by_state(self) -> Counter[JobState]:
        """How many jobs are stored, by state."""
        return self._changes.by_state

    @property
    def limits(self) -> RegistryLimits:
        """What the registry goes by."""
        return self._limits()

    def listen(self, listener: Callable[[Published], None]) -> None:
        """Have `listener` called with each change, right after its commit. It must be quick."""
        self._changes.listen(listener)

    async def load(self) -> Snapshot:
        """Read what is stored, after `store.open()`."""
        limits, now = self.limits, self._now()
        longest = max(limits.linger, limits.linger_failed, *limits.recheck_after, 0.0)
        await self.feed.start()
        return await self.store.load(
            LoadRequest(
                time=now.time,
                finished_after=now.time - longest,
                resume_within=limits.resume_within,
                layout=layout(self.tally.group_labels),
                recheck=RecheckDue(len(limits.recheck_after), now.time - limits.retention),
            )
        )

    def start(self, snapshot: Snapshot) -> None:
        """Go on from what was loaded; its jobs are published without events."""
        self.by_state.update(snapshot.by_state)
        for job in snapshot.jobs:
            self._resident.hold(None, job)
            self._changes.publish(Published(None, job))
        self.commit.start()

    def release(self) -> None:
        """End every stream of events and every wait for the end of a job: the exporter stops."""
        self.feed.close()
        self.endings.close()

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

        Raises `ExporterStoppedError` when the exporter stops before the end, `StoreError`.
        """
        while (job := await self.get(job_id)) is not None and job.pending:
            if job_id in self.jobs and not self.jobs[job_id].pending:
                continue  # it ended while the store was read
            await self.endings.wait(job_id)
        return job

    async def page(self, request: PageRequest) -> Page[Job]:
        """Return a page of jobs, each as memory has it if it is there; raises `StoreError`."""
        page = await self.store.page(request)
        return Page([self._resident.newest(job) for job in page.items], page.next)

    async def register(
        self, registrations: Sequence[Registration], source: Source
    ) -> list[Registered]:
        """Take in jobs, all or none, and return them once they are safe.

        Raises `RegistrationConflictError`, `RegistryFullError`, `StoreError`.
        """
        results = await self._take_in(registrations, source, whole=True)
        return [result for result in results if isinstance(result, Registered)]

    async def register_each(
        self, registrations: Sequence[Registration], source: Source
    ) -> list[Registered | Refused]:
        """Take in each job that can be, and return what became of them once they are safe.

        Fewer results than tellings: from there on there was no room. Raises `StoreError`.
        """
        return await self._take_in(registrations, source, whole=False)

    async def register_answered(self, outcome: Outcome) -> None:
        """Take in a new job as its first answer left it, in one commit.

        A job that has become known meanwhile stays as it is. Raises `RegistryFullError`,
        `StoreError`.
        """
        self.commit.check()
        async with self._registering:
            self.commit.check()
            if await self._known([outcome.job.job_id]):
                return
            if self.pending >= self.limits.max_pending:
                raise RegistryFullError
            change = self._changes.make(None, outcome.job, outcome.events, final=outcome.final)
            await self._changes.submit([(None, change)], must_store=True)

    async def change(
        self, job_id: str, incarnation: int, work: Callable[[Job], Outcome]
    ) -> Job | None:
        """Do `work` on a job as it is now, commit, and return the job as it then is.

        None when it is not in memory any more, or not in this incarnation. When the store cannot
        be written the change counts all the same (see `commit.py`).
        """
        await self._changes.settle([job_id])
        job = self.jobs.get(job_id)
        if job is None or job.incarnation != incarnation:
            return None
        outcome = work(job)
        if not outcome.events:
            self._changes.move(job, outcome.job)
            return self.jobs.get(job_id)
        change = self._changes.make(job, outcome.job, outcome.events, final=outcome.final)
        await self._changes.submit([(job, change)], must_store=False)
        return self.jobs.get(job_id)

    async def forget(self, job_id: str, reason: str = "deleted") -> bool:
        """Forget a job; False when it is unknown. Raises `StoreError`."""
        async with self._registering:
            job = (await self._known([job_id])).get(job_id)
            if job is None:
                return False
            change = self._changes.make(job, job, forget(job, self._now(), reason), forgotten=True)
            await self._changes.submit([(job, change)], must_store=True)
            return True

    async def acknowledge(self, key: str) -> OpenFailure | None:
        """Close a key and return what was open; None when it is not. Raises `StoreError`."""
        change = await self.store.acknowledge(key)
        if change is None:
            return None
        self._changes.publish(Published(None, None, ledger=change))
        return change.closed

    async def record(self, event: Event) -> None:
        """Put an event that concerns no job into the history."""
        await self._changes.submit([(None, Change(None, events=(event,)))], must_store=False)

    async def flush(self) -> None:
        """Store the progress of the jobs that moved since the last time; raises `StoreError`."""
        if self._resident.unsaved or not self.commit.writable:
            # First the clock of patience: were it behind the jobs after a kill, their rows of
            # answers would stand still until it had come as far again.
            await self.stamp()
        unsaved, under_way = self._resident.unsaved, self._changes.under_way
        names = [name for name in unsaved if name in self.jobs and name not in under_way]
        jobs = [self.jobs[name] for name in names]
        unsaved.intersection_update(under_way)
        if jobs:
            try:
                await self._changes.submit(
                    [(job, self._changes.make(job, job, ())) for job in jobs], must_store=True
                )
            except StoreError:
                unsaved.update(names)
                raise

    async def stamp(self) -> None:
        """Write a sign of life, by which the counters may resume; raises `StoreError`."""
        now = self._now()
        try:
            await self.store.stamp(SignOfLife(now.time, now.healthy_time))
        except StoreError as error:
            self.commit.failed(error)
            raise
        self.commit.worked()

    async def prune(self) -> None:
        """Drop finished jobs and events that are older than is kept; raises `StoreError`.

        In slices, so that no commit takes long and others come between.
        """
        held = [job_id for job_id, job in self.jobs.items() if not job.pending]
        keep = {*self.configured, *held}
        more = True
        while more:
            pruned = await self.store.prune(
                PruneRequest(
                    finished_before=self._now().time - self.limits.retention,
                    keep=keep,
                    history_events=self.limits.history_events,
                    limit=PRUNE_SLICE,
                )
            )
            self.by_state.subtract(pruned.jobs)
            more = pruned.more

    def evict(self) -> None:
        """Let go of the jobs that have lingered; the store still has them."""
        for job in self._resident.evict(self._changes.under_way):
            self._changes.publish(Published(job, None))

    async def _known(self, job_ids: Collection[str]) -> dict[str, Job]:
        """Return the jobs as they are once no change of theirs is under way."""
        stored = await self.store.get([name for name in job_ids if name not in self.jobs])
        await self._changes.settle(job_ids)
        # Between here and the commit nothing else runs, so what is read now still holds then.
        held = {name: self.jobs[name] for name in job_ids if name in self.jobs}
        return stored | held

    async def _take_in(
        self, registrations: Sequence[Registration], source: Source, *, whole: bool
    ) -> list[Registered | Refused]:
        self.commit.check()
        async with self._registering:
            while True:
                self.commit.check()  # who waited for another's failure need not wait for their own
                known = await self._known({one.job_id for one in registrations})
                room = self.limits.max_pending - self.pending
                taken = registrations[: fitting(registrations, known, room)]
                if whole and len(taken) < len(registrations):
                    raise RegistryFullError
                staged = stage(taken, known, source, self._now())
                if whole and staged.conflicts:
                    raise RegistrationConflictError(staged.conflicts)
                if await self._store_staged(staged.jobs.values()):
                    break
        return [self._result(at, one, staged) for at, one in enumerate(taken)]

    def _result(self, at: int, registration: Registration, staged: Stage) -> Registered | Refused:
        if at in staged.conflicts:
            return Refused(staged.conflicts[at])
        one = staged.jobs[registration.job_id]
        return Registered(self.jobs.get(registration.job_id) or one.after, new=one.new_at == at)

    async def _store_staged(self, staged: Iterable[Staged]) -> bool:
        """Commit what differs; False when another writer was first with one of the jobs."""
        changed = [
            (job.before, self._changes.make(job.before, job.after, job.events))
            for job in staged
            if job.after != job.before
        ]
        results = await self._changes.submit(changed, must_store=True) if changed else []
        return not any(isinstance(result, Fenced) for result in results)
