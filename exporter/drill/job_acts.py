"""Acts about jobs."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from ..alerting.promql import for_drill
from ..alerting.recording import WEEK
from ..simulator import Script
from .act import Act
from .scene import Scene


@asynccontextmanager
async def _stuck(scene: Scene) -> AsyncIterator[None]:
    await scene.add(*[Script.stuck(0.1, "params")] * 10)
    yield
    await scene.forget()


@asynccontextmanager
async def _overdue(scene: Scene) -> AsyncIterator[None]:
    quick = await scene.add(*[Script.sound(0.5)] * 40)
    await scene.ended(*quick)
    await scene.add(*[Script.stuck(0.1)] * 15)
    yield
    await scene.forget()


@asynccontextmanager
async def _lost(scene: Scene) -> AsyncIterator[None]:
    job_ids = await scene.add(*[Script.stuck(0.1)] * 10)
    await scene.answered(*job_ids)
    with contextlib.ExitStack() as faults:
        for job_id in job_ids:
            fault = scene.simulator.faults.override(job_id, 404, b'{"error": "not_found"}')
            faults.enter_context(fault)
        yield
    await scene.forget()


@asynccontextmanager
async def _half_fails(scene: Scene) -> AsyncIterator[None]:
    scripts = (Script.sound(0.2), Script.explicit(0.2))
    async with scene.every(0.25, lambda number: scene.add(scripts[number % 2])):
        yield


@asynccontextmanager
async def _few_fail(scene: Scene) -> AsyncIterator[None]:
    scripts = (Script.explicit(0.2), *[Script.sound(0.2)] * 24)
    async with scene.every(0.1, lambda number: scene.add(scripts[number % 25])):
        yield


@asynccontextmanager
async def _nothing_to_fetch(scene: Scene) -> AsyncIterator[None]:
    async with scene.every(2.0, lambda number: scene.add(Script.resultless(0.2))):
        yield


@asynccontextmanager
async def _late_to_show(scene: Scene) -> AsyncIterator[None]:
    with scene.simulator.faults.late_visibility(4.0):
        async with scene.every(3.0, lambda number: scene.add(Script.sound(0.2))):
            yield


@asynccontextmanager
async def _unknown_ids(scene: Scene) -> AsyncIterator[None]:
    async with scene.every(1.0, lambda number: scene.tell(str(uuid.uuid4()))):
        yield


@asynccontextmanager
async def _ignored(scene: Scene) -> AsyncIterator[None]:
    async with scene.every(0.5, lambda number: scene.add(Script.sound(0.2, "params"))):
        await asyncio.sleep(for_drill(WEEK))
    async with scene.every(0.5, lambda number: scene.add(Script.warned(0.2))):
        yield


@asynccontextmanager
async def _nothing_finishes(scene: Scene) -> AsyncIterator[None]:
    await scene.add(*[Script.stuck(0.1)] * 8)
    async with scene.every(1.0, lambda number: scene.add(Script.stuck(0.1))):
        yield
    await scene.forget()


@asynccontextmanager
async def _nobody_registers(scene: Scene) -> AsyncIterator[None]:
    async with scene.every(0.5, lambda number: scene.add(Script.sound(0.2))):
        await asyncio.sleep(for_drill(WEEK))
    yield
    await scene.add(Script.sound(0.2))


JOB_ACTS: Final = (
    Act(
        "jobs_stalled",
        "ten jobs stop moving",
        "Overview: Jobs suspected, stalled, overdue; Pending jobs that stand still",
        _stuck,
        {"polling": {"stalled_after": "3s"}},
    ),
    Act(
        "jobs_overdue",
        "fifteen jobs take far longer than the forty before them",
        "Overview: Jobs suspected, stalled, overdue",
        _overdue,
        lead=5.0,
    ),
    Act(
        "jobs_suspected",
        "the API forgets ten jobs at once",
        "Overview: Jobs suspected, stalled, overdue; no job ends as not_found",
        _lost,
    ),
    Act(
        "failure_budget_fast",
        "every other job fails",
        "Overview: Ended well falls to 50 %",
        _half_fails,
        steady=False,
    ),
    Act(
        "failure_budget_slow",
        "four in a hundred jobs fail, on and on",
        "Overview: Share that ends badly stands at 4 %",
        _few_fail,
        steady=False,
    ),
    Act(
        "done_without_result",
        "jobs are done and have no picture",
        "Overview: Done without result, by mode",
        _nothing_to_fetch,
    ),
    Act(
        "verdicts_overturned",
        "jobs are not found at first, and given up too early",
        "Overview: Verdicts overturned, in all",
        _late_to_show,
        steady=False,
    ),
    Act(
        "jobs_not_found",
        "ids are registered that the API does not know",
        "Overview: Ended per minute, by state: not_found",
        _unknown_ids,
    ),
    Act(
        "ignored_variations",
        "the shadows are left out, which they were not a (squeezed) week ago",
        "Overview: Ignored variations, by variation: shadow_wall",
        _ignored,
        steady=False,
        lead=for_drill(WEEK),
    ),
    Act(
        "nothing_finished",
        "jobs come in, and none ends",
        "Overview: Registered against ended, per minute",
        _nothing_finishes,
        steady=False,
    ),
    Act(
        "nothing_registered",
        "nobody registers jobs, unlike a (squeezed) week ago",
        "Overview: Registered against ended, per minute",
        _nobody_registers,
        steady=False,
        lead=for_drill(WEEK),
    ),
)
