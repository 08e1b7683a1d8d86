"""A job: what is known of it, and its states.

The theory. A job is told of once and polled until it ends. It is in exactly one state.

    pending ──> done                    the upstream said so; absorbs
       │ ├────> invalid                 the upstream never knew such an id (422); absorbs
       │ ├────> failed                  ┐
       │ ├────> not_found               ├ inferred, or said explicitly (`failed`)
       │ └────> expired                 ┘
       └<────── failed, not_found       a 2xx overturns the inference; the job goes on

What moves it along that table is in `observation.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from .reply import Kind


class JobState(StrEnum):
    """Exactly one at a time; all but `pending` are final."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"
    NOT_FOUND = "not_found"
    INVALID = "invalid"
    EXPIRED = "expired"


FINAL_STATES: Final = tuple(state for state in JobState if state is not JobState.PENDING)

INFERRED_STATES: Final = (JobState.FAILED, JobState.NOT_FOUND, JobState.EXPIRED)
"""Verdicts of ours: such a job is asked again, and a better answer overturns the verdict."""

TRANSITIONS: Final = frozenset(
    {
        (JobState.PENDING, JobState.DONE),
        (JobState.PENDING, JobState.FAILED),
        (JobState.PENDING, JobState.NOT_FOUND),
        (JobState.PENDING, JobState.INVALID),
        (JobState.PENDING, JobState.EXPIRED),
        (JobState.FAILED, JobState.PENDING),
        (JobState.FAILED, JobState.DONE),
        (JobState.NOT_FOUND, JobState.PENDING),
        (JobState.NOT_FOUND, JobState.DONE),
        (JobState.NOT_FOUND, JobState.FAILED),
        (JobState.EXPIRED, JobState.DONE),
        (JobState.EXPIRED, JobState.FAILED),
    }
)
"""From which state to which; whatever is not here does not happen."""


class Source(StrEnum):
    """Who told of a job."""

    CONFIG = "config"
    FILE = "file"
    API = "api"
    STATUS = "status"
    UPLOAD = "upload"
    PLUGIN = "plugin"


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A row of like answers that may mean the end: `kind` is a 5xx, 404 or 422."""

    kind: Kind
    answers: int
    since: float
    """In well time, as is `until`."""
    until: float
    http_status: int
    gateway_answers: int = 0
    """Of the 5xx, those that look as if something before the service had answered."""

    @property
    def length(self) -> float:
        """Seconds of well time from the row's first answer to its last."""
        return self.until - self.since


@dataclass(frozen=True, slots=True)
class Job:
    """All that is known of one job. Flat and immutable; a change is a new value.

    Identity (never changes): `job_id`, `incarnation`, `source`, `registered_at`; `key`, `labels`
    and `sources` may gain what was not there; `mode` is learned once.
    Times are in seconds since 1970, except those in well time (see `Now`).
    `version` is the store's: it rises with each stored change.
    """

    job_id: str
    source: Source
    registered_at: float
    registered_healthy_time: float = 0.0
    incarnation: int = 0
    version: int = 0
    sources: tuple[Source, ...] = ()
    key: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    mode: str | None = None
    state: JobState = JobState.PENDING
    step: str | None = None
    step_since: float | None = None
    progress: float | None = None
    warnings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ignored_variations: tuple[str, ...] = ()
    reported_warnings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    reported_ignored: tuple[str, ...] = ()
    reported_drift: tuple[str, ...] = ()
    final_url: str | None = None
    final_urls: Mapping[str, str] = field(default_factory=dict)
    first_answer_at: float | None = None
    first_seen_final: bool = False
    last_polled_at: float | None = None
    last_progress_at: float | None = None
    finished_at: float | None = None
    evidence: str | None = None
    suspicion: Suspicion | None = None
    other_runs: tuple[Suspicion, ...] = ()
    """Runs of other kinds than the latest answer's; only a 2xx ends any of them."""
    lost_with_others: bool = False
    """The upstream lost so many jobs at once that none of them is to blame. Until a good answer."""
    rechecks: int = 0
    clock_offset: float | None = field(default=None, compare=False)
    """Wall time minus steady time when the job's stamps were last checked. It is not stored."""
    setbacks: int = 0
    """Answers in a row that said nothing of the job; the next poll is put off for them."""

    @property
    def answered(self) -> bool:
        """Whether there was ever a good answer."""
        return self.first_answer_at is not None

    @property
    def pending(self) -> bool:
        """Whether it is still polled for its end."""
        return self.state is JobState.PENDING

    def run_of(self, kind: Kind) -> Suspicion | None:
        """Return the run of like answers of one kind, None where there is none."""
        runs = (self.suspicion, *self.other_runs)
        return next((run for run in runs if run is not None and run.kind is kind), None)

    def recheck_at(self, after: Sequence[float]) -> float | None:
        """When (seconds since 1970) its verdict is checked again; None: never.

        `after` are the seconds after its end, `polling.recheck_after`.
        """
        if self.state not in INFERRED_STATES or self.rechecks >= len(after):
            return None
        return (self.finished_at or 0.0) + after[self.rechecks]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is concluded of a job, and why. `evidence` is a sentence for log and history."""

    state: JobState
    evidence: str
