"""The poller: the order of the requests, callers that share them, and how it stops."""

import asyncio
from pathlib import Path

import pytest
from conftest import until
from simulated_status import House, run
from simulated_time import START, pass_time, tell

from exporter.core.pacing.next_poll import PollReason
from exporter.core.reply import Reply
from exporter.polling.poller import Poller
from exporter.simulator.script import Script

SELDOM = {"polling": {"min_interval": "100s", "max_interval": "100s"}}
"""The schedule asks again after a hundred seconds: requests before that are made by callers."""
ONE_AT_A_TIME = {"upstream": {"concurrency": 1}}


def asking(poller: Poller, job_id: str, *, last: bool = False) -> "asyncio.Task[Reply]":
    return asyncio.create_task(poller.ask(job_id, "client", 10.0, last=last))


async def registered(house: House, *job_ids: str) -> None:
    """Register jobs that stay pending, and wait for the first answer about each."""
    for job_id in job_ids:
        house.upstream.add(job_id, Script.stuck(0.5))
    await tell(house.exporter, *job_ids)
    await until(lambda: all(house.upstream.polls[job_id] for job_id in job_ids))
    await until(lambda: not house.exporter.poller.in_flight)


def test_callers_and_the_schedule_share_one_request_about_a_job(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        poller = house.exporter.poller
        house.upstream.add("a", Script.stuck(0.5))
        await tell(house.exporter, "a")
        await until(lambda: poller.is_in_flight("a"))  # by the schedule
        replies = await asyncio.gather(*(asking(poller, "a") for _ in range(3)))
        assert (house.upstream.polls["a"], {reply.code for reply in replies}) == (1, {"200"})
        replies = await asyncio.gather(*(asking(poller, "a") for _ in range(3)))
        assert (house.upstream.polls["a"], {reply.code for reply in replies}) == (2, {"200"})

    run(tmp_path, work, **SELDOM)


def test_a_request_is_not_made_when_every_caller_has_left(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        poller = house.exporter.poller
        flying = asking(poller, "first")
        await until(lambda: poller.in_flight)
        left, stayed = asking(poller, "left"), asking(poller, "stayed")
        with_left = asking(poller, "stayed")
        await asyncio.sleep(0)
        for task in (left, with_left):
            task.cancel()
        assert (await stayed).code == "404"
        await asyncio.wait([left, with_left, flying])
        assert with_left.cancelled()
        assert house.upstream.polls == {"first": 1, "stayed": 1}

    run(tmp_path, work, **ONE_AT_A_TIME)


def test_a_caller_learns_whether_the_request_was_made(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        poller = house.exporter.poller
        house.upstream.latency = 100.0
        replies = await asyncio.gather(asking(poller, "first"), asking(poller, "second"))
        assert [reply.failure for reply in replies] == ["timeout", "not_asked"]

    run(tmp_path, work, **ONE_AT_A_TIME)


def test_callers_and_due_polls_take_turns_and_unregistered_ids_come_last(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        poller, order = house.exporter.poller, list[str | None]()
        house.upstream.fault = order.append
        unknown = [asking(poller, name, last=True) for name in ("u", "v")]
        for name in "abc":
            house.upstream.add(name, Script.stuck(0.5))
        await tell(house.exporter, *"abc")
        first = [asking(poller, name) for name in ("x", "y")]
        await asyncio.wait([*unknown, *first])
        assert order[:5] == ["a", "x", "b", "y", "c"]
        assert order[5:7] == ["u", "v"]

    run(tmp_path, work, upstream={"concurrency": 1, "rate": 1.0, "burst": 1}, **SELDOM)


def test_no_more_requests_are_under_way_than_are_allowed(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        poller, most = house.exporter.poller, 0

        def count(job_id: str | None) -> None:
            nonlocal most
            most = max(most, poller.in_flight)

        house.upstream.fault = count
        await asyncio.gather(*(asking(poller, f"job{number}") for number in range(30)))
        assert most == 3

    run(tmp_path, work, upstream={"concurrency": 3, "rate": 100.0, "burst": 100})


def test_no_job_starves_when_there_is_more_to_ask_than_the_rate_admits(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        names = [house.upstream.add(f"job{at}", Script.stuck(0.1)) for at in range(60)]
        await tell(house.exporter, *names)
        await pass_time(240)
        polls = [house.upstream.polls[name] for name in names]
        assert min(polls) >= 3
        assert max(polls) - min(polls) <= 2

    run(tmp_path, work, upstream={"rate": 1.0, "burst": 1})


def test_a_request_is_under_way_until_what_it_changes_is_stored(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        poller = house.exporter.poller
        house.upstream.add("a", Script.stuck(0.5))
        await tell(house.exporter, "a")
        house.store.gate.clear()
        at_gate = house.store.at_gate
        await until(lambda: house.store.at_gate > at_gate)  # answered, and not stored
        assert poller.is_in_flight("a")
        house.store.gate.set()
        await until(lambda: not poller.is_in_flight("a"))
        assert house.exporter.registry.jobs["a"].step is not None

    run(tmp_path, work)


def test_the_next_poll_is_told_with_its_reason(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        poller = house.exporter.poller
        assert poller.next_poll("a") is None
        await registered(house, "a")
        found = poller.next_poll("a")
        assert found is not None
        at, reason = found
        assert reason is PollReason.SCHEDULE
        assert 99 < at - START < 115
        flying = asking(poller, "a")
        await until(lambda: poller.is_in_flight("a"))
        assert poller.next_poll("a") == (poller.now().time, PollReason.SCHEDULE)
        await flying

    run(tmp_path, work, **SELDOM)


def test_during_an_outage_the_next_poll_is_not_before_the_probe(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        poller = house.exporter.poller
        await registered(house, "a")
        house.upstream.fault = lambda job_id: (503, b"")
        await until(lambda: poller.health.state == "down", 3000)
        probe = poller.health.circuit().probe_at - poller.now().steady
        found = poller.next_poll("a")
        assert found is not None
        at, reason = found
        assert reason is PollReason.UPSTREAM_DOWN
        assert at >= poller.now().time + probe

    run(tmp_path, work)


def test_whether_a_request_would_start_at_once(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        poller = house.exporter.poller
        house.upstream.latency = 5.0
        assert poller.can_ask("a")
        flying = [asking(poller, name) for name in "ab"]
        await until(lambda: poller.in_flight == 2)
        assert poller.can_ask("a")  # it is under way
        assert not poller.can_ask("c")  # the limit is reached
        queued = asking(poller, "c")
        await asyncio.sleep(0)
        assert poller.can_ask("c")  # it is in the queue
        await asyncio.wait([*flying, queued])
        assert poller.can_ask("d")

    run(tmp_path, work, upstream={"concurrency": 2})


def test_no_request_starts_at_once_while_the_circuit_is_open(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        poller = house.exporter.poller
        await registered(house, "a")
        house.upstream.fault = lambda job_id: (503, b"")
        await until(lambda: not poller.health.circuit().closed and not poller.in_flight, 3000)
        assert not poller.can_ask("a")

    run(tmp_path, work)


def test_new_limits_apply_at_once(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        poller, config = house.exporter.poller, house.exporter.config
        tasks = [asking(poller, f"job{number}") for number in range(6)]
        await pass_time(1)
        assert sum(house.upstream.polls.values()) == 1
        upstream = config().upstream.model_copy(update={"rate": 100.0, "burst": 100})
        config.apply(config().model_copy(update={"upstream": upstream}))
        await asyncio.wait(tasks, timeout=1.0)
        assert all(task.done() for task in tasks)

    run(tmp_path, work, upstream={"rate": 0.01, "burst": 1})


def test_a_forgotten_job_is_not_asked_about_any_more(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        poller = house.exporter.poller
        await registered(house, "a")
        await house.exporter.registry.forget("a")
        assert (poller.next_poll("a"), len(poller.schedule)) == (None, 0)
        assert poller.schedule.polls("a") == ()

    run(tmp_path, work, **SELDOM)


def test_a_job_forgotten_and_registered_during_its_request_is_asked_about_as_a_new_one(
    tmp_path: Path,
) -> None:
    async def work(house: House) -> None:
        poller, registry = house.exporter.poller, house.exporter.registry
        await registered(house, "a")
        flying = asking(poller, "a")
        await until(lambda: poller.is_in_flight("a"))
        await registry.forget("a")
        await tell(house.exporter, "a")
        await flying
        assert registry.jobs["a"].last_polled_at is None  # the answer was for the former one
        await until(lambda: registry.jobs["a"].last_polled_at is not None)
        assert house.upstream.polls["a"] == 3

    run(tmp_path, work, **SELDOM)


def test_at_a_stop_callers_without_a_request_are_answered_at_once(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        poller, clock = house.exporter.poller, house.exporter.clock
        house.upstream.latency = 3.0
        flying, queued = asking(poller, "flying"), asking(poller, "queued")
        unregistered = asking(poller, "unregistered", last=True)
        await until(lambda: poller.in_flight)
        begun = clock.monotonic()
        stopping = asyncio.create_task(poller.close(grace=5.0))
        assert (await queued).failure == (await unregistered).failure == "not_asked"
        assert clock.monotonic() == begun
        assert (await asking(poller, "late")).failure == "not_asked"
        assert clock.monotonic() == begun
        assert (await flying).code == "404"  # within the grace
        await stopping
        assert (poller.alive, poller.in_flight) == (False, 0)
        assert house.upstream.polls == {"flying": 1}

    run(tmp_path, work, **ONE_AT_A_TIME)


def test_a_request_that_outlasts_the_grace_is_cancelled(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        poller, clock = house.exporter.poller, house.exporter.clock
        house.upstream.latency = 100.0
        flying = asking(poller, "a")
        await until(lambda: poller.in_flight)
        begun = clock.monotonic()
        await poller.close(grace=2.0)
        assert clock.monotonic() == begun + 2.0
        assert (await flying).failure == "not_asked"

    run(tmp_path, work)


def test_what_was_learned_about_durations_survives_a_restart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(house: House) -> None:
        poller = house.exporter.poller
        await registered(house, "a")
        await poller.keep_pace()
        poller.load_pace(house.store.tables.kept)
        before, unreadable = poller.pace.dump(), "stored pacing not readable"
        assert unreadable not in caplog.text
        poller.load_pace({"pacing": "[" * 100_000})
        assert unreadable in caplog.text
        assert poller.pace.dump() == before

    run(tmp_path, work)
