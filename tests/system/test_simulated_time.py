"""The real core, poller, registry and housekeeping over days, in seconds of simulated time."""

import asyncio
import contextlib
import copy
import random
from collections import Counter
from pathlib import Path

import pytest
from simulated_time import (
    ENDS,
    HOUR,
    SimulatedUpstream,
    TooLongError,
    exporting,
    pass_time,
    simulate,
    states,
    tell,
)

from exporter.simulator.script import Script, draw
from exporter.storage.memory import MemoryStore
from exporter.storage.sqlite import SqliteStore


def test_a_day_with_the_default_thresholds_ends_every_job_as_it_truly_ended(tmp_path: Path) -> None:
    async def day() -> None:
        upstream, rng, store = SimulatedUpstream(), random.Random(7), MemoryStore()
        async with exporting(upstream, store, tmp_path, storage={"retention": "72h"}) as exporter:
            for at in range(200):  # one each three minutes for ten hours
                name = upstream.add(f"job-{at}", draw(rng))
                await tell(exporter, name)
                if at == 100:  # an outage of one hour
                    upstream.fault = lambda job_id: (503, b"<html>sorry</html>")
                if at == 120:
                    upstream.fault = lambda job_id: None
                await pass_time(180)
            await pass_time(43 * HOUR)  # a day until the last expire, and 16 h of rechecks
            truth = {name: ENDS[script.kind] for name, (script, _) in upstream.jobs.items()}
            assert set(truth.values()) == {"done", "failed", "not_found", "expired"}
            assert await states(exporter) == truth
            assert exporter.registry.jobs == {}
            overturned = Counter[str]()
            for (name, labels, _), amount in store.tables.totals.items():
                overturned[name] += int(amount) if name.endswith("overturned_total") else 0
                assert name != "removit_contract_drift_total", labels
            assert overturned.total() == 0

    simulate(day)


def test_a_job_takes_few_polls_and_its_end_is_seen_soon(tmp_path: Path) -> None:
    async def hour() -> None:
        upstream = SimulatedUpstream()
        async with exporting(upstream, MemoryStore(), tmp_path) as exporter:
            lengths = (10.0, 60.0, 600.0)
            for seconds in lengths:
                name = upstream.add(f"job-{seconds:g}", Script.sound(seconds))
                await tell(exporter, name)
            await pass_time(1200)
            for seconds in lengths:
                job = await exporter.registry.get(f"job-{seconds:g}")
                assert job is not None
                assert job.finished_at is not None
                late = job.finished_at - job.registered_at - seconds
                assert 0 <= late <= max(6.0, 0.15 * seconds)
                assert upstream.polls[job.job_id] <= 10 + seconds / 3

    simulate(hour)


def test_what_was_learned_survives_a_restart(tmp_path: Path) -> None:
    async def restarted() -> None:
        upstream, store = SimulatedUpstream(), MemoryStore()
        async with exporting(upstream, store, tmp_path) as exporter:
            await tell(
                exporter, *(upstream.add(f"job-{at}", Script.sound(60.0)) for at in range(30))
            )
            await pass_time(300)
        async with exporting(upstream, store, tmp_path) as exporter:
            assert exporter.poller.pace.learner.all.law.samples == 30

    simulate(restarted)


def test_the_rate_limit_holds_at_every_moment(tmp_path: Path) -> None:
    async def burst() -> None:
        upstream = SimulatedUpstream()
        async with exporting(upstream, MemoryStore(), tmp_path) as exporter:
            names = [upstream.add(f"job-{at}", Script.stuck(10.0)) for at in range(500)]
            await tell(exporter, *names)
            await pass_time(120)
        times = upstream.asked
        assert len(times) >= 1200
        for first, last in ((0, 20), (100, 400), (20, 1200)):
            assert last - first <= 20 + 10 * (times[last] - times[first]) + 1
        polls = Counter(upstream.polls.values())
        assert max(polls) - min(polls) <= 1  # the most overdue is always next

    simulate(burst)


def test_suspicion_and_give_up_stand_still_while_the_upstream_is_down(tmp_path: Path) -> None:
    async def night() -> None:
        upstream = SimulatedUpstream()
        polling = {"give_up_after": "6h"}
        async with exporting(upstream, MemoryStore(), tmp_path, polling=polling) as exporter:
            names = [upstream.add(f"job-{at}", Script.stuck(10.0)) for at in range(8)]
            await tell(exporter, *names)
            await pass_time(HOUR)
            upstream.fault = lambda job_id: (502, b"")
            await pass_time(12 * HOUR)
            assert set((await states(exporter)).values()) == {"pending"}
            asked = len(upstream.asked)
            assert asked <= 8 * 120 + 12 * 60 + 100  # at most one trial a minute while down
            upstream.fault = lambda job_id: None
            await pass_time(4 * HOUR)
            assert set((await states(exporter)).values()) == {"pending"}
            await pass_time(2 * HOUR)
            assert set((await states(exporter)).values()) == {"expired"}

    simulate(night)


@pytest.mark.parametrize(("hours", "ends"), [(5, "done"), (24 * 7 + 1, "not_found")])
def test_a_verdict_is_asked_again_after_a_stop_however_long_it_is_kept(
    tmp_path: Path, hours: int, ends: str
) -> None:
    async def stopped() -> None:
        upstream, store = SimulatedUpstream(), MemoryStore()
        rules = {"not_found_grace": "1m"}
        async with exporting(upstream, store, tmp_path, judgement=rules) as exporter:
            upstream.fault = lambda job_id: (404, b'{"error": "not_found"}') if job_id else None
            await tell(exporter, upstream.add("a", Script.sound(30.0)))
            await pass_time(300)
            assert await states(exporter) == {"a": "not_found"}
        upstream.fault = lambda job_id: None
        await pass_time(hours * HOUR)
        async with exporting(upstream, MemoryStore(store.tables), tmp_path) as exporter:
            await pass_time(30)
            assert await states(exporter) == {"a": ends}

    simulate(stopped)


def test_a_suspected_jobs_run_goes_on_though_the_exporter_is_killed_every_four_minutes(
    tmp_path: Path,
) -> None:
    async def an_hour() -> None:
        upstream, tables = SimulatedUpstream(), MemoryStore().tables
        for life in range(15):
            async with exporting(upstream, MemoryStore(tables), tmp_path) as exporter:
                if life == 0:
                    await tell(exporter, "unknown", upstream.add("well", Script.stuck(10.0)))
                await pass_time(240)
                tables = copy.deepcopy(tables)  # as kill -9 leaves them, before the stop
                found = await states(exporter)
        assert found == {"unknown": "not_found", "well": "pending"}

    simulate(an_hour)


def test_time_stands_still_while_the_store_is_at_work(tmp_path: Path) -> None:
    async def minutes() -> None:
        upstream = SimulatedUpstream()
        async with exporting(upstream, SqliteStore(tmp_path / "jobs.db"), tmp_path) as exporter:
            started = asyncio.get_running_loop().time()
            await tell(exporter, upstream.add("a", Script.sound(30.0)))
            assert asyncio.get_running_loop().time() - started < 1.0
            await pass_time(60)
            assert await states(exporter) == {"a": "done"}

    simulate(minutes)


def test_an_endless_simulation_is_stopped_even_if_its_tasks_swallow_errors() -> None:
    async def deaf() -> None:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await pass_time(1.0)

    async def endless() -> None:
        await asyncio.gather(deaf(), asyncio.sleep(1e12))

    with pytest.raises(TooLongError, match="takes too long"):
        simulate(endless, real_seconds=0.2)
