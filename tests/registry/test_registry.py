"""The registry and its group commit: what is seen when, and what a store that fails costs."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from open_registry import answered, opened
from structlog.testing import capture_logs
from support import START, job

from exporter.core.job import JobState
from exporter.core.reply import ReplyState
from exporter.registry.commit import BACKLOG_SLICE, RETRY_SECONDS
from exporter.registry.feed import Progress, Wanted
from exporter.registry.staging import (
    RegistrationConflictError,
    RegistryFullError,
)
from exporter.storage.store import Accepted, Change, Fenced, HistoryRequest, StoreError


async def test_a_change_is_visible_only_after_its_commit() -> None:
    async with opened() as house:
        house.store.gate.clear()
        adding = asyncio.create_task(house.add("a"))
        while not house.registry._changes.under_way:
            await asyncio.sleep(0)
        assert (house.published, house.registry.jobs, house.registry.pending) == ([], {}, 0)
        house.store.gate.set()
        await adding
        assert [one.after.job_id for one in house.published if one.after] == ["a"]
        assert house.registry.pending == 1


async def test_whoever_is_cancelled_while_waiting_does_not_cancel_the_commit() -> None:
    async with opened() as house:
        house.store.gate.clear()
        adding = asyncio.create_task(house.add("a"))
        while not house.registry._changes.under_way:
            await asyncio.sleep(0)
        adding.cancel()
        await asyncio.wait([adding])
        house.store.gate.set()
        [again] = await house.add("a")
        assert again.incarnation == house.registry.jobs["a"].incarnation
        assert house.total("removit_jobs_registered_total") == 1


async def test_changes_that_wait_go_into_one_commit() -> None:
    async with opened() as house:
        commits = 0
        apply = house.store.apply

        async def counted(changes: Sequence[Change]) -> list[Accepted | Fenced]:
            nonlocal commits
            commits += 1
            return await apply(changes)

        house.store.apply = counted  # type: ignore[method-assign]
        await house.add("a", "b", "c")
        house.store.gate.clear()
        first = asyncio.create_task(house.poll("a", answered()))
        while commits < 2:
            await asyncio.sleep(0)
        others = [asyncio.create_task(house.poll(name, answered())) for name in "bc"]
        await asyncio.sleep(0)
        house.store.gate.set()
        await asyncio.gather(first, *others)
        assert commits == 3


async def test_a_registration_that_cannot_be_stored_is_refused_and_leaves_nothing() -> None:
    async with opened() as house:
        house.store.broken = True
        with pytest.raises(StoreError, match="disk full"):
            await house.add("a", labels={"shop": "eu"})
        assert (house.registry.jobs, house.published) == ({}, [])
        assert house.failures == ["commit"]
        assert not house.commit.writable
        house.store.broken = False
        house.at += RETRY_SECONDS
        await house.add("a", labels={"shop": "eu"})
        assert house.commit.writable
        assert ("shop", "eu") in house.store.tables.admitted


async def test_what_polls_find_counts_while_the_store_fails_and_is_written_later() -> None:
    async with opened() as house:
        await house.add("a")
        house.store.broken = True
        job = await house.poll("a", answered(step="one"))
        job = await house.poll("a", answered(state="done"))
        assert job is not None
        assert job.state is JobState.DONE
        assert [len(one.event_ids) for one in house.published] == [1, 0, 0]
        assert house.published[-1].deltas
        assert house.commit.unwritten == 2
        assert house.total("removit_jobs_finished_total") == 0
        house.store.broken = False
        while house.commit.unwritten:
            await asyncio.sleep(0)
        assert house.total("removit_jobs_finished_total") == 1
        stored = await house.store.get(["a"])
        assert stored["a"] == house.registry.jobs["a"]


async def test_who_waits_behind_a_write_that_fails_is_refused_with_it() -> None:
    async with opened() as house:
        house.store.broken = True
        house.store.gate.clear()
        waiting = [asyncio.create_task(house.add(name)) for name in "abc"]
        while not house.store.at_gate:
            await asyncio.sleep(0)
        house.store.gate.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(result, StoreError) for result in results)
        assert house.failures == ["commit"]


async def test_nobody_waits_while_a_store_that_failed_is_tried_again() -> None:
    async with opened() as house:
        await house.add("a", "b")
        house.store.broken = True
        await house.poll("a", answered(step="one"))
        house.at += RETRY_SECONDS
        house.store.gate.clear()
        tried = house.store.at_gate
        while house.store.at_gate == tried:
            await asyncio.sleep(0)
        job = await house.poll("b", answered(state="done"))
        assert job is not None
        assert job.state is JobState.DONE
        with pytest.raises(StoreError, match="disk full"):
            await house.add("c")
        with pytest.raises(StoreError, match="disk full"):
            await house.registry.forget("a")


async def test_after_a_failed_write_one_registration_a_second_is_tried() -> None:
    async with opened() as house:
        house.store.broken = True
        for at, tried in ((0.0, 1), (RETRY_SECONDS - 0.01, 1), (RETRY_SECONDS, 2)):
            house.at = at
            with pytest.raises(StoreError):
                await house.add("a")
            assert house.store.at_gate == tried


async def test_a_backlog_is_written_in_parts_where_the_whole_has_no_room() -> None:
    async with opened() as house:
        names = [f"job{number}" for number in range(BACKLOG_SLICE + 5)]
        await house.add(*names)
        house.store.broken = True
        for name in names:
            await house.poll(name, answered())
        assert house.commit.unwritten == len(names)
        house.store.room, house.store.broken = BACKLOG_SLICE, False
        while house.commit.unwritten:
            assert not house.commit.writable
            await asyncio.sleep(0)
        assert house.commit.writable
        assert all(job.answered for job in (await house.store.get(names)).values())


async def test_a_change_that_no_store_takes_fails_alone() -> None:
    async with opened() as house:
        house.store.poison = "b"
        house.store.gate.clear()
        first = asyncio.create_task(house.add("x"))
        while not house.store.at_gate:
            await asyncio.sleep(0)
        results: list[Accepted | Fenced | StoreError] = []
        changes = [(Change(job(name, version=1), 0), results.append) for name in ("a", "b", "c")]
        house.commit.submit(changes, must_store=True)
        with capture_logs() as logged:
            house.store.gate.set()
            await first
            async with asyncio.timeout(20):
                while len(results) < len(changes):
                    await asyncio.sleep(0)
        assert [type(result) for result in results] == [Accepted, StoreError, Accepted]
        assert sorted(await house.store.get("abcx")) == ["a", "c", "x"]
        assert house.commit.writable
        assert [line["event"] for line in logged] == ["a change cannot be stored"]
        await house.add("d")


async def test_a_backlog_goes_on_past_what_no_store_takes() -> None:
    async with opened() as house:
        await house.add("a", "b", "c")
        house.store.broken = True
        for name in "abc":
            await house.poll(name, answered(state="done"))
        house.store.poison, house.store.broken = "b", False
        while house.commit.unwritten:
            await asyncio.sleep(0)
        stored = await house.store.get("abc")
        assert [stored[name].state for name in "abc"] == ["done", "pending", "done"]
        house.store.poison = ""


async def test_after_the_end_nothing_is_taken_in_that_would_not_be_stored() -> None:
    async with opened() as house:
        await house.add("a")
        await house.commit.close()
        with pytest.raises(StoreError, match="stopped"):
            await house.add("b")
        assert await house.poll("a", answered()) is not None


async def test_another_writer_who_was_first_wins() -> None:
    async with opened() as one:
        await one.add("a", "b")
        async with opened(one) as two:
            await two.poll("a", answered(progress=40))
            await one.poll("a", answered(progress=90))
            assert one.registry.jobs["a"] == two.registry.jobs["a"]
            assert one.published[-1].events == ()
            await two.registry.forget("b")
            await one.poll("b", answered())
            assert "b" not in one.registry.jobs
            assert one.registry.pending == 1
        assert one.total("removit_jobs_forgotten_total") == 1


async def test_a_registration_that_another_writer_overtakes_adds_to_theirs() -> None:
    async with opened() as one, opened(one) as two:
        one.store.gate.clear()
        late = asyncio.create_task(one.add("a", labels={"shop": "eu"}))
        while not one.registry._changes.under_way:
            await asyncio.sleep(0)
        await two.add("a", key="sku")
        one.store.gate.set()
        [job] = await late
        assert (job.key, dict(job.labels)) == ("sku", {"shop": "eu"})
        assert one.total("removit_jobs_registered_total") == 1


async def test_changes_for_a_forgotten_or_new_incarnation_are_dropped() -> None:
    async with opened() as house:
        [first] = await house.add("a")
        await house.registry.forget("a")
        assert not await house.registry.forget("a")
        assert await house.registry.change("a", first.incarnation, answered()) is None
        [second] = await house.add("a")
        assert second.incarnation > first.incarnation
        assert await house.registry.change("a", first.incarnation, answered()) is None
        assert house.registry.jobs["a"] == second


async def test_a_full_registry_takes_no_new_jobs_but_knows_the_old_ones() -> None:
    async with opened(max_pending=2) as house:
        await house.add("a", "b")
        with pytest.raises(RegistryFullError):
            await house.add("b", "c")
        await house.add("a", "b")
        await house.poll("a", answered(state="done"))
        await house.add("c")


async def test_all_or_nothing_when_one_contradicts() -> None:
    async with opened() as house:
        await house.add("a", key="one")
        with pytest.raises(RegistrationConflictError) as caught:
            await house.add("new", "a", key="two")
        [(at, [conflict])] = caught.value.conflicts.items()
        assert (at, conflict.field, conflict.known, conflict.given) == (1, "key", "one", "two")
        assert list(house.registry.jobs) == ["a"]


async def test_events_that_concern_no_job_are_in_the_history() -> None:
    async with opened() as house:
        await house.add("a")
        [stored] = await house.store.history(HistoryRequest(9, job_id="a"))
        assert (stored.event.type, stored.event.time) == ("registered", START)
        await house.registry.record(replace(stored.event, job_id=None))
        assert len(await house.store.history(HistoryRequest(9, after=stored.id))) == 1


async def test_progress_that_comes_with_events_is_told_before_them() -> None:
    async with opened() as house:
        await house.add("a")
        items = house.registry.feed.follow(house.registry.feed.newest_id, Wanted(progress=True))
        for fields in (
            {"step": "queued", "progress": 5.0},
            {"step": "compose", "progress": 66.0},
            {"state": ReplyState.DONE, "step": "done", "progress": 100.0},
        ):
            await house.poll("a", answered(**fields))
            told = []
            while (item := await anext(items)) is not None:
                told.append(item)
            assert isinstance(told[0], Progress)
            assert (told[0].step, told[0].progress) == (fields["step"], fields["progress"])
            assert not any(isinstance(one, Progress) for one in told[1:])
            assert len(told) > 1


async def test_a_poll_that_brings_no_event_writes_nothing() -> None:
    async with opened() as house:
        await house.add("a")
        await house.poll("a", answered(progress=10))
        version = house.registry.jobs["a"].version
        for _ in range(5):
            await house.poll("a", answered(progress=10))
        await house.registry.upkeep.flush()
        assert house.registry.jobs["a"].version == version
        assert (await house.store.get(["a"]))["a"].version == version
