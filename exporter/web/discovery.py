"""`GET /sd/jobs`: long-running jobs as targets that Prometheus probes.

The format is Prometheus's `http_sd` ("HTTP SD format"), with one group for each job.
"""

import asyncio
from typing import Any, Final

from aiohttp import web

from ..core.job import Job
from ..metrics.exposition import JOBS_PER_STEP
from ..metrics.job_series import Best
from .context import Context, answer

META: Final = "__meta_removit_"


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
        oldest = Best(rules.max_targets)
        for at, job in enumerate(list(self._context.registry.jobs.values())):
            if job.pending and job.registered_at <= before:
                oldest.offer(-job.registered_at, job)
            if at % JOBS_PER_STEP == 0:
                await asyncio.sleep(0)  # lets other tasks run
        groups = [_group(job) for job in oldest.best(rules.max_targets)]
        return answer(groups)


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
