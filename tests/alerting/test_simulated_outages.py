"""The shipped alerts over scrapes of a simulated exporter, at the end of a batch and in an outage.

`critical` alerts page somebody; `warning` ones are tickets.
"""

from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from batches import (
    HTML_502,
    JSON_500,
    Answer,
    failing_as,
    good_jobs,
    now,
    undecided,
    upload,
    without_workers,
)
from simulated_scrapes import Scrapes, always, firing, never, scraping
from simulated_time import (
    HOUR,
    MINUTE,
    SimulatedUpstream,
    exporting,
    pass_time,
    simulate,
    states,
    tell,
)

from exporter import Exporter
from exporter.simulator.script import Script
from exporter.storage.memory import MemoryStore

PAGES = firing(severity="critical")
BATCH = 50


def recorded(
    folder: Path, work: Callable[[SimulatedUpstream, Exporter], Coroutine[Any, Any, None]]
) -> Scrapes:
    """Run with the default config; return the scrapes."""

    async def run() -> Scrapes:
        upstream = SimulatedUpstream()
        async with (
            exporting(upstream, MemoryStore(), folder) as exporter,
            scraping(exporter) as scrapes,
        ):
            await work(upstream, exporter)
        return scrapes

    scrapes: Scrapes = simulate(run)
    return scrapes


@pytest.mark.parametrize(
    ("bad", "answer"),
    [
        pytest.param(1, JSON_500, id="1-500", marks=pytest.mark.slow),
        pytest.param(1, HTML_502, id="1-502", marks=pytest.mark.slow),
        pytest.param(2, JSON_500, id="2-500", marks=pytest.mark.slow),
        pytest.param(2, HTML_502, id="2-502", marks=pytest.mark.slow),
        pytest.param(5, JSON_500, id="5-500"),
        pytest.param(5, HTML_502, id="5-502", marks=pytest.mark.slow),
    ],
)
def test_the_last_bad_images_of_a_batch_page_nobody_and_end_in_a_ticket(
    tmp_path: Path, bad: int, answer: Answer
) -> None:
    async def evening(upstream: SimulatedUpstream, exporter: Exporter) -> None:
        upstream.fault = failing_as(upstream, answer)
        await pass_time(10 * MINUTE)
        last = {f"bad-{at}": Script.failing(60.0 + 7 * (at % 3)) for at in range(bad)}
        await upload(upstream, exporter, good_jobs(BATCH - bad) | last, 2.0)
        await pass_time(2 * HOUR)
        ends = Counter((await states(exporter)).values())
        assert ends == {"done": BATCH - bad, "failed": bad}

    scrapes = recorded(tmp_path, evening)
    assert set(scrapes.values('removit_upstream_state{state="down"}')) == {0.0}
    end = scrapes.seconds
    ticket = firing("RemovitUnresolvedFailures", "warning")
    scrapes.check(tmp_path, [never(PAGES, 0, end), *always(ticket, end - MINUTE, end)])


@pytest.mark.parametrize(
    ("pending", "answer"),
    [
        pytest.param(5, JSON_500, id="5-500", marks=pytest.mark.slow),
        pytest.param(5, HTML_502, id="5-502"),
        pytest.param(20, JSON_500, id="20-500", marks=pytest.mark.slow),
        pytest.param(20, HTML_502, id="20-502", marks=pytest.mark.slow),
    ],
)
def test_dead_workers_page_within_five_minutes_when_jobs_turn_together(
    tmp_path: Path, pending: int, answer: Answer
) -> None:
    begun = []

    async def day(upstream: SimulatedUpstream, exporter: Exporter) -> None:
        await upload(upstream, exporter, good_jobs(20), 2.0)
        under_way = {f"job-{at}": Script.sound(400.0) for at in range(pending)}
        await upload(upstream, exporter, under_way, 6.0)
        begun.append(now())
        upstream.fault = without_workers(upstream, answer)
        for at in range(15):
            await upload(upstream, exporter, {f"new-{at}": Script.sound(40.0)}, 2 * MINUTE)
        assert await undecided(exporter)

    scrapes = recorded(tmp_path, day)
    [start] = begun
    page = firing("RemovitUpstreamDown", "critical")
    down = 'removit_upstream_state{state="down"} == 1'
    scrapes.check(
        tmp_path,
        [
            never(firing(), 0, start),
            *always(down, start + MINUTE, start + 5 * MINUTE),
            *always(page, start + 5 * MINUTE, scrapes.seconds),
        ],
    )


