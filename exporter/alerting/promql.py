"""Pieces of PromQL that the rules share, and durations at a time scale.

Counters are counted by `grown`. `increase` alone does not see a series that is born at 1, as the
first error of a kind is; counting the newborn as they are would take the resumed counters of an
exporter that moved, or whose labels changed, for news. So a newborn series counts only where its
exporter, by all the labels that `SEEN` has, is no newborn.
"""

import math
from collections.abc import Callable
from textwrap import indent
from typing import Final

from ..config.durations import write_duration
from .thresholds import Thresholds

Scale = Callable[[float], float]
"""From seconds as shipped to seconds as wanted."""

SEEN: Final = 'removit_upstream_state{state="well"}'
"""A series that every exporter always shows, beside its counters."""

DRILL_MINUTE: Final = 3.0
"""How many seconds a minute takes in a drill."""


def as_shipped(seconds: float) -> float:
    """Leave a duration as it is."""
    return seconds


def for_drill(seconds: float) -> float:
    """Squeeze a duration for a drill: by its cube root, so that a week takes about a minute.

    The order of durations is kept: what is longer than something else still is.
    """
    return round(DRILL_MINUTE * math.cbrt(seconds / 60.0), 1)


class Promql:
    """Writes expressions over one upstream's series, its durations at a time scale."""

    def __init__(self, thresholds: Thresholds, scale: Scale = as_shipped) -> None:
        self.thresholds = thresholds
        self.identity = ", ".join(thresholds.identity_labels)
        self._scale = scale

    def span(self, seconds: float) -> str:
        """Return a duration (given as shipped) as it is written at this scale."""
        return write_duration(self._scale(seconds))

    def by(self, *labels: str) -> str:
        """Return the labels that tell upstreams apart, and more."""
        return ", ".join((self.identity, *labels))

    def over(self, function: str, series: str, *labels: str) -> str:
        """Aggregate over everything but the identity and `labels`."""
        return f"{function} by ({self.by(*labels)}) ({series})"

    def total(self, series: str, *labels: str) -> str:
        """Add up, see `over`."""
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
        """Both durations together: each squeezed for itself, so that the window stays whole."""
        whole = self._scale(seconds) + (self._scale(offset) if offset else 0.0)
        return write_duration(whole)
