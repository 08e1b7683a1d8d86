"""What a store is: the Protocol that SQLite and the in-process double fulfil.

A store takes changes in groups: one commit, or none of it. Each change names the version that it
was made from, and one made from an older version, or from a former incarnation of the id, is
fenced: nothing of it is stored or counted. Event ids are given at commit and only rise.
One suite of tests (`tests/storage/test_store.py`) runs over every store.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from ..core.events import Event
from ..core.job import Job, JobState
from ..core.ledger import LedgerChange, LedgerStep, OpenFailure
from ..core.tally import Delta, Labels

MAX_FINAL_BODY_BYTES = 64 * 1024
"""A final answer is kept byte for byte to this length; a longer one is kept as rendered."""


COUNTER: Final = -1
SUM: Final = -2
"""What `SeriesTotal.bucket` is where it is not a bucket's index."""


class StoreError(Exception):
    """The store cannot be read or written just now; the message says why."""


class StoreUnusableError(StoreError):
    """The store cannot be opened at all: in use, foreign, damaged, newer than this program."""


@dataclass(frozen=True, slots=True)
class FinalAnswer:
    """The upstream's last answer about a job, so that it can be given again."""

    http_status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Change:
    """What one commit does to one job.

    `expected` is the version that `job` was made from, 0 for a job that must not be there yet;
    `job.version` is the one after. `job` is None for events that concern no job.
    `admitted` are label values that `tally.LabelBounds` took in for these deltas.
    """

    job: Job | None
    expected: int = 0
    events: tuple[Event, ...] = ()
    deltas: tuple[Delta, ...] = ()
    admitted: tuple[tuple[str, str], ...] = ()
    final: FinalAnswer | None = None
    forgotten: bool = False
    ledger: LedgerStep | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The change is stored. A new job has got its incarnation."""

    event_ids: tuple[int, ...]
    incarnation: int
    ledger: LedgerChange | None = None


@dataclass(frozen=True, slots=True)
class Fenced:
    """The change was made from something else than what is stored, which is `known`."""

    known: Job | None


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event with the id by which a stream resumes."""

    id: int
    event: Event


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs a list is of; None admits all."""

    state: str | None = None
    source: str | None = None
    mode: str | None = None
    key: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many jobs went, by state, and whether there may be more to drop."""

    jobs: Mapping[JobState, int]
    more: bool


@dataclass(frozen=True, slots=True)
class SeriesTotal:
    """One stored number: a counter (`COUNTER`), one bucket of a histogram, or its `SUM`."""

    name: str
    labels: Labels
    bucket: int
    amount: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is there at start. `totals` is empty when counters must begin at 0 again."""

    jobs: Sequence[Job]
    totals: Sequence[SeriesTotal]
    admitted: Sequence[tuple[str, str]]
    by_state: Mapping[JobState, int]
    healthy_time: float
    unresolved: Sequence[tuple[Mapping[str, str], int]] = ()
    """How many keys of the failure ledger are open, by their jobs' labels."""
    kept: Mapping[str, str] = field(default_factory=dict)
    """What `Store.keep` stored, by name."""


@dataclass(frozen=True, slots=True)
class RecheckDue:
    """Which finished jobs are to be asked again: verdicts of ours, rechecked fewer than `times`.

    Those that ended up to `finished_after` are not: they are about to be pruned.
    """

    times: int
    finished_after: float


NO_RECHECK: Final = RecheckDue(0, 0.0)


def parts_of(delta: Delta) -> list[tuple[int, float]]:
    """Return what a delta adds to which numbers of its series, as (bucket, amount)."""
    if delta.bucket is None:
        return [(COUNTER, delta.amount)]
    return [(delta.bucket, 1.0), (SUM, delta.amount)]


@dataclass(frozen=True, slots=True)
class SetAside:
    """A damaged database, which was moved out of the way when another was begun in its place."""

    path: str
    moved_to: str
    damage: str


class Store(Protocol):
    """A place for jobs, events and totals. All times are in seconds since 1970."""

    async def open(self) -> SetAside | None:
        """Open or create; return what was damaged and set aside. Raises `StoreUnusableError`."""

    def set_deadline(self, seconds: float) -> None:
        """Let all writes from now on wait `seconds` in total for others that lock the store."""

    async def close(self) -> None:
        """Close; what was applied stays."""

    async def load(
        self,
        *,
        time: float,
        finished_after: float,
        resume_within: float,
        layout: str,
        recheck: RecheckDue = NO_RECHECK,
    ) -> Snapshot:
        """Return pending jobs, those finished after a time or with a recheck due, and the totals.

        The totals begin at 0 when the store's last sign of life is older than `resume_within`
        seconds or its series had another `layout`: an old copy must look like a reset.
        """
        ...

    async def apply(self, changes: Sequence[Change]) -> list[Accepted | Fenced]:
        """Store a group of changes in one commit; raises `StoreError`, then nothing is stored."""
        ...

    async def get(self, job_ids: Collection[str]) -> dict[str, Job]:
        """Return those of the jobs that are known."""
        ...

    async def final_answer(self, job_id: str) -> FinalAnswer | None:
        """Return the answer that ended a job."""
        ...

    async def page(
        self, job_filter: JobFilter, *, limit: int, before: int | None
    ) -> tuple[list[Job], int | None]:
        """Return jobs, newest first, of incarnations below `before`, and where the next begin."""
        ...

    async def history(
        self,
        *,
        after: int,
        limit: int,
        type: str | None = None,  # noqa: A002 - the name in the interface
        job_id: str | None = None,
        newest: bool = False,
    ) -> list[StoredEvent]:
        """Return events with ids above `after`, oldest first.

        The first `limit` of them, or with `newest` the last.
        """
        ...

    async def history_bounds(self) -> tuple[int, int]:
        """Return the id of the oldest event that is kept, and of the newest that ever was.

        Where none is kept the first is one above the second.
        """
        ...

    async def failures(
        self, *, limit: int, before: int | None, key: str | None = None
    ) -> tuple[list[OpenFailure], int | None]:
        """Return open keys, the newest first, below the cursor `before`, and the next cursor."""
        ...

    async def acknowledge(self, key: str) -> LedgerChange | None:
        """Close a key; None when it is not open."""
        ...

    async def stamp(self, *, time: float, healthy_time: float) -> None:
        """Write a sign of life."""

    async def keep(self, name: str, text: str) -> None:
        """Keep a text under a name, in place of the former one; see `Snapshot.kept`."""

    async def prune(
        self, *, finished_before: float, keep: Collection[str], history: int, limit: int
    ) -> Pruned:
        """Drop at most `limit` old finished jobs and events past the newest `history`."""
        ...
