"""Estimates the cost of a config for Prometheus: series, bytes per scrape, new series a day.

Jobs at the stages of their life are rendered by the code that renders the real page. The number of
jobs shown at once follows from Little's law: jobs per second, times the seconds for which each is
shown.
"""

import re
from dataclasses import dataclass, replace
from typing import Final

from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    generate_latest,
)

from ..config import Config
from ..core.job import Job, JobState, Source
from ..core.published import Published
from ..core.reply import Kind, Reply, transport_failure
from ..core.tally import label_set
from ..metrics.catalogue import Part
from ..metrics.job_series import JobLines
from ..service import Exporter
from ..storage.memory import MemoryStore

SECONDS_A_DAY: Final = 86400.0
_SAMPLE_ID: Final = "019cdc54-2673-dc32-b9e5-6e1d36cc9e8a"
_STEPS: Final = ("queued", "pending_clipping", "pending_compose", "done")
_NAME: Final = re.compile(rb"\S+ ")


@dataclass(frozen=True, slots=True)
class Estimate:
    """The cost of a number of jobs a day. Bytes are before gzip."""

    shown_jobs: float
    left_out_jobs: float
    series: float
    job_series: float
    """Those of single jobs; they are included in `series`."""
    bytes_per_scrape: float
    new_series_per_day: float
    series_per_group: int
    """The series that each combination of values of the group labels adds."""

    def text(self) -> str:
        """Return it as text to read."""
        rows = [
            ("jobs with series at a time", self.shown_jobs),
            ("jobs left out (metrics.per_job.max_jobs)", self.left_out_jobs),
            ("series per scrape", self.series),
            ("  of these, of single jobs", self.job_series),
            ("bytes per scrape, before gzip", self.bytes_per_scrape),
            ("new series a day", self.new_series_per_day),
        ]
        if self.series_per_group:
            rows.append(("more series per combination of group labels", self.series_per_group))
        return "".join(f"{name:<46}{round(value):>14,}\n" for name, value in rows)


def estimate(config: Config, jobs_a_day: float, seconds: float) -> Estimate:
    """Return the cost of `jobs_a_day` jobs a day that take `seconds` each."""
    rules = config.metrics.per_job
    pending, *later, done = _life(config)
    rate = jobs_a_day / SECONDS_A_DAY
    wanted_pending = rate * max(0.0, seconds - rules.after)
    wanted = (wanted_pending + rate * rules.linger) if rules.enabled else 0.0
    shown = min(wanted, float(rules.max_jobs))
    share = shown / wanted if wanted else 0.0
    running, ended = _rendered(config, later[-1]), _rendered(config, done)
    part = wanted_pending / wanted if wanted else 0.0
    base, base_bytes, per_group = _base(config)
    job_series = shown * (part * _count(running) + (1 - part) * _count(ended))
    distinct = {
        name for job in (pending, *later, done) for name in _NAME.findall(_rendered(config, job))
    }
    return Estimate(
        shown_jobs=shown,
        left_out_jobs=wanted - shown,
        series=base + job_series,
        job_series=job_series,
        bytes_per_scrape=base_bytes + shown * (part * len(running) + (1 - part) * len(ended)),
        new_series_per_day=jobs_a_day * share * len(distinct),
        series_per_group=per_group,
    )


def _life(config: Config) -> list[Job]:
    """Return a usual job at each stage of its life in which it has series."""
    at = 1_800_000_000.123
    labels = dict.fromkeys(config.registration.allowed_labels, "value")
    told = Job(_SAMPLE_ID, Source.API, at, sources=(Source.API,), labels=labels)
    running = [
        replace(told, mode="clipping", step=step, progress=50, last_progress_at=at)
        for step in _STEPS[:-1]
    ]
    ended = replace(running[-1], state=JobState.DONE, step=_STEPS[-1], finished_at=at)
    return [told, *running, ended]


def _rendered(config: Config, job: Job) -> bytes:
    rules = config.metrics
    labels = {"upstream": config.upstream.name, **rules.const_labels}
    lines = JobLines(rules.per_job.exclude, config.registration.allowed_labels, labels)
    return b"".join(lines.write(family, job) for family in lines.families)


def _base(config: Config) -> tuple[int, int, int]:
    """Return series and bytes of a page without single jobs, and the series that a group adds."""
    exporter = Exporter(config, store=MemoryStore())
    for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
        exporter.metrics.register(collector)
    exporter.job_metrics.start_at_zero()
    _use(exporter)
    page = _page(exporter)
    if not exporter.tally.group_labels:
        return _count(page), len(page), 0
    [told, *_] = _life(config)
    exporter.job_metrics.published(Published(None, told))
    return _count(page), len(page), _count(_page(exporter)) - _count(page)


def _use(exporter: Exporter) -> None:
    """Create the series that usual traffic creates."""
    totals = exporter.job_metrics.totals
    for mode in ("background", "clipping", "params"):
        totals.histogram("removit_job_duration_seconds", label_set({"mode": mode, "state": "done"}))
    for step in _STEPS[:-1]:
        totals.histogram("removit_job_step_duration_seconds", label_set({"step": step}))
    totals.histogram("removit_job_detection_delay_seconds", ())
    for reply in (Reply(Kind.OK, 200), Reply(Kind.NOT_FOUND, 404), transport_failure("timeout")):
        exporter.instruments.asked("poll", reply, 0.1)
    for route, method in (("/metrics", "GET"), ("/api/v1/jobs/{job_id}", "PUT")):
        exporter.instruments.answered(route, method, 200, 0.01)


def _page(exporter: Exporter) -> bytes:
    parts = (Part.TOTALS, Part.EXPORTER)
    return exporter.context.exposition.page(generate_latest, parts).read()


def _count(page: bytes) -> int:
    return sum(not line.startswith(b"#") for line in page.splitlines())
