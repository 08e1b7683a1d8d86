"""A status cache in simulated time: an exporter, its upstream and its store."""

import math
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from failing_store import FailingStore
from simulated_time import SimulatedUpstream, exporting, simulate

from exporter import Exporter
from exporter.polling.served import Served


class House:
    """An exporter that nobody polls for by HTTP: its status cache is asked directly."""

    def __init__(
        self, exporter: Exporter, upstream: SimulatedUpstream, store: FailingStore
    ) -> None:
        self.exporter = exporter
        self.upstream = upstream
        self.store = store

    async def get(self, job_id: str, accepted: float = math.inf) -> Served:
        return await self.exporter.context.status_cache.get(job_id, accepted)

    def refused(self, reason: str) -> float | None:
        name = "removit_exporter_registrations_refused_total"
        return self.exporter.metrics.get_sample_value(name, {"reason": reason})

    def events(self) -> list[str]:
        """The types of all events of jobs."""
        return [event.type.value for _, row, event in self.store.tables.events if row]


Work = Callable[[House], Coroutine[Any, Any, None]]


def run(directory: Path, work: Work, /, **sections: Any) -> None:
    """Open an exporter, and do `work` with it."""

    async def all_of_it() -> None:
        upstream, store = SimulatedUpstream(), FailingStore()
        async with exporting(upstream, store, directory, **sections) as exporter:
            await work(House(exporter, upstream, store))

    simulate(all_of_it)
