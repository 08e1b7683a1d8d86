"""The overview's sections below its first screen: durations, and the API."""

from collections.abc import Callable

from exporter.alerting.thresholds import load_thresholds

from .layout import Band, Section
from .looks import BLUE, GREEN, YELLOW
from .panels import AGE, SHARE, Quiet, heat, lines
from .queries import GROUP, ONE, REQUESTS, Query, R, answered, buckets, some, with_exemplars

DURATION = "removit_job_duration_seconds"
REQUEST = "removit_upstream_request_duration_seconds"
NONE_DONE = Quiet("no job was done", some(f"{DURATION}_count", f'{GROUP},state="done"'))
NO_REQUEST = Quiet("no request", some(REQUESTS))


def _among_requests(text: str, metric: str) -> Quiet:
    return Quiet(text, some(metric), GREEN, among=(some(REQUESTS), "no request"))


def _quantiles(bucket: str, first: Callable[[str, str], Query] = Query) -> list[Query]:
    """Return p50, p95 and p99 of a histogram; the exemplars of all three would be the same."""
    return [
        make(f"histogram_quantile({share}, sum by (le) (rate({bucket}[{R}])))", name)
        for make, share, name in ((first, 0.5, "p50"), (Query, 0.95, "p95"), (Query, 0.99, "p99"))
    ]


def times() -> Section:
    """Return how long jobs take, and in which step."""
    done = f'{DURATION}_bucket{{{GROUP},state="done"}}'
    step = "removit_job_step_duration_seconds"
    none_left = Quiet("no step ended", some(f"{step}_count"))
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
                AGE,
                *_quantiles(done, with_exemplars),
                log=True,
                quiet=NONE_DONE,
            ),
            heat(
                "Time to done, every job",
                "How many jobs a minute took how long. The points are exemplars: each leads to a"
                " job.",
                AGE,
                buckets(f"sum by (le) (rate({done}[{R}])) * 60"),
            ),
        ),
        Band(
            8,
            lines(
                "Time to done by mode, p95",
                "95 of 100 jobs of the mode took no longer.",
                AGE,
                Query(
                    answered(f"histogram_quantile(0.95, sum by (mode, le) (rate({done}[{R}])))"),
                    "{{mode}}",
                ),
                log=True,
                quiet=NONE_DONE,
            ),
            lines(
                "Time in a step, mean",
                "From a step's first sight to the next one's; a step shorter than a poll's interval"
                " goes unseen.",
                AGE,
                Query(mean, "{{step}}"),
                log=True,
                quiet=none_left,
            ),
            lines(
                "Where time goes, by step",
                "How many jobs were in a step, on average, as seen when they left it: the widest"
                " band is where to look first.",
                "none",
                Query(f"{spent} > 0", "{{step}}"),
                stacked=True,
                quiet=none_left,
            ),
        ),
        collapsed=True,
    )


def api() -> Section:
    """Return requests, errors, latency and the rate limit."""
    errors = "removit_upstream_errors_total"
    made = f"sum by (upstream) (rate({REQUESTS}{{{ONE}}}[{R}]))"
    allowed = f"sum by (upstream) (removit_exporter_rate_limit_per_second{{{ONE}}})"
    asked = f"sum by (upstream) (removit_exporter_poll_demand_per_second{{{ONE}}})"
    return Section(
        "The API",
        Band(
            8,
            lines(
                "Requests by code",
                "A second: the HTTP status, or timeout, connection, invalid_body, internal. The"
                " colour is that of the class of codes.",
                "reqps",
                Query(
                    f"sum by (endpoint, code) (rate({REQUESTS}{{{ONE}}}[{R}])) > 0",
                    "{{endpoint}} {{code}}",
                ),
                by_code=True,
                stacked=True,
                quiet=NO_REQUEST,
            ),
            lines(
                "Errors by code",
                "Error answers a minute, by HTTP status and the body's `error`.",
                "cpm",
                Query(
                    f"sum by (code, error) (rate({errors}{{{ONE}}}[{R}])) * 60 > 0",
                    "{{code}} {{error}}",
                ),
                by_code=True,
                bars=True,
                quiet=_among_requests("no error", errors),
            ),
            lines(
                "Latency",
                "How long the API took to answer: half, 95 and 99 of 100 requests took no longer."
                " The dashed line is the alert's (RemovitStatusLatency).",
                "s",
                *_quantiles(f"{REQUEST}_bucket{{{ONE}}}"),
                log=True,
                quiet=NO_REQUEST,
                limit=load_thresholds().alerts.status_latency.seconds,
            ),
        ),
        Band(
            8,
            lines(
                "Use of the rate limit",
                "Polls that the jobs ask for, and requests made, as a share of the requests that"
                " are allowed now, by upstream. Demand above 100 % makes polls late.",
                SHARE,
                Query(f"{asked} / {allowed}", "{{upstream}} asked for"),
                Query(f"{made} / {allowed}", "{{upstream}} made"),
                limit=1.0,
            ),
            lines(
                "Requests allowed",
                "A second, by upstream. A 429 lowers it; it recovers step by step.",
                "reqps",
                Query(allowed, "{{upstream}}"),
            ),
            lines(
                "Requests by purpose",
                "A second: poll, control (is the upstream well?), recheck, client, probe.",
                "reqps",
                Query(f"sum by (purpose) (rate({REQUESTS}{{{ONE}}}[{R}])) > 0", "{{purpose}}"),
                colours={"poll": BLUE, "control": YELLOW, "client": GREEN},
                stacked=True,
                quiet=NO_REQUEST,
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
                quiet=_among_requests("no drift", "removit_contract_drift_total"),
            ),
        ),
        collapsed=True,
    )
