"""Registers jobs: works out what registrations change, and has it stored.

Requests do not wait for each other, so those that come while a commit runs share the next one.
A job that is not in memory is taken for a new one, without a look into the store: if the store
knows it after all, it refuses the change, and the registration is tried again with what it knows.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from ..core.events import Now
from ..core.job import Job, Source
from ..storage.store import Accepted, Change, Store
from .changes import Changes
from .commit import GroupCommit
from .limits import RegistryLimits
from .resident import ResidentJobs
from .staging import (
    Outcome,
    Refused,
    Registered,
    Registration,
    RegistrationConflictError,
    RegistryFullError,
    Staged,
    fitting,
    stage,
)


class Registering:
    """The registrations of one registry."""

    def __init__(
        self,
        store: Store,
        commit: GroupCommit,
        changes: Changes,
        resident: ResidentJobs,
        limits: Callable[[], RegistryLimits],
        now: Callable[[], Now],
    ) -> None:
        self._store = store
        self._commit = commit
        self._changes = changes
        self._resident = resident
        self._limits = limits
        self._now = now
        self._being_stored = 0
        """How many new jobs are being stored: they take room already."""

    async def register(
        self, registrations: Sequence[Registration], source: Source, *, whole: bool
    ) -> list[Registered | Refused]:
        """Register jobs, with `whole` all or none; see `Registry.register`, `register_each`."""
        job_ids = {one.job_id for one in registrations}
        # Of several jobs, all or none: what the store knows must be known before one is stored.
        look = whole and len(job_ids) > 1
        created: set[str] = set()
        while True:
            known = await self.known(job_ids, look=look)
            self._commit.check()  # the store may have failed meanwhile
            batch = registrations[: fitting(registrations, known, self._room)]
            if len(batch) < len(registrations):
                if not look:  # some may be in the store, and take no room
                    look = True
                    continue
                if whole:
                    raise RegistryFullError
            staged = stage(batch, known, source, self._now())
            if whole and staged.conflicts:
                raise RegistrationConflictError(staged.conflicts)
            stored, added = await self._store_staged(staged, known)
            created |= added
            if stored:
                return self._results(batch, staged, created)
            look = True

    async def register_answered(self, outcome: Outcome) -> None:
        """See `Registry.register_answered`."""
        if outcome.job.job_id in await self.known([outcome.job.job_id], look=False):
            return
        self._commit.check()
        if self._room <= 0:
            raise RegistryFullError
        # A store that knows the job refuses the change, and keeps its own.
        await self._submit([(None, self._changes.make(None, outcome))])

    async def known(self, job_ids: Collection[str], *, look: bool) -> dict[str, Job]:
        """Return the known jobs once none has a change in progress, with `look` the stored too."""
        self._commit.check()
        jobs, stored = self._resident.jobs, dict[str, Job]()
        if look:
            stored = await self._store.get([name for name in job_ids if name not in jobs])
        await self._changes.settle(job_ids)
        # No other task runs between here and `submit`, so what is read now is still true then.
        return stored | {name: jobs[name] for name in job_ids if name in jobs}

    @property
    def _room(self) -> int:
        return self._limits().max_pending - self._resident.pending - self._being_stored

    async def _store_staged(
        self, staged: Staged, known: Mapping[str, Job]
    ) -> tuple[bool, set[str]]:
        """Commit the jobs that differ; return whether all were stored, and which new ones were."""
        changes = [
            (before, self._changes.make(before, outcome))
            for job_id, outcome in staged.outcomes.items()
            if (before := known.get(job_id)) != outcome.job
        ]
        accepted = await self._submit(changes)
        new = {
            change.job.job_id
            for (before, change), done in zip(changes, accepted, strict=True)
            if done and before is None and change.job is not None
        }
        return all(accepted), new

    async def _submit(self, changes: Sequence[tuple[Job | None, Change]]) -> list[bool]:
        """Store changes; return of each whether it was accepted. Raises `StoreError`."""
        if not changes:
            return []
        new = sum(before is None for before, _ in changes)
        self._being_stored += new
        try:
            results = await self._changes.submit(changes, must_store=True)
        finally:
            self._being_stored -= new
        return [isinstance(result, Accepted) for result in results]

    def _results(
        self, batch: Sequence[Registration], staged: Staged, created: set[str]
    ) -> list[Registered | Refused]:
        results: list[Registered | Refused] = []
        for at, one in enumerate(batch):
            if at in staged.conflicts:
                results.append(Refused(staged.conflicts[at]))
                continue
            job = self._resident.jobs.get(one.job_id) or staged.outcomes[one.job_id].job
            results.append(Registered(job, new=one.job_id in created))
            created.discard(one.job_id)  # for a second registration in the same batch it is known
        return results
