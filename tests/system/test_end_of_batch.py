"""The end of a batch in simulated time: what becomes of the last jobs, and what is shown."""

from collections import Counter
from pathlib import Path

import pytest
from batches import (
    HTML_502,
    JSON_500,
    Answer,
    ended,
    failing_as,
    good_jobs,
    now,
    recovers,
    undecided,
    upload,
    watched,
    without_workers,
)
from simulated_time import HOUR, MINUTE, SimulatedUpstream, pass_time, simulate, states, tell

from exporter.simulator.script import Script

BATCH = 50


def batch(bad: int) -> dict[str, Script]:
    """A batch whose last jobs fail when all others are done, each at an age of its own."""
    return good_jobs(BATCH - bad) | {
        f"bad-{at}": Script.failing(60.0 + 7 * (at % 3)) for at in range(bad)
    }


@pytest.mark.parametrize(
    ("bad", "answer", "minutes"),
    [
        (1, JSON_500, 11.5),
        (2, JSON_500, 11.5),
        (5, JSON_500, 61.5),
        (1, HTML_502, 31.5),
        (2, HTML_502, 31.5),
        (5, HTML_502, 61.5),
    ],
)
def test_the_last_jobs_of_a_batch_fail_in_bounded_time_and_the_upstream_is_never_down(
    tmp_path: Path, bad: int, answer: Answer, minutes: float
) -> None:
    async def evening() -> None:
        upstream = SimulatedUpstream()
        upstream.fault = failing_as(upstream, answer)
        async with watched(upstream, tmp_path) as (exporter, shown):
            await upload(upstream, exporter, batch(bad), 2.0)
            await pass_time((minutes + 1) * MINUTE)
            assert Counter((await states(exporter)).values()) == {
                "done": BATCH - bad,
                "failed": bad,
            }
            for at in range(bad):
                script, start = upstream.jobs[f"bad-{at}"]
                late = await ended(exporter, f"bad-{at}") - start - script.seconds
                assert late <= minutes * MINUTE
            await pass_time(2 * 60 * MINUTE)  # the rechecks do not look like an outage either
            assert set(shown.first) <= {"unknown", "well", "suspect"}
            assert exporter.health.state == "well"

    simulate(evening)


@pytest.mark.parametrize("answer", [JSON_500, HTML_502])
def test_dead_workers_are_suspect_when_all_jobs_were_uploaded_at_once(
    tmp_path: Path, answer: Answer
) -> None:
    async def day() -> None:
        upstream = SimulatedUpstream()
        async with watched(upstream, tmp_path) as (exporter, shown):
            await upload(upstream, exporter, good_jobs(20), 2.0)
            names = [upstream.add(f"job-{at}", Script.sound(400.0)) for at in range(8)]
            await tell(exporter, *names)
            await pass_time(3 * MINUTE)
            start = now()
            upstream.fault = without_workers(upstream, answer)
            await pass_time(HOUR - MINUTE)
            assert await undecided(exporter)
            assert "down" not in shown.first
            assert shown.after("suspect", start) <= 5 * MINUTE
            assert shown.last["well"] < shown.first["suspect"]  # long enough for the alert
            assert exporter.health.state == "suspect"
            await recovers(upstream, exporter)

    simulate(day)
