"""The exporter's sections below its first screen: pages, store, process."""

from .layout import Band, Section
from .looks import BLUE, GREEN, ORANGE, RED, STATE_COLOURS
from .panels import COUNT, SHARE, Quiet, lines
from .queries import ONE, SEEN, Query, R, answered, own, quantile, some

SCRAPED = 'job=~"$job",instance=~"$instance"'
"""For Prometheus's own series about a scrape, which have no upstream. Only those of exporters
count: All is every job that Prometheus scrapes."""

NO_REQUEST = Quiet("no request", some("removit_exporter_http_requests_total"))


def page() -> Section:
    """Return what `/metrics` and the other routes cost."""
    http = f"sum by (route, code) (rate({own('http_requests_total')}[{R}]))"
    return Section(
        "/metrics and the other routes",
        Band(
            8,
            lines(
                "Time to answer /metrics",
                "How long the last scrape took in the exporter.",
                "s",
                Query(f"max by (instance) ({own('scrape_duration_seconds')})", "{{instance}}"),
            ),
            lines(
                "Size of /metrics",
                "Uncompressed.",
                "bytes",
                Query(f"max by (instance) ({own('scrape_size_bytes')})", "{{instance}}"),
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
                quiet=NO_REQUEST,
            ),
            lines(
                "Time to answer, p95",
                "By route.",
                "s",
                Query(answered(quantile(0.95, "http_request_duration", "route, le")), "{{route}}"),
                quiet=NO_REQUEST,
            ),
            lines(
                "Status from memory",
                "Requests of the status route, a second, by how they were answered.",
                "reqps",
                Query(
                    f"sum by (result) (rate({own('status_served_total')}[{R}])) > 0",
                    "{{result}}",
                ),
                stacked=True,
                quiet=Quiet("none asked for", some("removit_exporter_status_served_total")),
            ),
        ),
        collapsed=True,
    )


def store() -> Section:
    """Return the store, the config and the log."""
    return Section(
        "Store, config and log",
        Band(
            8,
            lines(
                "Time of a commit",
                "Half, 95 and 99 of 100 commits to the store took no longer.",
                "s",
                Query(quantile(0.5, "store_commit_duration"), "p50"),
                Query(quantile(0.95, "store_commit_duration"), "p95"),
                Query(quantile(0.99, "store_commit_duration"), "p99"),
                quiet=Quiet(
                    "no commit", some("removit_exporter_store_commit_duration_seconds_count")
                ),
            ),
            lines(
                "Jobs in the store",
                "Jobs in the store, by state; finished ones leave it after storage.retention.",
                COUNT,
                Query(f"sum by (state) ({own('stored_jobs')}) > 0", "{{state}}"),
                colours=STATE_COLOURS,
                stacked=True,
                quiet=Quiet("no job", f"sum({own('stored_jobs')}) > 0"),
            ),
            lines(
                "Errors of the store",
                "A minute, by operation.",
                "cpm",
                Query(
                    f"sum by (operation) (rate({own('store_errors_total')}[{R}])) * 60 > 0",
                    "{{operation}}",
                ),
                bars=True,
                quiet=Quiet("no error", some("removit_exporter_store_errors_total"), colour=GREEN),
            ),
        ),
        Band(
            8,
            lines(
                "Log lines, by level",
                "A minute.",
                "cpm",
                Query(
                    f"sum by (level) (rate({own('log_events_total')}[{R}])) * 60 > 0",
                    "{{level}}",
                ),
                colours={"error": RED, "warning": ORANGE, "info": GREEN, "debug": BLUE},
                bars=True,
                quiet=Quiet("no line", some("removit_exporter_log_events_total")),
            ),
            lines(
                "Registrations refused, by reason",
                "A minute. The registering client was answered with the reason.",
                "cpm",
                Query(
                    f"sum by (reason) (rate({own('registrations_refused_total')}[{R}])) * 60 > 0",
                    "{{reason}}",
                ),
                bars=True,
                quiet=Quiet(
                    "none refused",
                    some("removit_exporter_registrations_refused_total"),
                    colour=GREEN,
                ),
            ),
            lines(
                "Config and job files",
                "1 while the config in force is the file's; and job files with errors.",
                COUNT,
                Query(
                    f"min by (instance) ({own('config_last_reload_successful')})",
                    "{{instance}} config",
                ),
                Query(
                    f"max by (instance) ({own('job_file_errors')})",
                    "{{instance}} job files",
                ),
            ),
        ),
        collapsed=True,
    )


def process() -> Section:
    """Return the event loop, the CPU and the memory."""
    return Section(
        "The process",
        Band(
            8,
            lines(
                "Lag of the event loop",
                "How late the event loop last woke the exporter; everything else waits as long.",
                "s",
                Query(f"max by (instance) ({own('event_loop_lag_seconds')})", "{{instance}}"),
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
