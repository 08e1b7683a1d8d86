"""Works out the changes of registrations before anything is stored."""

from collections.abc import Mapping, Sequence
from dataclasses import field

from ..core.events import Event, Now
from ..core.job import Job, Source
from ..core.registration import Conflict, register, register_again
from ..core.value import replace, value
from ..storage.store import FinalAnswer


@value(frozen=True, slots=True)
class Outcome:
    """The result of work on a job: its next value, the events, and the answer that ended it.

    The events are empty if only the progress changed.
    """

    job: Job
    events: Sequence[Event] = ()
    final: FinalAnswer | None = None


@value(frozen=True, slots=True)
class Registration:
    """A checked request to register one job.

    `registered_at` (seconds since 1970) back-fills an older job; `mode` comes from the upstream's
    answer to an upload.
    """

    job_id: str
    labels: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None
    registered_at: float | None = None
    mode: str | None = None


@value(frozen=True, slots=True)
class Registered:
    """The job of a registration that was accepted; `new` if this registration created it."""

    job: Job
    new: bool


@value(frozen=True, slots=True)
class Refused:
    """A registration that contradicts what is known; it changed nothing."""

    conflicts: Sequence[Conflict]


class RegistrationConflictError(Exception):
    """Registrations contradict what is known; none of the batch was accepted.

    `conflicts` has what differs, by position in the batch.
    """

    def __init__(self, conflicts: Mapping[int, Sequence[Conflict]]) -> None:
        super().__init__("already registered with other labels or another key")
        self.conflicts = conflicts


class RegistryFullError(Exception):
    """`registration.max_pending` jobs are pending; none of the batch was accepted."""


@value(frozen=True, slots=True)
class Staged:
    """The changes of a batch: outcomes by job id, and conflicts by position in the batch."""

    outcomes: Mapping[str, Outcome]
    conflicts: Mapping[int, Sequence[Conflict]]


def stage(
    registrations: Sequence[Registration], known: Mapping[str, Job], source: Source, now: Now
) -> Staged:
    """Return the changes of the registrations, in their order.

    One that contradicts what is known, or an earlier one of the batch, changes nothing.
    """
    outcomes: dict[str, Outcome] = {}
    conflicts: dict[int, Sequence[Conflict]] = {}
    for at, one in enumerate(registrations):
        earlier = outcomes.get(one.job_id)
        job = earlier.job if earlier else known.get(one.job_id)
        if job is None:
            outcomes[one.job_id] = _register(one, source, now)
            continue
        job, differences = register_again(job, source, labels=one.labels, key=one.key)
        if differences:
            conflicts[at] = differences
        else:
            outcomes[one.job_id] = replace(earlier or Outcome(job), job=job)
    return Staged(outcomes, conflicts)


def fitting(registrations: Sequence[Registration], known: Mapping[str, Job], room: int) -> int:
    """Return how many registrations, from the first on, fit if `room` new jobs may be added."""
    new = set[str]()
    for at, registration in enumerate(registrations):
        if registration.job_id not in known:
            new.add(registration.job_id)
            if len(new) > room:
                return at
    return len(registrations)


def _register(registration: Registration, source: Source, now: Now) -> Outcome:
    job, events = register(
        registration.job_id,
        source,
        now,
        labels=registration.labels,
        key=registration.key,
        registered_at=registration.registered_at,
        mode=registration.mode,
    )
    return Outcome(job, events)
