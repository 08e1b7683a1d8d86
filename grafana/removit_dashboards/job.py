"""`Removit / Job`: one job, by its id, also after its series ended."""

from collections.abc import Mapping

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Panel

from .layout import Band, Section, make
from .looks import BLUE, GREEN, ORANGE, RED, STATE_COLOURS, YELLOW
from .panels import AGE, COUNT, SHARE, Column, Quiet, fact, lines, rows_of, timeline, word
from .queries import (
    ONE,
    SINGLE,
    Query,
    R,
    age,
    datasource,
    exporters,
    job_id,
    last,
    newest,
    now,
    rows,
)

KEPT = (
    " The last value in the time range is shown, also after the job's series ended"
    " (metrics.per_job.linger after its end)."
)
INFO = f"removit_job_info{{{SINGLE}}}"
NOT_FOUND = "Not in this time"
MEANINGS: Mapping[str, tuple[str, str]] = {
    "pending": ("The API has not said yet that it ended.", "Wait; see Last moved and Its course."),
    "done": ("The API said that it is done.", "Fetch the result, if no variation was ignored."),
    "failed": (
        "The API answered 5xx for this job, again and again, while it served others; or it said"
        " that the job failed.",
        "Upload the image again, registered under the same key.",
    ),
    "expired": (
        "The API named no end within polling.give_up_after.",
        "Upload the image again, registered under the same key.",
    ),
    "not_found": (
        "The API does not know the id, or does not know it any more (404).",
        "Compare the id with the upload's answer; then upload the image again.",
    ),
    "invalid": (
        "The API never took the id for one of its own (422).",
        "Register the right id, or upload the image again.",
    ),
}
"""Why a job is in each state, and what to do about it."""
DONE = f'removit_job_duration_seconds_bucket{{{ONE},state="done"}}'

ERRORS = f'removit_upstream_errors_total{{{ONE},endpoint="status"}}'


def job() -> Dashboard:
    """Return the dashboard."""
    return make(
        "removit-job",
        "Removit / Job",
        "One job by its id: type it above, or follow a link from a table or an exemplar. Choose a"
        " time range in which the job was pending. GET /api/v1/jobs/{job_id} has its history.",
        [datasource(), *exporters(), job_id()],
        [_now(), _course(), _identity()],
    )


def _at(name: str) -> str:
    """Return a point in a job's life, in seconds since 1970."""
    return last(f"removit_job_{name}_timestamp_seconds{{{SINGLE}}}")


def _took() -> str:
    """Return how long the job took, or has taken by now while it is pending."""
    pending = f'(max(removit_job_state{{{SINGLE},state="pending"}}) == 1)'
    so_far = f"{age(_at('registered'))} and on () {pending}"
    return f"({so_far}) or on () ({_at('finished')} - {_at('registered')})"


def _usual(share: float) -> str:
    """Return how long a share of the job's mode took at most, over the last day."""
    mode = f'max by (mode) (last_over_time(removit_job_info{{{SINGLE},mode!="unknown"}}[$__range]))'
    buckets = f"sum by (mode, le) (increase({DONE}[1d]))"
    return f"max(histogram_quantile({share}, {buckets} * on (mode) group_left () ({mode})))"


