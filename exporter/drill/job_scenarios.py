"""Scenarios about jobs."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from ..alerting.promql import for_drill
from ..alerting.recording import WEEK
from ..simulator import Script
from .sandbox import Sandbox
from .scenario import Scenario


@asynccontextmanager
async def _stuck(sandbox: Sandbox) -> AsyncIterator[None]:
    await sandbox.add(*[Script.stuck(0.1, "params")] * 10)
    yield
    await sandbox.forget()


@asynccontextmanager
async def _overdue(sandbox: Sandbox) -> AsyncIterator[None]:
    quick = await sandbox.add(*[Script.sound(0.5)] * 40)
    await sandbox.ended(*quick)
    await sandbox.add(*[Script.stuck(0.1)] * 15)
    yield
    await sandbox.forget()


@asynccontextmanager
async def _lost(sandbox: Sandbox) -> AsyncIterator[None]:
    job_ids = await sandbox.add(*[Script.stuck(0.1)] * 10)
    await sandbox.answered(*job_ids)
    with contextlib.ExitStack() as faults:
        for job_id in job_ids:
            fault = sandbox.simulator.faults.override(job_id, 404, b'{"error": "not_found"}')
            faults.enter_context(fault)
        yield
    await sandbox.forget()


@asynccontextmanager
async def _half_fails(sandbox: Sandbox) -> AsyncIterator[None]:
    scripts = (Script.sound(0.2), Script.explicit(0.2))
    async with sandbox.every(0.25, lambda number: sandbox.add(scripts[number % 2])):
        yield


@asynccontextmanager
async def _few_fail(sandbox: Sandbox) -> AsyncIterator[None]:
    scripts = (Script.explicit(0.2), *[Script.sound(0.2)] * 24)
    async with sandbox.every(0.1, lambda number: sandbox.add(scripts[number % 25])):
        yield


@asynccontextmanager
async def _nothing_to_fetch(sandbox: Sandbox) -> AsyncIterator[None]:
    async with sandbox.every(2.0, lambda number: sandbox.add(Script.resultless(0.2))):
        yield


@asynccontextmanager
async def _late_to_show(sandbox: Sandbox) -> AsyncIterator[None]:
    with sandbox.simulator.faults.late_visibility(4.0):
        async with sandbox.every(3.0, lambda number: sandbox.add(Script.sound(0.2))):
            yield


@asynccontextmanager
async def _unknown_ids(sandbox: Sandbox) -> AsyncIterator[None]:
    async with sandbox.every(1.0, lambda number: sandbox.register(str(uuid.uuid4()))):
        yield


@asynccontextmanager
async def _ignored(sandbox: Sandbox) -> AsyncIterator[None]:
    async with sandbox.every(0.5, lambda number: sandbox.add(Script.warned(0.2))):
        yield


@asynccontextmanager
async def _warned(sandbox: Sandbox) -> AsyncIterator[None]:
    warned = Script.warned(0.2, warnings={"compose": ["scaled down"]}, ignored_variations=())
    async with sandbox.every(0.5, lambda number: sandbox.add(warned)):
        yield


@asynccontextmanager
async def _one_picture_lost(sandbox: Sandbox) -> AsyncIterator[None]:
    await sandbox.add(Script.explicit(0.2), key="sku-1")
    yield
    await sandbox.add(Script.sound(0.2), key="sku-1")


@asynccontextmanager
async def _no_witness(sandbox: Sandbox) -> AsyncIterator[None]:
    [job_id] = await sandbox.add(Script.stuck(0.1, "params"))
    await sandbox.answered(job_id)
    with sandbox.simulator.faults.override(job_id, 500, b'{"error": "internal"}'):
        yield
    await sandbox.forget()


@asynccontextmanager
async def _nothing_finishes(sandbox: Sandbox) -> AsyncIterator[None]:
    await sandbox.add(*[Script.stuck(0.1)] * 8)
    async with sandbox.every(1.0, lambda number: sandbox.add(Script.stuck(0.1))):
        yield
    await sandbox.forget()


@asynccontextmanager
async def _nothing_registered(sandbox: Sandbox) -> AsyncIterator[None]:
    async with sandbox.every(0.5, lambda number: sandbox.add(Script.sound(0.2))):
        await asyncio.sleep(for_drill(WEEK))
    yield
    await sandbox.add(Script.sound(0.2))


JOB_SCENARIOS: Final = (
    Scenario(
        "jobs_stalled",
        "ten jobs stop making progress",
        "Overview: Jobs suspected, stalled, overdue; Pending jobs that stand still",
        _stuck,
        {"polling": {"stalled_after": "3s"}},
    ),
    Scenario(
        "jobs_overdue",
        "fifteen jobs take far longer than the forty before them",
        "Overview: Jobs suspected, stalled, overdue",
        _overdue,
        lead=5.0,
    ),
    Scenario(
        "jobs_suspected",
        "the API forgets ten jobs at once",
        "Overview: Jobs suspected, stalled, overdue; no job ends as not_found",
        _lost,
    ),
    Scenario(
        "failure_budget_fast",
        "every other job fails",
        "Overview: Ended well falls to 50 %",
        _half_fails,
        steady=False,
    ),
    Scenario(
        "failure_budget_slow",
        "four in a hundred jobs fail, continuously",
        "Overview: Share that ends badly is 4 %",
        _few_fail,
        steady=False,
    ),
    Scenario(
        "done_without_result",
        "jobs are done and have no image",
        "Overview: Done without result, by mode",
        _nothing_to_fetch,
    ),
    Scenario(
        "verdicts_overturned",
        "the API shows jobs late, so that they are first judged not found",
        "Overview: Verdicts overturned, in all",
        _late_to_show,
        steady=False,
    ),
    Scenario(
        "jobs_not_found",
        "ids are registered that the API does not know",
        "Overview: Ended per minute, by state: not_found",
        _unknown_ids,
    ),
    Scenario(
        "ignored_variations",
        "the API ignores a variation for all jobs, from the first one on",
        "Overview: Ignored variations, by variation: shadow_wall",
        _ignored,
        steady=False,
    ),
    Scenario(
        "variation_warnings",
        "the API warns about a variation for all jobs, and delivers it",
        "Overview: Warnings, by variation: compose",
        _warned,
        steady=False,
    ),
    Scenario(
        "unresolved_failures",
        "one job fails, and a later job of its key is done",
        "Overview: To send again, by cause: ended badly",
        _one_picture_lost,
    ),
    Scenario(
        "jobs_undecided",
        "one job is answered 500, and no other job of its mode is served",
        "Overview: Jobs suspected, stalled, overdue",
        _no_witness,
        {"judgement": {"weak_after": "5m"}},
    ),
    Scenario(
        "nothing_finished",
        "jobs are registered, and none ends",
        "Overview: Registered against ended, per minute",
        _nothing_finishes,
        steady=False,
    ),
    Scenario(
        "nothing_registered",
        "no jobs are registered, unlike a (shortened) week ago",
        "Overview: Registered against ended, per minute",
        _nothing_registered,
        steady=False,
        lead=for_drill(WEEK),
    ),
)
