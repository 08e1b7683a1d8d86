"""Clocks that jump: NTP sets them forth and back, a machine sleeps. Nobody is blamed for it."""

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
    pass_time,
    simulate,
    states,
    tell,
)

from exporter.clock import SystemClock
from exporter.core.tally import DURATION
from exporter.simulator.script import Script, draw
from exporter.storage.memory import MemoryStore
from exporter.storage.store import SUM


class JumpingClock(SimulatedClock):
    """Simulated time whose wall time is off by `skew` seconds, guarded as the real one is."""

    def __init__(self) -> None:
        self.skew = 0.0
        self._guarded = SystemClock(
            lambda: START + self.monotonic() + self.skew, steady=self.monotonic
        )

    def time(self) -> float:
        return self._guarded.time()


def stamps(*walls_and_steadies: tuple[float, float]) -> list[float]:
    """The stamps of a system clock, read at these wall and steady times."""
    walls = iter([wall for wall, _ in walls_and_steadies])
    steadies = iter([steady for _, steady in walls_and_steadies])
    clock = SystemClock(lambda: next(walls), lambda: next(steadies))
    return [clock.time() for _ in walls_and_steadies]


def test_a_wall_clock_that_is_wrong_for_a_moment_leaves_no_stamp() -> None:
    assert stamps((1000, 0), (9000, 5), (9003, 8), (1010, 10), (9040, 40)) == [
        *(1000, 1005, 1008, 1010, 1040)
    ]


def test_a_wall_clock_that_was_set_is_followed_after_half_a_minute() -> None:
    for step in (5000, -500):
        walls = [(1000, 0), (1010 + step, 10), (1039 + step, 39), (1040 + step, 40)]
        assert stamps(*walls) == [1000, 1010, 1039, 1040 + step]


def test_a_wall_clock_that_is_set_twice_is_followed_after_the_second() -> None:
    assert stamps((1000, 0), (2010, 10), (5035, 35), (5050, 50), (5065, 65)) == [
        *(1000, 1010, 1035, 1050, 5065)
    ]


def test_a_wall_clock_within_a_second_is_not_followed() -> None:
    assert stamps((1000, 0), (1100.9, 100), (1199.1, 200)) == [1000, 1100, 1200]


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
    tmp_path: Path, jumps: list[tuple[int, float]]
) -> None:
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
                await pass_time(60)
            assert "expired" not in (await states(exporter)).values()
            await pass_time(8 * HOUR)
            truth = {name: ENDS[script.kind] for name, (script, _) in upstream.jobs.items()}
            assert await states(exporter) == truth
        finished, durations = Counter[str](), 0.0
        for (name, labels, bucket), amount in store.tables.totals.items():
            assert amount >= 0
            finished[dict(labels).get("state", "")] += (
                int(amount) if name == "removit_jobs_finished_total" else 0
            )
            if name == "removit_job_detection_delay_seconds" and bucket == SUM:
                assert amount <= 60 * 70  # a jump is in no duration
            if name == DURATION and bucket == SUM:
                durations += amount
        assert +finished == Counter(truth.values())
        assert 0 < durations <= 60 * HOUR
        asked = upstream.asked  # due times know nothing of it: no poll comes early or in a burst
        assert all(asked[at + 100] - asked[at] >= 5 for at in range(0, len(asked) - 100, 50))

    simulate(hours)


def test_a_restart_with_the_clock_set_right_polls_on(tmp_path: Path) -> None:
    sections: dict[str, Any] = {"storage": {"retention": "100d"}}

    async def hours() -> None:
        upstream, store = SimulatedUpstream(), MemoryStore()
        ahead, right = JumpingClock(), JumpingClock()
        ahead.skew = 30 * HOUR
        async with exporting(upstream, store, tmp_path, ahead, **sections) as exporter:
            for at in range(5):
                await tell(exporter, upstream.add(f"job-{at}", Script.sound(2 * HOUR)))
            await tell(exporter, upstream.add("lost", Script.lost()))
            await pass_time(HOUR)
            before = Counter(upstream.polls)
        assert before["lost"] >= 3
        async with exporting(upstream, store, tmp_path, right, **sections) as exporter:
            await pass_time(70)  # polling.max_interval, and its jitter
            polled = upstream.polls - before
            assert {name for name in polled if name} >= {f"job-{at}" for at in range(5)}
            await pass_time(1.2 * HOUR)
            assert upstream.polls["lost"] == before["lost"] + 1  # the third check of the verdict
            await pass_time(HOUR)
            assert set((await states(exporter)).values()) == {"done", "not_found"}

    simulate(hours)
