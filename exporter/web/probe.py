"""`GET /probe?job_id=`: asks the upstream about one job now, and registers nothing.

It follows Prometheus's "multi-target exporter pattern": the answer comes within the scrape's
time-out, and the request counts in the rate limit.
"""

import time
from collections.abc import Iterator
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge

from ..core.job import FINAL_STATES, JobState
from ..core.printable import printable
from ..core.reply import Kind, Reply
from ..metrics.exposition import negotiate
from .context import Context, rfc3339
from .errors import ApiError
from .parameters import flag_errors, unknown_parameters

SCRAPE_MARGIN_SECONDS: Final = 0.5
"""The answer is given this long before the scrape's time-out, as blackbox_exporter does."""
DEFAULT_SECONDS: Final = 10.0
MAX_SECONDS: Final = 120.0
_PARAMETERS: Final = ("job_id", "debug")


class ProbeRoutes:
    """The route of the probe."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, without prefix."""
        return [web.get("/probe", self.probe)]

    async def probe(self, request: web.Request) -> web.Response:
        """Answer with the metrics of one request about `job_id`; with `debug=true` in words."""
        job_id, debug = self._read_query(request)
        deadline = _deadline(request)
        context, started = self._context, time.perf_counter()
        tracked = job_id in context.registry.jobs
        circuit = context.poller.health.circuit()
        reply = None
        if circuit.closed:
            reply = await context.poller.ask(job_id, "probe", deadline, last=not tracked)
        seconds = time.perf_counter() - started
        if debug:
            lines = _describe(context, job_id, reply, seconds, deadline)
            return web.Response(text="".join(f"{printable(line)}\n" for line in lines))
        encode, content_type = negotiate(request.headers.get("Accept", ""))
        body = encode(_measured(reply, seconds))
        return web.Response(body=body, headers={"Content-Type": content_type})

    def _read_query(self, request: web.Request) -> tuple[str, bool]:
        query = request.query
        details = unknown_parameters(query, _PARAMETERS) | flag_errors(query, "debug")
        job_id = query.get("job_id", "")
        details |= self._context.config().registration.check(job_id, {}, None)
        if details:
            raise ApiError(422, details=details)
        return job_id, query.get("debug") == "true"


def _deadline(request: web.Request) -> float:
    """Return how many seconds there are for the answer, by the scrape's time-out."""
    header = request.headers.get("X-Prometheus-Scrape-Timeout-Seconds")
    if header is None:
        return DEFAULT_SECONDS
    try:
        seconds = float(header)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        message = f"expected seconds, got {header[:40]!r}"
        raise ApiError(422, details={"X-Prometheus-Scrape-Timeout-Seconds": [message]})
    margin = min(SCRAPE_MARGIN_SECONDS, seconds / 2)
    return min(seconds - margin, MAX_SECONDS)


def _measured(reply: Reply | None, seconds: float) -> CollectorRegistry:
    """Return the metrics of this probe."""
    registry = CollectorRegistry()

    def gauge(name: str, help_text: str, value: float) -> None:
        Gauge(name, help_text, registry=registry).set(value)

    status = reply.status if reply else None
    gauge(
        "probe_success",
        "1 if the answer contains the job's state, else 0.",
        float(status is not None),
    )
    gauge("probe_duration_seconds", "Duration of the probe.", seconds)
    if reply is not None and reply.http_status is not None:
        gauge("removit_probe_http_status_code", "HTTP status of the answer.", reply.http_status)
    if status is not None:
        state = Gauge(
            "removit_probe_job_state", "1 for the job's state.", ["state"], registry=registry
        )
        for known in (JobState.PENDING, JobState.DONE, JobState.FAILED):
            state.labels(known.value).set(known.value == status.state.value)
        if status.progress is not None:
            help_text = "Progress from 0 to 1."
            gauge("removit_probe_job_progress_ratio", help_text, status.progress / 100)
        warnings = sum(map(len, status.warnings.values()))
        gauge("removit_probe_warnings", "Warnings in the answer.", warnings)
        ignored = len(status.ignored_variations)
        gauge("removit_probe_ignored_variations", "Ignored variations in the answer.", ignored)
    return registry


def _describe(
    context: Context,
    job_id: str,
    reply: Reply | None,
    seconds: float,
    deadline: float,
) -> Iterator[str]:
    """Yield lines that describe the request and its result."""
    health = context.poller.health
    yield f"Probe of job {job_id}, to be answered within {deadline:.1f} s."
    job = context.registry.jobs.get(job_id)
    if job is not None:
        yield f"The exporter tracks it: {job.state}, last asked at {rfc3339(job.last_polled_at)}."
    else:
        yield "The exporter does not track it, and a probe does not change that."
    yield f"The upstream is {health.state}."
    if reply is None:
        wait = context.poller.admission.retry_in()
        yield f"It is not being asked at the moment; next try in {wait:.1f} s."
    elif reply.code == "not_asked":
        yield f"It was not asked: the rate limit allowed no request within {seconds:.1f} s."
    elif reply.code == "internal":
        yield f"It could not be asked from here: {reply.detail}."
    elif reply.http_status is None:
        why = f"{reply.reason}: {reply.detail}" if reply.reason else reply.code
        yield f"It was asked and did not answer ({why}) within {seconds:.1f} s."
    else:
        yield f"It answered {reply.http_status} after {seconds:.3f} s: {_meaning(reply)}"
    for drift in reply.drift if reply else ():
        yield f"Deviation from the contract: {drift.kind} ({drift.detail})."
    if reply is not None and reply.status is not None:
        yield from _state_in_words(reply)
    success = reply is not None and reply.status is not None
    yield f"probe_success {int(success)}"


_MEANINGS: Final = {
    Kind.OK: "a valid status.",
    Kind.UNREADABLE: "a body without a valid state.",
    Kind.KEY_REJECTED: "the API key is not accepted.",
    Kind.BLOCKED: "a firewall or proxy in front of the API forbids it.",
    Kind.NOT_FOUND: "it knows no such job.",
    Kind.INVALID: "it does not accept this as a job id.",
    Kind.THROTTLED: "too many requests.",
    Kind.SERVER_ERROR: "the job has failed, or the service is unavailable; a single answer does"
    " not say which.",
}


def _meaning(reply: Reply) -> str:
    return _MEANINGS.get(reply.kind, "a status that is not in the contract.")


def _state_in_words(reply: Reply) -> Iterator[str]:
    status = reply.status
    assert status is not None  # noqa: S101 - the caller has checked
    final = status.state.value in {state.value for state in FINAL_STATES}
    step = f" at step {status.step}" if status.step else ""
    progress = "" if status.progress is None else f", progress {status.progress:g} %"
    yield f"The job is {status.state}{step}{progress}" + (", and that is final." if final else ".")
    for variation, messages in status.warnings.items():
        yield f"Warnings of {variation}: {'; '.join(messages)}"
    if status.ignored_variations:
        yield f"Ignored variations: {', '.join(status.ignored_variations)}"
