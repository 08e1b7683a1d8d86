"""Troubles of many jobs and many hours, under simulated time: only who is to blame is blamed."""

import random
from collections import Counter
from pathlib import Path

import pytest
from simulated_time import HOUR, SimulatedUpstream, exporting, pass_time, simulate, states, tell

from exporter.simulator.script import Script
from exporter.storage.memory import MemoryStore


@pytest.mark.slow
@pytest.mark.no_cover
def test_thousands_of_stale_ids_all_end_as_not_found(tmp_path: Path) -> None:
    async def import_of_stale_ids() -> None:
        upstream = SimulatedUpstream()
        async with exporting(upstream, MemoryStore(), tmp_path) as exporter:
            sound = upstream.add("sound", Script.stuck(10.0))
            await tell(exporter, sound)
            for start in range(0, 5000, 500):
                await tell(exporter, *(f"stale-{at}" for at in range(start, start + 500)))
            await pass_time(1.5 * HOUR)
            found = Counter((await states(exporter)).values())
            assert found == {"not_found": 5000, "pending": 1}
            assert exporter.health.state == "well"

    simulate(import_of_stale_ids)


@pytest.mark.slow
@pytest.mark.no_cover
def test_a_key_revoked_on_friday_and_renewed_on_monday_expires_no_job(tmp_path: Path) -> None:
    async def weekend() -> None:
        upstream = SimulatedUpstream()
        polling = {"give_up_after": "12h"}
        async with exporting(upstream, MemoryStore(), tmp_path, polling=polling) as exporter:
            names = [upstream.add(f"job-{at}", Script.sound(3 * HOUR)) for at in range(20)]
            await tell(exporter, *names)
            await pass_time(HOUR)
            upstream.fault = lambda job_id: (401, b'{"error": "unauthorized"}')
            asked = len(upstream.asked)
            await pass_time(60 * HOUR)
            assert exporter.health.state == "key_rejected"
            assert len(upstream.asked) - asked <= 60 * 60 + 40  # one try a minute for them all
            assert set((await states(exporter)).values()) == {"pending"}
            upstream.fault = lambda job_id: None
            await pass_time(HOUR)
            assert set((await states(exporter)).values()) == {"done"}

    simulate(weekend)


def test_after_an_outage_jobs_are_polled_within_the_rate_limit_oldest_first(tmp_path: Path) -> None:
    async def outage() -> None:
        upstream = SimulatedUpstream()
        async with exporting(upstream, MemoryStore(), tmp_path) as exporter:
            names = [upstream.add(f"job-{at:03}", Script.stuck(10.0)) for at in range(300)]
            for name in names:
                await tell(exporter, name)
                await pass_time(0.2)
            await pass_time(300)
            upstream.fault = lambda job_id: (503, b"")
            await pass_time(1800)
            assert exporter.health.state == "down"
            order: list[str] = []

            def note(job_id: str | None) -> None:
                order.append(job_id or "control")

            upstream.fault = note
            dues = {name: due for due, name, _ in exporter.poller.schedule._queued.values()}
            back = len(upstream.asked)
            await pass_time(120)
            first = [name for name in dict.fromkeys(order) if name in dues]
            overdue = [dues[name] for name in first[1:]]  # the first was the trial
            assert overdue == sorted(overdue)
            assert set(first) == set(names)
            times = upstream.asked[back:]
            assert len(times) > 300
            for at in range(0, len(times) - 100, 10):  # 10 a second, and no burst
                assert times[at + 100] - times[at] >= 100 / 10 - 2.1
            assert set((await states(exporter)).values()) == {"pending"}

    simulate(outage)


def test_no_job_ends_when_the_upstream_forgets_most_jobs_at_once(tmp_path: Path) -> None:
    async def forgetting() -> None:
        upstream, rng = SimulatedUpstream(), random.Random(2)
        async with exporting(upstream, MemoryStore(), tmp_path) as exporter:
            names = [upstream.add(f"job-{at}", Script.stuck(10.0)) for at in range(50)]
            await tell(exporter, *names)
            await pass_time(600)
            forgotten = set(rng.sample(names, 40))
            upstream.fault = lambda job_id: (
                (404, b'{"error": "not_found"}') if job_id in forgotten else None
            )
            await pass_time(2 * HOUR)
            assert set((await states(exporter)).values()) == {"pending"}
            suspected = sum(exporter.job_metrics.census.suspected.values())
            assert suspected == 40
            upstream.fault = lambda job_id: None
            await pass_time(300)
            assert sum(exporter.job_metrics.census.suspected.values()) == 0

    simulate(forgetting)


