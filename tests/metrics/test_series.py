"""The choice of jobs with series, the counts of jobs, and stored numbers."""

from dataclasses import dataclass, field, replace

from support import START, answered, job

from exporter.core.job import Job, JobState, Suspicion
from exporter.core.reply import Kind
from exporter.core.tally import BUCKETS, Delta, LabelBounds, Tally
from exporter.metrics.census import Census
from exporter.metrics.job_series import Choice, lines
from exporter.metrics.totals import Totals
from exporter.storage.store import COUNTER, SUM


@dataclass
class Rules:
    enabled: bool = True
    exclude: tuple[str, ...] = ()
    after: float = 0.0
    linger: float = 300.0
    linger_failed: float = 3600.0
    max_jobs: int = 4


@dataclass
class Places:
    """Job names by kind, for readable comparisons."""

    jobs: list[Job] = field(default_factory=list)

    def pending(self, *names: str) -> None:
        for at, name in enumerate(names):
            self.jobs.append(job(name, registered_at=START + at))

    def ended(self, state: JobState, *names: str) -> None:
        for at, name in enumerate(names):
            self.jobs.append(job(name, state=state, finished_at=START + at))

    def shown(self, at: float = 10.0, **rules: int | float | bool) -> tuple[set[str], int]:
        choice = Choice(Rules(**rules), START + at)  # type: ignore[arg-type]
        for one in self.jobs:
            choice.feed(one)
        return {one.job_id for one in choice.jobs()}, choice.left_out()


def test_all_jobs_have_series_if_there_is_room() -> None:
    places = Places()
    places.pending("p1", "p2")
    places.ended(JobState.FAILED, "f1")
    assert places.shown() == ({"p1", "p2", "f1"}, 0)
    assert places.shown(max_jobs=0) == (set(), 3)


def test_the_oldest_pending_and_the_newest_failed_are_kept_and_the_rest_counted() -> None:
    places = Places()
    places.pending("p1", "p2", "p3", "p4", "p5")
    places.ended(JobState.FAILED, "f1", "f2")
    places.ended(JobState.DONE, "d1")
    assert places.shown() == ({"p1", "p2", "p3", "f2"}, 4)


def test_free_room_goes_to_failed_jobs_and_then_to_the_newest_others() -> None:
    places = Places()
    places.pending("p1")
    places.ended(JobState.DONE, "d1", "d2", "d3")
    places.ended(JobState.FAILED, "f1")
    assert places.shown() == ({"p1", "f1", "d2", "d3"}, 1)


def test_young_and_long_finished_jobs_have_no_series() -> None:
    places = Places()
    places.pending("p")
    places.ended(JobState.DONE, "d")
    places.ended(JobState.FAILED, "f")
    assert places.shown(at=5, after=10.0) == ({"d", "f"}, 0)
    assert places.shown(at=299) == ({"p", "d", "f"}, 0)
    assert places.shown(at=301) == ({"p", "f"}, 0)
    assert places.shown(at=3601) == ({"p"}, 0)


def test_label_values_are_escaped_and_families_left_out_by_name() -> None:
    awkward = job("a", labels={"shop": 'x"\\\ny'}, key="k")
    page = "".join(lines([awkward], ("removit_job_state",), ("shop",), {"upstream": "u"}))
    assert 'shop="x\\"\\\\\\ny"' in page
    assert "removit_job_state" not in page
    assert 'removit_job_registered_timestamp_seconds{job_id="a",upstream="u"} 1800000000.0' in page


def census(*groups: str) -> Census:
    return Census(Tally(LabelBounds(50), groups), stalled_after=600.0)


def test_a_stalled_job_that_progresses_is_no_longer_stalled() -> None:
    counted = census()
    before = answered("a", last_progress_at=START)
    counted.update(None, before)
    assert sum(counted.count_stalled(START + 599).values()) == 0
    assert sum(counted.count_stalled(START + 600).values()) == 1
    moved = replace(before, last_progress_at=START + 700)
    counted.update(before, moved)
    assert sum(counted.count_stalled(START + 701).values()) == 0
    assert sum(counted.count_stalled(START + 1300).values()) == 1
    counted.update(moved, None)
    assert sum(counted.count_stalled(START + 9999).values()) == 0
    assert sum(counted.pending.values()) == 0


