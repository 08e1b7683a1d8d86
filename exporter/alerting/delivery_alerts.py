"""Alerts about what the shop lacks: variations, pictures, and verdicts.

They go by shares of the jobs with a floor on counts, so that they fire in the first hour of use.
"""

from .alert import UPSTREAM_TROUBLE, Alert
from .job_alerts import COUNT, UPSTREAM
from .promql import Promql
from .recording import DONE_RECORDED, HOUR, SUSPECTED, WEEK, of_variation
from .thresholds import Alert as Values

SHARE = "{{ $value | humanizePercentage }}"
MODE = "{{ $labels.mode }}"
VARIATION = "{{ $labels.variation }}"


def delivery_alerts(ql: Promql) -> list[Alert]:
    """Return the alerts about what the shop lacks."""
    return [
        _ignored_variations(ql),
        _variation_warnings(ql),
        _unresolved_failures(ql),
        _undecided(ql),
    ]


def _share_of_done(ql: Promql, name: str, values: Values) -> str:
    """Ask for a variation's share of the done jobs, above the floors.

    Where a week of data exists, the share must also have risen. A week in which hardly any job was
    done does not count as data.
    """
    ratio, count = of_variation(name, "ratio6h"), of_variation(name, "increase6h")
    ago = f"offset {ql.span(WEEK)}"
    before = f"({ratio} {ago} and on ({ql.identity}) {DONE_RECORDED} {ago} >= {values.at_least:g})"
    return (
        f"(\n  {ratio} > {values.times:g} * {before}"
        f"\n  or {ratio} > {values.rise:g} + {before}"
        f"\n  or ({ratio} unless {before})\n)\n> {values.share:g}"
        f"\nand {count} >= {values.at_least:g}"
    )


def _compared(ql: Promql, values: Values) -> str:
    return (
        f"Over the last {ql.span(6 * HOUR)}; where a week of data exists, this is more than"
        f" {values.times:g} times the share of {ql.span(WEEK)} ago, or {100 * values.rise:g} points"
        " more."
    )


def _ignored_variations(ql: Promql) -> Alert:
    values = ql.thresholds.alerts.ignored_variations
    return Alert(
        "RemovitVariationIgnored",
        "ignored_variations",
        _share_of_done(ql, "ignored_variations", values),
        f"{VARIATION} is ignored for {SHARE} of the jobs of {UPSTREAM}",
        f"{_compared(ql, values)} The pictures are delivered without this variation; only a"
        f" warning says so. GET /api/v1/jobs?variation={VARIATION} lists the jobs, and their"
        " warnings name the missing parameter: check what changed in the upload's params.",
    )


def _variation_warnings(ql: Promql) -> Alert:
    values = ql.thresholds.alerts.variation_warnings
    ignored = ql.thresholds.alerts.ignored_variations.share
    return Alert(
        "RemovitVariationWarnings",
        "variation_warnings",
        f"{_share_of_done(ql, 'warnings', values)}"
        f"\nunless {of_variation('ignored_variations', 'ratio6h')} > {ignored:g}",
        f"{UPSTREAM} warns about {VARIATION}: {SHARE} as many warnings as jobs",
        f"{_compared(ql, values)} The pictures are delivered, and may look different from what was"
        f" asked for. GET /api/v1/jobs?warning={VARIATION} lists the jobs with the messages: look"
        " at a few of their pictures, and fix what the message names in the upload.",
    )


def _unresolved_failures(ql: Promql) -> Alert:
    values = ql.thresholds.alerts.unresolved_failures
    return Alert(
        "RemovitUnresolvedFailures",
        "unresolved_failures",
        f"{ql.total('removit_unresolved_failures')} >= {values.at_least:g}",
        f"{COUNT} pictures of {UPSTREAM} are missing: their last job ended badly",
        "`removit-exporter failures` lists their keys and job ids (a job without a key counts"
        " under its id). Upload them again under the same key: the entry closes when that job is"
        " done. If a picture is not needed any more, acknowledge it: `removit-exporter failures"
        " --ack KEY`.",
    )


def _undecided(ql: Promql) -> Alert:
    values = ql.thresholds.alerts.jobs_undecided
    window = ql.span(values.window)
    least = f"{values.at_least:g}"
    return Alert(
        "RemovitJobsUndecided",
        "jobs_undecided",
        f"min_over_time({SUSPECTED}[{window}]) >= {least}"
        f"\nand {SUSPECTED} offset {window} >= {least}",
        f"{COUNT} or more jobs of {UPSTREAM} have been suspected for {window}: no witness of mode"
        f" {MODE}",
        "They are answered 5xx, 404 or 422. What is missing is a witness: another pending job of"
        f" mode {MODE} that is served would show that the service works for these, and decide them."
        " Upload a test image in that mode. `suspicion.missing` of GET /api/v1/jobs/JOB_ID, and"
        " `removit-exporter watch JOB_ID`, name what each job still lacks.",
        silenced_by=(*UPSTREAM_TROUBLE, "RemovitUpstreamSuspect", "RemovitJobsSuspected"),
        outlasts=True,
    )
