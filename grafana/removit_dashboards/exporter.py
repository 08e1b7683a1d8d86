"""`Removit / Exporter`: is the exporter at fault, does it keep up, and what does it cost?"""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from exporter.alerting.thresholds import load_thresholds

from .exporter_details import SCRAPED, page, process, store
from .layout import Band, Section, make
from .looks import GREEN, GREY, NONE, RED, YELLOW
from .panels import AGE, COUNT, LAG, SHARE, Column, Quiet, fact, lines, rows_of
from .queries import (
    ONE,
    SEEN,
    Query,
    R,
    age,
    datasource,
    exporters,
    now,
    or_none,
    own,
    quantile,
    rows,
    some,
)

LATE = load_thresholds().alerts.exporter_lagging.seconds
"""From how many seconds on a late poll is an alert."""


def exporter() -> Dashboard:
    """Return the dashboard."""
    return make(
        "removit-exporter",
        "Removit / Exporter",
        "Is the exporter at fault, does it keep up, and what does it cost?",
        [datasource(), *exporters()],
        [_now(), _polling(), page(), store(), process()],
    )


def _late() -> str:
    """How late the most overdue poll was when it was scraped."""
    due = own("oldest_due_timestamp_seconds")
    return f"timestamp({due}) - {due}"


def _faults() -> str:
    """Return how many faults of its own the exporters have now; nothing if that is not known."""
    store = f"sum({own('store_writable')} == bool 0)"
    config = f"sum({own('config_last_reload_successful')} == bool 0)"
    files = f"sum({own('job_file_errors')} > bool 0)"
    late = f"(sum(({_late()}) > bool {LATE:g}) or on () 0 * {store})"
    loop = f"sum({own('event_loop_lag_seconds')} > bool 1)"
    return f"{store} + {config} + {files} + {late} + {loop}"


def _now() -> Section:
    yes = {1: ("yes", GREEN), 0: ("NO", RED)}
    up = f"up{{{SCRAPED}}} and on (job, instance) last_over_time({SEEN}[$__range])"
    read = own("config_last_reload_success_timestamp_seconds")
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
                "Not reporting",
                "Exporters that reported in the time range and do not answer Prometheus now. One"
                " that Prometheus no longer scrapes does not count.",
                COUNT,
                now(f"count({up}) - sum({up})"),
                steps=((None, GREEN), (1.0, RED)),
            ),
            fact(
                "Store writable",
                "Whether the last write succeeded. While not, what is counted lives in memory: do"
                " not restart.",
                "none",
                now(f"min({own('store_writable')})"),
                words=yes,
            ),
            fact(
                "Config valid",
                "Whether the config could be put in force when it was last read.",
                "none",
                now(f"min({own('config_last_reload_successful')})"),
                words=yes,
            ),
            fact(
                "Bad job files",
                "Job files that cannot be read, or not wholly.",
                COUNT,
                now(f"sum({own('job_file_errors')})"),
                steps=((None, GREEN), (1.0, RED)),
            ),
            fact(
                "Without series",
                "Jobs left out because of metrics.per_job.max_jobs. Totals and alerts have them.",
                COUNT,
                now(f"sum({own('series_left_out_jobs')})"),
                steps=((None, GREEN), (1.0, YELLOW)),
            ),
            fact(
                "Poll overdue",
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
                now(f"sum({own('polls_in_flight')})"),
            ),
        ),
        Band(
            5,
            rows_of(
                "Exporters, the gone ones first",
                "Every exporter that reported in the time range. Of a gone one, the version and the"
                " config are those it had last.",
                rows(f"max by (instance) ({up})"),
                rows(f"last_over_time({own('build_info')}[$__range])"),
                rows(age(f"max by (instance) (last_over_time({read}[$__range]))")),
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
                LAG,
                Query(quantile(0.5, "poll_lag"), "p50"),
                Query(quantile(0.95, "poll_lag"), "p95"),
                Query(quantile(0.99, "poll_lag"), "p99"),
                log=True,
                quiet=Quiet("no poll", some("removit_exporter_poll_lag_seconds_count")),
            ),
            lines(
                "Most overdue poll over time",
                "By exporter; while it is zero all polls are on time.",
                AGE,
                Query(f"clamp_min({late}, 0)", "{{instance}}"),
                limit=LATE,
                quiet=Quiet("nothing to poll", own("oldest_due_timestamp_seconds")),
            ),
            lines(
                "Demand, of the limit",
                "Polls that the jobs ask for, as a share of the requests that are allowed. Above"
                " 100 % polls are late.",
                SHARE,
                Query(
                    f"sum by (instance) ({own('poll_demand_per_second')})"
                    f" / sum by (instance) ({own('rate_limit_per_second')})",
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
                Query(f"sum by (instance) ({own('polls_in_flight')})", "{{instance}}"),
            ),
            lines(
                "How late ends are seen",
                "The longest that a job's end can have gone unseen.",
                AGE,
                Query(f"histogram_quantile(0.5, {delay})", "p50"),
                Query(f"histogram_quantile(0.95, {delay})", "p95"),
                quiet=Quiet("no job ended", some("removit_job_detection_delay_seconds_count")),
            ),
            lines(
                "Control requests",
                "A minute, by control target; made when no other job shows the upstream's state.",
                "cpm",
                Query(
                    f"sum by (rung) (rate({own('control_requests_total')}[{R}])) * 60 > 0",
                    "{{rung}}",
                ),
                bars=True,
                quiet=Quiet("none", some("removit_exporter_control_requests_total")),
            ),
        ),
    )
