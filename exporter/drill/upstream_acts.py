"""Acts about the upstream."""

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from ..simulator import Script
from .act import Act
from .scene import Scene

PENDING_IN_OUTAGE: Final = 500


@asynccontextmanager
async def _outage(scene: Scene) -> AsyncIterator[None]:
    """Uploads go on, and the jobs end meanwhile: of neither an alert tells, nor afterwards."""
    job_ids = await scene.add(*[Script.sound(30.0)] * PENDING_IN_OUTAGE)
    async with scene.every(1.0, lambda number: scene.upload("clipping")):
        await scene.answered(*job_ids)
        with scene.simulator.faults.outage():
            yield


@asynccontextmanager
async def _pending(scene: Scene, jobs: int = 10) -> AsyncIterator[list[str]]:
    """Some jobs that stay pending and are answered well."""
    job_ids = await scene.add(*[Script.stuck(0.1)] * jobs)
    await scene.answered(*job_ids)
    yield job_ids
    await scene.forget()


@asynccontextmanager
async def _key_rejected(scene: Scene) -> AsyncIterator[None]:
    async with _pending(scene):
        with scene.simulator.faults.revoked_key():
            yield


@asynccontextmanager
async def _blocked(scene: Scene) -> AsyncIterator[None]:
    async with _pending(scene):
        with scene.simulator.faults.forbidden():
            yield


@asynccontextmanager
async def _throttled(scene: Scene) -> AsyncIterator[None]:
    async with _pending(scene):
        with scene.simulator.faults.throttled(retry_after=2):
            yield


@asynccontextmanager
async def _slow(scene: Scene) -> AsyncIterator[None]:
    async with _pending(scene, 60):
        with scene.simulator.faults.slow(3.0):
            yield


@asynccontextmanager
async def _unreadable(scene: Scene) -> AsyncIterator[None]:
    async with _pending(scene, 20) as job_ids:
        with contextlib.ExitStack() as faults:
            for job_id in job_ids[:5]:
                page = b"<html>We will be back soon</html>"
                fault = scene.simulator.faults.override(job_id, 200, page, "text/html")
                faults.enter_context(fault)
            yield


@asynccontextmanager
async def _no_credits(scene: Scene) -> AsyncIterator[None]:
    async with scene.every(1.0, lambda number: scene.upload("clipping")):
        with scene.simulator.faults.no_credits():
            yield


@asynccontextmanager
async def _bad_uploads(scene: Scene) -> AsyncIterator[None]:
    modes = ("clipping", "no-such-mode")
    async with scene.every(0.4, lambda number: scene.upload(modes[number % 2])):
        yield


SELDOM: Final[dict[str, Any]] = {
    "polling": {"min_interval": "10s", "max_interval": "10s", "stalled_after": "20s"}
}

UPSTREAM_ACTS: Final = (
    Act(
        "upstream_down",
        f"the API answers 503 to everything, with {PENDING_IN_OUTAGE} jobs pending",
        "Overview: Upstream is `down`, no job fails, Pending stands",
        _outage,
        SELDOM,
        lead=15.0,
    ),
    Act(
        "key_rejected",
        "the API key is revoked",
        "Overview: API key REJECTED, Upstream `key_rejected`",
        _key_rejected,
    ),
    Act(
        "upstream_blocked",
        "a firewall answers 403 with a page of its own",
        "Overview: Upstream `blocked`",
        _blocked,
    ),
    Act(
        "throttled",
        "the API answers 429, Retry-After: 2",
        "Overview: Upstream over time is mostly `throttled`",
        _throttled,
    ),
    Act(
        "status_latency",
        "the API takes three seconds for each answer",
        "Overview: Latency rises to 3 s and above",
        _slow,
        lead=2.0,
    ),
    Act(
        "contract_drift",
        "a quarter of the jobs is answered with a maintenance page and 200",
        "Overview: Contract drift, by kind: not_json; Requests by code: invalid_body",
        _unreadable,
    ),
    Act(
        "credits_exhausted",
        "uploads are answered 402",
        "Overview: Errors by code: 402 insufficient_credits",
        _no_credits,
    ),
    Act(
        "upload_errors",
        "every other upload is refused with 422",
        "Overview: Requests by code: upload 422",
        _bad_uploads,
    ),
)
