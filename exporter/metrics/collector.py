"""The metrics of jobs and of the upstream's health, as prometheus-client families."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate

from prometheus_client import Metric
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar as ClientExemplar

from ..core.health.health import Health, UpstreamState
from ..core.job import Job, JobState
from ..core.published import Published
from ..core.tally import BUCKETS, DURATION, Labels, Tally
from ..core.usual import OverdueRules, overdue_after
from .catalogue import FAMILIES, Part
from .census import Census
from .totals import CounterSeries, Exemplar, HistogramSeries, Totals


class JobMetrics(Collector):
    """The metrics of jobs, updated with each published change.

    `time` gives seconds since 1970.
    """

    def __init__(
        self,
        tally: Tally,
        totals: Totals,
        census: Census,
        health: Health,
        time: Callable[[], float],
        overdue: Callable[[], OverdueRules],
    ) -> None:
        self.tally = tally
        self.totals = totals
        self.census = census
        self.health = health
        self._overdue_rules = overdue
        self._time = time
        self._groups: set[tuple[str, ...]] = set()

    def start_at_zero(self) -> None:
        """Create the series of the known label values at 0, without group labels."""
        if not self.tally.group_labels:
            self.totals.add(list(self.tally.zeros({})), 0.0)

    def restore(
        self,
        totals: Iterable[tuple[str, Labels, int, float]],
        sum_bucket: int,
        unresolved: Iterable[tuple[Mapping[str, str], int]],
    ) -> None:
        """Go on from what is stored (see `Totals.restore`, `Census.count_unresolved`)."""
        self.start_at_zero()
        self.totals.restore(totals, sum_bucket)
        for labels, keys in unresolved:
            self.census.count_unresolved(labels, keys)

    def published(self, published: Published) -> None:
        """Count a change; a listener of the registry. Exemplars get the time of its first event."""
        before, after = published.before, published.after
        if before is None and after is not None:
            self._start_at_zero(after)
        if published.deltas:
            self.totals.add(published.deltas, published.events[0].time)
        self.census.update(before, after)
        if (ledger := published.ledger) is not None:
            for closed in ledger.closed:
                self.census.count_unresolved(closed.labels, -1)
            if ledger.opened is not None:
                self.census.count_unresolved(ledger.opened.labels, 1)

    def describe(self) -> Iterable[Metric]:
        """Return all families, per-job ones included, so that their names are reserved."""
        for family in FAMILIES.values():
            if family.part is Part.JOBS:
                yield GaugeMetricFamily(family.name, family.help)
        yield from self.collect()

    def collect(self) -> Iterator[Metric]:
        """Return the families about all jobs and about the upstream's health."""
        for name, series in self.totals.counters.items():
            yield _counters(name, series)
        for name, histograms in self.totals.histograms.items():
            yield _histograms(name, histograms)
        yield from self._census()
        yield from self._health()

    def _start_at_zero(self, job: Job) -> None:
        """Create the series of a group at 0 when its first job comes."""
        if not self.tally.group_labels:
            return
        groups = self.tally.groups(job.labels)
        known = tuple(groups.values())
        if known not in self._groups:
            self._groups.add(known)
            self.totals.add(list(self.tally.zeros(groups)), 0.0)

    def _census(self) -> Iterator[Metric]:
        census = self.census
        yield _gauges("removit_jobs_pending", census.pending)
        yield _gauges("removit_jobs_suspected", census.suspected)
        yield _gauges("removit_jobs_stalled", census.count_stalled(self._time()))
        yield _gauges("removit_jobs_overdue", self.overdue())
        start: dict[Labels, float] = {} if self.tally.group_labels else {(): 0.0}
        yield _gauges("removit_unresolved_failures", start | dict(census.unresolved))
        steps: dict[Labels, float] = {
            (("step", step),): count for step, count in census.by_step.items()
        }
        yield _gauges("removit_jobs_pending_by_step", steps)
        oldest: dict[Labels, float] = {
            (("mode", mode),): time for mode, time in census.oldest().items()
        }
        yield _gauges("removit_oldest_pending_registered_timestamp_seconds", oldest)

    def overdue_limits(self) -> dict[str, float]:
        """Return the age in seconds from which jobs are overdue, by mode, from `done` jobs."""
        found = {
            mode: overdue_after(counts, BUCKETS[DURATION], self._overdue_rules())
            for mode, counts in self.durations_done().items()
        }
        return {mode: limit for mode, limit in found.items() if limit is not None}

    def durations_done(self) -> dict[str, list[int]]:
        """Return the durations of `done` jobs by mode, as counts by bucket of `DURATION`."""
        done: dict[str, list[int]] = {}
        for labels, series in self.totals.histograms.get(DURATION, {}).items():
            named = dict(labels)
            if named["state"] == JobState.DONE:
                known = done.get(named["mode"], [0] * len(series.counts))
                done[named["mode"]] = [a + b for a, b in zip(known, series.counts, strict=True)]
        return done

    def overdue(self) -> dict[Labels, float]:
        """Count the overdue jobs of the modes whose usual duration is known."""
        limits = self.overdue_limits()
        counts = self.census.overdue.count(self._time(), limits)
        groups = (group for group in self.census.pending if dict(group)["mode"] in limits)
        return {group: counts.get(group, 0) for group in groups}

    def _health(self) -> Iterator[Metric]:
        health = self.health
        states: dict[Labels, float] = {
            (("state", state.value),): state is health.state for state in UpstreamState
        }
        yield _gauges("removit_upstream_state", states)
        for name, value in (
            ("removit_up", health.up),
            ("removit_api_key_valid", health.key_valid),
            ("removit_last_success_timestamp_seconds", health.last_success),
        ):
            yield _gauges(name, {} if value is None else {(): value})


def _gauges(name: str, series: Mapping[Labels, float]) -> Metric:
    metric = GaugeMetricFamily(name, FAMILIES[name].help)
    for labels, value in series.items():
        metric.add_sample(name, dict(labels), float(value))
    return metric


def _counters(name: str, series: Mapping[Labels, CounterSeries]) -> Metric:
    family = FAMILIES[name]
    metric = CounterMetricFamily(family.base, family.help)
    for labels, counter in series.items():
        metric.add_sample(name, dict(labels), counter.value, exemplar=_exemplar(counter.exemplar))
    return metric


def _histograms(name: str, series: Mapping[Labels, HistogramSeries]) -> Metric:
    metric = HistogramMetricFamily(name, FAMILIES[name].help)
    bounds = [*(str(bound) for bound in BUCKETS[name]), "+Inf"]
    for labels, histogram in series.items():
        own = dict(labels)
        counts = list(accumulate(histogram.counts))
        for at, (bound, count) in enumerate(zip(bounds, counts, strict=True)):
            exemplar = _exemplar(histogram.exemplars.get(at))
            metric.add_sample(f"{name}_bucket", own | {"le": bound}, count, exemplar=exemplar)
        metric.add_sample(f"{name}_sum", own, histogram.sum)
        metric.add_sample(f"{name}_count", own, counts[-1])
    return metric


def _exemplar(exemplar: Exemplar | None) -> ClientExemplar | None:
    if exemplar is None:
        return None
    return ClientExemplar({"job_id": exemplar.job_id}, exemplar.value, exemplar.time)
