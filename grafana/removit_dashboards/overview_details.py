"""The overview's sections below its first screen: jobs."""

from exporter.alerting.thresholds import load_thresholds

from .layout import Band, Section
from .looks import ORANGE, YELLOW
from .panels import AGE, COUNT, SHARE, Column, lines, rows_of
from .queries import (
    BY_GROUP,
    GROUP,
    ONE,
    RECORDED,
    Query,
    R,
    age,
    answered,
    or_empty,
    rows,
    with_exemplars,
)

FINISHED = "removit_jobs_finished_total"
WITHOUT = "removit_jobs_done_without_result_total"
ENDED = f'{FINISHED}{{{GROUP},state=~"done|failed|expired"}}'
NONE_YET = "None seen in this time"
JOB_URL = (
    "/d/removit-job/removit-job?var-job_id=${__value.raw}&var-upstream=${__data.fields.upstream}"
    "&${datasource:queryparam}&${__url_time_range}"
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
    since = age(f"removit_job_registered_timestamp_seconds{{{ONE}}}")
    return Section(
        "Stuck jobs",
        Band(
            8,
            rows_of(
                "Pending jobs that stand still",
                "The 25 pending jobs whose progress or step changed longest ago. A click on an id"
                " opens the job. Needs metrics.per_job.",
                rows(f"({still}) * {at} group_left (mode, source, key) {info}"),
                rows(
                    or_empty(
                        f"max by (job_id) (removit_job_progress_ratio{{{ONE}}})"
                        f" and on (job_id) {still}",
                        f"max by (job_id) ({still})",
                        "job_id",
                    )
                ),
                rows(f"max by (job_id) ({since}) and on (job_id) {still}"),
                columns={
                    "job_id": Column(
                        "Job id", nothing="?", link=("Open the job", JOB_URL), width=330
                    ),
                    "upstream": Column("Upstream", nothing="?"),
                    "key": Column("Key", nothing=""),
                    "mode": Column("Mode", nothing=""),
                    "source": Column("Source", nothing=""),
                    "Value #A": Column("Still for", AGE),
                    "Value #B": Column("Progress", SHARE, nothing="no answer yet"),
                    "Value #C": Column("Age", AGE),
                },
                hidden=("job", "instance"),
                sorted_by="Still for",
                nothing="No job is pending, metrics.per_job is off, or no exporter reports",
            ),
        ),
    )


def wrong() -> Section:
    """Return what goes wrong with jobs."""
    ignored = f"sum by (variation) (rate(removit_job_ignored_variations_total{{{GROUP}}}[{R}]))"
    warnings = f"sum by (variation) (rate(removit_job_warnings_total{{{GROUP}}}[{R}]))"
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
                Query(f"sum(removit_jobs_suspected{{{GROUP}}})", "suspected"),
                Query(f"sum(removit_jobs_stalled{{{GROUP}}})", "stalled"),
                Query(f"sum(removit_jobs_overdue{{{GROUP}}})", "overdue"),
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
                nothing="Nothing ended, or the rules are not loaded",
            ),
            lines(
                "Unresolved failures over time",
                "Keys whose last job failed, expired, was not found or was invalid, until a later"
                " one is done or someone acknowledges.",
                COUNT,
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
                with_exemplars(f"{ignored} * 60 > 0", "{{variation}}"),
                bars=True,
                nothing=NONE_YET,
            ),
            lines(
                "Warnings, by variation",
                "A minute; each message counts once a job. The points are exemplars: each leads to"
                " a job.",
                "cpm",
                with_exemplars(f"{warnings} * 60 > 0", "{{variation}}"),
                bars=True,
                nothing=NONE_YET,
            ),
            lines(
                "Done without result, by mode",
                "Done, and nothing to fetch; a minute. The points are exemplars: each leads to a"
                " job.",
                "cpm",
                with_exemplars(
                    f"sum by (mode) (rate({WITHOUT}{{{GROUP}}}[{R}])) * 60 > 0", "{{mode}}"
                ),
                bars=True,
            ),
        ),
    )


