"""The part of the upstream's health that outlives a restart, as plain data for a store.

A bad state does: its alert would otherwise resolve and fire again at each restart. `well` does not:
nothing is known until the first answer. Evidence and witnesses do not either, because each counts
only in the process that saw it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from .states import PATIENT_STATES, Condition

VERSION: Final = 1
BAD: Final = frozenset(one for one in Condition if one.shown not in PATIENT_STATES)
"""The conditions that are saved; `suspect` is over as soon as the evidence is gone."""


@dataclass(frozen=True, slots=True)
class SavedHealth:
    """The health of an upstream at the time when it was saved."""

    served_before: bool = False
    """Whether it had ever given a good answer."""
    condition: Condition | None = None
    """One of `BAD`, otherwise None."""
    wait: float = 0.0
    """For how many more seconds it had asked to be left alone (`Retry-After`)."""
    turned_ago: float = 0.0
    """Of `STUCK`: how many seconds ago the jobs turned bad together."""

    def as_data(self) -> dict[str, Any]:
        """Return it as plain data for JSON."""
        return {
            "version": VERSION,
            "served_before": self.served_before,
            "condition": self.condition,
            "wait": round(self.wait, 3),
            "turned_ago": round(self.turned_ago, 3),
        }

    def later(self, seconds: float) -> "SavedHealth":
        """Return what is left of it after some seconds in which no exporter ran."""
        passed = max(0.0, seconds)
        return replace(self, wait=max(0.0, self.wait - passed), turned_ago=self.turned_ago + passed)

    def without_state(self) -> "SavedHealth":
        """Return what of it never grows old."""
        return SavedHealth(self.served_before)


def from_data(data: Any) -> SavedHealth:
    """Read what `as_data` gave; raises `ValueError` for anything else."""
    if not isinstance(data, Mapping) or data.get("version") != VERSION:
        raise ValueError("it was written by another version")
    served, condition = data.get("served_before"), data.get("condition")
    if not isinstance(served, bool):
        raise ValueError("served_before: expected true or false")
    if condition is not None and (not isinstance(condition, str) or condition not in BAD):
        raise ValueError(f"condition: {condition!r} is never saved")
    return SavedHealth(
        served,
        None if condition is None else Condition(condition),
        _seconds(data.get("wait")),
        _seconds(data.get("turned_ago")),
    )


def _seconds(value: Any) -> float:
    if not isinstance(value, float) or not 0.0 <= value < math.inf:
        raise ValueError(f"expected seconds, got {value!r}")
    return value