@pytest.mark.parametrize(
    ("pending", "answer"),
    [
        pytest.param(5, JSON_500, id="5-500", marks=pytest.mark.slow),
        pytest.param(5, HTML_502, id="5-502", marks=pytest.mark.slow),
        pytest.param(8, JSON_500, id="8-500"),
        pytest.param(8, HTML_502, id="8-502", marks=pytest.mark.slow),
    ],
)
def test_dead_workers_are_a_ticket_within_fifteen_minutes_when_jobs_turn_one_by_one(
    tmp_path: Path, pending: int, answer: Answer
) -> None:
    begun = []

    async def day(upstream: SimulatedUpstream, exporter: Exporter) -> None:
        await upload(upstream, exporter, good_jobs(40), 2.0)
        under_way = {f"job-{at}": Script.sound(400.0) for at in range(pending)}
        await upload(upstream, exporter, under_way, 3.0)
        await pass_time(MINUTE - 3.0 * pending)
        start, dead = now(), without_workers(upstream, answer)
        begun.append(start)
        turns = {name: start + 3.0 * at for at, name in enumerate(under_way)}
        upstream.fault = lambda job_id: (
            dead(job_id) if now() >= turns.get(job_id or "", 0.0) else None
        )
        for at in range(80):
            await upload(upstream, exporter, {f"new-{at}": Script.sound(40.0)}, 30.0)
        assert await undecided(exporter)

    scrapes = recorded(tmp_path, day)
    [start] = begun
    ticket = firing("RemovitUpstreamSuspect", "warning")
    checks = [never(firing(), 0, start), *always(ticket, start + 15 * MINUTE, scrapes.seconds)]
    scrapes.check(tmp_path, checks)


@pytest.mark.slow
def test_a_few_jobs_that_turn_one_by_one_before_a_quiet_hour_are_a_ticket_in_that_hour(
    tmp_path: Path,
) -> None:
    """Too few turn after the last good answer for `suspect`; the alerts about jobs report them."""
    begun = []

    async def evening(upstream: SimulatedUpstream, exporter: Exporter) -> None:
        await upload(upstream, exporter, good_jobs(40), 2.0)
        under_way = {f"job-{at}": Script.sound(400.0) for at in range(8)}
        await upload(upstream, exporter, under_way, 3.0)
        start, dead = now(), without_workers(upstream, JSON_500)
        begun.append(start)
        turns = {name: start + 3.0 * at for at, name in enumerate(under_way)}
        upstream.fault = lambda job_id: (
            dead(job_id) if now() >= turns.get(job_id or "", 0.0) else None
        )
        await pass_time(50 * MINUTE)
        assert await undecided(exporter)

    scrapes = recorded(tmp_path, evening)
    [start] = begun
    ticket = firing("RemovitJobsSuspected|RemovitJobsUndecided", "warning")
    scrapes.check(
        tmp_path,
        [
            never(PAGES, 0, scrapes.seconds),
            *always(ticket, start + 35 * MINUTE, scrapes.seconds),
        ],
    )


@pytest.mark.slow
def test_dead_workers_are_a_ticket_within_fifteen_minutes_when_jobs_were_uploaded_at_once(
    tmp_path: Path,
) -> None:
    begun = []

    async def day(upstream: SimulatedUpstream, exporter: Exporter) -> None:
        await upload(upstream, exporter, good_jobs(20), 2.0)
        await tell(exporter, *(upstream.add(f"job-{at}", Script.sound(400.0)) for at in range(8)))
        await pass_time(3 * MINUTE)
        begun.append(now())
        upstream.fault = without_workers(upstream, JSON_500)
        await pass_time(50 * MINUTE)
        assert await undecided(exporter)

    scrapes = recorded(tmp_path, day)
    [start] = begun
    ticket = firing("RemovitUpstreamSuspect", "warning")
    checks = [never(firing(), 0, start), *always(ticket, start + 15 * MINUTE, scrapes.seconds)]
    scrapes.check(tmp_path, [*checks, never(PAGES, 0, scrapes.seconds)])
