"""Alerts about jobs: they do not move, do not end, or do not end well."""

from .alert import UPSTREAM_TROUBLE, Alert
from .promql import Promql
from .recording import WEEK, bad_jobs, bad_ratio

PENDING = "upstream:removit_jobs_pending:sum"
COUNT = '{{ $value | printf "%.0f" }}'
UPSTREAM = "{{ $labels.upstream }}"


def job_alerts(ql: Promql) -> list[Alert]:
    """Return the alerts about jobs."""
    return [
        *_standing_still(ql),
        *_failure_budget(ql),
        *_ended_badly(ql),
        *_absence(ql),
    ]


def _standing_still(ql: Promql) -> list[Alert]:
    alerts = ql.thresholds.alerts
    return [
        Alert(
            "RemovitJobsStalled",
            "jobs_stalled",
            _many_of_pending(ql, "removit_jobs_stalled", "jobs_stalled"),
            f"{COUNT} jobs of {UPSTREAM} have stopped moving",
            f"More than {alerts.jobs_stalled.share:.0%} of the pending jobs have made no progress"
            " for polling.stalled_after (10m by default), although the API answers. Check on the"
            " dashboard whether they share a mode or a step; if so, report it to the vendor with a"
            " few job ids. If not, check the vendor's status page and wait.",
            silenced_by=(*UPSTREAM_TROUBLE, "RemovitThrottled"),
            outlasts=True,
        ),
        Alert(
            "RemovitJobsOverdue",
            "jobs_overdue",
            _many_of_pending(ql, "removit_jobs_overdue", "jobs_overdue"),
            f"{COUNT} jobs of {UPSTREAM} take much longer than usual",
            f"More than {alerts.jobs_overdue.share:.0%} of the pending jobs are older than"
            " polling.overdue_factor (3 by default) times their mode's p99. If they move, they are"
            " slow: look at the time by step and at the API's latency, tell whoever waits for the"
            " pictures, and hold back large imports until it is over.",
            silenced_by=(*UPSTREAM_TROUBLE, "RemovitThrottled"),
            outlasts=True,
        ),
        Alert(
            "RemovitJobsSuspected",
            "jobs_suspected",
            _many_of_pending(ql, "removit_jobs_suspected", "jobs_suspected"),
            f"{COUNT} jobs of {UPSTREAM} are undecided: neither failed nor healthy",
            "They are answered 5xx, 404 or 422, and nothing shows whether the jobs or the service"
            " are at fault, so the exporter waits. If only one mode is affected, or the API has"
            " lost many jobs at once, report a few job ids to the vendor. Meanwhile none of them"
            " is counted as failed.",
            silenced_by=(
                *UPSTREAM_TROUBLE,
                "RemovitUpstreamSuspect",
                "RemovitJobsTurningBad",
            ),
            outlasts=True,
        ),
    ]


def _many_of_pending(ql: Promql, series: str, key: str) -> str:
    """Return whether a series counts enough jobs, and a large enough share of the pending ones."""
    values = getattr(ql.thresholds.alerts, key)
    total = ql.total(series)
    share = f"{values.share:g} * {ql.total('removit_jobs_pending')}"
    return f"(\n  {total}\n  > {share}\n)\n>= {values.at_least:g}"


def _failure_budget(ql: Promql) -> list[Alert]:
    budget = ql.thresholds.failure_budget
    allowed = 1 - budget.objective
    burning = (
        "{{ $value | humanizePercentage }} of the jobs of " + UPSTREAM + " end badly;"
        f" {100 * allowed:.3g}% are allowed"
    )
    means = (
        "Bad means failed, expired, or done without a result; not_found and invalid do not count."
    )
    return [
        Alert(
            "RemovitFailureBudgetBurningFast",
            "failure_budget_fast",
            _burning(ql, ("1h", "5m", budget.burn_rate_1h), ("6h", "30m", budget.burn_rate_6h)),
            burning,
            f"At this rate a month's budget is used up within days. {means} Check on the dashboard"
            " which mode and group are affected, and since when. If everything fails, stop"
            " uploading; if one kind of picture does, hold that kind back."
            " GET /api/v1/failures lists the failed keys.",
        ),
        Alert(
            "RemovitFailureBudgetBurningSlow",
            "failure_budget_slow",
            _burning(ql, ("1d", "2h", budget.burn_rate_1d), ("3d", "6h", budget.burn_rate_3d)),
            burning,
            f"Slow, but at this rate the month's budget will not last. {means} Look at errors by"
            " code and by mode on the dashboard, collect examples from GET /api/v1/failures, and"
            " report them to the vendor.",
            silenced_by=("RemovitFailureBudgetBurningFast",),
        ),
    ]


