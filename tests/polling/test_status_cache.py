"""A registered job's answers: from memory, from the upstream, from the store."""

import asyncio
from pathlib import Path

import pytest
from simulated_status import House, run
from simulated_time import pass_time, tell

from exporter.polling.served import KeyRejectedError, Result, UnavailableError
from exporter.simulator.script import Script

SELDOM = {"polling": {"min_interval": "100s", "max_interval": "100s"}}
"""The schedule asks again after a hundred seconds: what is asked before, the cache asks."""
DOWN = (503, b'{"error": "unavailable"}')


async def registered(house: House, script: Script) -> None:
    """Register the job `a`, and wait for its first answer."""
    house.upstream.add("a", script)
    await tell(house.exporter, "a")
    await pass_time(1)
    assert house.upstream.polls["a"] == 1


def test_a_young_answer_comes_from_memory_with_its_age(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        await registered(house, Script.stuck(0.5))
        await pass_time(5)
        served = await house.get("a")
        assert (served.result, served.forwarded) == (Result.FRESH, None)
        assert 5 < served.age < 6
        assert house.upstream.polls["a"] == 1

    run(tmp_path, work, **SELDOM, status={"max_age": "10s"})


def test_an_answer_is_served_until_the_jobs_own_poll_is_due(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        await registered(house, Script.stuck(0.5))
        assert (await house.get("a")).result is Result.FRESH
        house.upstream.latency = 2.0
        while house.upstream.polls["a"] < 2:
            await pass_time(0.1)
        served = await house.get("a")  # the poll is under way, and is shared
        assert (served.result, served.age) == (Result.REFRESHED, 0.0)
        assert house.upstream.polls["a"] == 2

    run(tmp_path, work, status={"max_age": "200s"}, **SELDOM)


def test_a_client_that_accepts_no_old_answer_has_the_upstream_asked(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        await registered(house, Script.stuck(0.5))
        await pass_time(5)
        assert (await house.get("a", 10.0)).result is Result.FRESH
        served = await house.get("a", 3.0)
        assert (served.result, served.age) == (Result.REFRESHED, 0.0)
        await pass_time(1)
        assert (await house.get("a", 0.0)).result is Result.REFRESHED
        assert house.upstream.polls["a"] == 3

    run(tmp_path, work, **SELDOM, status={"max_age": "60s"})


def test_such_a_client_gets_the_old_answer_beyond_the_rate_limit(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        await registered(house, Script.stuck(0.5))
        house.upstream.latency = 0.001
        upstream = house.exporter.config().upstream
        started, served = asyncio.get_running_loop().time(), []
        for _ in range(200):
            served.append(await house.get("a", 0.0))
            await pass_time(0.01)
        seconds = asyncio.get_running_loop().time() - started
        assert {one.result for one in served} == {Result.REFRESHED, Result.FRESH}
        assert house.upstream.polls["a"] <= 1 + upstream.burst + upstream.rate * seconds

    run(tmp_path, work, **SELDOM, status={"max_age": "60s"})


@pytest.mark.parametrize("max_age", ["10s", "15s", "60s"])
def test_clients_that_ask_each_second_cost_no_more_calls_than_none(
    tmp_path: Path, max_age: str
) -> None:
    assert calls(tmp_path / "with", max_age) <= 1.02 * calls(tmp_path / "without", None)


def test_clients_cost_calls_where_answers_must_be_younger_than_the_waits(tmp_path: Path) -> None:
    assert calls(tmp_path / "with", "2s") > 1.4 * calls(tmp_path / "without", None)


def calls(folder: Path, max_age: str | None) -> int:
    """Return the calls for 40 jobs of 30 to 69 s; clients ask about each every second, if any."""
    counted: list[int] = []

    async def work(house: House) -> None:
        names = [house.upstream.add(f"job-{at}", Script.sound(30.0 + at)) for at in range(40)]
        await tell(house.exporter, *names)
        for _ in range(90):
            await pass_time(1)
            if max_age is not None:
                await asyncio.gather(*(house.get(name) for name in names))
        counted.append(house.upstream.polls.total())

    folder.mkdir()
    run(folder, work, **({} if max_age is None else {"status": {"max_age": max_age}}))
    return counted[0]


def test_an_old_answer_is_refreshed_once_for_all_callers(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        await registered(house, Script.stuck(0.5))
        await pass_time(15)
        served = await asyncio.gather(*(house.get("a") for _ in range(10)))
        assert {one.result for one in served} == {Result.REFRESHED}
        assert {one.age for one in served} == {0.0}
        assert house.upstream.polls["a"] == 2

    run(tmp_path, work, **SELDOM)


def test_a_refresh_may_find_the_end_of_the_job(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        await registered(house, Script.sound(10.0))
        await pass_time(15)
        served = await house.get("a")
        assert (served.result, served.forwarded is not None) == (Result.FINAL, True)
        assert b'"done"' in served.answer.body
        assert (await house.get("a")).forwarded is None  # the end does not change
        assert house.upstream.polls["a"] == 2

    run(tmp_path, work, **SELDOM)


def test_an_end_that_has_left_memory_comes_from_the_store_with_its_age(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        await registered(house, Script.sound(0.0))
        body = (await house.get("a")).answer.body
        await pass_time(600)
        assert "a" not in house.exporter.registry.jobs
        served = await house.get("a")
        assert (served.result, served.answer.body) == (Result.FINAL, body)
        assert 600 < served.age < 602

    run(tmp_path, work, **SELDOM)


def test_an_end_whose_answer_was_never_stored_is_unavailable(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        await registered(house, Script.sound(0.0))
        await pass_time(600)
        for row in house.store.tables.rows.values():
            row.final = None
        with pytest.raises(UnavailableError, match="is not kept"):
            await house.get("a")

    run(tmp_path, work, **SELDOM)


def test_an_answer_that_does_not_help_leaves_the_old_one_while_it_may_be_served(
    tmp_path: Path,
) -> None:
    async def work(house: House) -> None:
        await registered(house, Script.stuck(0.5))
        house.upstream.fault = lambda job_id: (429, b"{}")
        await pass_time(15)
        served = await house.get("a")
        assert served.result is Result.STALE
        assert served.age > 15
        await pass_time(60)
        with pytest.raises(UnavailableError) as caught:
            await house.get("a")
        assert caught.value.retry_after >= 0

    run(tmp_path, work, **SELDOM, status={"max_age": "10s", "max_stale": "60s"})


def test_a_suspected_job_keeps_its_last_good_answer(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        await registered(house, Script.stuck(0.5))
        await tell(house.exporter, house.upstream.add("other", Script.stuck(0.5)))
        house.upstream.fault = lambda job_id: (500, b"{}") if job_id == "a" else None
        await pass_time(25)
        assert house.exporter.registry.jobs["a"].suspicion is not None
        served = await house.get("a")
        assert (served.result, served.answer.http_status) == (Result.STALE, 200)

    run(tmp_path, work, status={"max_age": "1s", "max_stale": "1s"})


def test_a_5xx_is_not_served_about_a_job_that_was_never_answered(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        house.upstream.fault = lambda job_id: DOWN
        await tell(house.exporter, "a")
        await pass_time(1)
        with pytest.raises(UnavailableError):
            await house.get("a")

    run(tmp_path, work)


def test_a_rejected_key_is_reported_whatever_memory_has(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        await registered(house, Script.stuck(0.5))
        house.upstream.fault = lambda job_id: (401, b'{"error": "unauthorized"}')
        await pass_time(120)
        with pytest.raises(KeyRejectedError):
            await house.get("a")

    run(tmp_path, work)
