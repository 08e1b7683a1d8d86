"""Scenarios about the upstream."""

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from ..simulator import Script
from .sandbox import Sandbox
from .scenario import Scenario

PENDING_IN_OUTAGE: Final = 500


@asynccontextmanager
async def _outage(sandbox: Sandbox) -> AsyncIterator[None]:
    """Uploads continue and jobs end during the outage; neither may cause an alert of its own."""
    job_ids = await sandbox.add(*[Script.sound(30.0)] * PENDING_IN_OUTAGE)
    async with sandbox.every(1.0, lambda number: sandbox.upload("clipping")):
        await sandbox.answered(*job_ids)
        with sandbox.simulator.faults.outage():
            yield


@asynccontextmanager
async def _pending(sandbox: Sandbox, jobs: int = 10) -> AsyncIterator[list[str]]:
    """Have some jobs that stay pending and are answered 2xx."""
    job_ids = await sandbox.add(*[Script.stuck(0.1)] * jobs)
    await sandbox.answered(*job_ids)
    yield job_ids
    await sandbox.forget()


@asynccontextmanager
async def _key_rejected(sandbox: Sandbox) -> AsyncIterator[None]:
    async with _pending(sandbox):
        with sandbox.simulator.faults.revoked_key():
            yield


@asynccontextmanager
async def _blocked(sandbox: Sandbox) -> AsyncIterator[None]:
    async with _pending(sandbox):
        with sandbox.simulator.faults.forbidden():
            yield


@asynccontextmanager
async def _finished(sandbox: Sandbox) -> AsyncIterator[contextlib.ExitStack]:
    """Have a finished job that is served throughout; yields a stack for faults."""
    await sandbox.ended(*await sandbox.add(Script.sound(0.2)))
    with contextlib.ExitStack() as faults:
        yield faults
    await sandbox.forget()


async def _add_bad(sandbox: Sandbox, faults: contextlib.ExitStack) -> None:
    """Register a job that is answered 500 from the first time on."""
    job_id = sandbox.simulator.add(Script.stuck(0.1))
    fault = sandbox.simulator.faults.override(job_id, 500, b'{"error": "server_error"}')
    faults.enter_context(fault)
    await sandbox.register(job_id)


@asynccontextmanager
async def _suspect(sandbox: Sandbox) -> AsyncIterator[None]:
    async with _finished(sandbox) as faults:
        for _ in range(6):
            await _add_bad(sandbox, faults)
        yield


@asynccontextmanager
async def _turning_bad(sandbox: Sandbox) -> AsyncIterator[None]:
    async with (
        _finished(sandbox) as faults,
        sandbox.every(1.0, lambda number: _add_bad(sandbox, faults)),
    ):
        yield


@asynccontextmanager
async def _throttled(sandbox: Sandbox) -> AsyncIterator[None]:
    async with _pending(sandbox):
        with sandbox.simulator.faults.throttled(retry_after=2):
            yield


@asynccontextmanager
async def _slow(sandbox: Sandbox) -> AsyncIterator[None]:
    async with _pending(sandbox, 60):
        with sandbox.simulator.faults.slow(3.0):
            yield


@asynccontextmanager
async def _unreadable(sandbox: Sandbox) -> AsyncIterator[None]:
    async with _pending(sandbox, 20) as job_ids:
        with contextlib.ExitStack() as faults:
            for job_id in job_ids[:5]:
                page = b"<html>We will be back soon</html>"
                fault = sandbox.simulator.faults.override(job_id, 200, page, "text/html")
                faults.enter_context(fault)
            yield


@asynccontextmanager
async def _no_credits(sandbox: Sandbox) -> AsyncIterator[None]:
    async with sandbox.every(1.0, lambda number: sandbox.upload("clipping")):
        with sandbox.simulator.faults.no_credits():
            yield


@asynccontextmanager
async def _bad_uploads(sandbox: Sandbox) -> AsyncIterator[None]:
    modes = ("clipping", "no-such-mode")
    async with sandbox.every(0.4, lambda number: sandbox.upload(modes[number % 2])):
        yield


SELDOM: Final[dict[str, Any]] = {
    "polling": {"min_interval": "10s", "max_interval": "10s", "stalled_after": "20s"}
}

UPSTREAM_SCENARIOS: Final = (
    Scenario(
        "upstream_down",
        f"the API answers 503 to everything, with {PENDING_IN_OUTAGE} jobs pending",
        "Overview: Upstream is `down`, no job fails, Pending stays constant",
        _outage,
        SELDOM,
        lead=15.0,
    ),
    Scenario(
        "key_rejected",
        "the API key is revoked",
        "Overview: Upstream `key_rejected`; Why: 401 unauthorized",
        _key_rejected,
    ),
    Scenario(
        "upstream_blocked",
        "a firewall answers 403 with an HTML page",
        "Overview: Upstream `blocked`",
        _blocked,
    ),
    Scenario(
        "upstream_suspect",
        "six jobs are answered 500, and only a finished job is served",
        "Overview: Upstream `suspect`, no job fails",
        _suspect,
        steady=False,
    ),
    Scenario(
        "jobs_turning_bad",
        "each second one more job is answered 500, and only a finished job is served",
        "Overview: Upstream `suspect`; Jobs suspected, stalled, overdue: suspected grows",
        _turning_bad,
        steady=False,
    ),
    Scenario(
        "throttled",
        "the API answers 429, Retry-After: 2",
        "Overview: Upstream over time is mostly `throttled`",
        _throttled,
    ),
    Scenario(
        "status_latency",
        "the API takes three seconds for each answer",
        "Overview: Latency rises to 3 s and above",
        _slow,
        lead=2.0,
    ),
    Scenario(
        "contract_drift",
        "a quarter of the answers are 200 with a maintenance page",
        "Overview: Contract drift, by kind: not_json; Requests by code: invalid_body",
        _unreadable,
    ),
    Scenario(
        "credits_exhausted",
        "uploads are answered 402",
        "Overview: Errors by code: 402 insufficient_credits",
        _no_credits,
    ),
    Scenario(
        "upload_errors",
        "every other upload is refused with 422",
        "Overview: Requests by code: upload 422",
        _bad_uploads,
    ),
)
