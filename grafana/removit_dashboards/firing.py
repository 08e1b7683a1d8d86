"""The alerts that fire, and for how long each has fired."""

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Panel

from exporter.alerting.recording import EXPORTERS

from .looks import ALL_THIS_TIME, GREEN, NO_ROW, NONE, RED, SEVERITIES
from .panels import AGE, COUNT, Column, fact, rows_of
from .queries import RECORDED, SCRAPE_INTERVAL, age, now, or_row, rows

BY = "max by (severity, alertname, upstream)"
FIRING = f'ALERTS{{{RECORDED},alertstate="firing"}}'
EVALUATED = f"{EXPORTERS}{{{RECORDED}}}"
"""A series that Prometheus has while it evaluates the rules."""
STEP = int(SCRAPE_INTERVAL.removesuffix("s"))
"""The step of the annotations, in seconds."""
NO_RULES = "No data: Prometheus does not evaluate the rules"


def firing_for() -> str:
    """Return for how many seconds each alert has fired, as the orange lines in the graphs say.

    An alert fires from the step after it was last pending. One that never was (its rule has no
    `for`) fires from when its condition began to hold. -1 (`looks.NONE`): for all the time range.
    """
    pending = f'ALERTS{{{RECORDED},alertstate="pending"}}'
    # Not the time of the sample, which is as old as the rules' interval: that of the step.
    waited = f"max_over_time(timestamp({pending} == 1)[$__range:{STEP}s]) + {STEP}"
    active = age(f"{BY} (ALERTS_FOR_STATE{{{RECORDED}}} and ignoring (alertstate) {FIRING})")
    fires = f"{BY} ({FIRING})"
    return "\n or ".join(
        (
            f"({age(f'{BY} ({waited})')} and {fires})",
            f"({active} < $__range_s)",
            f"(0 * {fires} + {NONE})",
        )
    )


def alerts_table() -> Builder[Panel]:
    """Return the alerts that fire, the critical ones first."""
    return rows_of(
        "Firing alerts",
        "From Prometheus's rules (prometheus/rules), the critical ones first. docs/runbooks has a"
        " page for each. Firing for: since the orange line in the graphs, so without the time"
        " (`for` in the rule) in which it was pending.",
        rows(or_row(firing_for(), "alertname", ("no alert fires", EVALUATED))),
        columns={
            "severity": Column(
                "Severity", words=SEVERITIES, nothing="", coloured="background", width=95
            ),
            "alertname": Column("Alert", nothing="?"),
            "upstream": Column("Upstream", nothing="", width=110),
            "Value": Column("Firing for", AGE, words={**ALL_THIS_TIME, **NO_ROW}, width=110),
        },
        sorted_by="Severity",
        ascending=True,
        nothing=NO_RULES,
    )


def alerts_tile() -> Builder[Panel]:
    """Return how many alerts fire."""
    return fact(
        "Alerts",
        "How many alerts fire. No data while Prometheus does not evaluate the rules.",
        COUNT,
        now(f"count({FIRING}) or on () (0 * count({EVALUATED}))"),
        steps=((None, GREEN), (1.0, RED)),
    )
