"""`Removit / Job`: one job, by its id."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from .layout import Band, Section, make
from .panels import GREEN, ORANGE, STATE_COLOURS, YELLOW, fact, lines, name_of, rows_of, timeline
from .queries import ONE, SINGLE, Query, datasource, exporters, job_id, now, rows

THIS = f"{ONE},{SINGLE}"
GONE = "no such series: see the description"
KEPT = (
    " A finished job keeps its series for metrics.per_job.linger; choose a time when it still had"
    " them, or ask GET /api/v1/jobs/{job_id}."
)


def job() -> Dashboard:
    """Return the dashboard."""
    return make(
        "removit-job",
        "Removit / Job",
        "One job by its id: type it above, or come here from a table or an exemplar.",
        [datasource(), *exporters(), job_id()],
        [_now(), _course(), _rows()],
    )


def _since(name: str) -> str:
    return f"max(removit_job_{name}_timestamp_seconds{{{THIS}}}) * 1000"


def _now() -> Section:
    return Section(
        "Job $job_id",
        Band(
            4,
            name_of(
                "State",
                "The job's state as the exporter judges it." + KEPT,
                now(f"max by (state) (removit_job_state{{{THIS}}}) == 1", "{{state}}"),
                STATE_COLOURS,
                GONE,
            ),
            name_of(
                "Step",
                "What the API last called `status`.",
                now(f"max by (step) (removit_job_step{{{THIS}}}) == 1", "{{step}}"),
                {},
                "no answer yet",
            ),
            fact(
                "Progress",
                "As the API last said; the contract calls it approximate.",
                "percentunit",
                now(f"max(removit_job_progress_ratio{{{THIS}}})"),
                nothing="no answer yet",
            ),
            fact(
                "Registered",
                "When the exporter was told of the job.",
                "dateTimeFromNow",
                now(_since("registered")),
                nothing=GONE,
            ),
            fact(
                "Last moved",
                "When its progress or step last changed.",
                "dateTimeFromNow",
                now(_since("last_progress")),
                nothing="not yet",
            ),
            fact(
                "Ended",
                "When it reached its final state.",
                "dateTimeFromNow",
                now(_since("finished")),
                nothing="not yet",
            ),
            fact(
                "Warnings",
                "In the API's last answer. The texts: GET /api/v1/jobs/{job_id}.",
                "short",
                now(f"max(removit_job_warnings_current{{{THIS}}})"),
                steps=((None, GREEN), (1.0, YELLOW)),
                nothing=GONE,
            ),
            fact(
                "Ignored variations",
                "Variations that the API's last answer said it left out.",
                "short",
                now(f"max(removit_job_ignored_variations_current{{{THIS}}})"),
                steps=((None, GREEN), (1.0, ORANGE)),
                nothing=GONE,
            ),
        ),
    )


def _course() -> Section:
    return Section(
        "Its course",
        Band(
            8,
            lines(
                "Progress over time",
                "From 0 to 1, as the API says." + KEPT,
                "percentunit",
                Query(f"max(removit_job_progress_ratio{{{THIS}}})", "progress"),
                most=1.0,
                colours={"progress": GREEN},
            ),
            lines(
                "Warnings and ignored variations over time",
                "In the API's answer at the time.",
                "short",
                Query(f"max(removit_job_warnings_current{{{THIS}}})", "warnings"),
                Query(f"max(removit_job_ignored_variations_current{{{THIS}}})", "ignored"),
                colours={"warnings": YELLOW, "ignored": ORANGE},
            ),
        ),
        Band(
            8,
            timeline(
                "States and steps",
                "When the job was in which state, and in which of the API's steps.",
                Query(f"max by (state) (removit_job_state{{{THIS}}})", "{{state}}"),
                Query(f"max by (step) (removit_job_step{{{THIS}}})", "step: {{step}}"),
                colours=STATE_COLOURS,
                nothing="No series of this job in this time",
            ),
        ),
    )


def _rows() -> Section:
    return Section(
        "What it is",
        Band(
            4,
            rows_of(
                "Identity",
                "Who told of it, its mode, the user's own key, and the registration labels.",
                rows(f"removit_job_info{{{THIS}}}"),
                names={
                    "job_id": "Job id",
                    "key": "Key",
                    "mode": "Mode",
                    "source": "Source",
                    "instance": "Instance",
                    "upstream": "Upstream",
                },
                hidden=("__name__", "Value", "Value #A", "job"),
                nothing=GONE,
            ),
        ),
    )
