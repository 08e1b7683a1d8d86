"""The jobs in memory: how many are pending, which need a write, and when they leave."""

from dataclasses import replace
from typing import Any

import pytest
from support import START, job

from exporter.core.job import Job, JobState
from exporter.registry.limits import RegistryLimits
from exporter.registry.resident import CHECK_AGAIN_SECONDS, ResidentJobs, leaves_at

LIMITS = RegistryLimits(
    max_pending=10,
    retention=86_400.0,
    history_events=100,
    resume_within=3600.0,
    linger=10.0,
    linger_failed=50.0,
    recheck_after=(20.0,),
)


class Memory:
    """Resident jobs, and their time in seconds after START."""

    def __init__(self) -> None:
        self.at = 0.0
        self.resident = ResidentJobs(lambda: LIMITS, lambda: START + self.at)

    def add(self, name: str, **changes: Any) -> Job:
        made = replace(job(), **{"job_id": name, "incarnation": 1, **changes})
        self.resident.put(None, made)
        return made

    def evict(self, at: float, *busy: str) -> list[str]:
        self.at = at
        return [one.job_id for one in self.resident.evict(busy)]


def ended(state: JobState, **changes: Any) -> dict[str, Any]:
    return {"state": state, "finished_at": START, **changes}


def test_pending_jobs_are_counted() -> None:
    memory = Memory()
    first, second = memory.add("a"), memory.add("b")
    memory.add("c", **ended(JobState.DONE))
    assert memory.resident.pending == 2
    memory.resident.put(first, replace(first, **ended(JobState.DONE)))
    assert memory.resident.pending == 1
    memory.resident.remove(second)
    memory.resident.remove(second)
    memory.resident.remove(memory.resident.jobs["c"])
    assert (memory.resident.pending, list(memory.resident.jobs)) == (0, ["a"])


def test_a_moved_job_needs_a_write_unless_only_its_last_poll_changed() -> None:
    memory = Memory()
    made = memory.add("a")
    polled = replace(made, last_polled_at=START)
    memory.resident.move(made, polled)
    assert memory.resident.unsaved == set()
    assert memory.resident.jobs["a"] is polled
    moved = replace(polled, progress=50.0)
    memory.resident.move(polled, moved)
    assert memory.resident.unsaved == {"a"}
    memory.resident.put(moved, moved)
    assert memory.resident.unsaved == set()


def test_finished_jobs_leave_after_their_linger_and_pending_ones_stay() -> None:
    memory = Memory()
    memory.add("pending")
    memory.add("done", **ended(JobState.DONE))
    memory.add("failed", **ended(JobState.FAILED, rechecks=1))
    assert memory.evict(9.0) == []
    assert memory.evict(10.0) == ["done"]
    assert memory.evict(49.0) == []
    assert memory.evict(50.0) == ["failed"]
    assert memory.resident.jobs.keys() == {"pending"}


def test_a_job_with_a_change_in_progress_or_unsaved_leaves_later() -> None:
    memory = Memory()
    memory.add("busy", **ended(JobState.DONE))
    memory.add("unsaved", **ended(JobState.DONE))
    memory.resident.unsaved.add("unsaved")
    assert memory.evict(10.0, "busy") == []
    memory.resident.unsaved.clear()
    assert sorted(memory.evict(11.0)) == ["busy", "unsaved"]


def test_a_job_registered_again_leaves_by_the_end_of_its_new_incarnation() -> None:
    memory = Memory()
    former = memory.add("a", **ended(JobState.DONE))
    memory.resident.remove(former)
    memory.add("a", incarnation=2, **ended(JobState.DONE, finished_at=START + 5))
    assert memory.evict(10.0) == []
    assert memory.evict(15.0) == ["a"]


@pytest.mark.parametrize(
    ("changes", "now", "leaves"),
    [
        (ended(JobState.DONE), 0.0, 10.0),
        (ended(JobState.FAILED, rechecks=1), 0.0, 50.0),
        (ended(JobState.NOT_FOUND), 0.0, CHECK_AGAIN_SECONDS),
        (ended(JobState.NOT_FOUND), 100.0, 100.0 + CHECK_AGAIN_SECONDS),
        (ended(JobState.NOT_FOUND, rechecks=1), 100.0, 10.0),
    ],
)
def test_a_job_leaves_after_its_linger_and_its_last_recheck(
    changes: dict[str, Any], now: float, leaves: float
) -> None:
    assert leaves_at(replace(job(), **changes), LIMITS, START + now) == START + leaves


def test_the_newest_value_of_a_stored_job_is_the_one_in_memory() -> None:
    memory = Memory()
    made = memory.add("a", progress=50.0)
    assert memory.resident.newest(replace(made, progress=10.0)) is made
    other = replace(made, incarnation=2)
    assert memory.resident.newest(other) is other