@pytest.mark.parametrize("share", [0.05, pytest.param(0.1, marks=pytest.mark.slow), 0.3])
def test_a_firewall_that_refuses_some_requests_seldom_suspends_all_polling(
    tmp_path: Path, share: float
) -> None:
    async def refusals() -> None:
        upstream, rng = SimulatedUpstream(), random.Random(3)
        upstream.fault = lambda job_id: (403, b"<html>") if rng.random() < share else None
        async with exporting(upstream, MemoryStore(), tmp_path) as exporter:
            names = [upstream.add(f"job-{at}", Script.stuck(10.0)) for at in range(200)]
            await tell(exporter, *names)
            blocked = 0
            for _ in range(3600):
                await pass_time(1)
                blocked += exporter.health.state == "blocked"
            assert blocked <= 360
            assert min(upstream.polls[name] for name in names) >= 20
            upstream.fault = lambda job_id: (403, b"<html>")
            await pass_time(60)
            assert exporter.health.state == "blocked"

    simulate(refusals)


def test_a_single_failing_job_is_judged_with_the_help_of_control_requests(tmp_path: Path) -> None:
    async def alone() -> None:
        upstream = SimulatedUpstream()
        async with exporting(upstream, MemoryStore(), tmp_path) as exporter:
            await tell(exporter, upstream.add("alone", Script.failing(20.0)))
            await pass_time(1180)
            assert await states(exporter) == {"alone": "pending"}
            await pass_time(120)
            job = await exporter.registry.get("alone")
            assert job is not None
            assert job.state == "failed"
            assert "a random id was answered 404" in (job.evidence or "")
            assert upstream.polls["alone"] <= 40

    simulate(alone)


def test_without_jobs_the_heartbeat_reveals_a_revoked_key(tmp_path: Path) -> None:
    async def night() -> None:
        upstream = SimulatedUpstream()
        async with exporting(upstream, MemoryStore(), tmp_path) as exporter:
            await pass_time(HOUR)
            assert 11 <= len(upstream.asked) <= 13  # every five minutes
            assert exporter.health.state == "well"
            upstream.fault = lambda job_id: (401, b'{"error": "unauthorized"}')
            await pass_time(360)
            assert exporter.health.state == "key_rejected"
            assert exporter.health.key_valid is False

    simulate(night)


def test_an_outage_after_which_no_job_is_pending_ends_with_the_next_job(
    tmp_path: Path,
) -> None:
    """From outside it looks like a dead database until another job is served."""

    async def night() -> None:
        upstream = SimulatedUpstream()
        async with exporting(upstream, MemoryStore(), tmp_path) as exporter:
            names = [upstream.add(f"job-{at}", Script.failing(400.0)) for at in range(10)]
            await tell(exporter, *names)
            await pass_time(300)
            upstream.fault = lambda job_id: (503, b"")
            await pass_time(HOUR)
            upstream.fault = lambda job_id: None
            await pass_time(HOUR)
            assert set((await states(exporter)).values()) == {"pending"}
            await tell(exporter, upstream.add("witness", Script.stuck(10.0)))
            await pass_time(125)  # two trials: it makes the next one
            assert exporter.health.up is True
            await pass_time(1200)
            ends = Counter((await states(exporter)).values())
            assert ends == {"failed": 10, "pending": 1}

    simulate(night)


def test_a_good_control_answer_ends_an_outage_when_no_job_is_pending(
    tmp_path: Path,
) -> None:
    async def quiet() -> None:
        upstream = SimulatedUpstream()
        async with exporting(upstream, MemoryStore(), tmp_path) as exporter:
            upstream.fault = lambda job_id: "connection"
            await pass_time(HOUR)
            assert exporter.health.state == "down"
            asked = len(upstream.asked)
            upstream.fault = lambda job_id: None
            await pass_time(90)
            assert exporter.health.state == "well"
            assert len(upstream.asked) <= asked + 2

    simulate(quiet)


