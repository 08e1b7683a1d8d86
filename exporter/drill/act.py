"""What an act is."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from .scene import Scene

Play = Callable[[Scene], AbstractAsyncContextManager[None]]
"""Trouble, while it is entered: what comes before is prepared first, what comes after is mended."""


@dataclass(frozen=True, slots=True)
class Act:
    """The trouble that one alert is about. `key` is the alert's in the table of thresholds."""

    key: str
    story: str
    look: str
    """What else should be seen, on which dashboard."""
    play: Play
    config: Mapping[str, Any] = field(default_factory=dict)
    """What this act's exporter has otherwise than all of them."""
    steady: bool = True
    """Whether jobs that end well come in during the act; afterwards they always do."""
    lead: float = 0.0
    """How long the preparation takes, about, in seconds."""

    @property
    def name(self) -> str:
        """The act's name on the command line."""
        return self.key.replace("_", "-")
