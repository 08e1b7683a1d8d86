"""Says when a pending job will probably end, and why its next poll comes when it does."""

from dataclasses import dataclass
from typing import Final

from .forecast import forecast
from .next_poll import Limit
from .watch import Watch

LEAST_SAMPLES: Final = 20
"""Ends of its mode that must have been seen before a job's end is estimated."""
LEAST_SEEN: Final = 3.0
"""And the weight of the jobs that must have been seen at its age: beyond it nothing is known."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """How long such jobs still last, in seconds from an age on.

    Nine in ten of them end between `early` and `late`. None: beyond the end of the tables.
    `samples` is the number of ends learned from.
    """

    median: float | None
    p90: float | None
    early: float | None
    late: float | None
    samples: int


def estimate(watch: Watch, age: float) -> Estimate | None:
    """Return how long such jobs still last, or None while too few jobs of its mode were seen."""
    samples = watch.mode.law.samples
    if watch.mode.is_of_all or samples < LEAST_SAMPLES:
        return None
    if watch.mode.law.seen(age) < LEAST_SEEN:
        return None
    remaining = forecast(watch, age).remaining
    return Estimate(remaining(0.5), remaining(0.9), remaining(0.05), remaining(0.95), samples)


LIMITS: Final = {
    None: "",
    Limit.FRESHNESS: " It is polled sooner, to keep its progress fresh (polling.progress_max_age).",
    Limit.LEAST: " It is polled later, as polling.min_interval says.",
    Limit.MOST: " It is polled sooner, as polling.max_interval says.",
    Limit.SETBACKS: " It is polled later, because its last answers could not be used.",
}
"""The sentence that is added where the forecast did not decide the wait."""


def explain(watch: Watch, age: float, limit: Limit | None = None) -> str | None:
    """Return when such jobs end, and what else decided the next poll's time, if anything did.

    None while too few jobs were seen.
    """
    known = estimate(watch, age)
    if known is None or known.early is None:
        return None
    jobs = f"Nine in ten jobs of mode {watch.name} that are pending after {duration(age)}"
    if known.late is None:
        ends = f"end {duration(known.early)} later, or after that."
        return f"{jobs}{_shown(watch)} {ends}{LIMITS[limit]}"
    between = f"between {duration(known.early)} and {duration(known.late)}"
    return f"{jobs}{_shown(watch)} end {between} later.{LIMITS[limit]}"


def duration(seconds: float) -> str:
    """Return a duration in two significant digits, such as `1.5 s`, `40 s` or `12 min`."""
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{_number(seconds / length)} {unit}"
    return f"{_number(seconds)} s"


def _number(value: float) -> str:
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def _shown(watch: Watch) -> str:
    """Return what the job shows, in words, if the forecast depends on it."""
    if not watch.is_believed:
        return ""
    step = f" at step {watch.step}" if watch.step else ""
    return f"{step} with {watch.percent} %" if watch.percent > 0 else step