def test_a_job_that_progressed_in_time_is_checked_again_later() -> None:
    counted = census()
    before = answered("a", last_progress_at=START)
    counted.update(None, before)
    counted.update(before, replace(before, last_progress_at=START + 500))
    assert sum(counted.count_stalled(START + 700).values()) == 0
    assert sum(counted.count_stalled(START + 1100).values()) == 1


def test_a_stalled_job_is_counted_under_its_mode_once_known() -> None:
    counted = census()
    before = answered("a", last_progress_at=START, mode=None)
    counted.update(None, before)
    counted.count_stalled(START + 600)
    counted.update(before, replace(before, mode="params"))
    stalled = counted.count_stalled(START + 601)
    assert {labels: count for labels, count in stalled.items() if count} == {
        (("mode", "params"),): 1
    }


def test_jobs_are_counted_under_their_present_labels() -> None:
    counted = census("shop")
    before = answered("a", labels={"shop": "eu"}, mode="params", step="queued")
    counted.update(None, before)
    suspected = replace(before, step="x", suspicion=Suspicion(Kind.SERVER_ERROR, 1, 0.0, 0.0, 500))
    counted.update(before, suspected)
    group = (("mode", "params"), ("shop", "eu"))
    assert (counted.pending[group], counted.suspected[group]) == (1, 1)
    assert {step: count for step, count in counted.by_step.items() if count} == {"x": 1}
    counted.update(suspected, replace(suspected, state=JobState.DONE))
    assert (counted.pending[group], counted.suspected[group]) == (0, 0)
    counted.update(None, None)


def test_the_oldest_pending_job_of_a_mode_is_found_when_older_ones_have_ended() -> None:
    counted = census()
    jobs = [answered(name, registered_at=START + at, mode="m") for at, name in enumerate("abc")]
    for one in jobs:
        counted.update(None, one)
    assert counted.oldest() == {"m": START}
    counted.update(jobs[0], None)
    assert counted.oldest() == {"m": START + 1}
    for one in jobs:
        counted.update(one, None)
    assert counted.oldest() == {}


def test_stored_numbers_are_restored() -> None:
    name, labels = "removit_job_duration_seconds", (("mode", "m"),)
    totals = Totals()
    totals.restore(
        [("removit_x_total", (), COUNTER, 3.0), (name, labels, 2, 4.0), (name, labels, SUM, 9.5)],
        SUM,
    )
    assert totals.counter("removit_x_total", ()).value == 3
    histogram = totals.histogram(name, labels)
    assert (histogram.counts[2], histogram.sum) == (4, 9.5)
    assert len(histogram.counts) == len(BUCKETS[name]) + 1


def test_an_id_too_long_for_an_exemplar_counts_without_one() -> None:
    totals = Totals()
    name = "removit_job_duration_seconds"
    for job_id in ("a" * 122, "b" * 123):
        totals.add([Delta("removit_x_total", (), 1.0, exemplar=job_id)], START)
        totals.add([Delta(name, (), 1.5, bucket=1, exemplar=job_id)], START)
    counter = totals.counter("removit_x_total", ())
    assert counter.value == 2
    assert counter.exemplar is not None
    assert counter.exemplar.job_id == "a" * 122
    histogram = totals.histogram(name, ())
    assert histogram.counts[1] == 2
    assert histogram.exemplars[1].job_id == "a" * 122


def test_a_job_with_a_future_registration_is_shown() -> None:
    places = Places()
    places.pending("p1")
    assert places.shown(at=-3600.0) == ({"p1"}, 0)
    assert places.shown(at=-3600.0, after=60) == (set(), 0)
