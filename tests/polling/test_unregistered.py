"""Ids that nobody has registered: asked about once, then registered or remembered."""

import asyncio
from pathlib import Path

import pytest
from simulated_status import House, run
from simulated_time import pass_time, tell

from exporter.core.job import Source
from exporter.polling import unregistered
from exporter.polling.served import KeyRejectedError, Result, UnavailableError
from exporter.polling.unregistered import UNKNOWN_SECONDS
from exporter.simulator.script import Script


def test_an_id_that_the_upstream_knows_is_asked_about_once_and_registered(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        house.upstream.add("a", Script.stuck(0.5))
        await house.get("other")  # from now on the upstream is well: no event says so later
        house.store.gate.clear()
        callers = [asyncio.create_task(house.get("a")) for _ in range(10)]
        await pass_time(1)  # the answer has come, and is being stored
        callers.append(asyncio.create_task(house.get("a")))
        await pass_time(1)
        house.store.gate.set()
        served = await asyncio.gather(*callers)
        assert {one.result for one in served} == {Result.LEARNED}
        assert house.upstream.polls["a"] == 1
        job = house.exporter.registry.jobs["a"]
        assert (job.source, job.pending, job.answered) == (Source.STATUS, True, True)
        assert house.events()[:2] == ["registered", "first_answer"]
        assert job.version == 1  # one commit for both

    run(tmp_path, work)


def test_a_first_answer_that_ends_the_job_is_kept_as_its_last(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        house.upstream.add("a", Script.sound(0.0))
        first = await house.get("a")
        assert house.exporter.registry.jobs["a"].state == "done"
        kept = await house.store.final_answer("a")
        assert kept is not None
        assert kept.body == first.answer.body
        again = await house.get("a")
        assert (again.result, again.answer.body) == (Result.FINAL, first.answer.body)
        assert house.upstream.polls["a"] == 1

    run(tmp_path, work)


def test_a_404_is_remembered_for_a_few_seconds_and_registers_nothing(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        for _ in range(3):
            served = await house.get("a")
            assert (served.result, served.answer.http_status) == (Result.UNKNOWN, 404)
        assert house.upstream.polls["a"] == 1
        await pass_time(UNKNOWN_SECONDS)
        await house.get("a")
        assert house.upstream.polls["a"] == 2
        assert house.exporter.registry.jobs == {}

    run(tmp_path, work)


def test_only_the_latest_answers_are_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unregistered, "MAX_UNKNOWN", 2)

    async def work(house: House) -> None:
        for name in ("a", "b", "c", "c", "b", "a"):
            await house.get(name)
        assert [house.upstream.polls[name] for name in "abc"] == [2, 1, 1]

    run(tmp_path, work)


def test_without_room_the_answer_is_served_and_the_job_is_not_registered(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        await tell(house.exporter, "other")
        house.upstream.add("a", Script.stuck(0.5))
        assert (await house.get("a")).result is Result.LEARNED
        assert (await house.get("a")).result is Result.FRESH  # from memory, for `status.max_age`
        assert house.upstream.polls["a"] == 1
        assert house.refused("full") == 1
        assert "a" not in house.exporter.registry.jobs

    run(tmp_path, work, registration={"max_pending": 1})


def test_while_the_store_fails_the_answer_is_served_all_the_same(
    tmp_path: Path,
) -> None:
    async def work(house: House) -> None:
        house.upstream.add("a", Script.stuck(0.5))
        house.store.broken = True
        assert (await house.get("a")).result is Result.LEARNED
        assert house.refused("store") == 1
        assert "a" not in house.exporter.registry.jobs
        house.store.broken = False

    run(tmp_path, work)


def test_a_job_is_registered_although_the_caller_has_left(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        house.upstream.add("a", Script.stuck(0.5))
        caller = asyncio.create_task(house.get("a"))
        await asyncio.sleep(0)
        caller.cancel()
        await pass_time(1)
        assert "a" in house.exporter.registry.jobs

    run(tmp_path, work)


def test_a_job_that_is_registered_meanwhile_stays_as_it_is(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        house.upstream.add("a", Script.stuck(0.5))
        house.store.gate.clear()
        caller = asyncio.create_task(house.get("a"))
        registering = asyncio.create_task(tell(house.exporter, "a"))
        await pass_time(1)  # both wait for the store
        house.store.gate.set()
        assert (await caller).result is Result.LEARNED
        await registering
        job = house.exporter.registry.jobs["a"]
        assert (job.source, job.sources) == (Source.API, (Source.API,))
        assert house.events().count("registered") == 1

    run(tmp_path, work)


def test_in_an_outage_there_is_no_answer_about_an_unregistered_id(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        house.upstream.fault = lambda job_id: (503, b'{"error": "unavailable"}')
        await tell(house.exporter, *(f"job-{at}" for at in range(10)))
        await pass_time(60)
        before = house.upstream.polls["a"]
        with pytest.raises(UnavailableError) as caught:
            await house.get("a")
        assert caught.value.retry_after > 0
        assert house.upstream.polls["a"] == before

    run(tmp_path, work)


def test_a_5xx_about_an_unregistered_id_is_served_only_by_a_well_upstream(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        house.upstream.fault = lambda job_id: (500, b"{}") if job_id == "a" else None
        with pytest.raises(UnavailableError):
            await house.get("a")  # nothing is known about the upstream yet
        await house.get(house.upstream.add("other", Script.stuck(0.5)))
        await pass_time(UNKNOWN_SECONDS + 10)
        served = await house.get("a")
        assert (served.result, served.answer.http_status) == (Result.UNKNOWN, 500)

    run(tmp_path, work)


def test_a_rejected_key_is_reported_and_not_remembered(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        house.upstream.fault = lambda job_id: (401, b'{"error": "unauthorized"}')
        with pytest.raises(KeyRejectedError):
            await house.get("a")
        assert house.exporter.registry.jobs == {}

    run(tmp_path, work)
