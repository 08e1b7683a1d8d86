"""Clocks that jump: NTP sets them forth and back, a machine sleeps. Nobody is blamed for it."""

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from simulated_time import (
    ENDS,
    HOUR,
    START,
    SimulatedClock,
    SimulatedUpstream,
    exporting,
    simulate,
    states,
    tell,
)

from exporter.clock import SystemClock
from exporter.simulator.script import Script, draw
from exporter.storage.memory import MemoryStore
from exporter.storage.store import SUM


class JumpingClock(SimulatedClock):
    """Simulated time whose wall time is off by `skew` seconds, guarded as the real one is."""

    def __init__(self) -> None:
        self.skew = 0.0
        self._guarded = SystemClock(lambda: START + self.monotonic() + self.skew)

    def time(self) -> float:
        return self._guarded.time()


def test_wall_time_set_back_stands_still_and_catches_up() -> None:
    walls = iter([100.0, 101.0, 41.0, 42.0, 101.5, 7000.0])
    clock = SystemClock(lambda: next(walls))
    assert [clock.time() for _ in range(6)] == [100, 101, 101, 101, 101.5, 7000]


JUMPS = {
    "set back by an hour": [(20, -HOUR)],
    "set forth by an hour": [(20, HOUR)],
    "forth and back": [(20, HOUR), (30, 0.0)],
    "back and forth": [(20, -HOUR), (30, 0.0)],
    "a laptop that sleeps each night": [(20, 8 * HOUR), (40, 16 * HOUR)],
    "many small steps": [(at, (-1) ** at * 0.5) for at in range(5, 55)],
}


@pytest.mark.parametrize("jumps", JUMPS.values(), ids=JUMPS)
def test_a_clock_that_jumps_blames_nobody_and_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, jumps: list[tuple[int, float]]
) -> None:
    monkeypatch.setenv("KEY", "k")
    sections: dict[str, Any] = {
        "storage": {"retention": "100d"},
        "polling": {"give_up_after": "6h"},
    }

    async def hours() -> None:
        upstream, rng, store = SimulatedUpstream(), random.Random(5), MemoryStore()
        clock, left = JumpingClock(), dict(jumps)
        async with exporting(upstream, store, tmp_path, clock, **sections) as exporter:
            for at in range(60):
                clock.skew = left.get(at, clock.skew)
                await tell(exporter, upstream.add(f"job-{at}", draw(rng)))
                await asyncio.sleep(60)
            assert "expired" not in (await states(exporter)).values()
            await asyncio.sleep(8 * HOUR)
            truth = {name: ENDS[script.kind] for name, (script, _) in upstream.jobs.items()}
            assert await states(exporter) == truth
        times = [event.time for _, _, event in store.tables.events]
        assert times == sorted(times)
        finished = Counter[str]()
        for (name, labels, bucket), amount in store.tables.totals.items():
            assert amount >= 0
            finished[dict(labels).get("state", "")] += (
                int(amount) if name == "removit_jobs_finished_total" else 0
            )
            if name == "removit_job_detection_delay_seconds" and bucket == SUM:
                # A jump falls between two polls of the jobs then pending, and into no other.
                assert amount <= 60 * 70 + 10 * sum(abs(skew) for _, skew in jumps)
        assert +finished == Counter(truth.values())
        asked = upstream.asked  # due times know nothing of it: no poll comes early or in a burst
        assert all(asked[at + 100] - asked[at] >= 5 for at in range(0, len(asked) - 100, 50))

    simulate(hours)


def test_a_restart_with_the_clock_set_right_polls_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KEY", "k")
    sections: dict[str, Any] = {"storage": {"retention": "100d"}}

    async def hours() -> None:
        upstream, store = SimulatedUpstream(), MemoryStore()
        ahead, right = JumpingClock(), JumpingClock()
        ahead.skew = 30 * HOUR
        async with exporting(upstream, store, tmp_path, ahead, **sections) as exporter:
            for at in range(5):
                await tell(exporter, upstream.add(f"job-{at}", Script.sound(2 * HOUR)))
            await tell(exporter, upstream.add("lost", Script.lost()))
            await asyncio.sleep(HOUR)
            before = Counter(upstream.polls)
        assert before["lost"] >= 3
        async with exporting(upstream, store, tmp_path, right, **sections) as exporter:
            await asyncio.sleep(70)  # polling.max_interval, and its jitter
            polled = upstream.polls - before
            assert {name for name in polled if name} >= {f"job-{at}" for at in range(5)}
            await asyncio.sleep(1.2 * HOUR)
            assert upstream.polls["lost"] == before["lost"] + 1  # the third check of the verdict
            await asyncio.sleep(HOUR)
            assert set((await states(exporter)).values()) == {"done", "not_found"}

    simulate(hours)
