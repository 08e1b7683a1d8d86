"""`GET /api/v1/summary`: the state of upstream, jobs and exporter, as the page's head shows it.

The counts are those of the metrics, and the durations come from `removit_job_duration_seconds`.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from ..core.job import JobState
from ..core.reply import Kind, Reply
from ..core.tally import BUCKETS, DURATION, Labels
from ..core.usual import quantile
from ..metrics.census import Census
from .auth import may_see_results
from .context import Context, answer, rfc3339
from .errors import ApiError
from .parameters import unknown_parameters

KEPT_SECONDS: Final = 1.0
"""For this long counts are reused, so that the cost does not grow with the readers."""
_QUANTILES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


class SummaryRoute:
    """The route of the summary."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._counted: Mapping[str, Any] = {}
        self._counted_at: float | None = None

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, without prefix."""
        return [web.get("/api/v1/summary", self.summary)]

    async def summary(self, request: web.Request) -> web.Response:
        """Answer with the state of the upstream, the jobs and the exporter."""
        if details := unknown_parameters(request.query, ()):
            raise ApiError(422, details=details)
        context = self._context
        now = context.poller.now()
        if self._counted_at is None or now.steady >= self._counted_at + KEPT_SECONDS:
            self._counted, self._counted_at = self._count(now.steady), now.steady
        response = answer(
            {
                "now": rfc3339(now.time),
                "version": context.version,
                "started_at": rfc3339(context.started_at),
                "newest_event_id": context.registry.feed.newest_id,
                "results_shown": may_see_results(context, request),
                "label_names": sorted(context.config().registration.allowed_labels),
                "upstream": self._upstream(now.time),
                **self._counted,
            }
        )
        response.headers["Cache-Control"] = "no-store"
        return response

    def _upstream(self, time: float) -> dict[str, Any]:
        context, upstream = self._context, self._context.config().upstream
        health = context.poller.health
        wait = context.poller.admission.retry_in()
        return {
            "name": upstream.name,
            "base_url": upstream.base_url,
            "state": health.state.value,
            "up": health.up,
            "key_valid": health.key_valid,
            "last_success_at": rfc3339(health.last_success),
            "next_try_at": None if health.circuit().closed else rfc3339(time + wait),
            "failure": show_failure(context.poller.admission.failure),
        }

    def _count(self, steady: float) -> dict[str, Any]:
        return {
            "jobs": self._jobs(),
            "modes": self._modes(),
            "steps": {step: n for step, n in self._census.by_step.items() if n},
            "failures": {"open": sum(self._census.unresolved.values())},
            "polling": self._polling(steady),
            "exporter": self._exporter(),
        }

    @property
    def _census(self) -> Census:
        return self._context.job_metrics.census

    def _jobs(self) -> dict[str, Any]:
        """Return the counts of pending jobs by problem, and of stored jobs by state.

        `counted_through` is the id of the newest event that they include.
        """
        by_state = self._context.registry.by_state
        metrics, polling = self._context.job_metrics, self._context.config().polling
        return {
            "counted_through": self._context.registry.feed.newest_id,
            "stored": {state.value: by_state[state] for state in JobState},
            "suspected": sum(self._census.suspected.values()),
            "stalled": sum(self._census.count_stalled(self._context.poller.now().time).values()),
            "stalled_after": polling.stalled_after,
            "overdue": int(sum(metrics.overdue().values())),
        }

    def _modes(self) -> dict[str, Any]:
        """Return by mode the pending jobs, and the usual durations of its jobs in seconds."""
        metrics = self._context.job_metrics
        pending, limits = _by_mode(self._census.pending), metrics.overdue_limits()
        done = metrics.durations_done()
        found = {}
        for mode in sorted(pending.keys() | done.keys()):
            counts = done.get(mode, [])
            found[mode] = {
                "pending": pending[mode],
                "done": sum(counts),
                **{
                    name: quantile(counts, BUCKETS[DURATION], share) if sum(counts) else None
                    for name, share in _QUANTILES.items()
                },
                "overdue_after": limits.get(mode),
            }
        return {mode: kind for mode, kind in found.items() if kind["pending"] or kind["done"]}

    def _polling(self, steady: float) -> dict[str, Any]:
        poller, upstream = self._context.poller, self._context.config().upstream
        return {
            "rate_limit": poller.admission.bucket.rate(steady),
            "demand": poller.schedule.demand,
            "scheduled": len(poller.schedule),
            "overdue": poller.schedule.overdue(steady),
            "oldest_due_at": rfc3339(poller.schedule.oldest_due()),
            "in_flight": poller.in_flight,
            "concurrency": upstream.concurrency,
        }

    def _exporter(self) -> dict[str, Any]:
        context, instruments = self._context, self._context.instruments
        read = instruments.read
        return {
            "store_writable": context.registry.commit.writable,
            "config_reload_successful": bool(read(instruments.reload_ok)),
            "config_reloaded_at": rfc3339(read(instruments.reload_time)),
            "job_file_errors": int(read(instruments.job_file_errors)),
            "series_left_out_jobs": int(read(instruments.left_out)),
            "broken": context.ended_tasks(),
        }


def show_failure(reply: Reply | None) -> dict[str, str] | None:
    """Return why the latest request got no usable answer; None where it got one."""
    if reply is None:
        return None
    if reply.kind is Kind.UNREADABLE:
        found = [f"{reply.http_status} {drift.kind}: {drift.detail}" for drift in reply.drift]
        return {"reason": reply.code, "detail": reply.detail or found[-1]}
    return {"reason": reply.reason or reply.failure, "detail": reply.detail}


def _by_mode(counts: Mapping[Labels, int]) -> Counter[str]:
    """Return a sum over the group labels."""
    found: Counter[str] = Counter()
    for labels, count in counts.items():
        found[dict(labels)["mode"]] += count
    return found
