"""`GET /sd/jobs`: long-running jobs as targets that Prometheus probes.

The format is Prometheus's `http_sd` ("HTTP SD format"), with one group for each job.
"""

import asyncio
import heapq
from typing import Any, Final

from aiohttp import web

from ..core.job import Job
from .context import Context, answer

META: Final = "__meta_removit_"
JOBS_PER_STEP: Final = 2000
"""After this many jobs other tasks run."""


class DiscoveryRoutes:
    """The route of the targets."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, without prefix."""
        return [web.get("/sd/jobs", self.jobs)]

    async def jobs(self, request: web.Request) -> web.Response:
        """Answer with the oldest `sd.max_targets` jobs pending longer than `sd.min_age`."""
        rules = self._context.config().sd
        before = self._context.poller.now().time - rules.min_age
        jobs = list(self._context.registry.jobs.values())
        oldest: list[Job] = []
        for start in range(0, len(jobs), JOBS_PER_STEP):
            some = [
                job
                for job in jobs[start : start + JOBS_PER_STEP]
                if job.pending and job.registered_at <= before
            ]
            oldest = heapq.nsmallest(
                rules.max_targets, oldest + some, key=lambda job: job.registered_at
            )
            await asyncio.sleep(0)  # lets other tasks run
        return answer([_group(job) for job in oldest])


def _group(job: Job) -> dict[str, Any]:
    labels = {
        "job_id": job.job_id,
        "mode": job.mode or "",
        "step": job.step or "",
        "source": job.source.value,
        "key": job.key or "",
        **{f"label_{name}": value for name, value in job.labels.items()},
    }
    return {
        "targets": [job.job_id],
        "labels": {META + name: value for name, value in labels.items()},
    }
