"""The registry's periodic work: storing progress, leaving memory, pruning, the sign of life."""

import asyncio
from dataclasses import replace

import pytest
from open_registry import answered, judged, opened
from support import START, error, now

from exporter.core.job import JobState
from exporter.core.observation import observe
from exporter.registry.staging import Outcome
from exporter.registry.upkeep import PRUNE_SLICE
from exporter.storage.store import PageRequest, StoreError


async def test_progress_waits_for_a_store_that_fails_without_a_backlog() -> None:
    async with opened() as house:
        await house.add("a")
        await house.poll("a", answered(progress=10))
        await house.poll("a", answered(progress=20))
        assert (await house.store.get(["a"]))["a"].progress == 10
        house.store.broken = True
        for _ in range(3):
            with pytest.raises(StoreError):
                await house.registry.upkeep.flush()
        assert (house.commit.unwritten, house.commit.writable) == (0, False)
        assert house.registry.jobs["a"].progress == 20
        house.store.broken = False
        await house.registry.upkeep.flush()
        assert house.commit.writable
        assert (await house.store.get(["a"]))["a"].progress == 20
        version = house.registry.jobs["a"].version
        await house.registry.upkeep.flush()
        assert house.registry.jobs["a"].version == version


async def test_what_is_left_is_stored_at_the_end() -> None:
    async with opened() as house:
        await house.add("a")
        await house.poll("a", answered(progress=10))
        await house.poll("a", answered(progress=20))
    async with opened(house) as later:
        assert later.registry.jobs["a"].progress == 20


async def test_finished_jobs_leave_memory_and_stay_in_the_store() -> None:
    async with opened(
        linger=10.0, linger_failed=50.0, recheck_after=(20.0,), retention=100.0
    ) as house:
        await house.add("done", "failed", "lost", "pending")
        await house.poll("done", answered(state="done"))
        await house.poll("failed", judged(JobState.FAILED))
        await house.poll("lost", judged(JobState.NOT_FOUND))

        async def held(at: float) -> set[str]:
            house.at = at
            await house.registry.upkeep.evict()
            return set(house.registry.jobs)

        assert await held(10.9) == {"done", "failed", "lost", "pending"}
        assert await held(11.1) == {"failed", "lost", "pending"}
        # A job with a recheck due is held however late that comes.
        assert await held(40) == {"failed", "lost", "pending"}
        await house.poll("lost", lambda job: Outcome(replace(job, rechecks=1)))
        assert await held(42) == {"failed", "lost", "pending"}  # not yet stored
        await house.registry.upkeep.flush()
        assert await held(44) == {"failed", "pending"}
        assert await held(400) == {"failed", "pending"}
        await house.poll("failed", lambda job: Outcome(replace(job, rechecks=1)))
        await house.registry.upkeep.flush()
        assert await held(402) == {"pending"}
        assert {
            one.before.job_id for one in house.published if one.after is None and one.before
        } == {
            "done",
            "failed",
            "lost",
        }
        page = await house.registry.page(PageRequest(9))
        assert ({job.job_id for job in page.items}, page.next) == (
            {"done", "failed", "lost", "pending"},
            None,
        )
        found = await house.registry.get("done")
        assert found is not None
        assert found.state is JobState.DONE
        for job_id in ("failed", "lost"):
            assert await house.registry.acknowledge(job_id) is not None
        await house.registry.upkeep.prune()
        assert await house.registry.get("done") is None
        assert house.registry.by_state == {JobState.PENDING: 1} | dict.fromkeys(
            (JobState.DONE, JobState.FAILED, JobState.NOT_FOUND), 0
        )


async def test_jobs_that_linger_or_are_named_by_the_config_are_not_pruned() -> None:
    async with opened(retention=5.0, linger=50.0) as house:
        house.registry.configured = {"named"}
        await house.add("named", "lingers", "old")
        for name in ("named", "lingers", "old"):
            await house.poll(name, answered(state="done"))
        house.at = 20
        await house.registry.upkeep.prune()
        assert await house.registry.get("old") is not None  # it lingers as well
    async with opened(house, retention=5.0, linger=1.0) as later:
        later.registry.configured = {"named"}
        later.at = 20
        await later.registry.upkeep.evict()
        await later.registry.upkeep.prune()
        assert await later.registry.get("named") is not None
        assert await later.registry.get("old") is None


async def test_an_error_answer_that_is_no_event_is_kept_with_the_next_flush() -> None:
    async with opened() as house:
        await house.add("a")
        await house.poll("a", answered())
        await house.poll("a", lambda job: Outcome(*observe(job, error(500), now(1))))
        await house.poll("a", lambda job: Outcome(*observe(job, error(500), now(2))))
        await house.registry.upkeep.flush()
        suspicion = (await house.store.get(["a"]))["a"].suspicion
        assert suspicion is not None
        assert suspicion.answers == 2


async def test_progress_of_a_job_whose_change_is_under_way_is_stored_by_the_next_flush() -> None:
    async with opened() as house:
        await house.add("a")
        await house.poll("a", answered(progress=10))
        await house.poll("a", answered(progress=20))
        house.store.gate.clear()
        at_gate = house.store.at_gate
        changing = asyncio.create_task(house.poll("a", answered(state="done")))
        async with asyncio.timeout(20):
            while house.store.at_gate == at_gate:
                await asyncio.sleep(0)
            await house.registry.upkeep.flush()
            house.store.gate.set()
            await changing
        await house.registry.upkeep.flush()
        stored = (await house.store.get(["a"]))["a"]
        assert (stored.state, stored.version) == (JobState.DONE, 3)


async def test_a_sign_of_life_has_the_time_and_the_healthy_time() -> None:
    async with opened() as house:
        house.at = 12.0
        await house.registry.upkeep.stamp()
        meta = house.store.tables.meta
        assert (meta["alive_at"], meta["well_time"]) == (START + 12.0, 12.0)


async def test_a_sign_of_life_that_fails_and_one_that_works_are_both_noted() -> None:
    async with opened() as house:
        house.store.broken = True
        with pytest.raises(StoreError):
            await house.registry.upkeep.stamp()
        assert not house.commit.writable
        house.store.broken = False
        await house.registry.upkeep.stamp()
        assert house.commit.writable


async def test_pruning_goes_on_until_nothing_old_is_left() -> None:
    async with opened(retention=5.0, linger=1.0, max_pending=10_000) as house:
        names = [f"job{number}" for number in range(PRUNE_SLICE + 10)]
        await house.add(*names)
        for name in names:
            await house.poll(name, answered(state="done"))
        house.at = 20.0
        await house.registry.upkeep.evict()
        await house.registry.upkeep.prune()
        assert (await house.registry.page(PageRequest(9))).items == []
        assert +house.registry.by_state == {}
