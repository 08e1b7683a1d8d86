"""The Protocol of a store, which SQLite and the in-process double fulfil, and its values.

A store takes changes in groups; a group is one commit, stored whole or not at all. Each change
names the version that it was made from. A change that was made from an older version, or for a
former incarnation of the id, is fenced: nothing of it is stored or counted. Event ids are assigned
at commit and only rise. One suite of tests (`tests/storage/test_store.py`) runs over every store.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

from ..core.events import Event
from ..core.job import Job, JobState
from ..core.ledger import MAX_OPEN, LedgerChange, LedgerStep, OpenFailure
from ..core.tally import Delta, Labels
from ..core.value import value

MAX_FINAL_BODY_BYTES = 64 * 1024
"""A final answer is kept byte for byte up to this length; a longer one is kept as rendered."""

COUNTER: Final = -1
SUM: Final = -2
"""`SeriesTotal.bucket` of a number that is not a histogram's bucket."""

Item = TypeVar("Item")


class StoreError(Exception):
    """The store cannot be read or written at the moment; the message says why."""


class StoreUnusableError(StoreError):
    """The store cannot be opened: it is in use, foreign, damaged or newer than this program."""


@dataclass(frozen=True, slots=True)
class FinalAnswer:
    """The upstream's last answer about a job, kept so that it can be repeated."""

    http_status: int
    content_type: str
    body: bytes


@value(frozen=True, slots=True)
class Change:
    """The effect of one commit on one job.

    `expected` is the version that `job` was made from, or 0 for a job that must not exist yet;
    `job.version` is the version after the commit. `job` is None for events that concern no job.
    `admitted` are the label values that `tally.LabelBounds` took in for these deltas.
    """

    job: Job | None
    expected: int = 0
    events: tuple[Event, ...] = ()
    deltas: tuple[Delta, ...] = ()
    admitted: tuple[tuple[str, str], ...] = ()
    final: FinalAnswer | None = None
    forgotten: bool = False
    ledger: LedgerStep | None = None


@value(frozen=True, slots=True)
class Accepted:
    """The change is stored. A new job has received its incarnation."""

    event_ids: tuple[int, ...]
    incarnation: int
    ledger: LedgerChange | None = None


@dataclass(frozen=True, slots=True)
class Fenced:
    """The change was not made from what is stored, which is `known`; it was dropped."""

    known: Job | None


@value(frozen=True, slots=True)
class StoredEvent:
    """An event with the id by which a stream resumes."""

    id: int
    event: Event


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs a list shows; a field that is None admits all."""

    state: str | None = None
    source: str | None = None
    mode: str | None = None
    key: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    variation: str | None = None
    """A variation that the upstream ignored for the job, in any of its answers."""
    warning: str | None = None
    """A variation that the upstream warned about for the job, in any of its answers."""


@dataclass(frozen=True, slots=True)
class RecheckDue:
    """Which finished jobs are to be asked again: inferred ends, rechecked fewer than `times`.

    Jobs that ended at `finished_after` or earlier are left out: they are about to be pruned.
    """

    times: int
    finished_after: float


NO_RECHECK: Final = RecheckDue(0, 0.0)


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """What to read at start: pending jobs, and finished jobs that memory still needs.

    The totals begin at 0 when the store's last sign of life is more than `resume_within` seconds
    before `time`, or when its series had another `layout`: an old copy must look like a reset.
    """

    time: float
    finished_after: float
    """Jobs that finished later than this are loaded."""
    resume_within: float
    layout: str
    recheck: RecheckDue = NO_RECHECK


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The content of a store at start. `totals` is empty when counters must begin at 0 again."""

    jobs: Sequence[Job]
    totals: Sequence["SeriesTotal"]
    admitted: Sequence[tuple[str, str]]
    by_state: Mapping[JobState, int]
    healthy_time: float
    unresolved: Sequence[tuple[Mapping[str, str], int]] = ()
    """How many keys of the failure ledger are open, by their jobs' labels."""
    kept: Mapping[str, str] = field(default_factory=dict)
    """What `Store.keep` stored, by name."""


