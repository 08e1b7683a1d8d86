"""The registry: the sole owner and writer of jobs.

Memory holds the jobs that are pending, linger after their end, or will be asked again
(`resident.py`); older ones are read from the store. A change is visible only after it is stored
(`changes.py`). Progress is not an event: it is visible at once, and the next flush stores it
(`upkeep.py`).
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

import structlog

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
    RecheckDue,
    Snapshot,
    Store,
)
from .changes import Changes
from .commit import GroupCommit
from .feed import Feed
from .limits import RegistryLimits
from .registering import Registering
from .resident import ResidentJobs
from .staging import Outcome, Refused, Registered, Registration
from .upkeep import Upkeep
from .waiting import Waiting


class Registry:
    """Jobs by id, their changes, and the listeners to these changes.

    History, open failures and final answers are read from `store` directly.
    """

    def __init__(
        self,
        store: Store,
        commit: GroupCommit,
        tally: Tally,
        limits: Callable[[], RegistryLimits],
        now: Callable[[], Now],
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self.store = store
        self.commit = commit
        self.tally = tally
        self.feed = Feed(store)
        self.endings = Waiting()
        """Notified, by job id, when a job has ended or was forgotten."""
        self.configured: Collection[str] = frozenset()
        """Ids in the config or in job files: these jobs are neither pruned nor deleted."""
        self._limits = limits
        self._now = now
        self._resident = ResidentJobs(limits, lambda: now().time)
        self._changes = Changes(commit, tally, self._resident, self.feed, self.endings, log)
        self.jobs: Mapping[str, Job] = self._resident.jobs
        """The jobs in memory, by id."""
        self.by_state: Counter[JobState] = self._changes.by_state
        """How many jobs are stored, by state."""
        self.upkeep = Upkeep(
            store, commit, self._resident, self._changes, lambda: self.configured, limits, now
        )
        self._registering = Registering(store, commit, self._changes, self._resident, limits, now)

    @property
    def pending(self) -> int:
        """How many jobs are pending."""
        return self._resident.pending

    @property
    def limits(self) -> RegistryLimits:
        """The limits in force."""
        return self._limits()

    def listen(self, listener: Callable[[Published], None]) -> None:
        """Call `listener` with each change, right after its commit. It must return quickly.

        A poll that changed nothing but `last_polled_at` is not published. An error that the
        listener raises is logged.
        """
        self._changes.listen(listener)

    async def load(self) -> Snapshot:
        """Read what is stored; `store` must be open."""
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
        """Take over the loaded jobs, which are published without events, and begin to write."""
        self.by_state.update(snapshot.by_state)
        for job in snapshot.jobs:
            self._resident.put(None, job)
            self._changes.publish(Published(None, job))
        self.commit.start()

    def release(self) -> None:
        """End every stream of events and every wait for a job's end: the exporter is stopping."""
        self.feed.close()
        self.endings.close()

    async def close(self) -> None:
        """Store the rest and stop writing; raises `StoreError`. `store` itself stays open."""
        try:
            await self.upkeep.flush()
            await self.upkeep.stamp()
        finally:
            await self.commit.close()

    async def get(self, job_id: str) -> Job | None:
        """Return a job from memory or the store; raises `StoreError`."""
        return self.jobs.get(job_id) or (await self.store.get([job_id])).get(job_id)

    async def wait_for_end(self, job_id: str) -> Job | None:
        """Return a job once it has ended; None when it is unknown or is forgotten meanwhile.

        Raises `ExporterStoppedError` if the exporter stops before that, and `StoreError`.
        """
        while (job := await self.get(job_id)) is not None and job.pending:
            if job_id in self.jobs and not self.jobs[job_id].pending:
                continue  # it ended while the store was read
            await self.endings.wait(job_id)
        return job

    async def page(self, request: PageRequest) -> Page[Job]:
        """Return a page of jobs, with the newer values from memory; raises `StoreError`."""
        page = await self.store.page(request)
        return Page([self._resident.newest(job) for job in page.items], page.next)

    async def register(
        self, registrations: Sequence[Registration], source: Source
    ) -> list[Registered]:
        """Register jobs, all or none, and return once they are stored.

        Raises `RegistrationConflictError`, `RegistryFullError`, `StoreError`.
        """
        results = await self._registering.register(registrations, source, whole=True)
        return [result for result in results if isinstance(result, Registered)]

    async def register_each(
        self, registrations: Sequence[Registration], source: Source
    ) -> list[Registered | Refused]:
        """Register each job that can be registered, and return the results once it is stored.

        Fewer results than registrations mean that there was no room for the rest. Raises
        `StoreError`.
        """
        return await self._registering.register(registrations, source, whole=False)

    async def register_answered(self, outcome: Outcome) -> None:
        """Register a new job together with its first answer, in one commit.

        A job that was registered in the meantime is left unchanged. Raises `RegistryFullError`
        and `StoreError`.
        """
        await self._registering.register_answered(outcome)

    async def change(
        self, job_id: str, incarnation: int, work: Callable[[Job], Outcome]
    ) -> Job | None:
        """Do `work` on the newest value of a job, commit the outcome, and return the job.

        None if the job, in this incarnation, is not in memory any more. If the store cannot be
        written, the change counts anyway (see `commit.py`).
        """
        if job_id in self._changes.under_way:
            await self._changes.settle([job_id])
        job = self.jobs.get(job_id)
        if job is None or job.incarnation != incarnation:
            return None
        outcome = work(job)
        if not outcome.events:
            self._changes.move(job, outcome.job)
            return self.jobs.get(job_id)
        await self._changes.submit([(job, self._changes.make(job, outcome))], must_store=False)
        return self.jobs.get(job_id)

    async def forget(self, job_id: str, reason: str = "deleted") -> bool:
        """Forget a job; False when it is unknown. Raises `StoreError`."""
        while True:
            job = (await self._registering.known([job_id], look=True)).get(job_id)
            if job is None:
                return False
            outcome = Outcome(job, forget(job, self._now(), reason))
            change = self._changes.make(job, outcome, forgotten=True)
            [result] = await self._changes.submit([(job, change)], must_store=True)
            if not isinstance(result, Fenced):  # another writer was first: look again
                return True

    async def acknowledge(self, key: str) -> OpenFailure | None:
        """Close a key and return what was open; None if it is not open. Raises `StoreError`."""
        change = await self.store.acknowledge(key)
        if change is None:
            return None
        self._changes.publish(Published(None, None, ledger=change))
        return change.closed[0]

    async def record(self, event: Event) -> None:
        """Add an event that concerns no job to the history."""
        await self._changes.submit([(None, Change(None, events=(event,)))], must_store=False)