def _burning(ql: Promql, *pairs: tuple[str, str, float]) -> str:
    """Return whether the budget burns over a long window, and over a short one, so still now."""
    budget = ql.thresholds.failure_budget
    arms = []
    for long, short, rate in pairs:
        limit = f"{rate * (1 - budget.objective):.6g}"
        arms.append(
            f"(\n  {bad_ratio(long)} > {limit}\n  and {bad_ratio(short)} > {limit}"
            f"\n  and {bad_jobs(long)} >= {budget.at_least:g}\n)"
        )
    return "\nor\n".join(arms)


def _ended_badly(ql: Promql) -> list[Alert]:
    alerts = ql.thresholds.alerts
    without, overturned = alerts.done_without_result, alerts.verdicts_overturned
    grown = ql.grown("removit_jobs_done_without_result_total", without.window)
    window = ql.span(overturned.window)
    back = ql.total(f"increase(removit_verdicts_overturned_total[{window}])")
    return [
        Alert(
            "RemovitDoneWithoutResult",
            "done_without_result",
            f"{grown} >= {without.at_least:g}",
            f"{COUNT} jobs of {UPSTREAM} are done but have no picture",
            f"In the last {ql.span(without.window)} the API reported these jobs done without a"
            " final_url or final_urls, so there is no result to fetch. Take the job ids from the"
            " log or the exemplars, upload those images again, and report the ids to the vendor.",
        ),
        Alert(
            "RemovitVerdictsOverturned",
            "verdicts_overturned",
            f"{back} >= {overturned.at_least:g}",
            f"{COUNT} jobs of {UPSTREAM} came back after they had been given up",
            f"In the last {window}, verdicts of failed, not_found or expired were overturned by a"
            " later answer. Nothing is lost: the job's state follows that answer. But whoever acted"
            " on the verdict may have uploaded twice. If this goes on, raise judgement.failed_after"
            " or lower judgement.chance (see docs/judgement.md).",
        ),
        _not_found(ql),
    ]


def _not_found(ql: Promql) -> Alert:
    values = ql.thresholds.alerts.jobs_not_found
    unknown = 'removit_jobs_finished_total{state=~"not_found|invalid"}'
    some = ql.grown(unknown, values.window, "state")
    every = ql.grown("removit_jobs_finished_total", values.window)
    return Alert(
        "RemovitJobsNotFound",
        "jobs_not_found",
        f"(\n{some}\n> on ({ql.identity}) group_left ()\n{values.share:g} * {every}\n)"
        f"\n>= {values.at_least:g}",
        f"{COUNT} jobs of {UPSTREAM} ended as {{{{ $labels.state }}}}",
        f"In the last {ql.span(values.window)} the API did not know these ids. Usually whoever"
        " registers them takes them from the wrong place or environment (`invalid`: not even the"
        " format is right), or registers them after the API has forgotten them."
        " GET /api/v1/jobs?state={{ $labels.state }} shows their source and labels.",
    )


def _absence(ql: Promql) -> list[Alert]:
    alerts = ql.thresholds.alerts
    finished, registered = alerts.nothing_finished, alerts.nothing_registered
    window = ql.span(finished.window)
    least = f"{finished.at_least:g}"
    came, ended = (
        ql.grown(f"removit_jobs_{what}_total", finished.window)
        for what in ("registered", "finished")
    )
    new = ql.grown("removit_jobs_registered_total", registered.window)
    before = ql.grown("removit_jobs_registered_total", registered.window, offset=WEEK)
    return [
        Alert(
            "RemovitNothingFinished",
            "nothing_finished",
            f"min_over_time({PENDING}[{window}]) >= {least}"
            f"\nand {PENDING} offset {window} >= {least}"
            f"\nand {came} >= {least}"
            f"\nand {ended} == 0",
            f"No job of {UPSTREAM} has ended for {window}; {COUNT} or more were pending all along",
            "The API answers and jobs come in, yet nothing comes out. If progress moves (dashboard,"
            " jobs by step), jobs are only slow; if nothing moves, the API's workers have stopped:"
            " contact the vendor, and pause uploads. If RemovitExporterLagging fires, see that"
            " alert first.",
            silenced_by=(
                *UPSTREAM_TROUBLE,
                "RemovitExporterDown",
                "RemovitThrottled",
                "RemovitJobsTurningBad",
            ),
            outlasts=True,
        ),
        Alert(
            "RemovitNothingRegistered",
            "nothing_registered",
            f"{new} == 0\nand\n{before} >= {registered.at_least:g}",
            f"No job of {UPSTREAM} was registered for {ql.span(registered.window)}",
            f"{ql.span(WEEK)} ago at least {registered.at_least:g} were registered at this time."
            " The importer has stopped, or no longer registers its jobs: check its own log first,"
            " then removit_exporter_registrations_refused_total.",
            silenced_by=(*UPSTREAM_TROUBLE, "RemovitExporterDown"),
            outlasts=True,
            off_by_default=True,
        ),
    ]
