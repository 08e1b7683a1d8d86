"""The store's record of the upstream's health, so that a bad state survives a restart.

It is written when it changes, and every five minutes while the state is bad, because its age
decides whether it is restored. It names the base URL: nothing in it is true of another upstream.
"""

import json
import math
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from ..clock import Clock
from ..core.health.saved import SavedHealth, from_data
from ..storage.store import Store
from .admission import Admission
from .stored_text import parse

NAME: Final = "upstream"
"""The name under which the store keeps the record."""
WRITE_AGAIN_SECONDS: Final = 300.0
WAIT_SECONDS: Final = 1.0
"""A wait that has grown by less is not written again."""


class UpstreamRecord:
    """Writes the record, and restores the health from it."""

    def __init__(
        self,
        admission: Admission,
        store: Store,
        clock: Clock,
        base_url: Callable[[], str],
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self._admission = admission
        self._store = store
        self._clock = clock
        self._base_url = base_url
        self._log = log
        self._written: SavedHealth | None = None
        self._written_at = 0.0
        """When (steady seconds) it was written."""

    def load(self, kept: Mapping[str, str], resume_within: float) -> None:
        """Restore the health from `kept` (see `Snapshot.kept`), if it is that of this upstream.

        The state is restored if it is at most `resume_within` seconds old.
        """
        if (text := kept.get(NAME)) is None:
            return
        try:
            base_url, time, saved = _read(text)
        except ValueError as error:
            self._log.error("the stored state of the upstream is not readable", error=str(error))
            return
        if base_url != self._base_url():
            return
        age = self._clock.time() - time
        saved = saved.later(age) if age <= resume_within else saved.without_state()
        self._admission.resume(saved)
        if saved.condition is not None:
            state = self._admission.health.state
            self._log.warning("upstream state restored", state=state.value, age_seconds=round(age))

    async def keep_if_changed(self) -> None:
        """Write the record if it has changed or grows old; raises `StoreError`."""
        saved, age = self._saved(), self._clock.monotonic() - self._written_at
        is_old = saved.condition is not None and age >= WRITE_AGAIN_SECONDS
        if is_old or self._written is None or _differ(self._written.later(age), saved):
            await self.keep()

    async def keep(self) -> None:
        """Write the record; raises `StoreError`."""
        saved, steady = self._saved(), self._clock.monotonic()
        document = {
            "base_url": self._base_url(),
            "time": self._clock.time(),
            "health": saved.as_data(),
        }
        await self._store.keep(NAME, json.dumps(document))
        self._written, self._written_at = saved, steady

    def _saved(self) -> SavedHealth:
        return self._admission.health.saved(self._clock.monotonic())


def _differ(written: SavedHealth, saved: SavedHealth) -> bool:
    """Whether more has changed than time: a wait may grow, and then it is written again."""
    if saved.wait > written.wait + WAIT_SECONDS:
        return True
    return (written.served_before, written.condition) != (saved.served_before, saved.condition)


def _read(text: str) -> tuple[str, float, SavedHealth]:
    """Return the base URL, the time since 1970 and the health; raises `ValueError`."""
    document = parse(text)
    if not isinstance(document, Mapping):
        raise ValueError("expected an object")
    base_url, time = document.get("base_url"), document.get("time")
    if not isinstance(base_url, str) or not isinstance(time, float) or not math.isfinite(time):
        raise ValueError("expected a base_url and a time")
    return base_url, time, from_data(document.get("health"))
