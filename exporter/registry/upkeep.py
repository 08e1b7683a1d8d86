"""Work on the registry that is done periodically: store progress, drop what is old.

Housekeeping does it as its chores. None of it is visible to those who read jobs.
"""

from collections.abc import Callable, Collection
from typing import Final

from ..core.events import Now
from ..core.ledger import LedgerChange
from ..core.published import Published
from ..storage.store import PruneRequest, SignOfLife, Store, StoreError
from .changes import Changes
from .commit import GroupCommit
from .limits import RegistryLimits
from .resident import ResidentJobs
from .staging import Outcome

PRUNE_SLICE: Final = 1000
"""How many rows one commit drops: pruning goes in slices, so that no commit takes long."""


class Upkeep:
    """The periodic work of one registry. `configured` gives the ids that are never pruned."""

    def __init__(
        self,
        store: Store,
        commit: GroupCommit,
        resident: ResidentJobs,
        changes: Changes,
        configured: Callable[[], Collection[str]],
        limits: Callable[[], RegistryLimits],
        now: Callable[[], Now],
    ) -> None:
        self._store = store
        self._commit = commit
        self._resident = resident
        self._changes = changes
        self._configured = configured
        self._limits = limits
        self._now = now

    async def flush(self) -> None:
        """Store the progress of the jobs that moved since the last flush; raises `StoreError`."""
        if self._resident.unsaved or not self._commit.writable:
            # Healthy time is stored first. If after a kill it were behind the times in the jobs,
            # their runs of answers would not grow until it had caught up.
            await self.stamp()
        unsaved, under_way = self._resident.unsaved, self._changes.under_way
        names = [name for name in unsaved if name in self._resident.jobs and name not in under_way]
        jobs = [self._resident.jobs[name] for name in names]
        unsaved.intersection_update(under_way)
        if jobs:
            try:
                await self._changes.submit(
                    [(job, self._changes.make(job, Outcome(job))) for job in jobs],
                    must_store=True,
                )
            except StoreError:
                unsaved.update(names)
                raise

    async def stamp(self) -> None:
        """Write a sign of life, so that counters resume after a restart; raises `StoreError`."""
        now = self._now()
        try:
            await self._store.stamp(SignOfLife(now.time, now.healthy_time))
        except StoreError as error:
            self._commit.failed(error)
            raise
        self._commit.worked()

    async def prune(self) -> None:
        """Drop finished jobs and events that are past their retention; raises `StoreError`.

        It goes in slices, so that other changes can be committed in between.
        """
        resident = [job_id for job_id, job in self._resident.jobs.items() if not job.pending]
        keep = {*self._configured(), *resident}
        more = True
        while more:
            pruned = await self._store.prune(
                PruneRequest(
                    finished_before=self._now().time - self._limits().retention,
                    keep=keep,
                    history_events=self._limits().history_events,
                    limit=PRUNE_SLICE,
                )
            )
            self._changes.by_state.subtract(pruned.jobs)
            if pruned.failures:
                self._changes.publish(Published(None, None, ledger=LedgerChange(pruned.failures)))
            more = pruned.more

    async def evict(self) -> None:
        """Remove from memory the jobs whose time there is up; the store still has them."""
        for job in self._resident.evict(self._changes.under_way):
            self._changes.publish(Published(job, None))
