"""The usual duration of a mode's jobs, and the age from which on a job is overdue.

The usual duration is the 99th percentile of the mode's jobs that are done. It is read from their
stored histogram as Prometheus's `histogram_quantile` does. It is unknown while too few jobs are
done, or if the percentile lies beyond the last bucket. All times are in seconds.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Final, Protocol

USUAL_SHARE: Final = 0.99
"""The share of a mode's done jobs that take no longer than usual."""


class OverdueRules(Protocol):
    """The rules for overdue jobs; the config's section `polling` has them."""

    @property
    def overdue_factor(self) -> float:
        """A job is overdue at an age of more than this many usual durations."""

    @property
    def overdue_samples(self) -> int:
        """The usual duration is known once this many jobs are done."""


def quantile(counts: Sequence[int], bounds: Sequence[float], share: float) -> float | None:
    """Return the duration that `share` of a histogram's samples do not exceed.

    None if it lies beyond the last bound. `counts` has one number for each bucket, not cumulative;
    the last bucket is +Inf. `bounds` are the upper bounds of the others. Durations are assumed to
    be spread evenly within a bucket.
    """
    rank = share * sum(counts)
    for at, reached in enumerate(accumulate(counts[:-1])):
        if reached >= rank and counts[at]:
            lower = bounds[at - 1] if at else 0.0
            into = (rank - (reached - counts[at])) / counts[at]
            return lower + (bounds[at] - lower) * into
    return None


def usual_duration(counts: Sequence[int], bounds: Sequence[float], *, samples: int) -> float | None:
    """Return the 99th percentile of a histogram, or None if it has fewer samples than that."""
    if sum(counts) < max(1, samples):
        return None
    return quantile(counts, bounds, USUAL_SHARE)


def overdue_after(
    counts: Sequence[int], bounds: Sequence[float], rules: OverdueRules
) -> float | None:
    """Return the age from which on a pending job is overdue, or None while that is unknown."""
    usual = usual_duration(counts, bounds, samples=rules.overdue_samples)
    return None if usual is None else rules.overdue_factor * usual
