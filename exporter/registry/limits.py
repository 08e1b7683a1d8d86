"""The part of the config that the registry needs."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RegistryLimits:
    """How much is kept and for how long; times in seconds."""

    max_pending: int
    retention: float
    history_events: int
    resume_within: float
    linger: float
    linger_failed: float
    recheck_after: Sequence[float]
