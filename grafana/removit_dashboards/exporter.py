"""`Removit / Exporter`: is the exporter at fault, does it keep up, and what does it cost?"""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from exporter.alerting.thresholds import load_thresholds

from .layout import Band, Section, make
from .looks import BLUE, GREEN, GREY, NONE, ORANGE, RED, STATE_COLOURS, YELLOW
from .panels import AGE, COUNT, SHARE, Column, fact, lines, rows_of
from .queries import ONE, SEEN, Query, R, datasource, exporters, now, or_none, rows

LATE = load_thresholds().alerts.exporter_lagging.seconds
"""From how many seconds on a late poll is an alert."""
SCRAPED = 'job=~"$job",instance=~"$instance"'
"""For Prometheus's own series about a scrape, which have no upstream. Only those of exporters
count: All is every job that Prometheus scrapes."""


def exporter() -> Dashboard:
    """Return the dashboard."""
    return make(
        "removit-exporter",
        "Removit / Exporter",
        "Is the exporter at fault, does it keep up, and what does it cost?",
        [datasource(), *exporters()],
        [_now(), _polling(), _page(), _store(), _process()],
    )


def _own(name: str, more: str = "") -> str:
    return f"removit_exporter_{name}{{{ONE}{more}}}"


def _late() -> str:
    """How late the most overdue poll was when it was scraped."""
    due = _own("oldest_due_timestamp_seconds")
    return f"timestamp({due}) - {due}"


def _p(share: float, name: str, by: str = "le") -> str:
    rate = f"rate(removit_exporter_{name}_seconds_bucket{{{ONE}}}[{R}])"
    return f"histogram_quantile({share}, sum by ({by}) ({rate}))"


def _faults() -> str:
    """Return how many faults of its own the exporters have now; nothing if that is not known."""
    store = f"sum({_own('store_writable')} == bool 0)"
    config = f"sum({_own('config_last_reload_successful')} == bool 0)"
    files = f"sum({_own('job_file_errors')} > bool 0)"
    late = f"(sum(({_late()}) > bool {LATE:g}) or on () 0 * {store})"
    loop = f"sum({_own('event_loop_lag_seconds')} > bool 1)"
    return f"{store} + {config} + {files} + {late} + {loop}"


def _now() -> Section:
    yes = {1: ("yes", GREEN), 0: ("NO", RED)}
    up = f"up{{{SCRAPED}}} and on (job, instance) last_over_time({SEEN}[$__range])"
    return Section(
        "Is the exporter at fault?",
        Band(
            4,
            fact(
                "Own faults",
                "How many of these hold now, over all chosen exporters: the store is not writable,"
                " the config was rejected, a job file is broken, a poll is over a minute late, the"
                " event loop is over a second late. At 0 the cause is elsewhere.",
                COUNT,
                now(_faults()),
                steps=((None, GREEN), (1.0, RED)),
            ),
            fact(
                "Exporters gone",
                "Exporters that reported in the time range and do not now.",
                COUNT,
                now(f"count({up}) - sum({up})"),
                steps=((None, GREEN), (1.0, RED)),
            ),
            fact(
                "Store writable",
                "Whether the last write succeeded. While not, what is counted lives in memory: do"
                " not restart.",
                "none",
                now(f"min({_own('store_writable')})"),
                words=yes,
            ),
            fact(
                "Config in force",
                "Whether the config could be put in force when it was last read.",
                "none",
                now(f"min({_own('config_last_reload_successful')})"),
                words=yes,
            ),
            fact(
                "Broken job files",
                "Job files that cannot be read, or not wholly.",
                COUNT,
                now(f"sum({_own('job_file_errors')})"),
                steps=((None, GREEN), (1.0, RED)),
            ),
            fact(
                "Jobs without series",
                "Left out because of metrics.per_job.max_jobs. Totals and alerts are complete.",
                COUNT,
                now(f"sum({_own('series_left_out_jobs')})"),
                steps=((None, GREEN), (1.0, YELLOW)),
            ),
            fact(
                "Most overdue poll",
                "How late the most overdue poll is; 0 while all polls are on time.",
                AGE,
                now(or_none(f"clamp_min(max({_late()}), 0)")),
                steps=((None, GREEN), (10.0, YELLOW), (LATE, RED)),
                words={NONE: ("nothing to poll", GREY)},
            ),
            fact(
                "Polls in flight",
                "Requests under way; upstream.concurrency is the most.",
                COUNT,
                now(f"sum({_own('polls_in_flight')})"),
            ),
        ),
        Band(
            5,
            rows_of(
                "Exporters, the gone ones first",
                "Every exporter that reported in the time range. A gone one keeps its last version"
                " here.",
                rows(f"max by (instance) ({up})"),
                rows(f"last_over_time({_own('build_info')}[$__range])"),
                rows(
                    "time() - max by (instance)"
                    f" ({_own('config_last_reload_success_timestamp_seconds')})"
                ),
                columns={
                    "instance": Column("Instance", nothing="?"),
                    "upstream": Column("Upstream", nothing="?"),
                    "Value #A": Column(
                        "Reports",
                        words={1: ("yes", GREEN), 0: ("GONE", RED)},
                        coloured="background",
                    ),
                    "Value #C": Column("Config read", AGE),
                    "version": Column("Version", nothing="?"),
                    "python_version": Column("Python", nothing="?"),
                },
                hidden=("job", "__name__", "Value #B"),
                sorted_by="Reports",
                ascending=True,
                nothing="no exporter in this time",
            ),
        ),
    )


