"""The steps of a change: the store first; after the commit, memory and the listeners.

The changes of one job are made one after the other.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Sequence

import structlog

from ..core.job import Job, JobState
from ..core.ledger import ledger_step
from ..core.published import Published
from ..core.tally import Tally
from ..core.value import replace
from ..storage.store import Accepted, Change, Fenced, StoreError
from .commit import GroupCommit, Settled
from .feed import Feed
from .resident import ResidentJobs
from .staging import Outcome
from .waiting import Waiting


class _Results:
    """The results of changes that are stored by one commit, in their order.

    One future for all of them: a future for each took a tenth of what a registration costs.
    """

    def __init__(self, changes: int) -> None:
        self.all: asyncio.Future[list[Accepted | Fenced]]
        self.all = asyncio.get_running_loop().create_future()
        self._found: list[Accepted | Fenced] = []
        self._changes = changes

    def add(self, result: Accepted | Fenced | StoreError) -> None:
        """Add the next result; an error is raised to the one who waits for all."""
        if self.all.done():  # failed already, or nobody waits any more
            return
        if isinstance(result, StoreError):
            self.all.set_exception(result)
            self.all.exception()  # retrieved, in case nobody waits any more
            return
        self._found.append(result)
        if len(self._found) == self._changes:
            self.all.set_result(self._found)


class Changes:
    """The changes in progress, and the listeners that are called when they are stored."""

    def __init__(
        self,
        commit: GroupCommit,
        tally: Tally,
        resident: ResidentJobs,
        feed: Feed,
        endings: Waiting,
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self.by_state: Counter[JobState] = Counter()
        """How many jobs are stored, by state."""
        self.under_way: set[str] = set()
        """Ids of the jobs with a change in progress."""
        self._ended = Waiting()
        """Notified, by job id, when a change in progress has ended."""
        self._commit = commit
        self._tally = tally
        self._resident = resident
        self._feed = feed
        self._endings = endings
        self._log = log
        self._listeners: list[Callable[[Published], None]] = []
        commit.written_late = self._written_late

    def listen(self, listener: Callable[[Published], None]) -> None:
        """See `Registry.listen`."""
        self._listeners.append(listener)

    async def settle(self, job_ids: Collection[str]) -> None:
        """Wait until none of these jobs has a change in progress."""
        while not self.under_way.isdisjoint(job_ids):
            await self._ended.wait(next(name for name in job_ids if name in self.under_way))

    def make(self, before: Job | None, outcome: Outcome, *, forgotten: bool = False) -> Change:
        """Return the change that stores an outcome, with everything that it counts."""
        expected = before.version if before else 0
        after, events = outcome.job, tuple(outcome.events)
        if after.version != expected + 1:
            after = replace(after, version=expected + 1)
        return Change(
            job=after,
            expected=expected,
            events=events,
            deltas=tuple(self._tally.deltas(after, events)),
            admitted=self._tally.bounds.take_fresh(),
            final=outcome.final,
            forgotten=forgotten,
            ledger=None if forgotten else ledger_step(before, after),
        )

    async def submit(
        self, changes: Sequence[tuple[Job | None, Change]], *, must_store: bool
    ) -> list[Accepted | Fenced]:
        """Store and publish changes, each given with the job before it.

        With `must_store`, raises `StoreError` if they could not be stored. Without it they count
        anyway (see `commit.py`).
        """
        self.under_way.update(change.job.job_id for _, change in changes if change.job is not None)
        results = _Results(len(changes))
        self._commit.submit(
            [(change, self._settler(before, change, results)) for before, change in changes],
            must_store=must_store,
        )
        # If the caller is cancelled, the commit still goes on and is published.
        return await results.all

    def move(self, before: Job, after: Job) -> None:
        """Publish a job whose change is not an event; the next flush stores it.

        Most polls change nothing but when the job was polled, and nobody listens for that.
        """
        if self._resident.move(before, after):
            self.publish(Published(before, after))

    def publish(self, published: Published) -> None:
        """Call every listener, feed the stream, and wake the tasks that wait for the job's end.

        A listener's error is logged; the others are called all the same.
        """
        for listener in self._listeners:
            try:
                listener(published)
            except Exception as error:  # noqa: BLE001
                self._log.error("listener failed", exc_info=error)
        before, after = published.before, published.after
        if before is not None and after is not None:
            # Before the events, so that no progress comes after the job's end.
            self._feed.add_progress(before, after)
        self._feed.add_events(published.events, published.event_ids)
        if before is not None and before.pending and (after is None or not after.pending):
            self._endings.notify(before.job_id)

    def _settler(self, before: Job | None, change: Change, results: _Results) -> Settled:
        def settled(result: Accepted | Fenced | StoreError) -> None:
            try:
                if isinstance(result, Accepted):
                    self._accept(before, change, result)
                else:
                    self._tally.bounds.give_back(change.admitted)
                    if isinstance(result, Fenced) and before is not None:
                        self._take_stored(before, result.known)
            finally:
                if change.job is not None:
                    self.under_way.remove(change.job.job_id)
                    self._ended.notify(change.job.job_id)
                results.add(result)

        return settled

    def _accept(self, before: Job | None, change: Change, accepted: Accepted) -> None:
        after = change.job
        if after is not None and change.forgotten:
            self.by_state[after.state] -= 1
            self._resident.remove(after)
            after = None
        elif after is not None:
            if before is None:
                # Nobody has seen the job yet. A copy would take longer than making it did.
                object.__setattr__(after, "incarnation", accepted.incarnation)
            else:
                self.by_state[before.state] -= 1
            self.by_state[after.state] += 1
            if before is None or before.job_id in self._resident.jobs:
                self._resident.put(before, after)
        self.publish(
            Published(
                before, after, change.events, change.deltas, accepted.event_ids, accepted.ledger
            )
        )

    def _written_late(self, change: Change, result: Accepted | Fenced) -> None:
        """Publish the event ids and the ledger's change; the rest was published when it counted."""
        if not isinstance(result, Accepted):
            return
        self._feed.add_events(change.events, result.event_ids)
        if result.ledger is not None:
            self.publish(Published(None, None, ledger=result.ledger))

    def _take_stored(self, before: Job, known: Job | None) -> None:
        """Replace a job in memory by the value that another writer has stored in the meantime."""
        if before.job_id not in self._resident.jobs:
            return
        if known is None:
            self._resident.remove(before)
        else:
            self._resident.put(before, known)
        self.publish(Published(before, known))
