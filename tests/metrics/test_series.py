"""The counts of jobs, and stored numbers."""

from dataclasses import replace

import pytest
from support import START, answered

from exporter.core.job import JobState, Suspicion
from exporter.core.reply import Kind
from exporter.core.tally import BUCKETS, Delta, LabelBounds, Tally
from exporter.metrics.census import Census
from exporter.metrics.totals import Totals
from exporter.storage.store import COUNTER, SUM


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


def test_a_poll_that_shows_nothing_new_counts_nothing_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted = census("shop")
    before = answered("a", labels={"shop": "eu"}, mode="params")
    counted.update(None, before)
    pending = dict(counted.pending)
    monkeypatch.setattr(Tally, "groups", None)  # whoever counts reads the labels
    counted.update(before, replace(before, last_polled_at=START + 9, setbacks=1))
    assert dict(counted.pending) == pending


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
