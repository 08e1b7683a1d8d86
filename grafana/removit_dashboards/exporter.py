"""`Removit / Exporter`: does the exporter keep up, and what does it cost?"""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from .layout import Band, Section, make
from .panels import BLUE, GREEN, ORANGE, RED, YELLOW, fact, lines, rows_of
from .queries import ONE, Query, datasource, exporters, now, rows

R = "$__rate_interval"
SCRAPED = 'job=~"$job",instance=~"$instance"'
"""For what Prometheus says of a scrape: it carries no upstream's name."""
EXPORTER = f'removit_upstream_state{{{ONE},state="well"}}'
"""What every exporter shows, and no other target: All is every job that Prometheus scrapes."""


def exporter() -> Dashboard:
    """Return the dashboard."""
    return make(
        "removit-exporter",
        "Removit / Exporter",
        "Does the exporter keep up, does its store take what it writes, and what does it cost?",
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


def _now() -> Section:
    yes = {1: ("yes", GREEN), 0: ("NO", RED)}
    return Section(
        "Now",
        Band(
            4,
            fact(
                "Exporters up",
                "Of the chosen ones, those that Prometheus could scrape.",
                "short",
                now(
                    f"sum(up{{{SCRAPED}}}"
                    f" and on (job, instance) last_over_time({EXPORTER}[$__range]))"
                ),
                steps=((None, RED), (1.0, GREEN)),
                nothing="no target",
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
                "Config read",
                "When a config was last put in force.",
                "dateTimeFromNow",
                now(f"max({_own('config_last_reload_success_timestamp_seconds')}) * 1000"),
            ),
            fact(
                "Broken job files",
                "Job files that cannot be read, or not wholly.",
                "short",
                now(f"sum({_own('job_file_errors')})"),
                steps=((None, GREEN), (1.0, RED)),
            ),
            fact(
                "Jobs without series",
                "Left out because of metrics.per_job.max_jobs. Totals and alerts are not touched.",
                "short",
                now(f"sum({_own('series_left_out_jobs')})"),
                steps=((None, GREEN), (1.0, YELLOW)),
            ),
            fact(
                "Most overdue poll",
                "How late the next poll is; below zero it is still to come.",
                "s",
                now(f"max({_late()})"),
                steps=((None, GREEN), (10.0, YELLOW), (60.0, RED)),
                nothing="nothing to poll",
            ),
            fact(
                "Polls in flight",
                "Requests under way; upstream.concurrency is the most.",
                "short",
                now(f"sum({_own('polls_in_flight')})"),
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
            ),
            lines(
                "Most overdue poll over time",
                "By exporter; while it is zero all polls are on time.",
                "s",
                Query(f"clamp_min({late}, 0)", "{{instance}}"),
            ),
            lines(
                "Demand against the limit",
                "Polls a second that the jobs ask for, and requests that are allowed.",
                "reqps",
                Query(
                    f"sum by (instance) ({_own('poll_demand_per_second')})",
                    "{{instance}} demand",
                ),
                Query(
                    f"sum by (instance) ({_own('rate_limit_per_second')})",
                    "{{instance}} limit",
                ),
            ),
        ),
        Band(
            8,
            lines(
                "Polls in flight over time",
                "Requests under way, by exporter.",
                "short",
                Query(f"sum by (instance) ({_own('polls_in_flight')})", "{{instance}}"),
            ),
            lines(
                "How late ends are seen",
                "The longest that a job's end can have gone unseen.",
                "s",
                Query(f"histogram_quantile(0.5, {delay})", "p50"),
                Query(f"histogram_quantile(0.95, {delay})", "p95"),
            ),
            lines(
                "Control requests",
                "A minute; made when no other job tells how the upstream does, by what was asked.",
                "cpm",
                Query(
                    f"sum by (rung) (rate({_own('control_requests_total')}[{R}])) * 60",
                    "{{rung}}",
                ),
                bars=True,
            ),
        ),
    )


def _page() -> Section:
    http = f"sum by (route, code) (rate({_own('http_requests_total')}[{R}]))"
    return Section(
        "The page and the routes",
        Band(
            8,
            lines(
                "Time to make the page",
                "How long the last page of metrics took.",
                "s",
                Query(f"max by (instance) ({_own('scrape_duration_seconds')})", "{{instance}}"),
            ),
            lines(
                "Size of the page",
                "Uncompressed.",
                "bytes",
                Query(f"max by (instance) ({_own('scrape_size_bytes')})", "{{instance}}"),
            ),
            lines(
                "Series",
                "Samples in the last scrape, and jobs that have no series of their own.",
                "short",
                Query(
                    f"sum by (instance) (scrape_samples_scraped{{{SCRAPED}}}"
                    f" and on (job, instance) {EXPORTER})",
                    "{{instance}} samples",
                ),
                Query(
                    f"sum by (instance) ({_own('series_left_out_jobs')})",
                    "{{instance}} left out",
                ),
            ),
        ),
        Band(
            8,
            lines(
                "Requests answered",
                "A second, by route and code.",
                "reqps",
                Query(http, "{{route}} {{code}}"),
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
                    f"sum by (result) (rate({_own('status_served_total')}[{R}]))",
                    "{{result}}",
                ),
                stacked=True,
                nothing="Nobody asks GET /api/v1/status",
            ),
        ),
    )


