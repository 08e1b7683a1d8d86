"""Every metric: its name, type, labels, help, and how it adds up over replicas. The only place.

It is one long table on purpose, because a reader looks for a metric in one file.
`python -m exporter.metrics` prints `docs/metrics.md`, which is made from it.
Names follow Prometheus's "Metric and label naming": base units, `_total` on counters, timestamps
and never ages. No two families have the same name once OpenMetrics' suffixes are removed (tested).
Every series also carries `upstream`, the name of the watched API, and the config's
`metrics.const_labels`.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ..core.tally import BUCKETS


class Kind(StrEnum):
    """A metric's type, as Prometheus names them."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Part(StrEnum):
    """Which part of the page a family belongs to."""

    JOBS = "jobs"
    TOTALS = "totals"
    EXPORTER = "exporter"


class AddsUp(StrEnum):
    """How a family adds up over the replicas of one exporter."""

    SUM = "sum"
    MAX = "max"
    MIN = "min"
    ANY = "any of them"
    EACH = "none: each replica reports itself"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family. `grouped` adds the labels of the config's `metrics.group_labels`."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    part: Part
    adds_up: AddsUp
    grouped: bool = False
    exemplars: bool = False
    buckets: tuple[float, ...] = ()

    @property
    def base(self) -> str:
        """The name without a counter's `_total`: OpenMetrics' name of the family."""
        return self.name.removesuffix("_total") if self.kind is Kind.COUNTER else self.name


def _gauge(name: str, labels: str, help_text: str, part: Part, adds_up: AddsUp) -> Family:
    return Family(name, Kind.GAUGE, tuple(labels.split()), help_text, part, adds_up)


def _job(name: str, labels: str, help_text: str) -> Family:
    return _gauge(f"removit_job_{name}", labels, help_text, Part.JOBS, AddsUp.ANY)


_JOBS: Final = (
    _job(
        "info",
        "job_id mode source key",
        "Always 1; the job's identity, with its registration labels.",
    ),
    _job("state", "job_id state", "1 for the job's current state."),
    _job("step", "job_id step", "1 for the step (`status`) last reported by the upstream."),
    _job(
        "progress_ratio",
        "job_id",
        "Progress from 0 to 1 as last reported by the upstream; absent before its first answer.",
    ),
    _job("warnings_current", "job_id", "Warnings in the upstream's last answer."),
    _job("ignored_variations_current", "job_id", "Ignored variations in its last answer."),
    _job("registered_timestamp_seconds", "job_id", "When the job was registered."),
    _job("last_progress_timestamp_seconds", "job_id", "When progress or step last changed."),
    _job("finished_timestamp_seconds", "job_id", "When the job reached a final state."),
)


def _total(
    name: str, labels: str, help_text: str, *, grouped: bool = False, exemplars: bool = False
) -> Family:
    return Family(
        f"removit_{name}_total",
        Kind.COUNTER,
        tuple(labels.split()),
        help_text,
        Part.TOTALS,
        AddsUp.SUM,
        grouped,
        exemplars,
    )


def _histogram(
    name: str, labels: str, help_text: str, *, grouped: bool = False, exemplars: bool = False
) -> Family:
    return Family(
        f"removit_{name}",
        Kind.HISTOGRAM,
        tuple(labels.split()),
        help_text,
        Part.TOTALS,
        AddsUp.SUM,
        grouped,
        exemplars=exemplars,
        buckets=BUCKETS[f"removit_{name}"],
    )


def _now(
    name: str,
    labels: str,
    help_text: str,
    *,
    grouped: bool = False,
    adds_up: AddsUp = AddsUp.SUM,
) -> Family:
    parts = tuple(labels.split())
    return Family(f"removit_{name}", Kind.GAUGE, parts, help_text, Part.TOTALS, adds_up, grouped)