def _polling() -> Section:
    late = f"max by (instance) ({_late()})"
    delay = f"sum by (le) (rate(removit_job_detection_delay_seconds_bucket{{{ONE}}}[{R}]))"
    return Section(
        "Polling",
        Band(
            8,
            lines(
                "Lag of polls",
                "How late scheduled polls start.",
                "s",
                Query(_p(0.5, "poll_lag"), "p50"),
                Query(_p(0.95, "poll_lag"), "p95"),
                Query(_p(0.99, "poll_lag"), "p99"),
                log=True,
            ),
            lines(
                "Most overdue poll over time",
                "By exporter; while it is zero all polls are on time.",
                AGE,
                Query(f"clamp_min({late}, 0)", "{{instance}}"),
                limit=LATE,
            ),
            lines(
                "Demand, of the limit",
                "Polls that the jobs ask for, as a share of the requests that are allowed. Above"
                " 100 % polls are late.",
                SHARE,
                Query(
                    f"sum by (instance) ({_own('poll_demand_per_second')})"
                    f" / sum by (instance) ({_own('rate_limit_per_second')})",
                    "{{instance}}",
                ),
                limit=1.0,
            ),
        ),
        Band(
            8,
            lines(
                "Polls in flight over time",
                "Requests under way, by exporter.",
                COUNT,
                Query(f"sum by (instance) ({_own('polls_in_flight')})", "{{instance}}"),
            ),
            lines(
                "How late ends are seen",
                "The longest that a job's end can have gone unseen.",
                AGE,
                Query(f"histogram_quantile(0.5, {delay})", "p50"),
                Query(f"histogram_quantile(0.95, {delay})", "p95"),
            ),
            lines(
                "Control requests",
                "A minute, by control target; made when no other job shows the upstream's state.",
                "cpm",
                Query(
                    f"sum by (rung) (rate({_own('control_requests_total')}[{R}])) * 60 > 0",
                    "{{rung}}",
                ),
                bars=True,
            ),
        ),
    )


