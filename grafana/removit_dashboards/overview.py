"""`Removit / Overview`: is the API well, do jobs end, what was lost, and which alerts fire."""

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Panel

from exporter.alerting.thresholds import load_thresholds

from .firing import alerts_table, alerts_tile
from .layout import Band, Section, make
from .looks import (
    ALL_THIS_TIME,
    BLUE,
    GREEN,
    GREY,
    NO_EXPORTER,
    NO_ROW,
    NONE,
    RED,
    STATE_COLOURS,
    YELLOW,
    Words,
)
from .overview_details import by_group, totals, traffic
from .overview_times import api, times
from .overview_trouble import bars_of_jobs, stuck, wrong
from .panels import AGE, COUNT, SHARE, Column, fact, lines, rows_of, timeline
from .queries import (
    BY_GROUP,
    FINISHED,
    GROUP,
    ONE,
    REPORTING,
    REQUESTS,
    SEEN,
    WITHOUT,
    Query,
    R,
    age,
    datasource,
    exporters,
    group,
    grown,
    now,
    or_none,
    or_row,
    or_zero,
    rows,
    while_seen,
)
from .resend import resend_table, resend_tile
from .upstreams import STATE_WORDS, column, held_for, reason, state_code

UPSTREAM_URL = (
    "/d/removit-overview/removit-overview?var-upstream=${__value.raw}"
    "&${job:queryparam}&${instance:queryparam}&${group:queryparam}"
    "&${datasource:queryparam}&${__url_time_range}"
)
WITH_NONE: Words = {NONE: ("none", GREY)}
NOT_RATED = -2
"""The value of "Ended well" where jobs ended, but all of them not found or invalid."""


def overview() -> Dashboard:
    """Return the dashboard."""
    return make(
        "removit-overview",
        "Removit / Overview",
        "Is the API well, do jobs end, what was lost, and which alerts fire?",
        [datasource(), *exporters(), group()],
        [
            _first_screen(),
            stuck(),
            wrong(),
            traffic(),
            times(),
            api(),
            by_group(),
            totals(),
        ],
        grouped=True,
    )


def _first_screen() -> Section:
    """Return what fits on a screen of 1080 pixels, and answers the first questions."""
    return Section(
        "At a glance",
        Band(7, _upstreams(), alerts_table(), widths=[14, 10]),
        Band(3, *_job_tiles(), *_upload_tiles()),
        Band(5, _upstream_timeline(), _arrivals_and_ends()),
        Band(8, _ended_badly(), resend_table(), _variations(), widths=[7, 10, 7]),
    )


def _upstreams() -> Builder[Panel]:
    by = "max by (upstream)"
    newest = f"{by} (removit_last_success_timestamp_seconds{{{ONE}}})"
    oldest = f"min by (upstream) (removit_oldest_pending_registered_timestamp_seconds{{{ONE}}})"
    return rows_of(
        "Upstreams, the worst first",
        "The state of each API, from its answers, and for how long it has been in it. Grey is not"
        " known. A click on a name shows that upstream only. Long without a success is not a fault"
        " while nothing is pending.",
        rows(state_code()),
        rows(held_for()),
        column(or_none(age(newest), "upstream")),
        column(or_zero(f"sum by (upstream) (removit_jobs_pending{{{ONE}}})", "upstream")),
        column(or_none(age(oldest), "upstream")),
        rows(reason()),
        columns={
            "upstream": Column(
                "Upstream", nothing="?", link=("Show this upstream only", UPSTREAM_URL), width=100
            ),
            "Value #A": Column("State", words=STATE_WORDS, coloured="background", width=118),
            "Value #B": Column("For", AGE, words=ALL_THIS_TIME, width=95),
            "why": Column("Why", nothing="?"),
            "Value #C": Column("Last success", AGE, words={NONE: ("none yet", GREY)}, width=105),
            "Value #D": Column("Pending", COUNT, width=72),
            "Value #E": Column("Oldest", AGE, words=WITH_NONE, width=95),
        },
        hidden=("Value #F",),
        sorted_by="State",
    )