def _store() -> Section:
    return Section(
        "Store, config and log",
        Band(
            8,
            lines(
                "Time of a commit",
                "Half, 95 and 99 of 100 commits took no longer.",
                "s",
                Query(_p(0.5, "store_commit_duration"), "p50"),
                Query(_p(0.95, "store_commit_duration"), "p95"),
                Query(_p(0.99, "store_commit_duration"), "p99"),
            ),
            lines(
                "Jobs in the store",
                "By state.",
                "short",
                Query(f"sum by (state) ({_own('stored_jobs')})", "{{state}}"),
                stacked=True,
            ),
            lines(
                "Errors of the store",
                "A minute, by operation.",
                "cpm",
                Query(
                    f"sum by (operation) (rate({_own('store_errors_total')}[{R}])) * 60",
                    "{{operation}}",
                ),
                bars=True,
                nothing="None ever",
            ),
        ),
        Band(
            8,
            lines(
                "Log lines, by level",
                "A minute.",
                "cpm",
                Query(
                    f"sum by (level) (rate({_own('log_events_total')}[{R}])) * 60",
                    "{{level}}",
                ),
                colours={"error": RED, "warning": ORANGE, "info": GREEN, "debug": BLUE},
                bars=True,
            ),
            lines(
                "Registrations refused, by reason",
                "A minute. Whoever registers was told.",
                "cpm",
                Query(
                    f"sum by (reason) (rate({_own('registrations_refused_total')}[{R}])) * 60",
                    "{{reason}}",
                ),
                bars=True,
            ),
            lines(
                "Config and job files",
                "1 while the config in force is the file's; and job files with errors.",
                "short",
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
    )


def _process() -> Section:
    return Section(
        "The process",
        Band(
            8,
            lines(
                "Lag of the event loop",
                "How late the loop woke the exporter last; anything else waits as long.",
                "s",
                Query(f"max by (instance) ({_own('event_loop_lag_seconds')})", "{{instance}}"),
            ),
            lines(
                "CPU",
                "Of one core; nothing where the exporter is embedded in another program.",
                "percentunit",
                Query(
                    f"sum by (instance) (rate(process_cpu_seconds_total{{{ONE}}}[{R}]))",
                    "{{instance}}",
                ),
                nothing="An embedded exporter does not tell",
            ),
            lines(
                "Memory",
                "Resident; nothing where the exporter is embedded in another program.",
                "bytes",
                Query(
                    f"sum by (instance) (process_resident_memory_bytes{{{ONE}}})",
                    "{{instance}}",
                ),
                nothing="An embedded exporter does not tell",
            ),
        ),
        Band(
            4,
            rows_of(
                "Versions",
                "What runs where.",
                rows(_own("build_info")),
                names={
                    "instance": "Instance",
                    "upstream": "Upstream",
                    "version": "Version",
                    "python_version": "Python",
                },
                hidden=("__name__", "Value", "Value #A", "job"),
                nothing="no exporter",
            ),
        ),
    )