def _page() -> Section:
    http = f"sum by (route, code) (rate({_own('http_requests_total')}[{R}]))"
    return Section(
        "/metrics and the other routes",
        Band(
            8,
            lines(
                "Time to answer /metrics",
                "How long the last scrape took in the exporter.",
                "s",
                Query(f"max by (instance) ({_own('scrape_duration_seconds')})", "{{instance}}"),
            ),
            lines(
                "Size of /metrics",
                "Uncompressed.",
                "bytes",
                Query(f"max by (instance) ({_own('scrape_size_bytes')})", "{{instance}}"),
            ),
            lines(
                "Series",
                "Samples in the last scrape.",
                COUNT,
                Query(
                    f"sum by (instance) (scrape_samples_scraped{{{SCRAPED}}}"
                    f" and on (job, instance) {SEEN})",
                    "{{instance}}",
                ),
            ),
        ),
        Band(
            8,
            lines(
                "Requests answered",
                "A second, by route and code.",
                "reqps",
                Query(f"{http} > 0", "{{route}} {{code}}"),
                by_code=True,
                stacked=True,
            ),
            lines(
                "Time to answer, p95",
                "By route.",
                "s",
                Query(_p(0.95, "http_request_duration", "route, le"), "{{route}}"),
            ),
            lines(
                "Status from memory",
                "Requests of the status route, a second, by how they were answered.",
                "reqps",
                Query(
                    f"sum by (result) (rate({_own('status_served_total')}[{R}])) > 0",
                    "{{result}}",
                ),
                stacked=True,
                nothing="Nobody asked GET /api/v1/status",
            ),
        ),
        collapsed=True,
    )


def _store() -> Section:
    return Section(
        "Store, config and log",
        Band(
            8,
            lines(
                "Time of a commit",
                "Half, 95 and 99 of 100 commits to the store took no longer.",
                "s",
                Query(_p(0.5, "store_commit_duration"), "p50"),
                Query(_p(0.95, "store_commit_duration"), "p95"),
                Query(_p(0.99, "store_commit_duration"), "p99"),
            ),
            lines(
                "Jobs in the store",
                "Jobs in the store, by state; finished ones leave it after storage.retention.",
                COUNT,
                Query(f"sum by (state) ({_own('stored_jobs')}) > 0", "{{state}}"),
                colours=STATE_COLOURS,
                stacked=True,
            ),
            lines(
                "Errors of the store",
                "A minute, by operation.",
                "cpm",
                Query(
                    f"sum by (operation) (rate({_own('store_errors_total')}[{R}])) * 60 > 0",
                    "{{operation}}",
                ),
                bars=True,
                nothing="No error in this time",
            ),
        ),
        Band(
            8,
            lines(
                "Log lines, by level",
                "A minute.",
                "cpm",
                Query(
                    f"sum by (level) (rate({_own('log_events_total')}[{R}])) * 60 > 0",
                    "{{level}}",
                ),
                colours={"error": RED, "warning": ORANGE, "info": GREEN, "debug": BLUE},
                bars=True,
            ),
            lines(
                "Registrations refused, by reason",
                "A minute. The registering client was answered with the reason.",
                "cpm",
                Query(
                    f"sum by (reason) (rate({_own('registrations_refused_total')}[{R}])) * 60 > 0",
                    "{{reason}}",
                ),
                bars=True,
            ),
            lines(
                "Config and job files",
                "1 while the config in force is the file's; and job files with errors.",
                COUNT,
                Query(
                    f"min by (instance) ({_own('config_last_reload_successful')})",
                    "{{instance}} config",
                ),
                Query(
                    f"max by (instance) ({_own('job_file_errors')})",
                    "{{instance}} job files",
                ),
            ),
        ),
        collapsed=True,
    )


def _process() -> Section:
    return Section(
        "The process",
        Band(
            8,
            lines(
                "Lag of the event loop",
                "How late the event loop last woke the exporter; everything else waits as long.",
                "s",
                Query(f"max by (instance) ({_own('event_loop_lag_seconds')})", "{{instance}}"),
            ),
            lines(
                "CPU",
                "Of one core; nothing where the exporter is embedded in another program.",
                SHARE,
                Query(
                    f"sum by (instance) (rate(process_cpu_seconds_total{{{ONE}}}[{R}]))",
                    "{{instance}}",
                ),
                nothing="An embedded exporter does not report it",
            ),
            lines(
                "Memory",
                "Resident; nothing where the exporter is embedded in another program.",
                "bytes",
                Query(
                    f"sum by (instance) (process_resident_memory_bytes{{{ONE}}})",
                    "{{instance}}",
                ),
                nothing="An embedded exporter does not report it",
            ),
        ),
        collapsed=True,
    )
