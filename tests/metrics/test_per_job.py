"""The kept per-job series equal what would be rendered anew, and cost only what changed."""

import gzip
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import START, PerJob, answered, job

from exporter.core.job import Job, JobState
from exporter.core.published import Published
from exporter.metrics.job_series import JobFamily, JobLines
from exporter.metrics.kept_lines import JOBS_PER_SLICE
from exporter.metrics.per_job import JOBS_PER_STEP, PerJobSeries
from exporter.metrics.slices import Deflater, GzipStream, Slice


@dataclass
class History:
    """Jobs as a registry would hold and publish them, and their kept series."""

    jobs: dict[str, Job] = field(default_factory=dict)
    rules: PerJob = field(default_factory=PerJob)
    allowed: tuple[str, ...] = ("shop",)
    now: float = START
    made: int = 0
    under_way: Iterator[None] | None = None

    def __post_init__(self) -> None:
        self.series = PerJobSeries(
            self.jobs,
            lambda: self.rules,
            lambda: self.allowed,
            {"upstream": "u"},
            lambda: self.now,
        )

    def put(self, before: Job | None, after: Job | None) -> None:
        if after is not None:
            self.jobs[after.job_id] = after
        elif before is not None:
            del self.jobs[before.job_id]
        self.series.published(Published(before, after))

    def register(self, count: int) -> None:
        for _ in range(count):
            self.made += 1
            labels = {"shop": f"s{self.made % 3}", "size": "l"}
            self.put(None, job(f"job-{self.made}", registered_at=self.now, labels=labels))

    def some(self, at: int) -> Job | None:
        """Return one of the jobs."""
        names = list(self.jobs)
        return self.jobs[names[at * 7919 % len(names)]] if names else None

    def read(self) -> tuple[list[str], int]:
        """Scrape; return the lines of jobs, sorted, and how many jobs were left out."""
        return self.read_on(self.series.render())

    def read_on(self, under_way: Iterator[None]) -> tuple[list[str], int]:
        """Do the rest of a scrape."""
        for _ in under_way:
            pass
        slices, left_out = self.series.slices()
        text = b"".join(one.plain for one in slices).decode()
        return sorted(line for line in text.splitlines() if line[0] != "#"), left_out

    def anew(self) -> tuple[list[str], int]:
        """Return the same by the plainest way."""
        shown, left_out = choose(list(self.jobs.values()), self.rules, self.now)
        lines = JobLines(self.rules.exclude, self.allowed, {"upstream": "u"})
        texts = [lines.write(family, one).decode() for one in shown for family in lines.families]
        return sorted(text.rstrip("\n") for text in texts if text), left_out


def choose(jobs: list[Job], rules: PerJob, now: float) -> tuple[list[Job], int]:
    """Choose the jobs with series by sorting all of them."""
    most = rules.max_jobs
    pending = sorted(
        (one for one in jobs if one.pending and max(0, now - one.registered_at) >= rules.after),
        key=lambda one: (one.registered_at, one.job_id),
    )
    ended = sorted(
        (one for one in jobs if not one.pending),
        key=lambda one: (-(one.finished_at or 0.0), one.job_id),
    )
    failed = [
        one
        for one in ended
        if one.state is JobState.FAILED and now - (one.finished_at or 0.0) < rules.linger_failed
    ]
    others = [
        one
        for one in ended
        if one.state is not JobState.FAILED and now - (one.finished_at or 0.0) < rules.linger
    ]
    fit = len(pending) + len(failed) + len(others)
    failed = failed[: max(int(most * 0.25), most - len(pending))]
    pending = pending[: most - len(failed)]
    others = others[: most - len(failed) - len(pending)]
    return [*pending, *failed, *others], max(0, fit - most)


def progressed(history: History, at: int) -> None:
    if (one := history.some(at)) is not None and one.pending:
        changed = replace(one, progress=float(at % 101), last_progress_at=history.now)
        history.put(one, changed)


def answered_by(history: History, at: int) -> None:
    if (one := history.some(at)) is not None and one.pending:
        warnings = {"shadow": ("dark",) * (at % 3)}
        changed = replace(one, mode="params", step=f"step-{at % 4}", warnings=warnings)
        history.put(one, changed)


def ended(history: History, at: int) -> None:
    if (one := history.some(at)) is not None and one.pending:
        state = (JobState.DONE, JobState.FAILED)[at % 2]
        history.put(one, replace(one, state=state, finished_at=history.now))


def overturned(history: History, at: int) -> None:
    if (one := history.some(at)) is not None and one.state is JobState.FAILED:
        history.put(one, replace(one, state=JobState.PENDING, finished_at=None))


def clock_set(history: History, at: int) -> None:
    if (one := history.some(at)) is not None:
        history.put(one, replace(one, registered_at=one.registered_at - at))


def forgotten(history: History, at: int) -> None:
    if (one := history.some(at)) is not None:
        history.put(one, None)


