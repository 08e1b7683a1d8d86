"""A job: its states, and everything that is known about it.

The theory. A job is registered once and polled until it ends. It is in exactly one state.

    pending ──> done                    the upstream said so; absorbs
       │ ├────> invalid                 the upstream never knew such an id (422); absorbs
       │ ├────> failed                  ┐
       │ ├────> not_found               ├ inferred, or said explicitly (`failed`)
       │ └────> expired                 ┘
       └<────── failed, not_found       a 2xx overturns the inference; the job goes on

`observation.py` moves a job along this table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from .reply import EMPTY, Kind
from .value import value


class JobState(StrEnum):
    """A job's state; all except `pending` are final."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"
    NOT_FOUND = "not_found"
    INVALID = "invalid"
    EXPIRED = "expired"


FINAL_STATES: Final = tuple(state for state in JobState if state is not JobState.PENDING)

INFERRED_STATES: Final = (JobState.FAILED, JobState.NOT_FOUND, JobState.EXPIRED)
"""Verdicts of this program: such a job is asked again, and a better answer overturns them."""

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
"""The transitions, as (from, to); no others happen."""


class Source(StrEnum):
    """How a job was registered."""

    CONFIG = "config"
    FILE = "file"
    API = "api"
    STATUS = "status"
    UPLOAD = "upload"
    PLUGIN = "plugin"


@value(frozen=True, slots=True)
class Suspicion:
    """A run of like answers that may mean the job's end; `kind` is a 5xx, 404 or 422."""

    kind: Kind
    answers: int
    since: float
    """The first answer of the run, in healthy time."""
    until: float
    """The last answer of the run, in healthy time."""
    http_status: int
    gateway_answers: int = 0
    """How many of the 5xx look as if a gateway in front of the service had answered."""

    @property
    def length(self) -> float:
        """Seconds of healthy time from the run's first answer to its last."""
        return self.until - self.since


@value(frozen=True, slots=True)
class Job:
    """All that is known about one job. Flat and immutable; a change is a new value.

    The identity never changes: `job_id`, `incarnation`, `source`, `registered_at`. `key`, `labels`
    and `sources` may gain values where there were none; `mode` is learned once.
    Times are in seconds since 1970, except those in healthy time (see `Now`).
    The store raises `version` with each stored change.
    """

    job_id: str
    source: Source
    registered_at: float
    registered_healthy_time: float = 0.0
    incarnation: int = 0
    version: int = 0
    sources: tuple[Source, ...] = ()
    key: str | None = None
    labels: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    mode: str | None = None
    state: JobState = JobState.PENDING
    step: str | None = None
    step_since: float | None = None
    progress: float | None = None
    warnings: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: EMPTY)
    ignored_variations: tuple[str, ...] = ()
    reported_warnings: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: EMPTY)
    reported_ignored: tuple[str, ...] = ()
    reported_drift: tuple[str, ...] = ()
    final_url: str | None = None
    final_urls: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    first_answer_at: float | None = None
    first_seen_final: bool = False
    last_polled_at: float | None = None
    last_progress_at: float | None = None
    finished_at: float | None = None
    evidence: str | None = None
    suspicion: Suspicion | None = None
    other_runs: tuple[Suspicion, ...] = ()
    """Runs of other kinds than the latest answer's; only a 2xx ends any of them."""
    progress_fell: bool = False
    """Whether a fall of its progress was reported; that is done once a job."""
    weakly_failed: bool = False
    """It failed while only a weak witness showed that the service worked."""
    lost_with_others: bool = False
    """Many jobs were lost at once: the upstream is to blame. Ends with the next good answer."""
    rechecks: int = 0
    clock_offset: float | None = field(default=None, compare=False)
    """Wall time minus steady time when the job's stamps were last checked. It is not stored."""
    setbacks: int = 0
    """Answers in a row that said nothing about the job; they delay its next poll."""

    @property
    def answered(self) -> bool:
        """Whether it ever had a good answer."""
        return self.first_answer_at is not None

    @property
    def pending(self) -> bool:
        """Whether it has not ended yet."""
        return self.state is JobState.PENDING

    def run_of(self, kind: Kind) -> Suspicion | None:
        """Return the run of like answers of one kind, None where there is none."""
        runs = (self.suspicion, *self.other_runs)
        return next((run for run in runs if run is not None and run.kind is kind), None)

    def recheck_at(self, after: Sequence[float]) -> float | None:
        """When (seconds since 1970) its verdict is checked again; None if never.

        `after` is `polling.recheck_after`: the times of the rechecks, in seconds after its end.
        """
        if self.state not in INFERRED_STATES or self.rechecks >= len(after):
            return None
        return (self.finished_at or 0.0) + after[self.rechecks]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A conclusion about a job, and why. `evidence` is a sentence for the log and the history."""

    state: JobState
    evidence: str
    weak: bool = False
    """Whether only a weak witness showed that the service worked."""
