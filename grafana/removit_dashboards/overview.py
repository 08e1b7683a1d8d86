"""`Removit / Overview`: is the upstream well, what do the jobs do, what goes wrong, and where."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from .layout import Band, Section, make
from .overview_sections import DURATION, ENDED, FINISHED, WITHOUT, R, api, jobs, times, wrong
from .panels import (
    GREEN,
    ORANGE,
    RED,
    STATE_COLOURS,
    UPSTREAM_COLOURS,
    YELLOW,
    counts,
    fact,
    lines,
    name_of,
    rows_of,
    timeline,
)
from .queries import (
    BY_GROUP,
    GROUP,
    ONE,
    Query,
    datasource,
    exporters,
    group,
    now,
    rows,
)

JOB_URL = "/d/removit-job/removit-job?var-job_id=${__value.raw}&${datasource:queryparam}"


def overview() -> Dashboard:
    """Return the dashboard."""
    return make(
        "removit-overview",
        "Removit / Overview",
        "Is the upstream well, what do the jobs do, what goes wrong, and where.",
        [datasource(), *exporters(), group()],
        [_well(), jobs(), times(), wrong(), api(), _groups(), _stuck(), _counted()],
    )


def _well() -> Section:
    key = {1: ("accepted", GREEN), 0: ("REJECTED", RED)}
    return Section(
        "Is it well?",
        Band(
            4,
            name_of(
                "Upstream",
                "What the answers of late add up to. Down, blocked and key_rejected are alerts.",
                now(f"max by (state) (removit_upstream_state{{{ONE}}}) == 1", "{{state}}"),
                UPSTREAM_COLOURS,
                "no exporter",
            ),
            fact(
                "API key",
                "Whether the API takes our key. Rejected, all polling is suspended.",
                "none",
                now(f"min(removit_api_key_valid{{{ONE}}})"),
                words=key,
                nothing="not known yet",
            ),
            fact(
                "Last good answer",
                "How long ago the API last answered a request well. Long is no fault: without"
                " pending jobs nothing is asked.",
                "s",
                now(f"time() - max(removit_last_success_timestamp_seconds{{{ONE}}})"),
                nothing="never yet",
            ),
            fact(
                "Pending",
                "Jobs that are polled for their end.",
                "short",
                now(f"sum(removit_jobs_pending{{{GROUP}}})"),
            ),
            fact(
                "Oldest pending",
                "How long ago the oldest pending job was registered.",
                "s",
                now(f"time() - min(removit_oldest_pending_registered_timestamp_seconds{{{ONE}}})"),
                nothing="no job pending",
            ),
            fact(
                "Ended in this time",
                "Jobs that ended, in any way, within the time shown.",
                "short",
                now(f"round(sum(increase({FINISHED}{{{GROUP}}}[$__range])))"),
            ),
            fact(
                "Ended well",
                "Of the jobs that ended in this time: done, with a result. What the API never knew"
                " (not found, invalid) does not count.",
                "percentunit",
                now(
                    f'1 - (sum(increase({ENDED[:-1]},state!="done"}}[$__range]))'
                    f" + sum(increase({WITHOUT}[$__range])))"
                    f" / (sum(increase({ENDED}[$__range])) > 0)"
                ),
                steps=((None, RED), (0.95, YELLOW), (0.99, GREEN)),
                nothing="none ended",
            ),
            fact(
                "Unresolved failures",
                "Keys whose last job ended badly, until a later one is done or someone acknowledges"
                " (GET /api/v1/failures lists them).",
                "short",
                now(f"sum(removit_unresolved_failures{{{GROUP}}})"),
                steps=((None, GREEN), (1.0, ORANGE)),
            ),
        ),
        Band(
            4,
            timeline(
                "Upstream over time",
                "When the upstream was in which state.",
                Query(f"max by (state) (removit_upstream_state{{{ONE}}})", "{{state}}"),
                colours=UPSTREAM_COLOURS,
                nothing="no exporter in this time",
            ),
        ),
    )


def _groups() -> Section:
    by = "By group (metrics.group_labels). "
    bad = f'{BY_GROUP} (rate({ENDED[:-1]},state!="done"}}[15m]))'
    every = f"({BY_GROUP} (rate({ENDED}[15m])) > 0)"
    return Section(
        "By group",
        Band(
            8,
            lines(
                "Pending, by group",
                f"{by}Jobs that are polled for their end.",
                "short",
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
                "percentunit",
                Query(f"{bad} / {every}"),
                nothing="Nothing ended lately",
            ),
        ),
        Band(
            8,
            lines(
                "Time to done by group, p95",
                f"{by}95 of 100 jobs took no longer.",
                "s",
                Query(
                    f"histogram_quantile(0.95, {BY_GROUP}"
                    f' (rate({DURATION}_bucket{{{GROUP},state="done"}}[{R}])))'
                ),
            ),
            lines(
                "Stalled, by group",
                f"{by}Pending jobs without progress for polling.stalled_after.",
                "short",
                Query(f"{BY_GROUP} (removit_jobs_stalled{{{GROUP}}})"),
            ),
            lines(
                "Overdue, by group",
                f"{by}Pending jobs that take over polling.overdue_factor (3 by default) times their"
                " mode's usual p99.",
                "short",
                Query(f"{BY_GROUP} (removit_jobs_overdue{{{GROUP}}})"),
            ),
            lines(
                "Unresolved failures, by group",
                f"{by}Keys whose last job ended badly.",
                "short",
                Query(f"{BY_GROUP} (removit_unresolved_failures{{{GROUP}}})"),
                stacked=True,
            ),
        ),
    )


def _stuck() -> Section:
    at = "on (job, instance, job_id)"
    moved = (
        f"(removit_job_last_progress_timestamp_seconds{{{ONE}}}"
        f" or removit_job_registered_timestamp_seconds{{{ONE}}})"
    )
    info = f"removit_job_info{{{GROUP}}}"
    pending = f'(removit_job_state{{{ONE},state="pending"}} == 1)'
    still = f"(time() - {moved}) and {at} {pending} and {at} {info}"
    age = f"time() - removit_job_registered_timestamp_seconds{{{ONE}}}"
    return Section(
        "Stuck jobs",
        Band(
            9,
            rows_of(
                "Pending jobs that stand still",
                "The fifty pending jobs whose progress or step changed longest ago. A click on an"
                " id leads to the job.",
                rows(f"topk(50, ({still}) * {at} group_left (mode, source, key) {info})"),
                rows(
                    f"max by (job_id) (removit_job_progress_ratio{{{ONE}}}) and on (job_id)"
                    f" topk(50, {still})"
                ),
                rows(f"max by (job_id) ({age}) and on (job_id) topk(50, {still})"),
                names={
                    "job_id": "Job id",
                    "key": "Key",
                    "mode": "Mode",
                    "source": "Source",
                    "Value #A": "Still for",
                    "Value #B": "Progress",
                    "Value #C": "Age",
                },
                hidden=("job", "instance", "upstream"),
                units={"Still for": "s", "Progress": "percentunit", "Age": "s"},
                links={"Job id": ("Open the job", JOB_URL)},
                sorted_by="Still for",
                nothing="No job is pending, or metrics.per_job is off",
            ),
        ),
    )


def _counted() -> Section:
    since = " Counted since the store began, restarts included."
    return Section(
        "Counted so far",
        Band(
            7,
            counts(
                "Registered, in all",
                "Jobs the exporter was told of, by source." + since,
                now(
                    f"sum by (source) (removit_jobs_registered_total{{{GROUP}}}) > 0",
                    "{{source}}",
                ),
            ),
            counts(
                "Ended, in all",
                "Jobs that ended, by state." + since,
                now(f"sum by (state) ({FINISHED}{{{GROUP}}})", "{{state}}"),
                colours=STATE_COLOURS,
            ),
            counts(
                "Ignored variations, in all",
                "By variation." + since,
                now(
                    f"sum by (variation) (removit_job_ignored_variations_total{{{ONE}}})",
                    "{{variation}}",
                ),
            ),
            counts(
                "Warnings, in all",
                "By variation." + since,
                now(
                    f"sum by (variation) (removit_job_warnings_total{{{ONE}}})",
                    "{{variation}}",
                ),
            ),
        ),
        Band(
            7,
            counts(
                "Done without result, in all",
                "By mode." + since,
                now(f"sum by (mode) ({WITHOUT})", "{{mode}}"),
            ),
            counts(
                "Verdicts overturned, in all",
                "By the state that was taken back." + since,
                now(
                    f"sum by (from) (removit_verdicts_overturned_total{{{ONE}}})",
                    "{{from}}",
                ),
            ),
            counts(
                "First seen at their end, in all",
                "Jobs whose first good answer was their last, by state; they have no duration."
                + since,
                now(
                    f"sum by (state) (removit_jobs_first_seen_final_total{{{ONE}}})",
                    "{{state}}",
                ),
                colours=STATE_COLOURS,
            ),
            counts(
                "Forgotten while pending, in all",
                "By reason." + since,
                now(f"sum by (reason) (removit_jobs_forgotten_total{{{ONE}}})", "{{reason}}"),
            ),
        ),
    )
