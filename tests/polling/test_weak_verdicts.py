"""A verdict with a weak witness is checked as soon as a job of its mode is served again."""

from pathlib import Path

from simulated_time import HOUR, SimulatedUpstream, exporting, pass_time, simulate, tell
from support import answered

from exporter.core.job import JobState
from exporter.polling.weak_verdicts import WeakVerdicts
from exporter.service import Exporter
from exporter.simulator.script import Script
from exporter.storage.memory import MemoryStore


async def state_of(exporter: Exporter, job_id: str) -> str:
    job = await exporter.registry.get(job_id)
    assert job is not None
    return job.state


def test_the_next_mornings_first_job_overturns_the_verdict_of_the_evening(tmp_path: Path) -> None:
    async def night() -> None:
        upstream = SimulatedUpstream()
        async with exporting(upstream, MemoryStore(), tmp_path) as exporter:
            await tell(exporter, upstream.add("sound", Script.sound(10.0)))
            await pass_time(60)
            await tell(exporter, upstream.add("late", Script.stuck(30.0)))
            await pass_time(20)
            upstream.fault = lambda job_id: (500, b'{"error": "x"}') if job_id == "late" else None
            await pass_time(0.5 * HOUR)
            assert await state_of(exporter, "late") == "failed"
            await pass_time(4.5 * HOUR)  # the next recheck is hours away
            upstream.fault = lambda job_id: None
            await pass_time(60)
            assert await state_of(exporter, "late") == "failed"
            await tell(exporter, upstream.add("morning", Script.stuck(30.0)))
            await pass_time(10)
            assert await state_of(exporter, "late") == "pending"

    simulate(night)


def test_each_mode_is_asked_about_once() -> None:
    failed = answered("a", mode="params", state=JobState.FAILED, weakly_failed=True)
    other = answered("b", mode="clipping", state=JobState.FAILED, weakly_failed=True)
    sure = answered("c", mode="params", state=JobState.FAILED)
    verdicts = WeakVerdicts({job.job_id: job for job in (failed, other, sure)})
    for job in (failed, other, sure):
        verdicts.note(job)
    assert verdicts.served("unknown") == []
    assert verdicts.served("params") == ["a"]
    assert verdicts.served("params") == []
