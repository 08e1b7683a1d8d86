"""Alerts about the exporter itself."""

from .alert import EXPORTER, UPSTREAM_TROUBLE, Alert
from .job_alerts import COUNT, UPSTREAM
from .promql import SEEN, Promql

INSTANCE = "{{ $labels.instance }}"


def exporter_alerts(ql: Promql) -> list[Alert]:
    """Return the alerts about the exporter itself."""
    return [_down(ql), *_polls(ql), *_keeping(ql), *_config(ql)]


def _each(ql: Promql, function: str, name: str) -> str:
    """One exporter speaks of itself: `instance` stays."""
    return ql.over(function, f"removit_exporter_{name}", "instance")


def _down(ql: Promql) -> Alert:
    window = ql.span(ql.thresholds.alerts.exporter_down.window)
    return Alert(
        "RemovitExporterDown",
        "exporter_down",
        ql.over("max", f"last_over_time({SEEN}[{window}])")
        + f"\nunless on ({ql.identity})\n"
        + ql.over("max", SEEN),
        f"Nobody watches {UPSTREAM} any more: its exporter is gone",
        "No exporter of {{ $labels.job }} shows this upstream, though one did within the last"
        f" {window}. Jobs are not polled meanwhile, but none is lost: they go on where they were."
        " See whether the process runs, what its last log lines say, and whether Prometheus can"
        " reach it. If it was taken away on purpose, silence this alert.",
        dashboard=EXPORTER,
    )


def _polls(ql: Promql) -> list[Alert]:
    lagging = ql.thresholds.alerts.exporter_lagging
    demand, allowed = (
        _each(ql, "max", f"{name}_per_second") for name in ("poll_demand", "rate_limit")
    )
    due = "removit_exporter_oldest_due_timestamp_seconds"
    late = ql.over("max", f"timestamp({due}) - {due}", "instance")  # as late as at the scrape
    return [
        Alert(
            "RemovitPollDemandAboveRate",
            "poll_demand",
            f"{demand} > {allowed}",
            f"The jobs of {UPSTREAM} ask for {{{{ $value | humanize }}}} polls a second, more than"
            " the rate limit",
            "All are polled, but later than they should be, so ends are seen late. If it lasts,"
            " raise upstream.rate (if the contract allows it) or polling.max_interval; after a"
            " large import it goes away by itself.",
            EXPORTER,
            (*UPSTREAM_TROUBLE, "RemovitThrottled"),
            outlasts=True,
        ),
        Alert(
            "RemovitExporterLagging",
            "exporter_lagging",
            f"{late} > {lagging.seconds:g}",
            f"Polls of {UPSTREAM} start {{{{ $value | humanizeDuration }}}} late at {INSTANCE}",
            "Ends, failures and progress are seen late. If RemovitPollDemandAboveRate fires too,"
            " the rate limit is the reason. Else look at the event loop's lag, at the CPU, and at"
            " requests that take long (upstream.concurrency of them may be under way at once).",
            EXPORTER,
            (*UPSTREAM_TROUBLE, "RemovitThrottled"),
            outlasts=True,
        ),
    ]


def _keeping(ql: Promql) -> list[Alert]:
    return [
        Alert(
            "RemovitStoreNotWritable",
            "store_not_writable",
            _each(ql, "min", "store_writable") + " == 0",
            f"The exporter {INSTANCE} cannot write its database",
            "New jobs are refused (503), and what is counted lives in memory only: a restart now"
            " loses it, so do not restart. Make room on the disk or mend its permissions; what was"
            " counted is then written by itself. The log says what the store answered.",
            EXPORTER,
        ),
        Alert(
            "RemovitSeriesLeftOut",
            "series_left_out",
            _each(ql, "max", "series_left_out_jobs") + " > 0",
            f"{COUNT} jobs have no series of their own at {INSTANCE}",
            "More jobs are pending or lingering than metrics.per_job.max_jobs. All totals and"
            " alerts are right; only the dashboard of single jobs misses some (the oldest pending"
            " and the newest failed are kept). Raise the limit, or shorten metrics.per_job.linger.",
            EXPORTER,
        ),
    ]


def _config(ql: Promql) -> list[Alert]:
    return [
        Alert(
            "RemovitConfigReloadFailed",
            "config_reload_failed",
            _each(ql, "min", "config_last_reload_successful") + " == 0",
            f"The config of {INSTANCE} was changed and cannot be read",
            "The exporter goes on with the config that it had; a restart would fail. The log"
            " line `config rejected` and `removit-exporter check-config` name every error.",
            EXPORTER,
        ),
        Alert(
            "RemovitJobFileErrors",
            "job_file_errors",
            _each(ql, "max", "job_file_errors") + " > 0",
            f"{COUNT} job files of {INSTANCE} cannot be read, or not wholly",
            "Their good jobs count and nothing they named before is forgotten, but what is wrong in"
            " them is not followed. The log names file and line. Mend the file; it is read again by"
            " itself.",
            EXPORTER,
        ),
    ]
