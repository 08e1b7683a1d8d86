"""The steps of a change: the store, then memory, then the listeners."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import structlog
from failing_store import FailingStore
from structlog.testing import capture_logs
from support import START, now

from exporter.core.events import Event, EventType
from exporter.core.job import Job, JobState, Source
from exporter.core.published import Published
from exporter.core.registration import register
from exporter.core.tally import LabelBounds, Tally
from exporter.registry.changes import Changes
from exporter.registry.commit import GroupCommit
from exporter.registry.feed import Feed
from exporter.registry.limits import RegistryLimits
from exporter.registry.resident import ResidentJobs
from exporter.registry.staging import Outcome
from exporter.registry.waiting import Waiting
from exporter.storage.store import Accepted, Change, Fenced, StoreError

LIMITS = RegistryLimits(10, 86_400.0, 100, 3600.0, 10.0, 10.0, ())


class Pipeline:
    """Changes over a store that can be made to fail, and all that they published."""

    def __init__(self) -> None:
        self.store = FailingStore()
        self.published: list[Published] = []
        log = structlog.get_logger("removit_exporter")
        self.commit = GroupCommit(self.store, self, lambda: 0.0, self._sleep, log)
        self.resident = ResidentJobs(lambda: LIMITS, lambda: START)
        self.feed = Feed(self.store)
        self.endings = Waiting()
        self.bounds = LabelBounds(50)
        self.changes = Changes(
            self.commit, Tally(self.bounds), self.resident, self.feed, self.endings, log
        )
        self.changes.listen(self.published.append)
        self.commit.start()

    def committed(self, seconds: float) -> None:
        """See `CommitWatcher`."""

    def failed(self, operation: str) -> None:
        """See `CommitWatcher`."""

    async def submit(
        self, before: Job | None, outcome: Outcome, *, must_store: bool = True, **made: Any
    ) -> Accepted | Fenced:
        change = self.changes.make(before, outcome, **made)
        async with asyncio.timeout(20):
            [result] = await self.changes.submit([(before, change)], must_store=must_store)
        return result

    async def register(self, name: str) -> Job:
        await self.submit(None, Outcome(*register(name, Source.API, now())))
        return self.resident.jobs[name]

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


def finished(before: Job) -> Outcome:
    after = replace(before, state=JobState.FAILED, finished_at=START)
    data = {"state": "failed", "evidence": "because"}
    return Outcome(after, [Event(EventType.FINISHED, before.job_id, START, data)])


@pytest.fixture
async def pipeline() -> AsyncIterator[Pipeline]:
    made = Pipeline()
    yield made
    made.store.broken = False
    made.store.gate.set()
    await asyncio.wait_for(made.commit.close(), 60)


async def test_a_stored_job_is_in_memory_with_its_incarnation_and_published(
    pipeline: Pipeline,
) -> None:
    made = await pipeline.register("a")
    assert (made.incarnation, made.version) == (1, 1)
    [published] = pipeline.published
    assert (published.before, published.after, published.event_ids) == (None, made, (1,))
    assert pipeline.changes.by_state == {JobState.PENDING: 1}
    assert pipeline.feed.newest_id == 1


async def test_an_end_moves_the_count_and_wakes_those_who_wait(pipeline: Pipeline) -> None:
    made = await pipeline.register("a")
    waiting = asyncio.create_task(pipeline.endings.wait("a"))
    await asyncio.sleep(0)
    await pipeline.submit(made, finished(made))
    await asyncio.wait_for(waiting, 60)
    assert +pipeline.changes.by_state == {JobState.FAILED: 1}
    assert pipeline.resident.jobs["a"].version == 2
    [_, published] = pipeline.published
    assert (published.before, published.after) == (made, pipeline.resident.jobs["a"])


async def test_a_poll_that_changed_nothing_is_kept_but_not_published(pipeline: Pipeline) -> None:
    made = await pipeline.register("a")
    pipeline.published.clear()
    polled = replace(made, last_polled_at=START)
    pipeline.changes.move(made, polled)
    assert pipeline.resident.jobs["a"] is polled
    assert pipeline.published == []
    moved = replace(polled, progress=1.0)
    pipeline.changes.move(polled, moved)
    assert pipeline.published == [Published(polled, moved)]


async def test_a_forgotten_job_leaves_memory_and_the_count(pipeline: Pipeline) -> None:
    made = await pipeline.register("a")
    await pipeline.submit(made, Outcome(made), forgotten=True)
    assert (pipeline.resident.jobs, +pipeline.changes.by_state) == ({}, {})
    assert (pipeline.published[-1].before, pipeline.published[-1].after) == (made, None)
    assert await pipeline.store.get(["a"]) == {}


async def test_a_change_made_from_an_older_version_is_dropped_for_the_stored_one(
    pipeline: Pipeline,
) -> None:
    made = await pipeline.register("a")
    stored = replace(made, version=2, progress=50.0)
    await pipeline.store.apply([Change(stored, made.version)])
    assert await pipeline.submit(made, finished(made)) == Fenced(stored)
    assert pipeline.resident.jobs["a"] == stored
    assert (pipeline.published[-1].before, pipeline.published[-1].after) == (made, stored)
    assert pipeline.published[-1].events == ()


async def test_a_change_of_a_job_that_another_writer_forgot_removes_it(pipeline: Pipeline) -> None:
    made = await pipeline.register("a")
    await pipeline.store.apply([Change(replace(made, version=2), made.version, forgotten=True)])
    assert await pipeline.submit(made, finished(made)) == Fenced(None)
    assert pipeline.resident.jobs == {}
    assert pipeline.published[-1].after is None


async def test_a_refused_change_publishes_nothing_and_its_label_values_are_stored_later(
    pipeline: Pipeline,
) -> None:
    pipeline.store.broken = True
    pipeline.bounds.admit("mode", "new-mode")
    with pytest.raises(StoreError):
        await pipeline.register("a")
    assert (pipeline.published, pipeline.resident.jobs, pipeline.changes.under_way) == (
        [],
        {},
        set(),
    )
    assert pipeline.bounds.take_fresh() == (("mode", "new-mode"),)


async def test_ids_of_a_change_that_counted_early_follow_once_it_is_written(
    pipeline: Pipeline,
) -> None:
    made = await pipeline.register("a")
    pipeline.store.broken = True
    await pipeline.submit(made, finished(made), must_store=False)
    assert (pipeline.published[-1].event_ids, pipeline.feed.newest_id) == ((), 1)
    assert not pipeline.resident.jobs["a"].pending
    pipeline.store.broken = False
    async with asyncio.timeout(20):
        while pipeline.commit.unwritten or pipeline.feed.newest_id < 2:
            await asyncio.sleep(0)
    assert sum(len(one.events) for one in pipeline.published) == 2


async def test_settle_waits_for_the_changes_in_progress(pipeline: Pipeline) -> None:
    pipeline.store.gate.clear()
    registering = asyncio.create_task(pipeline.register("a"))
    async with asyncio.timeout(20):
        while "a" not in pipeline.changes.under_way:
            await asyncio.sleep(0)
        settling = asyncio.create_task(pipeline.changes.settle(["a", "b"]))
        await asyncio.sleep(0)
        assert not settling.done()
        pipeline.store.gate.set()
        await settling
    assert pipeline.resident.jobs.keys() == {"a"}
    await registering


async def test_a_listener_that_fails_keeps_a_change_from_nobody_else(
    pipeline: Pipeline,
) -> None:
    heard: list[Published] = []

    def fail(published: Published) -> None:
        raise ValueError("a mistake in the listener")

    pipeline.changes.listen(fail)
    pipeline.changes.listen(heard.append)
    with capture_logs() as logs:
        made = await pipeline.register("a")
        waiting = asyncio.create_task(pipeline.endings.wait("a"))
        await asyncio.sleep(0)
        await pipeline.submit(made, finished(made))
        await asyncio.wait_for(waiting, 60)
    assert heard == pipeline.published
    assert (pipeline.feed.newest_id, pipeline.changes.under_way) == (2, set())
    assert [line["event"] for line in logs] == ["listener failed"] * 2


async def test_a_job_whose_change_could_not_be_taken_in_can_be_changed_again(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await pipeline.register("a")

    def fail(before: Job | None, after: Job) -> None:
        raise ValueError("a mistake in memory")

    with monkeypatch.context() as broken:
        broken.setattr(pipeline.resident, "put", fail)
        await pipeline.submit(made, finished(made))
    assert pipeline.changes.under_way == set()
    await asyncio.wait_for(pipeline.changes.settle(["a"]), 60)
    [stored] = (await pipeline.store.get(["a"])).values()
    assert isinstance(await pipeline.submit(stored, Outcome(stored)), Accepted)


async def test_jobs_share_equal_labels_sources_and_empty_mappings(pipeline: Pipeline) -> None:
    for name in "ab":
        made = register(name, Source.API, now(), labels={"shop": "eu"})
        await pipeline.submit(None, Outcome(*made))
    one, other = pipeline.resident.jobs.values()
    assert one.labels == {"shop": "eu"}
    assert one.labels is other.labels
    assert one.sources is other.sources
    assert len({id(job.warnings) for job in (one, other)}) == 1
    assert len({id(job.final_urls) for job in (one, other)}) == 1


async def test_changes_of_one_call_share_one_future(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, futures = asyncio.get_running_loop(), list[asyncio.Future[Any]]()
    create = loop.create_future

    def counted() -> asyncio.Future[Any]:
        futures.append(create())
        return futures[-1]

    made = [register(f"job-{at}", Source.API, now()) for at in range(50)]
    changes = [(None, pipeline.changes.make(None, Outcome(*one))) for one in made]
    monkeypatch.setattr(loop, "create_future", counted)
    await pipeline.changes.submit(changes, must_store=True)
    assert len(futures) < 10
    assert len(pipeline.resident.jobs) == 50
