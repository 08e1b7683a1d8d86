"""The exporter's metrics about itself and its requests, made with prometheus-client."""

import functools
import platform
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ..core.reply import Reply
from .catalogue import FAMILIES


class Instruments:
    """The metrics that other parts update by calling a method; all are in `registry`, none global.

    `admit` bounds the values of labels that the upstream defines, see `core.tally.LabelBounds`.
    """

    def __init__(
        self, registry: CollectorRegistry, version: str, admit: Callable[[str, str], str]
    ) -> None:
        self._registry = registry
        self._admit = admit
        # Each request is counted: a cache finds a series ten times as fast as `labels`.
        self._requests = functools.cache(self._counter("removit_upstream_requests_total").labels)
        self._errors = self._counter("removit_upstream_errors_total")
        request_seconds = self._histogram("removit_upstream_request_duration_seconds")
        self._request_seconds = functools.cache(request_seconds.labels)
        self._controls = self._counter("removit_exporter_control_requests_total")
        self._lag = self._histogram("removit_exporter_poll_lag_seconds")
        self._commit_seconds = self._histogram("removit_exporter_store_commit_duration_seconds")
        self._store_errors = self._counter("removit_exporter_store_errors_total")
        http_requests = self._counter("removit_exporter_http_requests_total")
        self._http_requests = functools.cache(http_requests.labels)
        http_seconds = self._histogram("removit_exporter_http_request_duration_seconds")
        self._http_seconds = functools.cache(http_seconds.labels)
        self._refused = self._counter("removit_exporter_registrations_refused_total")
        self._served = functools.cache(self._counter("removit_exporter_status_served_total").labels)
        self._log_events = self._counter("removit_exporter_log_events_total")
        self.scrape_seconds = self.gauge("removit_exporter_scrape_duration_seconds")
        self.scrape_bytes = self.gauge("removit_exporter_scrape_size_bytes")
        self.loop_lag = self.gauge("removit_exporter_event_loop_lag_seconds")
        self.left_out = self.gauge("removit_exporter_series_left_out_jobs")
        self.job_file_errors = self.gauge("removit_exporter_job_file_errors")
        self.reload_ok = self.gauge("removit_exporter_config_last_reload_successful")
        self.reload_time = self.gauge(
            "removit_exporter_config_last_reload_success_timestamp_seconds"
        )
        self.stored_jobs = self.gauge("removit_exporter_stored_jobs")
        self.gauge("removit_exporter_build_info").labels(version, platform.python_version()).set(1)
        for level in ("debug", "info", "warning", "error"):
            self._log_events.labels(level)
        for target in ("finished", "random", "bare"):
            self._controls.labels(target)
        self._errors.labels("upload", "402", "insufficient_credits")
        for reason in ("conflict", "full", "invalid", "store"):
            self._refused.labels(reason)

    def gauge(self, name: str, function: Callable[[], float] | None = None) -> Gauge:
        """Create a gauge of the catalogue; `function` returns its value at each scrape."""
        family = FAMILIES[name]
        gauge = Gauge(name, family.help, family.labels, registry=self._registry)
        if function is not None:
            gauge.set_function(function)
        return gauge

    def asked(self, purpose: str, reply: Reply, seconds: float) -> None:
        """See `polling.protocols.PollWatcher`."""
        code = self._admit("code", reply.code)
        self._requests("status", purpose, code).inc()
        self._request_seconds("status").observe(seconds)
        if error := reply.error or reply.reason:
            self._errors.labels("status", code, self._admit("error", error)).inc()

    def uploaded(self, code: str, error: str | None, seconds: float) -> None:
        """Count an upload that was passed on to the upstream, and its duration."""
        code = self._admit("code", code)
        self._requests("upload", "client", code).inc()
        self._request_seconds("upload").observe(seconds)
        if error is not None:
            self._errors.labels("upload", code, self._admit("error", error)).inc()

    def served(self, result: str) -> None:
        """Count a status request by how it was answered."""
        self._served(result).inc()

    def controlled(self, target: str) -> None:
        """See `polling.protocols.PollWatcher`."""
        self._controls.labels(target).inc()

    def lagged(self, seconds: float) -> None:
        """See `polling.protocols.PollWatcher`."""
        self._lag.observe(seconds)

    def committed(self, seconds: float) -> None:
        """See `registry.commit.CommitWatcher`."""
        self._commit_seconds.observe(seconds)

    def failed(self, operation: str) -> None:
        """See `registry.commit.CommitWatcher`."""
        self._store_errors.labels(operation).inc()

    def refused(self, reason: str, jobs: int = 1) -> None:
        """Count jobs whose registration was refused."""
        self._refused.labels(reason).inc(jobs)

    def reloaded(self, time: float) -> None:
        """Note that a config came into force at `time` (since 1970)."""
        self.reload_ok.set(1)
        self.reload_time.set(time)

    def reload_failed(self) -> None:
        """Note that a config was rejected."""
        self.reload_ok.set(0)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answer of our own server; `route` is the pattern, never the path."""
        self._http_requests(route, method, status).inc()
        self._http_seconds(route).observe(seconds)

    def logged(self, level: str) -> None:
        """Count a log line."""
        self._log_events.labels(level).inc()

    def read(self, gauge: Gauge) -> float:
        """Return the value of a gauge without labels."""
        [family] = gauge.collect()
        return family.samples[0].value

    def _counter(self, name: str) -> Counter:
        family = FAMILIES[name]
        return Counter(family.base, family.help, family.labels, registry=self._registry)

    def _histogram(self, name: str) -> Histogram:
        family = FAMILIES[name]
        return Histogram(
            name, family.help, family.labels, registry=self._registry, buckets=family.buckets
        )
