"""What happened, and when: the events from which everything that anyone sees is made."""

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from typing import Any

from .value import value


class EventType(StrEnum):
    """What can happen; a closed list that other programs read."""

    REGISTERED = "registered"
    FIRST_ANSWER = "first_answer"
    STEP_CHANGED = "step_changed"
    PROGRESS_FELL = "progress_fell"
    WARNING_RAISED = "warning_raised"
    VARIATION_IGNORED = "variation_ignored"
    DRIFT = "drift"
    SUSPECTED = "suspected"
    CLEARED = "cleared"
    FINISHED = "finished"
    OVERTURNED = "overturned"
    FORGOTTEN = "forgotten"
    UPSTREAM_CHANGED = "upstream_changed"


@value(frozen=True, slots=True)
class Event:
    """Something that happened, once. `time` is in seconds since 1970."""

    type: EventType
    job_id: str | None
    time: float
    data: Mapping[str, Any] = field(default_factory=dict)


@value(frozen=True, slots=True)
class Now:
    """The time, three ways, all in seconds.

    `time` is since 1970 and never goes back. `steady` is monotonic, with an origin of its own.
    `healthy_time` counts only while the exporter runs and the upstream is well. Patience uses it:
    an outage, or a night switched off, condemns no job.
    """

    time: float
    steady: float
    healthy_time: float
