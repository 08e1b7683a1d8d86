"""The overview's sections about the jobs' course and the API."""

from collections.abc import Callable

from .layout import Band, Section
from .panels import GREEN, ORANGE, RED, STATE_COLOURS, YELLOW, heat, lines
from .queries import GROUP, ONE, RECORDED, Query, buckets, with_exemplars

R = "$__rate_interval"
FINISHED = "removit_jobs_finished_total"
DURATION = "removit_job_duration_seconds"
REQUEST = "removit_upstream_request_duration_seconds"
ENDED = f'{FINISHED}{{{GROUP},state=~"done|failed|expired"}}'
WITHOUT = f"removit_jobs_done_without_result_total{{{GROUP}}}"


def jobs() -> Section:
    """How many there are, and how they come and go."""
    rate = f"sum by (state) (rate({FINISHED}{{{GROUP}}}[{R}])) * 60"
    registered = f"sum(rate(removit_jobs_registered_total{{{GROUP}}}[{R}])) * 60"
    drain = f"sum(removit_jobs_pending{{{GROUP}}}) / (sum(rate({FINISHED}{{{GROUP}}}[15m])) > 0)"
    return Section(
        "Jobs",
        Band(
            8,
            lines(
                "Jobs by state",
                "Jobs in the exporter's store, by state; finished ones leave it after"
                " storage.retention.",
                "short",
                Query(f"sum by (state) (removit_exporter_stored_jobs{{{ONE}}})", "{{state}}"),
                colours=STATE_COLOURS,
                stacked=True,
            ),
            lines(
                "Pending by step",
                "The step that the API last named; `unknown` before the first answer.",
                "short",
                Query(f"sum by (step) (removit_jobs_pending_by_step{{{ONE}}})", "{{step}}"),
                stacked=True,
            ),
        ),
        Band(
            8,
            lines(
                "Ended per minute, by state",
                "How jobs end. The points are exemplars: each leads to a job.",
                "cpm",
                with_exemplars(rate, "{{state}}"),
                colours=STATE_COLOURS,
                bars=True,
            ),
            lines(
                "Registered against ended, per minute",
                "While more come in than end, the backlog grows.",
                "cpm",
                Query(registered, "registered"),
                Query(f"sum(rate({FINISHED}{{{GROUP}}}[{R}])) * 60", "ended"),
                colours={"registered": "blue", "ended": GREEN},
            ),
        ),
        Band(
            8,
            lines(
                "Backlog",
                "Pending jobs, by mode; `unknown` before the first answer.",
                "short",
                Query(f"sum by (mode) (removit_jobs_pending{{{GROUP}}})", "{{mode}}"),
                stacked=True,
            ),
            lines(
                "Time to drain the backlog",
                "How long the pending jobs would take at the pace of the last 15 minutes, if no"
                " more came in.",
                "s",
                Query(drain, "time to drain"),
                nothing="Nothing ended lately",
            ),
        ),
    )


def _quantiles(bucket: str, first: Callable[[str, str], Query] = Query) -> list[Query]:
    """p50, p95 and p99 of a histogram; the exemplars of all three are the same."""
    return [
        make(f"histogram_quantile({share}, sum by (le) (rate({bucket}[{R}])))", name)
        for make, share, name in ((first, 0.5, "p50"), (Query, 0.95, "p95"), (Query, 0.99, "p99"))
    ]


def times() -> Section:
    """How long jobs take, and in which step."""
    done = f'{DURATION}_bucket{{{GROUP},state="done"}}'
    step = "removit_job_step_duration_seconds"
    spent = f"sum by (step) (rate({step}_sum{{{ONE}}}[{R}]))"
    mean = f"{spent} / (sum by (step) (rate({step}_count{{{ONE}}}[{R}])) > 0)"
    return Section(
        "How long jobs take",
        Band(
            8,
            lines(
                "Time to done",
                "From registration to done: half, 95 and 99 of 100 jobs took no longer. The points"
                " are exemplars: each leads to a job.",
                "s",
                *_quantiles(done, with_exemplars),
            ),
            heat(
                "Time to done, every job",
                "How many jobs a minute took how long. The points are exemplars: each leads to a"
                " job.",
                "s",
                buckets(f"sum by (le) (rate({done}[{R}])) * 60"),
            ),
        ),
        Band(
            8,
            lines(
                "Time to done by mode, p95",
                "95 of 100 jobs of the mode took no longer.",
                "s",
                Query(
                    f"histogram_quantile(0.95, sum by (mode, le) (rate({done}[{R}])))",
                    "{{mode}}",
                ),
            ),
            lines(
                "Time in a step, mean",
                "From a step's first sight to the next one's; a step shorter than a poll's interval"
                " goes unseen.",
                "s",
                Query(mean, "{{step}}"),
            ),
            lines(
                "Where time goes, by step",
                "Seconds of waiting per second, of all jobs together: the widest band is where to"
                " look first.",
                "short",
                Query(spent, "{{step}}"),
                stacked=True,
            ),
        ),
    )