@dataclass(frozen=True, slots=True)
class SeriesTotal:
    """One stored number: a counter (`COUNTER`), one bucket of a histogram, or its `SUM`."""

    name: str
    labels: Labels
    bucket: int
    amount: float


@dataclass(frozen=True, slots=True)
class PageRequest:
    """One page of the jobs that `job_filter` admits: at most `limit`, newest first.

    `before` is the `Page.next` of the page before; None begins with the newest job.
    """

    limit: int
    before: int | None = None
    job_filter: JobFilter = JobFilter()


@dataclass(frozen=True, slots=True)
class FailuresRequest:
    """One page of the open failures, newest first; `key` selects a single one."""

    limit: int
    before: int | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """One page of a list, and where the next page begins; None after the last page."""

    items: Sequence[Item]
    next: int | None = None


@dataclass(frozen=True, slots=True)
class HistoryRequest:
    """Events with ids above `after`, oldest first; filters that are None admit all.

    When there are more than `limit`, the first `limit` of them, or with `newest` the last.
    """

    limit: int
    after: int = 0
    type: str | None = None
    job_id: str | None = None
    variation: str | None = None
    newest: bool = False


@dataclass(frozen=True, slots=True)
class PruneRequest:
    """What to drop in one commit: at most `limit` jobs and `limit` events.

    Jobs go that finished before `finished_before`, except those in `keep` and those with an open
    entry in the failure ledger. Events go that are
    older than the newest `history_events`, and open failures that are older than the newest
    `open_failures`.
    """

    finished_before: float
    keep: Collection[str]
    history_events: int
    limit: int
    open_failures: int = MAX_OPEN


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many jobs were dropped, by state, and whether there may be more to drop.

    `failures` are the entries of the failure ledger that were dropped.
    """

    jobs: Mapping[JobState, int]
    more: bool
    failures: tuple[OpenFailure, ...] = ()


@dataclass(frozen=True, slots=True)
class SignOfLife:
    """That the exporter ran at `time`, and its healthy time then (see `events.Now`)."""

    time: float
    healthy_time: float


def parts_of(delta: Delta) -> list[tuple[int, float]]:
    """Return the numbers of a series that a delta adds to, as (bucket, amount)."""
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
    """A place for jobs, events and totals. All times are in seconds since 1970.

    Each method except `open` and `close` raises `StoreError` when the store cannot be used.
    """

    async def open(self) -> SetAside | None:
        """Open or create; return what was damaged and set aside. Raises `StoreUnusableError`."""

    def set_deadline(self, seconds: float) -> None:
        """Let all writes from now on wait `seconds` in total for others that lock the store."""

    async def close(self) -> None:
        """Close; everything that was applied is kept."""

    async def load(self, request: LoadRequest) -> Snapshot:
        """Return what an exporter needs at start."""
        ...

    async def apply(self, changes: Sequence[Change]) -> list[Accepted | Fenced]:
        """Store a group of changes in one commit; after a `StoreError` nothing is stored."""
        ...

    async def get(self, job_ids: Collection[str]) -> dict[str, Job]:
        """Return the jobs that are known, by id."""
        ...

    async def final_answer(self, job_id: str) -> FinalAnswer | None:
        """Return the answer that ended a job."""
        ...

    async def page(self, request: PageRequest) -> Page[Job]:
        """Return a page of jobs. The cursor is an incarnation."""
        ...

    async def history(self, request: HistoryRequest) -> list[StoredEvent]:
        """Return stored events."""
        ...

    async def history_bounds(self) -> tuple[int, int]:
        """Return the ids of the oldest event that is kept and of the newest that ever was.

        When none is kept, the first is one above the second.
        """
        ...

    async def failures(self, request: FailuresRequest) -> Page[OpenFailure]:
        """Return a page of the failure ledger."""
        ...

    async def acknowledge(self, key: str) -> LedgerChange | None:
        """Close a key; None when it is not open."""
        ...

    async def stamp(self, sign: SignOfLife) -> None:
        """Write a sign of life."""

    async def keep(self, name: str, text: str) -> None:
        """Keep a text under a name, in place of the former one; see `Snapshot.kept`."""

    async def prune(self, request: PruneRequest) -> Pruned:
        """Drop old finished jobs and old events."""
        ...
