"""Pieces of PromQL that the rules share, and durations at a time scale.

Counters are counted by `grown`. `increase` alone misses a series that starts at 1, such as the
first error of its kind. But a new series may also be an old counter: an exporter that has moved, or
has new labels, resumes its counters in new series. So a new series counts only if its exporter, by
all the labels of `SEEN`, is not new itself.
"""

import math
from collections.abc import Callable
from textwrap import indent
from typing import Final

from ..config.durations import write_duration
from .thresholds import Thresholds

Scale = Callable[[float], float]
"""Converts a duration as shipped to the wanted scale, in seconds."""

SEEN: Final = 'removit_upstream_state{state="well"}'
"""A series that every exporter always shows."""

DRILL_MINUTE: Final = 3.0
"""How many seconds a minute takes in a drill."""


def as_shipped(seconds: float) -> float:
    """Return a duration unchanged."""
    return seconds


def for_drill(seconds: float) -> float:
    """Shorten a duration for a drill, to its cube root: a week takes about a minute.

    The order of durations is kept.
    """
    return round(DRILL_MINUTE * math.cbrt(seconds / 60.0), 1)


class Promql:
    """Writes expressions over one upstream's series, with durations at a time scale."""

    def __init__(self, thresholds: Thresholds, scale: Scale = as_shipped) -> None:
        self.thresholds = thresholds
        self.identity = ", ".join(thresholds.identity_labels)
        self._scale = scale

    def span(self, seconds: float) -> str:
        """Return a duration, given as shipped, in PromQL's notation at this scale."""
        return write_duration(self._scale(seconds))

    def by(self, *labels: str) -> str:
        """Return the labels that distinguish upstreams, and `labels`."""
        return ", ".join((self.identity, *labels))

    def over(self, function: str, series: str, *labels: str) -> str:
        """Aggregate over everything but the identity and `labels`."""
        return f"{function} by ({self.by(*labels)}) ({series})"

    def total(self, series: str, *labels: str) -> str:
        """Sum up; see `over`."""
        return self.over("sum", series, *labels)

    def grown(self, series: str, seconds: float, *labels: str, offset: float = 0.0) -> str:
        """Return by how much counters grew within a window that ended `offset` seconds ago."""
        window, ago = self.span(seconds), f" offset {self.span(offset)}" if offset else ""
        before = f"offset {self._added(seconds, offset)}"
        exporter = f"(\n  {SEEN}{ago}\n  unless {SEEN} {before}\n)"
        newborn = f"{series}{ago}\nunless {series} {before}"
        newborn += f"\nunless on ({self.by('instance')}) {exporter}"
        counted = f"(\n{indent(newborn, '  ')}\n)\nor increase({series}[{window}]{ago})"
        return f"sum by ({self.by(*labels)}) (\n{indent(counted, '  ')}\n)"

    def _added(self, seconds: float, offset: float) -> str:
        """Return the sum of both, each at this scale, so that the window keeps its length."""
        whole = self._scale(seconds) + (self._scale(offset) if offset else 0.0)
        return write_duration(whole)