def _now() -> Section:
    over_usual = f"({_took()}) / on () ({_usual(0.95)})"
    return Section(
        "Job $job_id (none? Type an id above, or choose a time in which the job was pending)",
        Band(
            3,
            word(
                "State",
                "The job's state as the exporter judges it." + KEPT,
                rows(newest(f"removit_job_state{{{SINGLE}}}")),
                "state",
                colours=STATE_COLOURS,
            ),
            word(
                "Step",
                "What the API last called `status`." + KEPT,
                rows(newest(f"removit_job_step{{{SINGLE}}}")),
                "step",
            ),
            fact(
                "Progress",
                "As the API last said; the contract calls it approximate." + KEPT,
                SHARE,
                now(last(f"removit_job_progress_ratio{{{SINGLE}}}")),
            ),
            fact(
                "Warnings",
                "In the API's last answer. The texts: GET /api/v1/jobs/{job_id}." + KEPT,
                COUNT,
                now(last(f"removit_job_warnings_current{{{SINGLE}}}")),
                steps=((None, GREEN), (1.0, YELLOW)),
            ),
            fact(
                "Ignored",
                "Variations that the API's last answer said it left out." + KEPT,
                COUNT,
                now(last(f"removit_job_ignored_variations_current{{{SINGLE}}}")),
                steps=((None, GREEN), (1.0, ORANGE)),
            ),
            fact(
                "Took",
                "From its registration to its end, or to now while it is pending." + KEPT,
                AGE,
                now(_took()),
            ),
            fact(
                "Usual at most",
                "95 of 100 jobs of its mode that were done in the last day took no longer.",
                AGE,
                now(_usual(0.95)),
            ),
            fact(
                "Took, of usual",
                "How long it took as a share of what 95 of 100 jobs of its mode take at most.",
                SHARE,
                now(over_usual),
                steps=((None, GREEN), (1.0, YELLOW), (3.0, RED)),
            ),
        ),
        Band(
            3,
            *(
                fact(
                    title,
                    f"{text}{KEPT}",
                    "dateTimeAsIso",
                    now(f"{_at(name)} * 1000"),
                    nothing=nothing,
                )
                for title, text, name, nothing in (
                    ("Registered", "When the exporter registered it.", "registered", "no data"),
                    (
                        "Last moved",
                        "When progress or step last changed.",
                        "last_progress",
                        "no data",
                    ),
                    ("Ended", "When it reached its final state.", "finished", "no end seen"),
                )
            ),
        ),
        Band(4, _meaning()),
    )


def _meaning() -> Builder[Panel]:
    """Return why the job is in its state, in words."""
    state = newest(f"removit_job_state{{{SINGLE}}}")
    both = f'label_replace(max by (state) ({state}), "do", "$1", "state", "(.+)")'
    why, advice = (
        {state: (texts[at], STATE_COLOURS[state]) for state, texts in MEANINGS.items()}
        for at in (0, 1)
    )
    return rows_of(
        "Why it is in this state",
        "What each state means. The answers that led to it, as one sentence: `evidence` in"
        " GET /api/v1/jobs/{job_id}." + KEPT,
        rows(both),
        columns={
            "state": Column("Why", words=why, coloured="text", width=900),
            "do": Column("What to do", words=advice),
        },
        hidden=("Value",),
        sorted_by="Why",
        nothing=NOT_FOUND,
    )


def _course() -> Section:
    return Section(
        "Its course",
        Band(
            7,
            timeline(
                "States and steps",
                "When the job was in which state, and in which of the API's steps. Red regions in"
                " the graphs are outages of its upstream.",
                Query(f"max by (state) (removit_job_state{{{SINGLE}}})", "{{state}}"),
                Query(f"max by (step) (removit_job_step{{{SINGLE}}})", "step: {{step}}"),
                colours=STATE_COLOURS,
                nothing=NOT_FOUND,
            ),
            lines(
                "Progress over time",
                "As the API says.",
                SHARE,
                Query(f"max(removit_job_progress_ratio{{{SINGLE}}})", "progress"),
                most=1.0,
                colours={"progress": BLUE},
                nothing=NOT_FOUND,
            ),
            lines(
                "Errors of its upstream, by code",
                "A minute, by HTTP status and the body's `error`. Those of all jobs, not only of"
                " this one.",
                "cpm",
                Query(
                    f"sum by (code, error) (rate({ERRORS}[{R}])) * 60 > 0",
                    "{{code}} {{error}}",
                ),
                by_code=True,
                bars=True,
                quiet=Quiet("no error", f"sum(rate({ERRORS}[{R}])) > 0", colour=GREEN),
            ),
        ),
    )


def _identity() -> Section:
    return Section(
        "What it is",
        Band(
            4,
            rows_of(
                "Identity",
                "Its mode, the source that first registered it, the user's own key, and the"
                " registration labels." + KEPT,
                rows(f"last_over_time({INFO}[$__range])"),
                columns={
                    "job_id": Column("Job id", nothing="?", width=330),
                    "key": Column("Key", nothing=""),
                    "mode": Column("Mode", nothing=""),
                    "source": Column("Source", nothing=""),
                    "upstream": Column("Upstream", nothing=""),
                    "instance": Column("Instance", nothing=""),
                },
                hidden=("__name__", "Value", "Value #A", "job"),
                sorted_by="Mode",
                nothing=NOT_FOUND,
            ),
        ),
    )