_TOTALS: Final = (
    _now("jobs_pending", "mode", "Jobs currently pending.", grouped=True),
    _now(
        "jobs_suspected",
        "mode",
        "Pending jobs last answered 5xx, 404 or 422, with no verdict yet.",
        grouped=True,
    ),
    _now(
        "jobs_stalled",
        "mode",
        "Pending jobs without progress for polling.stalled_after.",
        grouped=True,
    ),
    _now(
        "jobs_overdue",
        "mode",
        "Pending jobs older than polling.overdue_factor times their mode's p99; absent if fewer"
        " than polling.overdue_samples jobs were done.",
        grouped=True,
    ),
    _now("jobs_pending_by_step", "step", "Pending jobs by current step."),
    _now(
        "oldest_pending_registered_timestamp_seconds",
        "mode",
        "When the oldest pending job was registered.",
        adds_up=AddsUp.MIN,
    ),
    _now(
        "unresolved_failures",
        "",
        "Keys (or ids, of jobs without one) whose last job ended badly, until a later one is done"
        " or they are acknowledged.",
        grouped=True,
    ),
    _total("jobs_registered", "source", "Jobs registered.", grouped=True),
    _total(
        "jobs_finished", "state mode", "Jobs that ended, by state.", grouped=True, exemplars=True
    ),
    _total("jobs_forgotten", "reason", "Pending jobs that were removed."),
    _total(
        "verdicts_overturned",
        "from",
        "Inferred final states that a later answer overturned.",
    ),
    _total(
        "jobs_done_without_result",
        "mode",
        "Jobs that are done but have no result URL.",
        grouped=True,
        exemplars=True,
    ),
    _total("jobs_first_seen_final", "state", "Jobs whose first 2xx answer was already final."),
    _total(
        "job_step_transitions",
        "step",
        "Steps entered. A lower bound: steps shorter than the poll interval may be missed.",
    ),
    _histogram(
        "job_duration_seconds",
        "mode state",
        "Time from registration to the final state, for jobs first seen pending.",
        grouped=True,
        exemplars=True,
    ),
    _histogram(
        "job_step_duration_seconds",
        "step",
        "Time from first seeing a step to first seeing the next one.",
        exemplars=True,
    ),
    _histogram(
        "job_detection_delay_seconds",
        "",
        "Upper bound of how long a job's end went unseen: the time between its last two answers.",
    ),
    _total(
        "job_warnings",
        "variation mode",
        "Warnings, each message once per job.",
        grouped=True,
        exemplars=True,
    ),
    _total(
        "job_ignored_variations",
        "variation mode",
        "Ignored variations, once per job.",
        grouped=True,
        exemplars=True,
    ),
    _total("contract_drift", "kind", "Deviations from the API's contract, once per job and kind."),
    _total(
        "upstream_requests",
        "endpoint purpose code",
        "Requests to the upstream; code is the HTTP status, timeout, connection, invalid_body,"
        " or internal (this machine could not ask).",
    ),
    _total(
        "upstream_errors",
        "endpoint code error",
        "Failed requests, by the body's `error`. For the code connection by the reason: dns,"
        " refused, reset, unreachable, tls, proxy, protocol or other.",
    ),
    Family(
        "removit_upstream_request_duration_seconds",
        Kind.HISTOGRAM,
        ("endpoint",),
        "How long the upstream took to answer.",
        Part.TOTALS,
        AddsUp.SUM,
        buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
    ),
    _now(
        "upstream_state",
        "state",
        "1 for the upstream's current state: unknown, well, suspect, down, throttled, blocked or"
        " key_rejected.",
        adds_up=AddsUp.MAX,
    ),
    _now(
        "up",
        "",
        "0 if the upstream is down or blocked, else 1; absent until known.",
        adds_up=AddsUp.MIN,
    ),
    _now(
        "api_key_valid",
        "",
        "Whether the API key is accepted; absent until known.",
        adds_up=AddsUp.MIN,
    ),
    _now("last_success_timestamp_seconds", "", "When a 2xx was last received.", adds_up=AddsUp.MAX),
)


