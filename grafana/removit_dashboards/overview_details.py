"""The overview's collapsed sections about jobs: the backlog, groups, and totals."""

from .layout import Band, Section
from .looks import NO_ROW
from .panels import AGE, COUNT, SHARE, Column, Quiet, lines, rows_of
from .queries import (
    BY_GROUP,
    FINISHED,
    GROUP,
    ONE,
    SEEN,
    Query,
    R,
    answered,
    or_row,
    or_zero,
    rows,
    some,
)

ENDED = f'{FINISHED}{{{GROUP},state=~"done|failed|expired"}}'
SLOWLY = f"(sum(rate({FINISHED}{{{GROUP}}}[15m])) > 0)"
NO_JOB_PENDING = Quiet("no job is pending", f"sum(removit_jobs_pending{{{GROUP}}}) > 0")
NO_JOB_ENDED = Quiet("no job ended", some(FINISHED, GROUP))
NONE_ENDED_LATELY = Quiet("no job ended in 15 minutes", SLOWLY)


def traffic() -> Section:
    """Return how many jobs wait, in which step and mode, and how fast they drain."""
    pending = or_zero(f"sum(removit_jobs_pending{{{GROUP}}})")
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
                quiet=NO_JOB_PENDING,
            ),
            lines(
                "Pending by mode",
                "`unknown` before the first answer.",
                COUNT,
                Query(f"sum by (mode) (removit_jobs_pending{{{GROUP}}}) > 0", "{{mode}}"),
                stacked=True,
                quiet=NO_JOB_PENDING,
            ),
            lines(
                "Time to drain the backlog",
                "How long the pending jobs would take at the pace of the last 15 minutes, if no"
                " more came in.",
                AGE,
                Query(f"({pending}) / on () {SLOWLY}", "time to drain"),
                quiet=NONE_ENDED_LATELY,
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
                quiet=NO_JOB_PENDING,
            ),
            lines(
                "Ended per minute, by group",
                f"{by}Jobs that ended, in any way.",
                "cpm",
                Query(f"{BY_GROUP} (rate({FINISHED}{{{GROUP}}}[{R}])) * 60"),
                stacked=True,
                quiet=NO_JOB_ENDED,
            ),
            lines(
                "Share failed or expired, by group",
                f"{by}Of the jobs that ended in the 15 minutes before.",
                SHARE,
                Query(f"{bad} / {every}"),
                quiet=NONE_ENDED_LATELY,
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
                quiet=Quiet("no job was done", some(FINISHED, f'{GROUP},state="done"')),
            ),
            lines(
                "Stalled, by group",
                f"{by}Pending jobs without progress for polling.stalled_after.",
                COUNT,
                Query(f"{BY_GROUP} (removit_jobs_stalled{{{GROUP}}})"),
                quiet=Quiet("none", f"removit_jobs_stalled{{{GROUP}}}"),
            ),
            lines(
                "Overdue, by group",
                f"{by}Pending jobs that take over polling.overdue_factor (3 by default) times their"
                " mode's usual p99.",
                COUNT,
                Query(f"{BY_GROUP} (removit_jobs_overdue{{{GROUP}}})"),
                quiet=Quiet("none", f"removit_jobs_overdue{{{GROUP}}}"),
            ),
            lines(
                "Unresolved failures, by group",
                f"{by}Keys whose last job failed, expired, was not found or was invalid.",
                COUNT,
                Query(f"{BY_GROUP} (removit_unresolved_failures{{{GROUP}}})"),
                stacked=True,
                quiet=Quiet("none", f"removit_unresolved_failures{{{GROUP}}}"),
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
                rows(
                    or_row(
                        f"sum by ({label}) (removit_{name}_total{{{matchers}}}) > 0",
                        label,
                        ("none so far", SEEN),
                    )
                ),
                columns={
                    label: Column(label.capitalize(), nothing="?"),
                    "Value": Column("Number", COUNT, words=NO_ROW, width=100),
                },
                sorted_by="Number",
            )
        )
    return Section("Totals", Band(7, *panels[:4]), Band(7, *panels[4:]), collapsed=True)
