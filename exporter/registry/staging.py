"""What being told of jobs changes, worked out before anything is stored."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..core.events import Event, Now
from ..core.job import Job, Source
from ..core.registration import Conflict, register, tell_again
from ..storage.store import FinalAnswer


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a piece of work makes of a job."""

    job: Job
    events: Sequence[Event] = ()
    final: FinalAnswer | None = None


@dataclass(frozen=True, slots=True)
class Telling:
    """Someone's word of one job, checked; `registered_at` (seconds since 1970) back-fills.

    `mode` is the upstream's word from the upload; `answered` is what an answer of the upstream that
    is there already makes of the new job.
    """

    job_id: str
    labels: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None
    registered_at: float | None = None
    mode: str | None = None
    answered: Callable[[Job], Outcome] | None = None


@dataclass(frozen=True, slots=True)
class Registered:
    """What became of a telling."""

    job: Job
    new: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """A telling that contradicts what is known; nothing came of it."""

    conflicts: Sequence[Conflict]


class RegistrationConflictError(Exception):
    """Tellings that contradict what is known: their positions and what differs. Nothing is kept."""

    def __init__(self, conflicts: Mapping[int, Sequence[Conflict]]) -> None:
        super().__init__("already registered with other labels or another key")
        self.conflicts = conflicts


class RegistryFullError(Exception):
    """There are as many pending jobs as `registration.max_pending` admits. Nothing is kept."""


@dataclass(frozen=True, slots=True)
class Staged:
    """One job as it was, as it would be, and which telling was the first word of it."""

    before: Job | None
    after: Job
    events: Sequence[Event] = ()
    new_at: int | None = None
    final: FinalAnswer | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """The jobs that would change, by id, and the tellings that contradict, by position."""

    jobs: Mapping[str, Staged]
    conflicts: Mapping[int, Sequence[Conflict]]


def stage(tellings: Sequence[Telling], known: Mapping[str, Job], source: Source, now: Now) -> Stage:
    """Return what the tellings make of each job; twice the same id is one job.

    One that contradicts what is known, or an earlier one, changes nothing.
    """
    staged: dict[str, Staged] = {}
    conflicts: dict[int, Sequence[Conflict]] = {}
    for at, telling in enumerate(tellings):
        former = staged.get(telling.job_id)
        before = known.get(telling.job_id)
        job = former.after if former else before
        if job is None:
            staged[telling.job_id] = _first_word(telling, at, source, now)
            continue
        told, differs = tell_again(job, source, labels=telling.labels, key=telling.key)
        if differs:
            conflicts[at] = differs
            continue
        staged[telling.job_id] = replace(former or Staged(before, told), after=told)
    return Stage(staged, conflicts)


def fitting(tellings: Sequence[Telling], known: Mapping[str, Job], room: int) -> int:
    """Return how many of the tellings, from the first, need no more than `room` new jobs."""
    new = set[str]()
    for at, telling in enumerate(tellings):
        if telling.job_id not in known:
            new.add(telling.job_id)
            if len(new) > room:
                return at
    return len(tellings)


def _first_word(telling: Telling, at: int, source: Source, now: Now) -> Staged:
    job, events = register(
        telling.job_id,
        source,
        now,
        labels=telling.labels,
        key=telling.key,
        registered_at=telling.registered_at,
    )
    job = replace(job, mode=telling.mode)
    if telling.answered is None:
        return Staged(None, job, events, at)
    outcome = telling.answered(job)
    return Staged(None, outcome.job, [*events, *outcome.events], at, outcome.final)