def _own(kind: Kind, name: str, labels: str, help_text: str, *buckets: float) -> Family:
    return Family(
        f"removit_exporter_{name}",
        kind,
        tuple(labels.split()),
        help_text,
        Part.EXPORTER,
        AddsUp.EACH,
        buckets=buckets,
    )


_EXPORTER: Final = (
    _own(Kind.GAUGE, "build_info", "version python_version", "Build information; always 1."),
    _own(
        Kind.COUNTER,
        "control_requests_total",
        "rung",
        "Control requests, made when no other job shows the upstream's state, by what was asked.",
    ),
    _own(Kind.GAUGE, "polls_in_flight", "", "Requests to the upstream in flight."),
    _own(
        Kind.HISTOGRAM,
        "poll_lag_seconds",
        "",
        "How late scheduled polls start.",
        *(0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0),
    ),
    _own(Kind.GAUGE, "oldest_due_timestamp_seconds", "", "When the next poll is, or was, due."),
    _own(Kind.GAUGE, "rate_limit_per_second", "", "Requests per second currently allowed."),
    _own(Kind.GAUGE, "poll_demand_per_second", "", "Polls per second that the jobs require."),
    _own(
        Kind.GAUGE,
        "series_left_out_jobs",
        "",
        "Jobs without per-job series because of metrics.per_job.max_jobs.",
    ),
    _own(
        Kind.COUNTER, "registrations_refused_total", "reason", "Registrations refused, by reason."
    ),
    _own(
        Kind.COUNTER,
        "status_served_total",
        "result",
        "Requests to the status route: fresh, refreshed, stale, final, learned, unknown,"
        " unauthorized, invalid, unavailable.",
    ),
    _own(Kind.COUNTER, "http_requests_total", "route method code", "Requests answered."),
    _own(
        Kind.HISTOGRAM,
        "http_request_duration_seconds",
        "route",
        "How long HTTP requests took.",
        *(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
    ),
    _own(Kind.GAUGE, "store_writable", "", "Whether the last write to the store succeeded."),
    _own(Kind.COUNTER, "store_errors_total", "operation", "Store operations that failed."),
    _own(
        Kind.HISTOGRAM,
        "store_commit_duration_seconds",
        "",
        "How long a commit took.",
        *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0),
    ),
    _own(Kind.GAUGE, "stored_jobs", "state", "Jobs in the store."),
    _own(
        Kind.GAUGE,
        "config_last_reload_successful",
        "",
        "Whether the last reload of the config succeeded.",
    ),
    _own(
        Kind.GAUGE,
        "config_last_reload_success_timestamp_seconds",
        "",
        "When the config was last loaded successfully.",
    ),
    _own(Kind.GAUGE, "job_file_errors", "", "Job files that are unreadable or contain errors."),
    _own(Kind.COUNTER, "log_events_total", "level", "Lines logged."),
    _own(Kind.GAUGE, "scrape_duration_seconds", "", "Duration of the last scrape."),
    _own(Kind.GAUGE, "scrape_size_bytes", "", "Uncompressed size of the last scrape."),
    _own(
        Kind.GAUGE,
        "event_loop_lag_seconds",
        "",
        "How late the event loop last woke the exporter; everything else it does waits that long.",
    ),
)

FAMILIES: Final = {family.name: family for family in (*_JOBS, *_TOTALS, *_EXPORTER)}

UNUSED: Final = {
    "removit_up": "for your own rules; `removit_upstream_state` says more.",
    "removit_api_key_valid": "for your own rules; `removit_upstream_state` says it too.",
    "removit_job_step_transitions_total": "for ad-hoc queries: do jobs move at all?",
}
"""What no shipped dashboard or rule asks for, and what it is for."""

LABEL_NAMES: Final = frozenset(label for family in FAMILIES.values() for label in family.labels) | {
    "le",
    "upstream",
}
"""Names that no registration label may have."""
