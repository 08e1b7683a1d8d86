"""What being told of jobs changes, worked out before anything is stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..core.events import Event, Now
from ..core.job import Job, Source
from ..core.registration import Conflict, register, register_again
from ..storage.store import FinalAnswer


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a piece of work makes of a job."""

    job: Job
    events: Sequence[Event] = ()
    final: FinalAnswer | None = None


@dataclass(frozen=True, slots=True)
class Registration:
    """Someone's word of one job, checked; `registered_at` (seconds since 1970) back-fills.

    `mode` is the upstream's word from the upload.
    """

    job_id: str
    labels: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None
    registered_at: float | None = None
    mode: str | None = None


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


@dataclass(frozen=True, slots=True)
class Stage:
    """The jobs that would change, by id, and the tellings that contradict, by position."""

    jobs: Mapping[str, Staged]
    conflicts: Mapping[int, Sequence[Conflict]]


def stage(
    registrations: Sequence[Registration], known: Mapping[str, Job], source: Source, now: Now
) -> Stage:
    """Return what the tellings make of each job; twice the same id is one job.

    One that contradicts what is known, or an earlier one, changes nothing.
    """
    staged: dict[str, Staged] = {}
    conflicts: dict[int, Sequence[Conflict]] = {}
    for at, registration in enumerate(registrations):
        former = staged.get(registration.job_id)
        before = known.get(registration.job_id)
        job = former.after if former else before
        if job is None:
            staged[registration.job_id] = _first_word(registration, at, source, now)
            continue
        told, differs = register_again(
            job, source, labels=registration.labels, key=registration.key
        )
        if differs:
            conflicts[at] = differs
            continue
        staged[registration.job_id] = replace(former or Staged(before, told), after=told)
    return Stage(staged, conflicts)


def fitting(registrations: Sequence[Registration], known: Mapping[str, Job], room: int) -> int:
    """Return how many of the tellings, from the first, need no more than `room` new jobs."""
    new = set[str]()
    for at, registration in enumerate(registrations):
        if registration.job_id not in known:
            new.add(registration.job_id)
            if len(new) > room:
                return at
    return len(registrations)


def _first_word(registration: Registration, at: int, source: Source, now: Now) -> Staged:
    job, events = register(
        registration.job_id,
        source,
        now,
        labels=registration.labels,
        key=registration.key,
        registered_at=registration.registered_at,
    )
    return Staged(None, replace(job, mode=registration.mode), events, at)
