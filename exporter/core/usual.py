"""How long a mode's jobs usually take, and from which age on a job is overdue.

The usual duration is the 99th percentile of the mode's own jobs that were done, read off their
stored histogram as Prometheus's `histogram_quantile` would. Where too few were done, or the
percentile lies past the last bucket, nothing is usual: no verdict. Times are in seconds.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Final, Protocol

USUAL_SHARE: Final = 0.99
"""The share of a mode's done jobs that take no longer than is usual."""


class OverdueRules(Protocol):
    """The thresholds of overdue; the config's section `polling` has these."""

    @property
    def overdue_factor(self) -> float:
        """A job is overdue when it is older than this many times the usual duration."""

    @property
    def overdue_samples(self) -> int:
        """The usual duration is known from this many done jobs on."""


def quantile(counts: Sequence[int], bounds: Sequence[float], share: float) -> float | None:
    """Return the duration that `share` of a histogram's samples do not exceed, None past its end.

    `counts` are by bucket, not cumulative, the last being +Inf; `bounds` are the upper bounds of
    the others. Within a bucket the durations are taken to lie evenly.
    """
    rank = share * sum(counts)
    for at, reached in enumerate(accumulate(counts[:-1])):
        if reached >= rank and counts[at]:
            lower = bounds[at - 1] if at else 0.0
            into = (rank - (reached - counts[at])) / counts[at]
            return lower + (bounds[at] - lower) * into
    return None  # past the last bound it may be anything


def usual_duration(counts: Sequence[int], bounds: Sequence[float], *, samples: int) -> float | None:
    """Return the 99th percentile of a histogram, or None where the evidence is too thin."""
    if sum(counts) < max(1, samples):
        return None
    return quantile(counts, bounds, USUAL_SHARE)


def overdue_after(
    counts: Sequence[int], bounds: Sequence[float], rules: OverdueRules
) -> float | None:
    """Return the age from which on a pending job is overdue, None where that cannot be told."""
    usual = usual_duration(counts, bounds, samples=rules.overdue_samples)
    return None if usual is None else rules.overdue_factor * usual
