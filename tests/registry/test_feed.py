"""The stream of events: each event once, in order, from memory or from the store."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from simulated_time import pass_time, simulate
from support import START, job

from exporter.core.events import Event, EventType
from exporter.registry.feed import BLOCK, Block, Feed, HistoryGapError, Item, Progress, Wanted
from exporter.storage.memory import MemoryStore
from exporter.storage.store import Accepted, Change, HistoryRequest, PruneRequest, StoredEvent

ALL = Wanted(progress=True)


class Stream:
    """A feed that keeps `kept` items in memory, over a store that counts how often it is read."""

    def __init__(self, kept: int) -> None:
        self.store = CountingStore()
        self.feed = Feed(self.store, kept)

    async def add(self, *job_ids: str) -> None:
        """Store one event of each job and pass them to the feed, as the registry does."""
        for job_id in job_ids:
            event = Event(EventType.REGISTERED, job_id, START)
            [result] = await self.store.apply([Change(job(job_id, version=1), 0, (event,))])
            assert isinstance(result, Accepted)
            self.feed.add_events([event], result.event_ids)

    async def read(self, after: int, wanted: Wanted = ALL) -> list[str]:
        """Return what a reader receives until it has everything."""
        return shown([item async for item in until_caught_up(self.feed.follow(after, wanted))])


class CountingStore(MemoryStore):
    reads = 0

    async def history(self, request: HistoryRequest) -> list[StoredEvent]:
        self.reads += 1
        return await super().history(request)


async def until_caught_up(items: AsyncIterator[Item | None]) -> AsyncIterator[Item]:
    async for item in items:
        if item is None:
            return
        yield item


async def blocks(stream: Stream, after: int) -> list[Block]:
    """Return the blocks that a reader receives until it has everything."""
    found = []
    async for block in stream.feed.blocks(after, ALL):
        if block is None:
            break
        found.append(block)
    return found


def shown(items: Sequence[Item]) -> list[str]:
    return [
        f"{item.job_id} {item.progress}" if isinstance(item, Progress) else str(item.event.job_id)
        for item in items
    ]


@pytest.fixture
def stream() -> Stream:
    return Stream(kept=3)


async def test_a_reader_within_memory_does_not_read_the_store(stream: Stream) -> None:
    await stream.add(*"abcde")
    assert await stream.read(2) == ["c", "d", "e"]
    assert await stream.read(5) == []
    assert stream.store.reads == 0


async def test_an_older_reader_reads_the_store_first_and_sees_each_event_once(
    stream: Stream,
) -> None:
    await stream.add(*"abcde")
    assert await stream.read(0) == list("abcde")
    assert stream.store.reads == 1


async def test_a_reader_that_falls_behind_continues_from_the_store(stream: Stream) -> None:
    await stream.add(*"ab")
    items = stream.feed.follow(0, ALL)
    first = await anext(items)
    await stream.add(*"cdefg")
    assert first is not None
    rest = [item async for item in until_caught_up(items)]
    assert shown([first, *rest]) == list("abcdefg")


async def test_readers_get_the_same_blocks_wherever_they_began() -> None:
    stream = Stream(kept=4 * BLOCK)
    await stream.add(*(f"j{at}" for at in range(2 * BLOCK + 5)))
    early, late = await blocks(stream, 0), await blocks(stream, 7)
    assert [len(block.items) for block in early] == [BLOCK, BLOCK, 5]
    assert [len(block.items) for block in late] == [BLOCK - 7, BLOCK, 5]
    assert all(one is other for one, other in zip(early[1:], late[1:], strict=True))


def test_what_happens_within_the_gap_comes_together_and_in_the_same_blocks() -> None:
    async def read() -> None:
        stream, time = Stream(kept=100), asyncio.get_running_loop().time
        stream.feed.gap = 10.0
        readers = [stream.feed.blocks(0, ALL) for _ in range(3)]
        assert [await anext(reader) for reader in readers] == [None] * 3
        await stream.add("a")
        first = [await anext(reader) for reader in readers]
        started = time()
        assert [await anext(reader) for reader in readers] == [None] * 3
        await stream.add(*"bc")

        async def add_later() -> None:
            await pass_time(9.0)
            await stream.add("d")

        second = (await asyncio.gather(*map(anext, readers), add_later()))[:3]
        assert 10.0 <= time() - started < 10.1
        for [block, *others], job_ids in ((first, ["a"]), (second, ["b", "c", "d"])):
            assert block is not None
            assert shown(block.items) == job_ids
            assert all(other is block for other in others)

    simulate(read)


async def test_a_reader_that_is_behind_does_not_wait_for_the_gap() -> None:
    stream = Stream(kept=4 * BLOCK)
    await stream.add(*(f"j{at}" for at in range(3 * BLOCK)))
    stream.feed.gap = 3600.0
    async with asyncio.timeout(20):
        assert len(await stream.read(0)) == 3 * BLOCK


async def test_past_events_end_with_the_newest_that_was_published(stream: Stream) -> None:
    await stream.add(*"ab")
    unpublished = Event(EventType.UPSTREAM_CHANGED, None, START)
    await stream.store.apply([Change(None, events=(unpublished,))])
    [block] = [block async for block in stream.feed.past(0, ALL)]
    assert shown(block.items) == ["a", "b"]


async def test_after_a_restart_old_events_come_from_the_store(stream: Stream) -> None:
    await stream.add(*"ab")
    stream.feed = Feed(stream.store)
    await stream.feed.start()
    assert stream.feed.newest_id == 2
    await stream.add("c")
    assert await stream.read(0) == list("abc")


async def test_a_reader_receives_what_it_wants(stream: Stream) -> None:
    await stream.add(*"ab")
    stream.feed.add_progress(job("b"), job("b", progress=50.0))
    stream.feed.add_progress(job("b", progress=50.0), job("b", progress=50.0, mode="params"))
    assert await stream.read(0) == ["a", "b", "b 50.0"]
    assert await stream.read(0, Wanted(job_id="b")) == ["b"]
    assert await stream.read(0, Wanted(type="finished")) == []


async def test_events_that_are_not_stored_yet_are_not_in_the_stream(stream: Stream) -> None:
    stream.feed.add_events([Event(EventType.REGISTERED, "a", START)], ())
    assert (await stream.read(0), stream.feed.newest_id) == ([], 0)


async def test_a_waiting_reader_receives_the_next_event_and_ends_when_the_feed_closes(
    stream: Stream,
) -> None:
    seen: list[Any] = []

    async def read() -> None:
        async for item in stream.feed.follow(0, ALL):
            seen.append(item)

    reading = asyncio.create_task(read())
    async with asyncio.timeout(20):
        while not seen:
            await asyncio.sleep(0)
        await stream.add("a")
        while len(seen) < 3:
            await asyncio.sleep(0)
        stream.feed.close()
        await reading
    assert seen[0] is seen[2] is None
    assert shown([seen[1]]) == ["a"]
    assert [item async for item in stream.feed.follow(0, ALL)] == []


async def test_an_idle_reader_is_reminded(stream: Stream) -> None:
    items = stream.feed.follow(0, ALL, idle=0.001)
    async with asyncio.timeout(20):
        assert [await anext(items) for _ in range(3)] == [None] * 3


async def test_a_reader_cannot_continue_from_ids_that_are_gone_or_never_were(
    stream: Stream,
) -> None:
    await stream.add(*"abcde")
    await stream.store.prune(PruneRequest(0.0, [], history_events=1, limit=9))
    assert await stream.feed.oldest() == 4
    await stream.feed.check(4)
    await stream.feed.check(5)
    with pytest.raises(HistoryGapError, match="up to 4 are not kept"):
        await stream.feed.check(3)
    with pytest.raises(HistoryGapError, match="above 5"):
        await stream.feed.check(6)
    with pytest.raises(HistoryGapError):
        await stream.read(0)


async def test_a_reader_ends_though_the_feed_closes_while_it_handles_an_item(
    stream: Stream,
) -> None:
    items = stream.feed.follow(0, ALL)
    assert await anext(items) is None
    stream.feed.close()
    async with asyncio.timeout(20):
        assert [item async for item in items] == []
