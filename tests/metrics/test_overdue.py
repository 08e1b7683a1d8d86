"""Overdue jobs are counted by mode and group, however the limit and the jobs change."""

import random
from collections import Counter
from contextlib import ExitStack

from conftest import Open, until

from exporter.core.tally import Labels
from exporter.metrics.overdue import Overdue, Place
from exporter.simulator import Script, Simulator

FAST: Labels = (("mode", "fast"),)
SLOW: Labels = (("mode", "slow"),)


def counts(overdue: Overdue, now: float, **limits: float) -> dict[Labels, int]:
    return {group: count for group, count in overdue.count(now, limits).items() if count}


def test_a_job_older_than_its_modes_limit_is_overdue() -> None:
    overdue = Overdue()
    overdue.put(Place(FAST, "fast", (0.0, "a")))
    overdue.put(Place(SLOW, "slow", (0.0, "b")))
    assert counts(overdue, 10.0, fast=10.0, slow=100.0) == {}
    assert counts(overdue, 10.1, fast=10.0, slow=100.0) == {FAST: 1}
    assert counts(overdue, 200.0, fast=10.0) == {FAST: 1}
    overdue.remove("a")
    overdue.remove("a")
    assert counts(overdue, 200.0, fast=10.0) == {}


def test_a_limit_that_rises_or_is_lost_brings_jobs_back() -> None:
    overdue = Overdue()
    for at, name in enumerate("abc"):
        overdue.put(Place(FAST, "fast", (float(at), name)))
    assert counts(overdue, 12.0, fast=10.0) == {FAST: 2}
    assert counts(overdue, 12.0, fast=11.5) == {FAST: 1}
    assert counts(overdue, 12.0) == {}
    assert counts(overdue, 12.0, fast=1.0) == {FAST: 3}


def test_a_job_that_gets_a_mode_or_label_is_counted_under_it() -> None:
    overdue = Overdue()
    overdue.put(Place(SLOW, "unknown", (0.0, "a")))
    assert counts(overdue, 50.0, fast=10.0, unknown=10.0) == {SLOW: 1}
    overdue.put(Place(FAST, "fast", (0.0, "a")))
    assert counts(overdue, 50.0, fast=10.0, unknown=10.0) == {FAST: 1}
    shop: Labels = (*FAST, ("shop", "eu"))
    overdue.put(Place(shop, "fast", (0.0, "a")))
    assert counts(overdue, 50.0, fast=10.0) == {shop: 1}


def test_the_count_always_equals_a_count_of_all_jobs() -> None:
    rng, overdue, jobs, now = random.Random(7), Overdue(), dict[str, tuple[str, float]](), 0.0
    for _ in range(5000):
        now += rng.random()
        name = f"job-{rng.randrange(60)}"
        if rng.random() < 0.4:
            overdue.remove(name)
            jobs.pop(name, None)
        else:
            jobs[name] = (rng.choice(("fast", "slow")), now - rng.choice((0.0, 5.0, 30.0)))
            mode, registered_at = jobs[name]
            overdue.put(Place((("mode", mode),), mode, (registered_at, name)))
        limits = {mode: rng.uniform(1.0, 40.0) for mode in ("fast", "slow") if rng.random() < 0.9}
        true = Counter(
            (("mode", mode),)
            for mode, registered_at in jobs.values()
            if mode in limits and registered_at < now - limits[mode]
        )
        assert counts(overdue, now, **limits) == true
    heaps = [heap for line in overdue._lines.values() for heap in (line.young, line.old)]
    assert sum(map(len, heaps)) <= 2 * (2 * 60 + 64)


async def test_usual_durations_are_learned_from_done_jobs_and_survive_a_restart(
    open_site: Open, simulator: Simulator
) -> None:
    polling = {"overdue_samples": 5, "overdue_factor": 1}
    series = 'removit_jobs_overdue{mode="clipping"}'
    site = await open_site(polling=polling)
    jobs = [simulator.add(Script.sound(0.0)) for _ in range(5)]
    with ExitStack() as held:  # only jobs that were seen pending have a duration
        for job_id in jobs:
            body = b'{"state": "pending", "status": "queued", "mode": "clipping", "progress": 0}'
            held.enter_context(simulator.faults.override(job_id, 200, body))
            await site.put(job_id)
        await until(lambda: all(site.exporter.registry.jobs[one].answered for one in jobs))
    await until(lambda: not site.exporter.registry.pending)
    assert await site.value(series) == 0
    stuck = simulator.add(Script.stuck(0.05))
    await site.put(stuck)
    await site.put(simulator.add(Script.stuck(0.05, "params")))

    async def overdue() -> bool:
        return await site.value(series) == 1

    await until(overdue)
    assert await site.value('removit_jobs_overdue{mode="params"}') is None, "too few were done"
    await site.client.close()
    site = await open_site(polling=polling)
    await until(overdue)
