"""The overview's sections about trouble with jobs."""

from collections.abc import Mapping

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Panel

from exporter.alerting.thresholds import load_thresholds

from .layout import Band, Section
from .looks import GREEN, NO_ROW, ORANGE, YELLOW
from .panels import AGE, COUNT, SHARE, Column, Quiet, lines, rows_of
from .queries import (
    FINISHED,
    GROUP,
    ONE,
    RECORDED,
    SEEN,
    WITHOUT,
    Query,
    R,
    age,
    or_empty,
    or_row,
    or_zero,
    rows,
    some,
    with_exemplars,
)

JOB_URL = (
    "/d/removit-job/removit-job?var-job_id=${__value.raw}&var-upstream=${__data.fields.upstream}"
    "&${datasource:queryparam}&${__url_time_range}"
)


def bars_of_jobs(
    title: str,
    description: str,
    metric: str,
    label: str,
    nothing: str,
    *,
    matchers: str = GROUP,
    colours: Mapping[str, str] | None = None,
) -> Builder[Panel]:
    """Return trouble with jobs a minute, by a label, as bars with exemplars.

    `nothing` is what it says while jobs end and none of them counts.
    """
    pace = f"sum by ({label}) (rate({metric}{{{matchers}}}[{R}])) * 60 > 0"
    return lines(
        title,
        f"{description} The points are exemplars: each leads to a job.",
        "cpm",
        with_exemplars(pace, f"{{{{{label}}}}}"),
        colours=colours,
        bars=True,
        quiet=Quiet(
            nothing,
            some(metric, matchers),
            GREEN,
            among=(some(FINISHED, GROUP), "no job ended"),
        ),
    )


def stuck() -> Section:
    """Return the pending jobs that have not moved for longest."""
    at = "on (job, instance, job_id)"
    moved = (
        f"(removit_job_last_progress_timestamp_seconds{{{ONE}}}"
        f" or removit_job_registered_timestamp_seconds{{{ONE}}})"
    )
    info = f"removit_job_info{{{GROUP}}}"
    pending = f'(removit_job_state{{{ONE},state="pending"}} == 1)'
    still = f"topk(25, {age(moved)} and {at} {pending} and {at} {info})"
    some_pending, none = f"(sum(removit_jobs_pending{{{GROUP}}}) > 0)", ("no job is pending", SEEN)
    since = age(f"removit_job_registered_timestamp_seconds{{{ONE}}}")
    return Section(
        "Stuck jobs",
        Band(
            8,
            rows_of(
                "Pending jobs that stand still",
                "The 25 pending jobs whose progress or step changed longest ago. A click on an id"
                " opens the job. Pending, but not shown: metrics.per_job is off, or none is of the"
                " age metrics.per_job.after.",
                *(
                    rows(or_row(numbers, "job_id", ("pending, but not shown", some_pending), none))
                    for numbers in (
                        f"({still}) * {at} group_left (mode, source, key) {info}",
                        or_empty(
                            f"max by (job_id) (removit_job_progress_ratio{{{ONE}}})"
                            f" and on (job_id) {still}",
                            f"max by (job_id) ({still})",
                            "job_id",
                        ),
                        f"max by (job_id) ({since}) and on (job_id) {still}",
                    )
                ),
                columns={
                    "job_id": Column(
                        "Job id", nothing="?", link=("Open the job", JOB_URL), width=330
                    ),
                    "upstream": Column("Upstream", nothing=""),
                    "key": Column("Key", nothing=""),
                    "mode": Column("Mode", nothing=""),
                    "source": Column("Source", nothing=""),
                    "Value #A": Column("Still for", AGE, words=NO_ROW),
                    "Value #B": Column("Progress", SHARE, words=NO_ROW, nothing="no answer yet"),
                    "Value #C": Column("Age", AGE, words=NO_ROW),
                },
                hidden=("job", "instance"),
                sorted_by="Still for",
            ),
        ),
    )


def wrong() -> Section:
    """Return what goes wrong with jobs."""
    ratio = "upstream:removit_jobs_bad:ratio"
    return Section(
        "What goes wrong",
        Band(
            8,
            lines(
                "Jobs suspected, stalled, overdue",
                "Suspected: 5xx, 404 or 422 await a verdict. Stalled: no progress for"
                " polling.stalled_after. Overdue: over polling.overdue_factor (3 by default) times"
                " their mode's usual p99.",
                COUNT,
                *(
                    Query(or_zero(f"sum(removit_jobs_{name}{{{GROUP}}})"), name)
                    for name in ("suspected", "stalled", "overdue")
                ),
                colours={"suspected": YELLOW, "stalled": ORANGE, "overdue": "purple"},
            ),
            lines(
                "Share that ends badly",
                "Failed, expired or done without a result, of the jobs that ended, by upstream;"
                " over an hour and a day. The dashed line is what the failure budget allows."
                " Needs the recording rules (prometheus/rules).",
                SHARE,
                *(
                    Query(f"{ratio}{span}{{{RECORDED}}}", f"{{{{upstream}}}} {span}")
                    for span in ("1h", "1d")
                ),
                limit=round(1 - load_thresholds().failure_budget.objective, 6),
                quiet=Quiet("no job ended, or no rules", f"{ratio}1d{{{RECORDED}}}"),
            ),
            lines(
                "Unresolved failures over time",
                "Keys whose last job failed, expired, was not found or was invalid, until a later"
                " one is done or someone acknowledges.",
                COUNT,
                Query(or_zero(f"sum(removit_unresolved_failures{{{GROUP}}})"), "keys"),
                colours={"keys": ORANGE},
            ),
        ),
        Band(
            8,
            bars_of_jobs(
                "Ignored variations, by variation",
                "Delivered without what was asked for; a minute. A job's warnings say why.",
                "removit_job_ignored_variations_total",
                "variation",
                "none ignored",
            ),
            bars_of_jobs(
                "Warnings, by variation",
                "A minute; each message counts once a job.",
                "removit_job_warnings_total",
                "variation",
                "no warning",
            ),
            bars_of_jobs(
                "Done without result, by mode",
                "Done, and nothing to fetch; a minute.",
                WITHOUT,
                "mode",
                "none without result",
            ),
        ),
    )