def traffic() -> Section:
    """Return how many jobs wait, in which step and mode, and how fast they drain."""
    rate = f"(sum(rate({FINISHED}{{{GROUP}}}[15m])) > 0)"
    return Section(
        "Backlog",
        Band(
            8,
            lines(
                "Pending by step",
                "The step that the API last named; `unknown` before the first answer.",
                COUNT,
                Query(f"sum by (step) (removit_jobs_pending_by_step{{{ONE}}}) > 0", "{{step}}"),
                stacked=True,
            ),
            lines(
                "Pending by mode",
                "`unknown` before the first answer.",
                COUNT,
                Query(f"sum by (mode) (removit_jobs_pending{{{GROUP}}}) > 0", "{{mode}}"),
                stacked=True,
            ),
            lines(
                "Time to drain the backlog",
                "How long the pending jobs would take at the pace of the last 15 minutes, if no"
                " more came in.",
                AGE,
                Query(f"sum(removit_jobs_pending{{{GROUP}}}) / {rate}", "time to drain"),
                nothing="Nothing ended lately",
            ),
        ),
        collapsed=True,
    )


def by_group() -> Section:
    """Return the most important numbers by group."""
    by = "By group (metrics.group_labels). "
    bad = f'{BY_GROUP} (rate({ENDED[:-1]},state!="done"}}[15m]))'
    every = f"({BY_GROUP} (rate({ENDED}[15m])) > 0)"
    duration = f'removit_job_duration_seconds_bucket{{{GROUP},state="done"}}'
    return Section(
        "By group",
        Band(
            8,
            lines(
                "Pending, by group",
                f"{by}Jobs that have not ended.",
                COUNT,
                Query(f"{BY_GROUP} (removit_jobs_pending{{{GROUP}}})"),
                stacked=True,
            ),
            lines(
                "Ended per minute, by group",
                f"{by}Jobs that ended, in any way.",
                "cpm",
                Query(f"{BY_GROUP} (rate({FINISHED}{{{GROUP}}}[{R}])) * 60"),
                stacked=True,
            ),
            lines(
                "Share failed or expired, by group",
                f"{by}Of the jobs that ended in the 15 minutes before.",
                SHARE,
                Query(f"{bad} / {every}"),
                nothing="Nothing ended lately",
            ),
        ),
        Band(
            8,
            lines(
                "Time to done by group, p95",
                f"{by}95 of 100 jobs took no longer.",
                AGE,
                Query(answered(f"histogram_quantile(0.95, {BY_GROUP} (rate({duration}[{R}])))")),
                log=True,
            ),
            lines(
                "Stalled, by group",
                f"{by}Pending jobs without progress for polling.stalled_after.",
                COUNT,
                Query(f"{BY_GROUP} (removit_jobs_stalled{{{GROUP}}})"),
            ),
            lines(
                "Overdue, by group",
                f"{by}Pending jobs that take over polling.overdue_factor (3 by default) times their"
                " mode's usual p99.",
                COUNT,
                Query(f"{BY_GROUP} (removit_jobs_overdue{{{GROUP}}})"),
            ),
            lines(
                "Unresolved failures, by group",
                f"{by}Keys whose last job failed, expired, was not found or was invalid.",
                COUNT,
                Query(f"{BY_GROUP} (removit_unresolved_failures{{{GROUP}}})"),
                stacked=True,
            ),
        ),
        collapsed=True,
    )


def totals() -> Section:
    """Return what was counted since the store began."""
    since = " Since the store began, restarts included."
    kinds = (
        (
            "Registered",
            "Jobs, by the source that first registered them.",
            "source",
            "jobs_registered",
        ),
        ("Ended", "Jobs, by final state.", "state", "jobs_finished"),
        ("Done without result", "Jobs, by mode.", "mode", "jobs_done_without_result"),
        (
            "Verdicts overturned",
            "Jobs, by the state that was taken back.",
            "from",
            "verdicts_overturned",
        ),
        ("Ignored variations", "By variation.", "variation", "job_ignored_variations"),
        ("Warnings", "By variation.", "variation", "job_warnings"),
        (
            "First seen at their end",
            "Jobs whose first good answer was their last, by state. They have no duration.",
            "state",
            "jobs_first_seen_final",
        ),
        ("Forgotten while pending", "Jobs, by reason.", "reason", "jobs_forgotten"),
    )
    grouped = {"source", "mode", "variation"}
    panels = []
    for title, text, label, name in kinds:
        matchers = GROUP if label in grouped or name == "jobs_finished" else ONE
        panels.append(
            rows_of(
                f"{title}, in all",
                text + since,
                rows(f"sum by ({label}) (removit_{name}_total{{{matchers}}}) > 0"),
                columns={
                    label: Column(label.capitalize(), nothing="?"),
                    "Value": Column("Number", COUNT, width=100),
                },
                sorted_by="Number",
                nothing="None so far, or no exporter reports",
            )
        )
    return Section("Totals", Band(7, *panels[:4]), Band(7, *panels[4:]), collapsed=True)
