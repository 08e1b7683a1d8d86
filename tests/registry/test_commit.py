"""The group commit by itself: which changes share a commit, and what counts while none succeeds."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import structlog
from failing_store import FailingStore
from structlog.testing import capture_logs
from support import START, job

from exporter.core.events import Event, EventType
from exporter.registry.commit import RETRY_SECONDS, GroupCommit
from exporter.storage.store import Accepted, Change, Fenced, StoreError

Result = Accepted | Fenced | StoreError


def new(name: str) -> Change:
    """A change that stores a new job."""
    return Change(job(name, version=1), 0, (Event(EventType.REGISTERED, name, START),))


class Writer:
    """A group commit with its store, its time, and the order in which results arrived."""

    def __init__(self) -> None:
        self.store = FailingStore()
        self.at = 0.0
        self.commits = 0
        self.failures: list[str] = []
        self.settled: list[tuple[str, Result]] = []
        self.late: list[tuple[str, Result]] = []
        self.retry = asyncio.Event()
        log = structlog.get_logger("removit_exporter")
        self.commit = GroupCommit(self.store, self, lambda: self.at, self._sleep, log)
        self.commit.written_late = lambda change, result: self.late.append((name(change), result))

    def committed(self, seconds: float) -> None:
        self.commits += 1

    def failed(self, operation: str) -> None:
        self.failures.append(operation)

    def submit(
        self, change: Change, *, must_store: bool = True
    ) -> "asyncio.Future[Accepted | Fenced]":
        future = asyncio.get_running_loop().create_future()

        def settle(result: Result) -> None:
            self.settled.append((name(change), result))
            if isinstance(result, StoreError):
                future.set_exception(result)
            else:
                future.set_result(result)

        self.commit.submit([(change, settle)], must_store=must_store)
        return future

    async def _sleep(self, seconds: float) -> None:
        await self.retry.wait()
        self.at += seconds


def name(change: Change) -> str:
    assert change.job is not None
    return change.job.job_id


@pytest.fixture
async def writer() -> AsyncIterator[Writer]:
    made = Writer()
    made.commit.start()
    yield made
    made.store.broken = False
    made.store.gate.set()
    made.retry.set()
    await asyncio.wait_for(made.commit.close(), 60)


async def until_at_gate(writer: Writer, times: int) -> None:
    async with asyncio.timeout(20):
        while writer.store.at_gate < times:
            await asyncio.sleep(0)


async def test_changes_submitted_during_a_commit_share_the_next(writer: Writer) -> None:
    writer.store.gate.clear()
    first = writer.submit(new("a"))
    await until_at_gate(writer, 1)
    rest = [writer.submit(new(one)) for one in "bc"]
    writer.store.gate.set()
    results = await asyncio.wait_for(asyncio.gather(first, *rest), 60)
    assert writer.commits == 2
    assert results == [Accepted((at,), at) for at in (1, 2, 3)]


async def test_a_change_that_must_be_stored_is_refused_when_the_store_fails(
    writer: Writer,
) -> None:
    writer.store.broken = True
    future = writer.submit(new("a"))
    with pytest.raises(StoreError, match="disk full"):
        await asyncio.wait_for(future, 60)
    assert writer.failures == ["commit"]
    assert (writer.commit.writable, writer.commit.unwritten) == (False, 0)


async def test_each_change_that_no_store_takes_is_refused_with_an_error_of_its_own(
    writer: Writer,
) -> None:
    writer.store.poison = "a"
    errors = []
    for _ in range(2):
        with pytest.raises(StoreError, match="cannot be stored") as raised:
            await asyncio.wait_for(writer.submit(new("a")), 60)
        errors.append(raised.value)
    assert errors[0] is not errors[1]  # one error would keep the frames of each that raised it


async def test_any_other_change_counts_at_once_and_is_written_later(writer: Writer) -> None:
    writer.store.broken = True
    future = writer.submit(new("a"), must_store=False)
    assert await asyncio.wait_for(future, 60) == Accepted((), 0)
    assert (writer.commit.writable, writer.commit.unwritten) == (False, 1)
    writer.store.broken = False
    writer.retry.set()
    async with asyncio.timeout(20):
        while writer.commit.unwritten:
            await asyncio.sleep(0)
    assert writer.late == [("a", Accepted((1,), 1))]
    assert writer.commit.writable


async def test_the_log_says_once_that_the_store_can_be_written_again(writer: Writer) -> None:
    writer.commit.failed(StoreError("disk full"))
    with capture_logs() as logged:
        writer.commit.worked()
        writer.commit.worked()
    assert [line["event"] for line in logged] == ["store writable again"]


async def test_one_change_is_tried_each_time_the_wait_is_over(writer: Writer) -> None:
    writer.commit.failed(StoreError("disk full"))
    with pytest.raises(StoreError, match="disk full"):
        writer.commit.check()
    writer.at = RETRY_SECONDS
    writer.commit.check()
    future = writer.submit(new("a"))
    await asyncio.wait_for(future, 60)
    assert writer.commit.writable


async def test_a_small_write_that_succeeds_does_not_hide_a_backlog(writer: Writer) -> None:
    writer.store.broken = True
    await asyncio.wait_for(writer.submit(new("a"), must_store=False), 60)
    writer.commit.worked()
    assert not writer.commit.writable
    writer.at = RETRY_SECONDS
    with pytest.raises(StoreError):
        writer.commit.check()


async def test_closing_writes_the_queue_and_then_refuses_changes(writer: Writer) -> None:
    queued = writer.submit(new("a"))
    await asyncio.wait_for(writer.commit.close(), 60)
    assert isinstance(await queued, Accepted)
    assert not writer.commit.alive
    refused = writer.submit(new("b"))
    with pytest.raises(StoreError, match="stopped writing"):
        await refused


def failing(*values: object) -> None:
    raise ValueError("a mistake in the callback")


async def test_a_callback_that_fails_stops_neither_its_change_nor_the_writer(
    writer: Writer,
) -> None:
    with capture_logs() as logs:
        writer.commit.submit([(new("a"), failing), (new("b"), failing)], must_store=True)
        assert await asyncio.wait_for(writer.submit(new("c")), 60) == Accepted((3,), 3)
    assert [line["event"] for line in logs] == ["callback of a commit failed"] * 2
    assert sorted(await writer.store.get("abc")) == ["a", "b", "c"]


async def test_a_callback_that_fails_at_a_refusal_does_not_stop_the_writer(writer: Writer) -> None:
    writer.store.broken = True
    writer.commit.submit([(new("a"), failing)], must_store=True)
    with pytest.raises(StoreError, match="disk full"):
        await asyncio.wait_for(writer.submit(new("b")), 60)
    assert writer.commit.alive


async def test_a_callback_that_fails_holds_up_no_backlog(writer: Writer) -> None:
    writer.commit.written_late = failing
    writer.store.broken = True
    for name_ in "ab":
        await asyncio.wait_for(writer.submit(new(name_), must_store=False), 60)
    writer.store.broken = False
    writer.retry.set()
    async with asyncio.timeout(20):
        while writer.commit.unwritten:
            await asyncio.sleep(0)
    assert (await writer.store.get(["a", "b"])).keys() == {"a", "b"}
    assert await asyncio.wait_for(writer.submit(new("c")), 60) == Accepted((3,), 3)
