"""Days of jobs under simulated time: what is kept stays bounded, and no sum goes astray."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from simulated_time import SimulatedUpstream, simulate
from system.test_simulated_time import HOUR, exporting, tell

from exporter import Exporter
from exporter.registry.memory import MemoryStore
from exporter.simulator.script import draw


def sizes(exporter: Exporter, store: MemoryStore) -> dict[str, int]:
    """How much there is of whatever could grow."""
    census, poller, tables = exporter.job_metrics.census, exporter.poller, store.tables
    return {
        "jobs in memory": len(exporter.registry.jobs),
        "plans": len(poller._plans),
        "queue": len(poller.queue._heap),
        "leaving": len(exporter.registry._leaving),
        "unsaved": len(exporter.registry._unsaved),
        "busy": len(exporter.registry._busy),
        "places": len(census._places),
        "still": len(census._still),
        "oldest": sum(map(len, census._oldest.values())),
        "stored jobs": len(tables.known),
        "rows": len(tables.rows),
        "events": len(tables.events),
        "series": sum(map(len, exporter.job_metrics.totals.counters.values())),
        "recent answers": len(exporter.health.evidence.recent),
    }


def total(store: MemoryStore, name: str) -> float:
    return sum(amount for (known, *_), amount in store.tables.totals.items() if known == name)


@pytest.mark.slow
def test_what_is_kept_stays_bounded_over_two_days(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KEY", "k")
    most: list[dict[str, int]] = []
    sections: dict[str, Any] = {
        "storage": {"retention": "2h", "history_events": 2000},
        "polling": {"give_up_after": "3h", "recheck_after": ["1m", "10m"]},
        "metrics": {"per_job": {"max_jobs": 30, "linger_failed": "10m"}},
    }

    async def two_days() -> None:
        upstream, rng, store = SimulatedUpstream(), random.Random(11), MemoryStore()
        async with exporting(upstream, store, tmp_path, **sections) as exporter:
            at = 0
            for _hour in range(48):
                largest: dict[str, int] = {}
                for _ in range(90):
                    at += 1
                    await tell(exporter, upstream.add(f"job-{at}", draw(rng)))
                    await asyncio.sleep(HOUR / 90)
                    now = sizes(exporter, store)
                    largest = {name: max(now[name], largest.get(name, 0)) for name in now}
                most.append(largest)
                finished = total(store, "removit_jobs_finished_total")
                overturned = total(store, "removit_verdicts_overturned_total")
                assert at == exporter.registry.pending + finished - overturned
                page = exporter.context.exposition.page("")
                list(page.slices)
                assert len(exporter.registry.jobs) - page.left_out <= 30
            assert await exporter.registry.get("job-1") is None

    simulate(two_days)
    settled = most[6:]  # what expires does so after three hours, and is kept for two more
    for name in settled[0]:
        early = max(one[name] for one in settled[:14])
        late = max(one[name] for one in settled[28:])
        assert late <= 1.5 * early + 10, (name, early, late)
    assert max(one["events"] for one in settled) <= 2000 + 1000
