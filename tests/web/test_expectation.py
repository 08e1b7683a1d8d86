"""The expected end of a pending job, and why its next poll comes when it does, in the API."""

from datetime import datetime

from conftest import Open, Site, until

from exporter.simulator import Simulator
from exporter.simulator.script import Script

SLOW = {"min_interval": "9m", "max_interval": "9m"}
"""One poll of each job, and then none for a long time."""
QUICK = {"min_interval": "50ms", "max_interval": "50ms"}


async def shown_job(site: Site, job_id: str) -> dict[str, str | None]:
    await site.put(job_id)
    await until(lambda: site.exporter.registry.jobs[job_id].mode is not None)
    await until(lambda: not site.exporter.poller.is_in_flight(job_id))
    return await site.job(job_id)


async def taught(site: Site, job_id: str, seconds: list[float]) -> str:
    """Register a job, and let jobs of its mode have ended after these times; return the mode."""
    mode = (await shown_job(site, job_id))["mode"]
    assert mode is not None
    learner = site.exporter.poller.pace.learner
    for age in seconds:
        watch = learner.watch(mode, 0.0)
        learner.pending(watch, age - 1, "", 0)
        learner.ended(watch, age)
    return mode


async def test_nothing_is_expected_before_there_are_samples(
    open_site: Open, simulator: Simulator
) -> None:
    site = await open_site(polling=SLOW)
    job = await shown_job(site, simulator.add(Script.stuck(0.0)))
    assert job["next_poll_reason"] == "schedule"
    assert (job["next_poll_why"], job["expected_at"], job["expected_by"]) == (None, None, None)


async def test_a_pending_job_says_when_such_jobs_end(open_site: Open, simulator: Simulator) -> None:
    site = await open_site(polling=SLOW)
    job_id = simulator.add(Script.stuck(0.0))
    mode = await taught(site, job_id, [60.0, 100.0] * 30)
    job = await site.job(job_id)
    why = job["next_poll_why"]
    assert why.startswith(f"Nine in ten jobs of mode {mode} that are pending after ")
    times = (job["registered_at"], job["expected_at"], job["expected_by"])
    start, median, late = (datetime.fromisoformat(time).timestamp() for time in times)
    assert 50 < median - start < 110
    assert 85 < late - start < 150


async def test_a_job_that_has_ended_expects_nothing(open_site: Open, simulator: Simulator) -> None:
    site = await open_site(polling=SLOW)
    job_id = simulator.add(Script.sound(0.0))
    await taught(site, job_id, [60.0] * 30)
    await until(lambda: not site.exporter.registry.jobs[job_id].pending)
    job = await site.job(job_id)
    assert (job["next_poll_why"], job["expected_at"], job["expected_by"]) == (None, None, None)


async def test_no_end_is_expected_while_a_job_is_suspected(
    open_site: Open, simulator: Simulator
) -> None:
    site = await open_site(polling=QUICK)
    job_id = simulator.add(Script.stuck(0.0))
    await taught(site, job_id, [60.0] * 30)
    with simulator.faults.override(job_id, 500, b'{"error": "internal"}'):
        await until(lambda: site.exporter.registry.jobs[job_id].suspicion is not None)
        job = await site.job(job_id)
    assert (job["suspected"], job["next_poll_why"], job["expected_at"]) == (True, None, None)


async def test_a_suspected_job_says_what_a_verdict_lacks(
    open_site: Open, simulator: Simulator
) -> None:
    site = await open_site(polling=QUICK)
    job_id = simulator.add(Script.failing(0.0))
    await site.put(job_id)
    await until(lambda: site.exporter.registry.jobs[job_id].suspicion is not None)
    run = (await site.job(job_id))["suspicion"]
    assert run["http_status"] == 500
    assert run["answers"] >= 1
    assert run["seconds_needed"] >= 600
    assert run["missing"]
    events = (await site.job(job_id))["events"]
    suspected = next(event for event in events if event["type"] == "suspected")
    assert suspected["data"]["missing"]
    sound = simulator.add(Script.stuck(0.0))
    await shown_job(site, sound)
    assert (await site.job(sound))["suspicion"] is None


async def test_a_poll_whose_time_a_limit_decided_says_which(
    open_site: Open, simulator: Simulator
) -> None:
    site = await open_site(polling=SLOW)
    job_id = simulator.add(Script.stuck(0.0))
    await taught(site, job_id, [60.0, 100.0] * 30)
    why = (await site.job(job_id))["next_poll_why"]
    assert why.endswith(" later. It is polled later, as polling.min_interval says.")