def reloaded(history: History, at: int) -> None:
    history.allowed = ((), ("shop",), ("shop", "size"))[at % 3]
    history.rules = replace(
        history.rules,
        exclude=((), ("removit_job_state",))[at // 3 % 2],
        max_jobs=(0, 5, 100, 10_000)[at % 4],
        after=(0.0, 30.0)[at % 2],
        linger=(300.0, 10.0)[at // 2 % 2],
    )


def scraped_in_part(history: History, at: int) -> None:
    """Have a scrape do a part of its work, and go on with the history before the rest."""
    history.under_way = history.under_way or history.series.render()
    for _ in range(at % 3):
        if next(history.under_way, history) is history:
            history.under_way = None
            return


def scraped(history: History, _: int) -> None:
    assert history.read() == history.anew()


def time_passed(history: History, at: int) -> None:
    history.now += at


def registered(history: History, at: int) -> None:
    history.register(at)


CHANGES = (progressed, answered_by, ended, overturned, clock_set, forgotten)
STEPS = (*CHANGES, registered, reloaded, scraped_in_part, scraped, time_passed)


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 400)), max_size=60))
def test_pages_with_and_without_kept_lines_are_equal(steps: list[tuple[Any, int]]) -> None:
    history = History()
    history.register(100)
    scraped(history, 0)
    for step, at in steps:
        step(history, at)
    scraped(history, 0)


@settings(max_examples=3)
@given(st.randoms(use_true_random=False))
def test_pages_are_equal_over_a_long_history_of_thousands_of_jobs(rng: Any) -> None:
    history = History()
    history.register(2000)
    for _ in range(10):
        for step in rng.choices(CHANGES, k=50):
            step(history, rng.randrange(400))
        if not rng.randrange(4):
            reloaded(history, rng.randrange(400))
        history.register(rng.randrange(100))
        history.now += rng.randrange(60)
        scraped(history, 0)


class Renders:
    """Counts the lines that are rendered, by job."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.by_job: Counter[str] = Counter()
        write = JobLines.write

        def counted(lines: JobLines, family: JobFamily, one: Job) -> bytes:
            self.by_job[one.job_id] += 1
            return write(lines, family, one)

        monkeypatch.setattr(JobLines, "write", counted)


def test_a_scrape_after_one_job_changed_renders_one_job(monkeypatch: pytest.MonkeyPatch) -> None:
    history, renders = History(), Renders(monkeypatch)
    history.register(1000)
    history.read()
    renders.by_job.clear()
    history.read()
    assert renders.by_job == {}
    one = history.jobs["job-500"]
    history.put(one, replace(one, progress=50.0, last_progress_at=START + 1))
    history.read()
    assert renders.by_job == {"job-500": 2}


def test_a_scrape_after_one_job_changed_deflates_the_slices_of_two_families(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    history = History()
    for at in range(1000):
        history.put(None, answered(f"job-{at}", progress=1.0, last_progress_at=START))
    deflated = 0
    original = Slice.deflated

    def counted(one: Slice, deflater: Deflater) -> bytes:
        nonlocal deflated
        deflated += one._deflated is None
        return original(one, deflater)

    def read() -> int:
        nonlocal deflated
        deflated = 0
        history.read()
        for one in history.series.slices()[0]:
            counted(one, Deflater())
        return deflated

    assert read() > 1000 / JOBS_PER_SLICE
    assert read() == 0
    before = history.jobs["job-500"]
    history.put(before, replace(before, progress=50.0, last_progress_at=START + 1))
    assert read() == 2


def test_nothing_is_rendered_before_the_first_scrape_and_after_series_were_switched_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    history, renders = History(), Renders(monkeypatch)
    history.register(10)
    progressed(history, 1)
    assert renders.by_job == {}
    history.read()
    history.rules = replace(history.rules, enabled=False)
    assert not history.series.enabled
    renders.by_job.clear()
    progressed(history, 2)
    assert renders.by_job == {}
    assert history.series._kept is None


def test_a_scrape_is_complete_whose_config_changes_meanwhile() -> None:
    history = History()
    history.register(1000)
    under_way = history.series.render()
    next(under_way)
    history.allowed = ("shop", "size")
    assert history.read_on(under_way) == history.anew()


def test_a_scrape_goes_on_with_what_another_one_began_anew() -> None:
    history = History()
    history.register(1000)
    under_way = history.series.render()
    next(under_way)
    history.allowed = ("shop", "size")
    history.read()
    for one in list(history.jobs.values())[:900]:
        history.put(one, None)
    assert history.read_on(under_way) == history.anew()


def test_a_slice_that_has_lost_all_its_lines_is_left_out() -> None:
    history = History()
    history.put(None, answered("a", progress=50.0))
    history.put(None, job("b"))
    history.read()
    history.put(history.jobs["a"], None)
    assert all(one.plain for one in history.series.slices()[0])


def test_a_block_without_jobs_is_dropped_and_takes_no_job_again() -> None:
    history = History()
    history.register(3 * JOBS_PER_SLICE)
    history.read()
    for one in list(history.jobs.values()):
        history.put(one, None)
    assert [text.plain[:6] for text in history.series.slices()[0]] == [b"# HELP"] * 9
    history.register(1)
    scraped(history, 0)


def test_a_job_that_changes_before_the_first_scrape_reaches_it_has_its_series() -> None:
    history = History()
    history.register(JOBS_PER_STEP + 1)
    first_scrape = history.series.render()
    next(first_scrape)
    newest = history.jobs[f"job-{JOBS_PER_STEP + 1}"]
    history.put(newest, replace(newest, progress=50.0, last_progress_at=START + 1))
    scraped(history, 0)


def test_the_compressed_page_equals_the_plain_one_after_changes() -> None:
    history = History()
    history.register(3 * JOBS_PER_SLICE)
    for change in (registered, progressed, ended, forgotten, answered_by):
        change(history, 77)
        history.read()
        slices = list(history.series.slices()[0])
        stream = GzipStream()
        body = b"".join((stream.HEADER, *stream.add(slices), stream.end()))
        assert gzip.decompress(body) == b"".join(one.plain for one in slices)
