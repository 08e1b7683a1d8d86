"""Alerts about the exporter itself."""

from .alert import EXPORTER, UPSTREAM_TROUBLE, Alert
from .job_alerts import COUNT, UPSTREAM
from .promql import SEEN, Promql

INSTANCE = "{{ $labels.instance }}"


def exporter_alerts(ql: Promql) -> list[Alert]:
    """Return the alerts about the exporter itself."""
    return [_down(ql), *_polls(ql), *_keeping(ql), *_config(ql)]


def _each(ql: Promql, function: str, name: str) -> str:
    """Add `instance` to the identity: the alert is about one exporter."""
    return ql.over(function, f"removit_exporter_{name}", "instance")


def _down(ql: Promql) -> Alert:
    window = ql.span(ql.thresholds.alerts.exporter_down.window)
    return Alert(
        "RemovitExporterDown",
        "exporter_down",
        ql.over("max", f"last_over_time({SEEN}[{window}])")
        + f"\nunless on ({ql.identity})\n"
        + ql.over("max", SEEN),
        f"No exporter is watching {UPSTREAM}",
        "No exporter of {{ $labels.job }} reports this upstream, though one did within the last"
        f" {window}. Jobs are not polled meanwhile, but none is lost: polling resumes where it"
        " stopped. Check whether the process runs, what its last log lines say, and whether"
        " Prometheus can reach it. If it was removed on purpose, silence this alert.",
        dashboard=EXPORTER,
    )


def _polls(ql: Promql) -> list[Alert]:
    lagging = ql.thresholds.alerts.exporter_lagging
    demand, allowed = (
        _each(ql, "max", f"{name}_per_second") for name in ("poll_demand", "rate_limit")
    )
    due = "removit_exporter_oldest_due_timestamp_seconds"
    late = ql.over("max", f"timestamp({due}) - {due}", "instance")  # how late it was at the scrape
    return [
        Alert(
            "RemovitPollDemandAboveRate",
            "poll_demand",
            f"{demand} > {allowed}",
            f"The jobs of {UPSTREAM} need {{{{ $value | humanize }}}} polls per second, more than"
            " the rate limit",
            "All are polled, but later than planned, so ends are seen late. If it lasts, raise"
            " upstream.rate (if the contract allows it) or polling.max_interval; after a large"
            " import it goes away by itself.",
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
            " the rate limit is the cause. Otherwise check the log (does this machine lack"
            " descriptors or ports?), the event loop's lag, the CPU, and slow requests (at most"
            " upstream.concurrency of them are in flight).",
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
            f"The exporter {INSTANCE} cannot write to its database",
            "New jobs are refused (503), and counts are in memory only: a restart now loses them,"
            " so do not restart. Free disk space or fix the permissions; the counts are then"
            " written by themselves. The log contains the store's error.",
            EXPORTER,
        ),
        Alert(
            "RemovitSeriesLeftOut",
            "series_left_out",
            _each(ql, "max", "series_left_out_jobs") + " > 0",
            f"{COUNT} jobs have no per-job series at {INSTANCE}",
            "More jobs are pending or lingering than metrics.per_job.max_jobs. All totals and"
            " alerts are correct; only per-job series are missing (the oldest pending and the"
            " newest failed are kept). Raise the limit, or shorten metrics.per_job.linger.",
            EXPORTER,
        ),
    ]


def _config(ql: Promql) -> list[Alert]:
    return [
        Alert(
            "RemovitConfigReloadFailed",
            "config_reload_failed",
            _each(ql, "min", "config_last_reload_successful") + " == 0",
            f"The changed config of {INSTANCE} was rejected",
            "The exporter keeps running with its previous config; a restart would fail. The log"
            " line `config rejected` and `removit-exporter check-config` list every error.",
            EXPORTER,
        ),
        Alert(
            "RemovitJobFileErrors",
            "job_file_errors",
            _each(ql, "max", "job_file_errors") + " > 0",
            f"{COUNT} job files of {INSTANCE} are unreadable or contain errors",
            "Their valid entries count, and jobs they named before are not forgotten, but invalid"
            " entries are ignored. The log names file and line. Fix the file; it is reloaded"
            " automatically.",
            EXPORTER,
        ),
    ]