def test_the_rechecks_of_a_failed_batch_do_not_look_like_an_outage(tmp_path: Path) -> None:
    async def evening() -> None:
        upstream = SimulatedUpstream()
        async with exporting(upstream, MemoryStore(), tmp_path) as exporter:
            names = [upstream.add(f"job-{at}", Script.failing(5.0)) for at in range(20)]
            await tell(exporter, upstream.add("witness", Script.sound(900.0)), *names)
            seen = set()
            for _ in range(2 * 360):
                await pass_time(10)
                seen.add(exporter.health.state.value)
            assert Counter((await states(exporter)).values()) == {"failed": 20, "done": 1}
            assert seen <= {"well", "suspect"}

    simulate(evening)


def test_a_job_served_again_in_the_morning_is_no_longer_failed(tmp_path: Path) -> None:
    async def night() -> None:
        upstream = SimulatedUpstream()
        async with exporting(upstream, MemoryStore(), tmp_path) as exporter:
            unlucky = upstream.add("unlucky", Script.sound(60.0))
            await tell(exporter, unlucky, upstream.add("witness", Script.stuck(10.0)))
            upstream.fault = lambda job_id: (500, b"{}") if job_id == unlucky else None
            await pass_time(9 * HOUR)
            assert (await states(exporter))[unlucky] == "failed"
            upstream.fault = lambda job_id: None
            await pass_time(8.9 * HOUR)  # the last recheck is 16 h after the end, and jittered
            assert (await states(exporter))[unlucky] == "done"

    simulate(night)


def test_an_api_whose_database_is_dead_is_an_outage(tmp_path: Path) -> None:
    async def hours() -> None:
        upstream = SimulatedUpstream()
        async with exporting(upstream, MemoryStore(), tmp_path) as exporter:
            names = [upstream.add(f"job-{at}", Script.sound(1200.0)) for at in range(12)]
            await tell(exporter, *names)
            await pass_time(300)
            upstream.fault = lambda job_id: (500, b"{}") if job_id in upstream.jobs else None
            await pass_time(6 * HOUR)
            assert exporter.health.state == "down"
            assert set((await states(exporter)).values()) == {"pending"}
            upstream.fault = lambda job_id: None
            await pass_time(300)
            assert set((await states(exporter)).values()) == {"done"}

    simulate(hours)


def test_an_upstream_that_often_times_out_fails_no_healthy_job(tmp_path: Path) -> None:
    async def slow() -> None:
        upstream, rng = SimulatedUpstream(), random.Random(4)
        async with exporting(upstream, MemoryStore(), tmp_path) as exporter:
            names = [upstream.add(f"job-{at}", Script.sound(300.0)) for at in range(30)]
            failing = upstream.add("failing", Script.failing(100.0))
            await tell(exporter, *names, failing, upstream.add("witness", Script.stuck(10.0)))
            upstream.fault = lambda job_id: "timeout" if rng.random() < 0.5 else None
            await pass_time(HOUR)
            found = await states(exporter)
            assert {found[name] for name in names} == {"done"}
            assert (found[failing], found["witness"]) == ("failed", "pending")

    simulate(slow)


def test_while_the_upstream_is_only_suspect_polls_become_fewer(tmp_path: Path) -> None:
    async def partial() -> None:
        upstream = SimulatedUpstream()
        async with exporting(upstream, MemoryStore(), tmp_path) as exporter:
            names = [upstream.add(f"job-{at}", Script.stuck(30.0)) for at in range(24)]
            for name in names:
                await tell(exporter, name)
                await pass_time(2)
            bad = set(names[8:])
            upstream.fault = lambda job_id: (500, b'{"error": "x"}') if job_id in bad else None
            await pass_time(20)
            assert exporter.health.state == "suspect"
            before = sum(upstream.polls[name] for name in bad)
            await pass_time(55)
            assert exporter.health.state == "suspect"
            assert sum(upstream.polls[name] for name in bad) - before <= 3 * len(bad)

    simulate(partial)
