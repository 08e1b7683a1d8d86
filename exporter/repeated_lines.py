"""Leaves lines out of the log that repeat: a full disk fails every request, thousands of them."""

import time
from collections.abc import Callable, MutableMapping
from typing import Any, Final

import structlog

REPEATED_SECONDS: Final = 60.0
"""The same line about the store is written once in this time."""
MOST_KINDS: Final = 100
"""The kinds of lines that are remembered; the one written longest ago is forgotten first."""
_LIMITED: Final = "store unavailable"


class RepeatedLines:
    """A processor of structlog. `repeated` in a line counts those that were left out before it."""

    def __init__(self, steady: Callable[[], float] = time.monotonic) -> None:
        self._steady = steady
        self._recent: dict[tuple[object, object], tuple[float, int]] = {}
        """Until when lines are left out and how many there were, by operation and error."""

    def __call__(
        self, logger: Any, level: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Pass an event on; raises `structlog.DropEvent` for one that repeats."""
        if event["event"] != _LIMITED:
            return event
        now, key = self._steady(), (event.get("operation"), event.get("error"))
        until, left_out = self._recent.get(key, (now, 0))
        if now < until:
            self._recent[key] = until, left_out + 1
            raise structlog.DropEvent
        self._recent.pop(key, None)
        self._recent[key] = now + REPEATED_SECONDS, 0
        if len(self._recent) > MOST_KINDS:
            del self._recent[next(iter(self._recent))]
        if left_out:
            event["repeated"] = left_out
        return event
