"""What the config says to the registry."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class RegistryLimits:
    """How much is kept, and for how long; times in seconds."""

    max_pending: int = 100_000
    retention: float = 86_400.0
    history_events: int = 100_000
    resume_within: float = 3600.0
    linger: float = 300.0
    linger_failed: float = 3600.0
    recheck_after: Sequence[float] = (60.0, 600.0, 3600.0)
