"""The counters and histograms of jobs, as the store keeps them.

`collector.py` shows them. Exemplars (the `job_id` of the latest addition) are kept in memory only.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from ..core.tally import BUCKETS, Delta, Labels

MAX_EXEMPLAR_ID: Final = 122
"""OpenMetrics: an exemplar's labels are at most 128 characters, and `job_id` has 6 of them."""


@dataclass(frozen=True, slots=True)
class Exemplar:
    """The job that caused an addition, the amount, and the time (seconds since 1970)."""

    job_id: str
    value: float
    time: float


@dataclass(slots=True)
class CounterSeries:
    """One series of a counter."""

    value: float = 0.0
    exemplar: Exemplar | None = None


@dataclass(slots=True)
class HistogramSeries:
    """One series of a histogram: counts by bucket (not cumulative, the last is +Inf), and sum."""

    counts: list[int]
    sum: float = 0.0
    exemplars: dict[int, Exemplar] = field(default_factory=dict)


class Totals:
    """All series, by family and labels."""

    def __init__(self) -> None:
        self.counters: dict[str, dict[Labels, CounterSeries]] = {}
        self.histograms: dict[str, dict[Labels, HistogramSeries]] = {}

    def counter(self, name: str, labels: Labels) -> CounterSeries:
        """Return a counter's series; a new one starts at 0."""
        return self.counters.setdefault(name, {}).setdefault(labels, CounterSeries())

    def histogram(self, name: str, labels: Labels) -> HistogramSeries:
        """Return a histogram's series; a new one starts empty."""
        empty = HistogramSeries([0] * (len(BUCKETS[name]) + 1))
        return self.histograms.setdefault(name, {}).setdefault(labels, empty)

    def restore(self, series: Iterable[tuple[str, Labels, int, float]], sum_bucket: int) -> None:
        """Set stored values (name, labels, bucket, amount); `sum_bucket` marks a sum."""
        for name, labels, bucket, amount in series:
            if name not in BUCKETS:
                self.counter(name, labels).value = amount
            elif bucket == sum_bucket:
                self.histogram(name, labels).sum = amount
            else:
                self.histogram(name, labels).counts[bucket] = int(amount)

    def add(self, deltas: Sequence[Delta], time: float) -> None:
        """Add the deltas of a change; `time` (since 1970) is the time of its exemplars."""
        for delta in deltas:
            exemplar = None
            if delta.exemplar is not None and len(delta.exemplar) <= MAX_EXEMPLAR_ID:
                exemplar = Exemplar(delta.exemplar, delta.amount, time)
            if delta.bucket is None:
                counter = self.counter(delta.name, delta.labels)
                counter.value += delta.amount
                counter.exemplar = exemplar or counter.exemplar
            else:
                histogram = self.histogram(delta.name, delta.labels)
                histogram.counts[delta.bucket] += 1
                histogram.sum += delta.amount
                if exemplar is not None:
                    histogram.exemplars[delta.bucket] = exemplar