def wrong() -> Section:
    """What goes wrong with jobs."""
    ignored = f"removit_job_ignored_variations_total{{{ONE}}}"
    warnings = f"removit_job_warnings_total{{{ONE}}}"
    return Section(
        "What goes wrong",
        Band(
            8,
            lines(
                "Jobs suspected, stalled, overdue",
                "Suspected: 5xx, 404 or 422 await a verdict. Stalled: no progress for"
                " polling.stalled_after. Overdue: over polling.overdue_factor (3 by default) times"
                " their mode's usual p99.",
                "short",
                Query(f"sum(removit_jobs_suspected{{{GROUP}}})", "suspected"),
                Query(f"sum(removit_jobs_stalled{{{GROUP}}})", "stalled"),
                Query(f"sum(removit_jobs_overdue{{{GROUP}}})", "overdue"),
                colours={"suspected": YELLOW, "stalled": ORANGE, "overdue": "purple"},
            ),
            lines(
                "Share that ends badly",
                "Failed, expired or done without a result, of the jobs that ended; over one hour,"
                " six and a day. Needs the recording rules (prometheus/rules).",
                "percentunit",
                Query(f"upstream:removit_jobs_bad:ratio1h{{{RECORDED}}}", "{{upstream}} 1h"),
                Query(f"upstream:removit_jobs_bad:ratio6h{{{RECORDED}}}", "{{upstream}} 6h"),
                Query(f"upstream:removit_jobs_bad:ratio1d{{{RECORDED}}}", "{{upstream}} 1d"),
                nothing="Nothing ended, or the rules are not loaded",
            ),
            lines(
                "Unresolved failures over time",
                "Keys whose last job ended badly, until a later one is done or someone"
                " acknowledges.",
                "short",
                Query(f"sum(removit_unresolved_failures{{{GROUP}}})", "keys"),
                colours={"keys": ORANGE},
            ),
        ),
        Band(
            8,
            lines(
                "Ignored variations, by variation",
                "Delivered without what was asked for; a minute. The points are exemplars: each"
                " leads to a job, whose warnings say why.",
                "cpm",
                with_exemplars(f"sum by (variation) (rate({ignored}[{R}])) * 60", "{{variation}}"),
                bars=True,
            ),
            lines(
                "Warnings, by variation",
                "A minute; each message counts once a job. The points are exemplars: each leads to"
                " a job.",
                "cpm",
                with_exemplars(f"sum by (variation) (rate({warnings}[{R}])) * 60", "{{variation}}"),
                bars=True,
            ),
            lines(
                "Done without result, by mode",
                "Done, and nothing to fetch; a minute. The points are exemplars: each leads to a"
                " job.",
                "cpm",
                with_exemplars(f"sum by (mode) (rate({WITHOUT}[{R}])) * 60", "{{mode}}"),
                bars=True,
            ),
        ),
    )


def api() -> Section:
    """Requests, errors, latency and the rate limit."""
    requests = "removit_upstream_requests_total"
    errors = "removit_upstream_errors_total"
    status = f"{REQUEST}_bucket{{{ONE}}}"
    return Section(
        "The API",
        Band(
            8,
            lines(
                "Requests by code",
                "A second: the HTTP status, or timeout, connection, invalid_body, internal.",
                "reqps",
                Query(
                    f"sum by (endpoint, code) (rate({requests}{{{ONE}}}[{R}]))",
                    "{{endpoint}} {{code}}",
                ),
                stacked=True,
            ),
            lines(
                "Errors by code",
                "Error answers a minute, by HTTP status and the body's `error`.",
                "cpm",
                Query(
                    f"sum by (code, error) (rate({errors}{{{ONE}}}[{R}])) * 60 > 0",
                    "{{code}} {{error}}",
                ),
                bars=True,
                nothing="No error in this time",
            ),
            lines(
                "Latency",
                "How long the API took to answer: half, 95 and 99 of 100 requests took no longer.",
                "s",
                *_quantiles(status),
            ),
        ),
        Band(
            8,
            lines(
                "Rate limit",
                "Requests a second that are allowed now, polls that the jobs ask for, and requests"
                " made. Demand above the limit makes polls late; a 429 lowers the limit.",
                "reqps",
                Query(f"sum(removit_exporter_rate_limit_per_second{{{ONE}}})", "allowed"),
                Query(f"sum(removit_exporter_poll_demand_per_second{{{ONE}}})", "asked for"),
                Query(f"sum(rate({requests}{{{ONE}}}[{R}]))", "made"),
                colours={"allowed": RED, "asked for": YELLOW, "made": GREEN},
            ),
            lines(
                "Requests by purpose",
                "A second: poll, control (is the upstream well?), recheck, client, probe.",
                "reqps",
                Query(f"sum by (purpose) (rate({requests}{{{ONE}}}[{R}]))", "{{purpose}}"),
                stacked=True,
            ),
            lines(
                "Contract drift, by kind",
                "Answers a minute that stray from the API's contract, once per job and kind.",
                "cpm",
                Query(
                    f"sum by (kind) (rate(removit_contract_drift_total{{{ONE}}}[{R}])) * 60 > 0",
                    "{{kind}}",
                ),
                bars=True,
                nothing="No drift in this time",
            ),
        ),
    )
