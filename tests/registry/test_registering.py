"""How often registrations read the store and commit, and what those see that come at once."""

import asyncio
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pytest
from open_registry import House, answered, opened

from exporter.core.job import Job, Source
from exporter.registry import changes
from exporter.registry.staging import (
    Outcome,
    Refused,
    Registered,
    Registration,
    RegistryFullError,
)


class Calls:
    """Counts the reads of jobs and the commits of a house's store."""

    def __init__(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reads = 0
        self._store = house.store
        self._commits = house.store.at_gate
        get = house.store.get

        async def counted(job_ids: Collection[str]) -> dict[str, Job]:
            self.reads += 1
            return await get(job_ids)

        monkeypatch.setattr(house.store, "get", counted)

    @property
    def commits(self) -> int:
        return self._store.at_gate - self._commits


async def ended(house: House, name: str) -> None:
    """Register a job that ends and leaves memory."""
    await house.add(name, key="sku")
    await house.poll(name, answered(state="done"))
    house.at += 10_000
    await house.registry.upkeep.evict()
    assert name not in house.registry.jobs


async def test_registrations_that_come_during_a_commit_share_the_next_and_read_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with opened() as house:
        calls = Calls(house, monkeypatch)
        await asyncio.gather(*(house.add(f"job-{at}") for at in range(100)))
        assert (calls.commits, calls.reads) == (1, 0)


async def test_a_new_job_is_made_once_and_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    copies = 0

    def counted(job: Job, **fields: Any) -> Job:
        nonlocal copies
        copies += 1
        return replace(job, **fields)

    monkeypatch.setattr(changes, "replace", counted)
    async with opened() as house:
        [job] = await house.add("a")
        assert copies == 0
        assert (job.version, job.incarnation) == (1, 1)
        [job] = await house.add("a", key="sku")
        assert copies == 1
        assert (job.version, job.key) == (2, "sku")


async def test_a_job_that_only_the_store_knows_is_known_and_not_registered_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with opened() as house:
        await ended(house, "old")
        calls = Calls(house, monkeypatch)
        registrations = [Registration(name, key="sku") for name in ("new", "old")]
        new, old = await house.registry.register_each(registrations, Source.API)
        assert isinstance(new, Registered)
        assert isinstance(old, Registered)
        assert (new.new, old.new, old.job.pending) == (True, False, False)
        assert calls.reads == 1
        [refused] = await house.registry.register_each([Registration("old", key="x")], Source.API)
        assert isinstance(refused, Refused)
        assert house.total("removit_jobs_registered_total") == 2


async def test_a_job_that_only_the_store_knows_takes_no_room() -> None:
    async with opened(max_pending=1) as house:
        await ended(house, "old")
        await house.add("a")
        assert [one.job_id for one in await house.add("old", key="sku")] == ["old"]
        with pytest.raises(RegistryFullError):
            await house.add("b")


async def test_registrations_that_come_at_once_stay_within_max_pending() -> None:
    async with opened(max_pending=3) as house:
        results = await asyncio.gather(
            *(house.add(f"job-{at}") for at in range(5)), return_exceptions=True
        )
        assert [isinstance(result, RegistryFullError) for result in results] == [False] * 3 + [
            True
        ] * 2
        assert house.registry.pending == 3


async def test_the_same_job_registered_twice_at_once_is_created_once() -> None:
    async with opened() as house:
        registrations = [Registration("a")]
        results = await asyncio.gather(
            *(house.registry.register(registrations, Source.API) for _ in range(2))
        )
        assert sorted(one.new for [one] in results) == [False, True]
        assert house.total("removit_jobs_registered_total") == 1


async def test_a_job_forgotten_twice_at_once_is_forgotten_once() -> None:
    async with opened() as house:
        await ended(house, "old")
        forgotten = await asyncio.gather(*(house.registry.forget("old") for _ in range(2)))
        assert sorted(forgotten) == [False, True]


async def test_an_answered_job_that_the_store_knows_is_left_as_it_is() -> None:
    async with opened() as house:
        await ended(house, "old")
        [other] = await house.add("other")
        unknown = Outcome(Job("old", Source.STATUS, other.registered_at))
        await house.registry.register_answered(unknown)
        assert "old" not in house.registry.jobs
        stored = await house.registry.get("old")
        assert stored is not None
        assert stored.key == "sku"
