"""The shipped alerts over scrapes of a simulated exporter, at the end of a batch and in an outage.

`critical` alerts page somebody; `warning` ones are tickets.
"""

from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any, TypeVar

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
from simulated_time import HOUR, MINUTE, SimulatedUpstream, exporting, pass_time, simulate, states

from exporter import Exporter
from exporter.simulator.script import Script
from exporter.storage.memory import MemoryStore

PAGES = firing(severity="critical")
DOWN = 'removit_upstream_state{state="down"} == 1'
ANSWERS = {"500": JSON_500, "502": HTML_502}
BATCH = 50
TURN_SECONDS = 3.0

T = TypeVar("T")


def with_each_answer(name: str, *numbers: int, quick: str) -> pytest.MarkDecorator:
    """Give a test each number with each answer; all of these are slow except the one named."""
    cases = {f"{at}-{code}": (at, answer) for at in numbers for code, answer in ANSWERS.items()}
    marks = {case: pytest.mark.slow for case in cases if case != quick}
    return pytest.mark.parametrize(
        (name, "answer"),
        [pytest.param(*cases[case], id=case, marks=marks.get(case, ())) for case in cases],
    )


def recorded(
    folder: Path, work: Callable[[SimulatedUpstream, Exporter], Coroutine[Any, Any, T]]
) -> tuple[Scrapes, T]:
    """Run with the default config; return the scrapes, and what `work` returns."""

    async def run() -> tuple[Scrapes, T]:
        upstream = SimulatedUpstream()
        async with (
            exporting(upstream, MemoryStore(), folder) as exporter,
            scraping(exporter) as scrapes,
        ):
            result = await work(upstream, exporter)
        return scrapes, result

    found: tuple[Scrapes, T] = simulate(run)
    return found


def turn_one_by_one(upstream: SimulatedUpstream, pending: Iterable[str], answer: Answer) -> None:
    """Let a pending job fail every `TURN_SECONDS` from now on, and new jobs at once."""
    start, dead = now(), without_workers(upstream, answer)
    turns = {name: start + TURN_SECONDS * at for at, name in enumerate(pending)}
    upstream.fault = lambda job_id: dead(job_id) if now() >= turns.get(job_id or "", 0.0) else None


@with_each_answer("bad", 1, 2, 5, quick="5-500")
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

    scrapes, _ = recorded(tmp_path, evening)
    end = scrapes.seconds
    ticket = firing("RemovitUnresolvedFailures", "warning")
    scrapes.check(
        tmp_path,
        [never(DOWN, 0, end), never(PAGES, 0, end), *always(ticket, end - MINUTE, end)],
    )


@with_each_answer("pending", 5, 20, quick="5-502")
def test_dead_workers_page_within_five_minutes_when_jobs_turn_together(
    tmp_path: Path, pending: int, answer: Answer
) -> None:
    async def day(upstream: SimulatedUpstream, exporter: Exporter) -> float:
        await upload(upstream, exporter, good_jobs(20), 2.0)
        under_way = {f"job-{at}": Script.sound(400.0) for at in range(pending)}
        await upload(upstream, exporter, under_way, 6.0)
        start = now()
        upstream.fault = without_workers(upstream, answer)
        new = {f"new-{at}": Script.sound(40.0) for at in range(15)}
        await upload(upstream, exporter, new, 2 * MINUTE)
        assert await undecided(exporter)
        return start

    scrapes, start = recorded(tmp_path, day)
    page = firing("RemovitUpstreamDown", "critical")
    scrapes.check(
        tmp_path,
        [
            never(firing(), 0, start),
            *always(DOWN, start + MINUTE, start + 5 * MINUTE),
            *always(page, start + 5 * MINUTE, scrapes.seconds),
        ],
    )


@with_each_answer("pending", 5, 8, quick="8-500")
def test_dead_workers_are_a_ticket_within_fifteen_minutes_when_jobs_turn_one_by_one(
    tmp_path: Path, pending: int, answer: Answer
) -> None:
    async def day(upstream: SimulatedUpstream, exporter: Exporter) -> float:
        await upload(upstream, exporter, good_jobs(40), 2.0)
        under_way = {f"job-{at}": Script.sound(400.0) for at in range(pending)}
        await upload(upstream, exporter, under_way, TURN_SECONDS)
        await pass_time(MINUTE - TURN_SECONDS * pending)
        start = now()
        turn_one_by_one(upstream, under_way, answer)
        new = {f"new-{at}": Script.sound(40.0) for at in range(80)}
        await upload(upstream, exporter, new, 30.0)
        assert await undecided(exporter)
        return start

    scrapes, start = recorded(tmp_path, day)
    ticket = firing("RemovitUpstreamSuspect", "warning")
    checks = [never(firing(), 0, start), *always(ticket, start + 15 * MINUTE, scrapes.seconds)]
    scrapes.check(tmp_path, checks)


@pytest.mark.slow
def test_a_few_jobs_that_turn_one_by_one_before_a_quiet_hour_are_a_ticket_in_that_hour(
    tmp_path: Path,
) -> None:
    """Too few turn after the last good answer for `suspect`; the alerts about jobs report them."""

    async def evening(upstream: SimulatedUpstream, exporter: Exporter) -> float:
        await upload(upstream, exporter, good_jobs(40), 2.0)
        under_way = {f"job-{at}": Script.sound(400.0) for at in range(8)}
        await upload(upstream, exporter, under_way, TURN_SECONDS)
        start = now()
        turn_one_by_one(upstream, under_way, JSON_500)
        await pass_time(50 * MINUTE)
        assert await undecided(exporter)
        return start

    scrapes, start = recorded(tmp_path, evening)
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
    async def day(upstream: SimulatedUpstream, exporter: Exporter) -> float:
        await upload(upstream, exporter, good_jobs(20), 2.0)
        await upload(upstream, exporter, {f"job-{at}": Script.sound(400.0) for at in range(8)}, 0.0)
        await pass_time(3 * MINUTE)
        start = now()
        upstream.fault = without_workers(upstream, JSON_500)
        await pass_time(50 * MINUTE)
        assert await undecided(exporter)
        return start

    scrapes, start = recorded(tmp_path, day)
    ticket = firing("RemovitUpstreamSuspect", "warning")
    checks = [never(firing(), 0, start), *always(ticket, start + 15 * MINUTE, scrapes.seconds)]
    scrapes.check(tmp_path, [*checks, never(PAGES, 0, scrapes.seconds)])
