"""The stop: one state, one deadline, and the order of its steps."""

import asyncio
from typing import Any, cast

import pytest
from conftest import until

from exporter import stop as stop_module
from exporter.logs import make_logger
from exporter.stop import (
    HANG_SECONDS,
    REQUEST_SECONDS,
    SERVER_SECONDS,
    STOP_SECONDS,
    State,
    Stop,
)
from exporter.storage.store import StoreError


class Parts:
    """Stands for every part that a stop closes: notes each call, in its order."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.deadlines: list[float] = []
        self.last_poll = asyncio.Event()
        self.last_poll.set()
        self.written = True
        self.store = Store(self)

    async def close_poller(self, grace: float) -> None:
        self.calls.append("poller")
        await self.last_poll.wait()
        self.calls.append("last poll")


class Store:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def set_deadline(self, seconds: float) -> None:
        self._parts.deadlines.append(seconds)

    async def close(self) -> None:
        self._parts.calls.append("store")


class Part:
    def __init__(self, parts: Parts, name: str) -> None:
        self._parts, self._name = parts, name
        self.store = parts.store

    def release(self) -> None:
        self._parts.calls.append("release")

    async def close(self, grace: float = 0.0) -> None:
        if self._name == "poller":
            await self._parts.close_poller(grace)
            return
        self._parts.calls.append(self._name)
        if self._name == "registry" and not self._parts.written:
            raise StoreError("disk full")

    async def keep_pace(self) -> None:
        self._parts.calls.append("pace")

    async def keep(self) -> None:
        self._parts.calls.append(self._name)

    async def __aexit__(self, *nothing: object) -> None:
        self._parts.calls.append(self._name)


@pytest.fixture
def parts() -> Parts:
    return Parts()


@pytest.fixture
def stop(parts: Parts) -> Stop:
    poller, housekeeping, registry, client, record = (
        cast(Any, Part(parts, name))
        for name in ("poller", "housekeeping", "registry", "client", "record")
    )
    return Stop(poller, housekeeping, registry, client, record, make_logger())


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop_module, "REQUEST_SECONDS", 0.05)


async def request(stop: Stop) -> None:
    """A request that nothing answers."""
    async with stop.limit_request():
        await asyncio.Event().wait()


async def times_out(task: "asyncio.Task[None]") -> bool:
    """Whether a task ends with `TimeoutError`; one that does not end fails."""
    done, _ = await asyncio.wait([task], timeout=20)
    return bool(done) and isinstance(task.exception(), TimeoutError)


async def test_each_part_is_closed_after_those_that_use_it(stop: Stop, parts: Parts) -> None:
    stop.begin()
    await stop.finish()
    assert parts.calls == [
        *(
            "release",
            "poller",
            "last poll",
            "housekeeping",
            "registry",
            "pace",
            "record",
            "client",
            "store",
        )
    ]


async def test_the_last_polls_end_before_the_registry_is_written(stop: Stop, parts: Parts) -> None:
    parts.last_poll.clear()
    finishing = asyncio.create_task(stop.finish())
    await until(lambda: "poller" in parts.calls)
    assert parts.calls == ["release", "poller"]
    parts.last_poll.set()
    await asyncio.wait_for(finishing, 60)
    assert parts.calls[-1] == "store"


async def test_a_stop_begins_once(stop: Stop, parts: Parts) -> None:
    stop.state = State.RUNNING
    first = stop.begin()
    assert stop.begin() is first
    assert (stop.state, stop.begun) == (State.STOPPING, True)
    await stop.finish()
    assert parts.calls.count("poller") == 1


async def test_a_store_that_cannot_be_written_is_closed_all_the_same(
    stop: Stop, parts: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    parts.written = False
    await stop.finish()
    assert parts.calls[-2:] == ["client", "store"]
    assert "store not written at the end" in caplog.text


def test_a_stop_ends_before_docker_kills_it_after_ten_seconds() -> None:
    assert STOP_SECONDS + HANG_SECONDS < 10


async def test_the_store_has_what_is_left_of_the_time(stop: Stop, parts: Parts) -> None:
    stop.begin()
    await stop.finish()
    first, last = parts.deadlines
    assert first == REQUEST_SECONDS
    assert STOP_SECONDS - SERVER_SECONDS <= last <= STOP_SECONDS


@pytest.mark.usefixtures("soon")
async def test_after_a_host_that_took_longer_the_store_still_has_time(
    stop: Stop, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stop_module, "STOP_SECONDS", -10.0)  # the time is over before `finish`
    monkeypatch.setattr(stop_module, "SERVER_SECONDS", -12.5)
    await stop.finish()
    assert parts.deadlines[-1] == 2.5


async def test_without_a_stop_a_request_has_no_deadline(stop: Stop) -> None:
    async with stop.limit_request():
        assert stop.requests == 1
        assert not stop.time_is_up
    assert stop.requests == 0


@pytest.mark.usefixtures("soon")
async def test_at_the_deadline_old_and_new_requests_end(stop: Stop) -> None:
    old = asyncio.create_task(request(stop))
    await until(lambda: stop.requests)
    stop.begin()
    new = asyncio.create_task(request(stop))
    for task in (old, new):
        assert await times_out(task)
    assert stop.requests == 0
    await stop.finish()


@pytest.mark.usefixtures("soon")
async def test_at_the_deadline_a_handler_can_still_write_its_own_answer(stop: Stop) -> None:
    async def handler() -> tuple[str, int]:
        async with stop.limit_request():
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                assert stop.time_is_up
            await asyncio.sleep(0)
            answer = "503"
        task = asyncio.current_task()
        assert task is not None
        return answer, task.cancelling()

    answering = asyncio.create_task(handler())
    await until(lambda: stop.requests)
    stop.begin()
    assert await asyncio.wait_for(answering, 60) == ("503", 0)
    await stop.finish()


async def test_a_client_that_leaves_is_not_taken_for_the_deadline(stop: Stop) -> None:
    seen: list[bool] = []

    async def handler() -> None:
        async with stop.limit_request():
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                seen.append(stop.time_is_up)
                raise

    answering = asyncio.create_task(handler())
    await until(lambda: stop.requests)
    stop.begin()
    answering.cancel()
    await asyncio.wait([answering])
    assert answering.cancelled()
    assert seen == [False]
    await stop.finish()


async def test_a_wait_ends_when_the_stop_begins_and_requests_go_on(stop: Stop) -> None:
    waiting = asyncio.Event()

    async def wait() -> None:
        async with stop.limit_wait(3600):
            waiting.set()
            await asyncio.Event().wait()

    old, answering = asyncio.create_task(wait()), asyncio.create_task(request(stop))
    await waiting.wait()
    stop.begin()
    for task in (old, asyncio.create_task(wait())):
        assert await times_out(task)
    assert not answering.done()
    answering.cancel()
    await stop.finish()


async def test_a_wait_that_has_just_run_out_does_not_disturb_the_stop(stop: Stop) -> None:
    async def wait() -> None:
        async with stop.limit_wait(0):
            await asyncio.Event().wait()

    async def begin() -> None:
        stop.begin()

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)  # it waits
    await asyncio.create_task(begin())  # after its time has run out, before it is woken
    assert await times_out(waiting)
    await stop.finish()
