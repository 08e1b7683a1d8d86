"""Which jobs have series."""

from dataclasses import dataclass, field, replace

from support import START, PerJob, job

from exporter.core.job import Job, JobState
from exporter.metrics.shown_jobs import ShownJobs


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
        names, jobs = chosen()
        for one in self.jobs:
            jobs.put(None, one)
        settle(jobs, at, **rules)
        return names, jobs.left_out


def chosen() -> tuple[set[str], ShownJobs]:
    """Return a choice without jobs, and the set of names that it keeps."""
    names: set[str] = set()
    return names, ShownJobs(names.add, names.remove)


def settle(jobs: ShownJobs, at: float = 10.0, **rules: int | float | bool) -> int:
    """Apply the rules; return how many jobs got or lost their series by it."""
    return len(list(jobs.settle(PerJob(**{"max_jobs": 4} | rules), START + at)))  # type: ignore[arg-type]


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


def test_a_job_with_a_future_registration_is_shown() -> None:
    places = Places()
    places.pending("p1")
    assert places.shown(at=-3600.0) == ({"p1"}, 0)
    assert places.shown(at=-3600.0, after=60) == (set(), 0)


def test_a_scrape_moves_only_the_jobs_that_came_or_went() -> None:
    names, jobs = chosen()
    for at in range(1000):
        jobs.put(None, job(f"p{at:03}", registered_at=START + at))
    assert settle(jobs, max_jobs=500) == 500
    assert settle(jobs, max_jobs=500) == 0
    jobs.put(job("p000", registered_at=START), None)
    assert "p500" not in names
    assert settle(jobs, max_jobs=500) == 1
    assert "p500" in names


def test_a_shown_job_that_ends_keeps_its_series_without_another_scrape() -> None:
    names, jobs = chosen()
    pending = job("a", registered_at=START)
    jobs.put(None, pending)
    settle(jobs)
    jobs.put(pending, replace(pending, state=JobState.DONE, finished_at=START + 5))
    assert names == {"a"}
    assert settle(jobs) == 0


def test_a_forgotten_job_loses_its_series_at_once() -> None:
    names, jobs = chosen()
    pending = job("a", registered_at=START)
    jobs.put(None, pending)
    settle(jobs)
    jobs.put(pending, None)
    assert names == set()
