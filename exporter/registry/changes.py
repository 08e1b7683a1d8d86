"""The way of a change: to the store, and only after the commit into memory and to the listeners.

Changes of one job go one after the other.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

from ..core.events import Event
from ..core.job import Job, JobState
from ..core.ledger import ledger_step
from ..core.published import Published
from ..core.tally import Tally
from ..storage.store import Accepted, Change, Fenced, FinalAnswer
from .commit import GroupCommit, Settled
from .feed import Feed
from .resident import ResidentJobs
from .waiting import Waiting


class Changes:
    """Changes under way, and who is told when they are through."""

    def __init__(
        self, commit: GroupCommit, tally: Tally, held: ResidentJobs, feed: Feed, endings: Waiting
    ) -> None:
        self.by_state: Counter[JobState] = Counter()
        """How many jobs are stored, by state."""
        self.under_way: dict[str, asyncio.Event] = {}
        """By job_id: set when the job's change is through."""
        self._commit = commit
        self._tally = tally
        self._resident = held
        self._feed = feed
        self._endings = endings
        self._listeners: list[Callable[[Published], None]] = []
        commit.written_late = self._written_late

    def listen(self, listener: Callable[[Published], None]) -> None:
        """See `Registry.listen`."""
        self._listeners.append(listener)

    async def settle(self, job_ids: Collection[str]) -> None:
        """Wait until no change of these jobs is under way."""
        while changes := [self.under_way[name] for name in job_ids if name in self.under_way]:
            for change in changes:
                await change.wait()

    def make(
        self,
        before: Job | None,
        after: Job,
        events: Iterable[Event],
        *,
        final: FinalAnswer | None = None,
        forgotten: bool = False,
    ) -> Change:
        """Return the change that makes `after` of `before`, with all it counts."""
        expected = before.version if before else 0
        events = tuple(events)
        return Change(
            job=replace(after, version=expected + 1),
            expected=expected,
            events=events,
            deltas=tuple(self._tally.deltas(after, events)),
            admitted=self._tally.bounds.take_fresh(),
            final=final,
            forgotten=forgotten,
            ledger=None if forgotten else ledger_step(before, after),
        )

    async def submit(
        self, changes: Sequence[tuple[Job | None, Change]], *, must_store: bool
    ) -> list[Accepted | Fenced]:
        """Have changes, each with the job as it was before, stored and published.

        With `must_store` raises `StoreError` while the store cannot be written; without, they count
        all the same (see `commit.py`).
        """
        for _, change in changes:
            if change.job is not None:
                self.under_way[change.job.job_id] = asyncio.Event()
        futures = self._commit.submit(
            [(change, self._settler(before, change)) for before, change in changes],
            must_store=must_store,
        )
        # Whoever waits may be cancelled; the commit goes on and is published all the same.
        gathered = asyncio.gather(*futures)
        gathered.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen
        return await asyncio.shield(gathered)

    def move(self, before: Job, after: Job) -> None:
        """Show at once what is no event; the next flush stores it."""
        self._resident.move(before, after)
        self.publish(Published(before, after))

    def publish(self, published: Published) -> None:
        """Tell all who listen."""
        for listener in self._listeners:
            listener(published)
        before, after = published.before, published.after
        if before is not None and after is not None:
            # First, so that nothing of a job comes after its end.
            self._feed.moved(before, after)
        self._feed.written(published.events, published.event_ids)
        if before is not None and before.pending and (after is None or not after.pending):
            self._endings.notify(before.job_id)

    def _settler(self, before: Job | None, change: Change) -> Settled:
        def settled(result: Accepted | Fenced | None) -> None:
            if isinstance(result, Accepted):
                self._accept(before, change, result)
            else:
                self._tally.bounds.give_back(change.admitted)
                if isinstance(result, Fenced) and before is not None:
                    self._yield_to(before, result.known)
            if change.job is not None:
                self.under_way.pop(change.job.job_id).set()

        return settled

    def _accept(self, before: Job | None, change: Change, accepted: Accepted) -> None:
        after = change.job
        if after is not None and change.forgotten:
            self.by_state[after.state] -= 1
            self._resident.let_go(after)
            after = None
        elif after is not None:
            after = replace(after, incarnation=accepted.incarnation)
            if before is not None:
                self.by_state[before.state] -= 1
            self.by_state[after.state] += 1
            if before is None or before.job_id in self._resident.jobs:
                self._resident.hold(before, after)
        self.publish(
            Published(
                before, after, change.events, change.deltas, accepted.event_ids, accepted.ledger
            )
        )

    def _written_late(self, change: Change, result: Accepted | Fenced) -> None:
        """Only now have the events their ids, and the ledger changes; all else was published."""
        if not isinstance(result, Accepted):
            return
        self._feed.written(change.events, result.event_ids)
        if result.ledger is not None:
            self.publish(Published(None, None, ledger=result.ledger))

    def _yield_to(self, before: Job, known: Job | None) -> None:
        """Another writer was first: what it stored is what is true."""
        if before.job_id not in self._resident.jobs:
            return
        if known is None:
            self._resident.let_go(before)
        else:
            self._resident.hold(before, known)
        self.publish(Published(before, known))