def _job_tiles() -> list[Builder[Panel]]:
    oldest = age(f"min(removit_oldest_pending_registered_timestamp_seconds{{{ONE}}})")
    ended = grown(FINISHED, f'{GROUP},state=~"done|failed|expired"')
    failed = grown(FINISHED, f'{GROUP},state=~"failed|expired"')
    without = f"(sum({grown(WITHOUT, GROUP)}) or on () 0 * sum({ended}))"
    share = f"1 - (sum({failed}) + {without}) / (sum({ended}) > 0)"
    others = f"0 * (sum({grown(FINISHED, GROUP)}) > 0) + {NOT_RATED}"
    return [
        alerts_tile(),
        fact(
            "Pending",
            "Jobs that have not ended.",
            COUNT,
            now(or_zero(f"sum(removit_jobs_pending{{{GROUP}}})")),
        ),
        fact(
            "Oldest",
            "How long ago the oldest job that is pending was registered.",
            AGE,
            now(or_none(oldest)),
            words=WITH_NONE,
        ),
        fact(
            "Ended",
            "Jobs that ended within the time shown, in any state.",
            COUNT,
            now(while_seen(or_zero(f"round(sum({grown(FINISHED, GROUP)}))"))),
        ),
        fact(
            "Ended well",
            "The share of jobs that were done with a result, of those that were done, failed or"
            " expired within the time shown. Jobs that were not found or invalid do not count.",
            SHARE,
            now(while_seen(or_none(f"({share}) or on () ({others})"))),
            steps=(
                (None, RED),
                (0.95, YELLOW),
                (load_thresholds().failure_budget.objective, GREEN),
            ),
            words={
                NONE: ("no jobs ended", GREY),
                NOT_RATED: ("none that counts", GREY),
            },
        ),
        resend_tile(),
    ]


def _upload_tiles() -> list[Builder[Panel]]:
    def uploads(code: str, window: str = "$__range") -> str:
        return (
            "sum("
            + grown(REQUESTS, f'{ONE},endpoint="upload",code{code}', window)
            + f" and {REPORTING})"
        )

    failed, taken = "round(" + uploads('!~"2.."') + ")", uploads('=~"2.."') + " > 0"
    refused = uploads('="402"', "10m") + " > 0"
    return [
        fact(
            "Uploads failed",
            "Uploads not accepted within the time shown, through exporters that report now."
            " Uploads that go straight to the API do not count.",
            COUNT,
            now(while_seen(f"{failed} or on () {or_none(f'0 * ({taken})')}")),
            steps=((None, GREEN), (1.0, RED)),
            words={NONE: ("no uploads", GREY)},
        ),
        fact(
            "Credits",
            "Exhausted: an upload through the exporter was answered 402 within the last 10"
            " minutes. Enough: uploads were accepted within the time shown.",
            "none",
            now(while_seen(f"(0 * ({refused}) + 1) or on () {or_none(f'0 * ({taken})')}")),
            words={
                1: ("EXHAUSTED", RED),
                0: ("enough", GREEN),
                NONE: ("no uploads", GREY),
            },
        ),
    ]


def _upstream_timeline() -> Builder[Panel]:
    return timeline(
        "Upstream over time",
        "The state of each API over time. A gap: no exporter watched it.",
        Query(state_code(gone=False), "{{upstream}}"),
        words=STATE_WORDS,
        nothing=NO_EXPORTER,
    )


def _arrivals_and_ends() -> Builder[Panel]:
    registered = f"sum(rate(removit_jobs_registered_total{{{GROUP}}}[{R}])) * 60"
    return lines(
        "Registered against ended, per minute",
        "While more jobs come in than end, the backlog grows.",
        "cpm",
        Query(or_zero(registered), "registered"),
        Query(or_zero(f"sum(rate({FINISHED}{{{GROUP}}}[{R}])) * 60"), "ended"),
        colours={"registered": BLUE, "ended": GREEN},
    )


def _ended_badly() -> Builder[Panel]:
    return bars_of_jobs(
        "Ended badly per minute, by state",
        "Jobs that ended in another state than done.",
        FINISHED,
        "state",
        "no bad end",
        matchers=f'{GROUP},state!="done"',
        colours=STATE_COLOURS,
    )


def _variations() -> Builder[Panel]:
    before = or_zero(f"sum({FINISHED}{{{GROUP}}} offset $__range)")
    ended = f"(sum({FINISHED}{{{GROUP}}}) - on () ({before}) > 0)"
    ignored, warnings = (
        f"(round({BY_GROUP} ({grown(name, GROUP)} and {REPORTING})) > 0)"
        for name in ("removit_job_ignored_variations_total", "removit_job_warnings_total")
    )
    return rows_of(
        "Variations ignored or warned about",
        "Within the time shown, by variation and group."
        " Ignored: delivered without what was asked for.",
        *(
            rows(or_row(numbers, "variation", ("none", ended), ("no job ended", SEEN)))
            for numbers in (f"{ignored} or 0 * {warnings}", f"{warnings} or 0 * {ignored}")
        ),
        columns={
            "variation": Column("Variation", nothing="?"),
            "Value #A": Column("Ignored", COUNT, words=NO_ROW, width=90),
            "Value #B": Column("Warnings", COUNT, words=NO_ROW, width=90),
        },
        sorted_by="Ignored",
    )
