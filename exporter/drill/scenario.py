"""The definition of a scenario."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from .sandbox import Sandbox

Fault = Callable[[Sandbox], AbstractAsyncContextManager[None]]
"""A context manager that prepares and causes a fault when entered, and ends it when left."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One alert's fault. `key` is the alert's key in the table of thresholds."""

    key: str
    description: str
    dashboard: str
    """Which dashboard shows the fault, and what it shows."""
    fault: Fault
    config: Mapping[str, Any] = field(default_factory=dict)
    """Config of this scenario's exporter, in addition to that of all scenarios."""
    steady: bool = True
    """Whether jobs that end as `done` are registered during the fault, as they are after it."""
    lead: float = 0.0
    """Approximate duration of the preparation in seconds."""

    @property
    def name(self) -> str:
        """The scenario's name on the command line."""
        return self.key.replace("_", "-")
