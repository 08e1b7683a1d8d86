"""Outages in simulated time: how soon they are shown, and that no job is blamed for them."""

from collections import Counter
from pathlib import Path

import pytest
from batches import (
    HTML_502,
    JSON_500,
    Answer,
    ended,
    good_jobs,
    now,
    recovers,
    undecided,
    upload,
    wait_for_state,
    watched,
    watching,
    without_workers,
)
from simulated_time import MINUTE, SimulatedUpstream, exporting, pass_time, simulate, states, tell

from exporter.simulator.script import Script
from exporter.storage.memory import MemoryStore


@pytest.mark.parametrize("answer", [JSON_500, HTML_502])
@pytest.mark.parametrize("pending", [5, 20])
def test_dead_workers_are_down_within_a_minute_when_jobs_of_different_ages_fail_together(
    tmp_path: Path, pending: int, answer: Answer
) -> None:
    async def day() -> None:
        upstream = SimulatedUpstream()
        async with watched(upstream, tmp_path) as (exporter, shown):
            await upload(upstream, exporter, good_jobs(20), 2.0)
            under_way = {f"job-{at}": Script.sound(400.0) for at in range(pending)}
            await upload(upstream, exporter, under_way, 6.0)
            start = now()
            upstream.fault = without_workers(upstream, answer)
            for at in range(60):
                await upload(upstream, exporter, {f"new-{at}": Script.sound(40.0)}, 2 * MINUTE)
            assert shown.after("down", start) <= MINUTE
            assert shown.last.get("suspect", 0.0) < shown.first["down"]
            assert await undecided(exporter)
            assert exporter.health.state == "down"
            await recovers(upstream, exporter)

    simulate(day)


def test_a_failover_to_an_empty_replica_ends_no_job(tmp_path: Path) -> None:
    async def failover() -> None:
        upstream = SimulatedUpstream()
        async with exporting(upstream, MemoryStore(), tmp_path) as exporter:
            known = {f"known-{at}": Script.sound(300.0) for at in range(8)}
            await upload(upstream, exporter, known, 3.0)
            just = {f"just-{at}": Script.sound(30.0) for at in range(3)}
            moved = {*known, *just}
            upstream.fault = lambda job_id: (
                (404, b'{"error": "not_found"}') if job_id in moved else None
            )
            await upload(upstream, exporter, just, 0.5)
            for at in range(60):
                await upload(upstream, exporter, {f"new-{at}": Script.sound(40.0)}, MINUTE)
            assert await undecided(exporter)
            await recovers(upstream, exporter)

    simulate(failover)


@pytest.mark.parametrize(("answered", "minutes"), [(True, 10), (False, 5)])
def test_an_outage_between_two_404_does_not_make_a_verdict_wait_anew(
    tmp_path: Path, answered: bool, minutes: float
) -> None:
    async def between() -> None:
        upstream = SimulatedUpstream()
        async with exporting(upstream, MemoryStore(), tmp_path) as exporter:
            stuck = {f"stuck-{at}": Script.stuck(10.0) for at in range(6)}
            await upload(upstream, exporter, stuck, 1.0)
            if answered:
                await upload(upstream, exporter, {"gone": Script.stuck(10.0)}, MINUTE)
                del upstream.jobs["gone"]
            else:
                await tell(exporter, "gone")
            start = now()
            await pass_time(minutes * MINUTE - 90)
            upstream.fault = lambda job_id: HTML_502
            await pass_time(20 * MINUTE)
            upstream.fault = lambda job_id: None
            await pass_time(10 * MINUTE)
            states_by_id = await states(exporter)
            assert states_by_id.pop("gone") == "not_found"
            assert set(states_by_id.values()) == {"pending"}
            lasted = await ended(exporter, "gone") - start
            assert (minutes + 20) * MINUTE - 90 <= lasted <= (minutes + 20 + 4) * MINUTE

    simulate(between)


def test_jobs_that_were_not_found_before_an_outage_do_not_prolong_it(tmp_path: Path) -> None:
    """They are asked again for hours after their verdict, and answered 404 as before."""

    async def outage() -> None:
        upstream = SimulatedUpstream()
        async with watched(upstream, tmp_path) as (exporter, _):
            served = {f"served-{at}": Script.stuck(10.0) for at in range(6)}
            unknown = [f"unknown-{at}" for at in range(10)]
            await upload(upstream, exporter, served, 2.0)
            await tell(exporter, *unknown)
            await pass_time(8 * MINUTE)
            states_by_id = await states(exporter)
            assert {states_by_id[name] for name in unknown} == {"not_found"}
            upstream.fault = lambda job_id: JSON_500 if job_id in served else None
            await wait_for_state(exporter, "down", 2 * MINUTE)
            await pass_time(30 * MINUTE)
            assert exporter.health.state == "down"
            upstream.fault = lambda job_id: None
            await wait_for_state(exporter, "well", 2 * MINUTE)

    simulate(outage)


def test_a_restart_while_the_upstream_is_well_blames_no_job_and_shows_no_outage(
    tmp_path: Path,
) -> None:
    async def restart() -> None:
        upstream, store = SimulatedUpstream(), MemoryStore()
        async with exporting(upstream, store, tmp_path) as exporter:
            jobs = {f"job-{at}": Script.sound(300.0) for at in range(6)}
            bad = {f"bad-{at}": Script.failing(100.0 + 9 * at) for at in range(2)}
            await upload(upstream, exporter, jobs | bad, 1.0)
            await pass_time(105)
            assert exporter.health.state == "well"
        async with exporting(upstream, MemoryStore(store.tables), tmp_path) as exporter:
            assert exporter.health.state == "unknown"
            async with watching(exporter) as shown:
                await pass_time(10 * MINUTE)
                assert set(shown.first) <= {"unknown", "well", "suspect"}
            assert Counter((await states(exporter)).values()) == {"done": 6, "failed": 2}

    simulate(restart)


FORMER_SECONDS = {"json": 60.0, "html": 60.0, "connection": 94.0, "timeout": 110.0}
"""The longest time until `down` before a finished job's 2xx was heeded, over 12 seeds."""
WAYS: dict[str, Answer] = {
    "json": JSON_500,
    "html": HTML_502,
    "connection": "connection",
    "timeout": "timeout",
}


@pytest.mark.parametrize("pending", [1, 2, 5, 20])
@pytest.mark.parametrize("way", FORMER_SECONDS)
def test_a_total_outage_at_the_end_of_a_batch_is_down_at_most_5_s_later_than_before(
    tmp_path: Path, way: str, pending: int
) -> None:
    async def outage() -> None:
        upstream = SimulatedUpstream()
        async with watched(upstream, tmp_path) as (exporter, shown):
            last = {f"last-{at}": Script.sound(100.0 + at) for at in range(pending)}
            await upload(upstream, exporter, good_jobs(40), 2.0)
            await upload(upstream, exporter, last, 1.0)
            await pass_time(60.0 - pending)
            assert Counter((await states(exporter)).values()) == {"done": 40, "pending": pending}
            start = now()
            upstream.fault = lambda job_id: WAYS[way]
            await pass_time(5 * MINUTE)
            assert set((await states(exporter)).values()) == {"done", "pending"}
            assert shown.after("down", start) <= FORMER_SECONDS[way] + 5.0
            await recovers(upstream, exporter)

    simulate(outage)
