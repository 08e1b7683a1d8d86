"""The stream of events is complete, can be resumed, and serves many readers."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest
from aiohttp.client import ClientError, ClientResponse
from conftest import BEARER, NOBODY, Open, Site, break_store, until
from support import START

from exporter import StoredEvent
from exporter.core.events import Event, EventType
from exporter.registry import feed as feed_module
from exporter.registry.feed import Block, Wanted
from exporter.simulator import Script, Simulator
from exporter.storage.store import HistoryRequest
from exporter.web import events as events_module

SSE = {"Accept": "text/event-stream"}


async def read(site: Site, **query: Any) -> list[dict[str, Any]]:
    """Return the events of a stream that ends."""
    parameters = {name: str(value) for name, value in query.items()}
    async with site.client.get("/api/v1/events", params=parameters) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "application/x-ndjson"
        return [json.loads(line) for line in (await response.text()).splitlines()]


async def follow(response: ClientResponse, last: str) -> list[dict[str, Any]]:
    """Return the events of an endless stream up to the first of type `last`."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(20):
        while not found or found[-1]["type"] != last:
            line = await response.content.readline()
            if line.strip():
                found.append(json.loads(line))
    return found


async def sse(response: ClientResponse) -> AsyncIterator[dict[str, str]]:
    """Yield the server-sent events as a browser reads them; comments under `comment`."""
    event: dict[str, str] = {}
    while line := (await response.content.readline()).decode():
        if line == "\n":
            if event:
                yield event
            event = {}
            continue
        name, _, value = line.rstrip("\n").partition(":")
        event[name or "comment"] = value.removeprefix(" ")


async def run_one(site: Site, simulator: Simulator) -> str:
    job_id = simulator.add(Script.warned(0.2))
    await site.put(job_id)
    await site.ends(job_id, "done")
    return job_id


async def test_the_stream_has_each_event_of_a_job_once(site: Site, simulator: Simulator) -> None:
    job_id = await run_one(site, simulator)
    found = await read(site, job_id=job_id)
    types = [event["type"] for event in found]
    assert types[:2] == ["registered", "first_answer"]
    assert types[-1] == "finished"
    assert types.count("warning_raised") == types.count("variation_ignored") == 1
    assert all(set(event) == {"id", "time", "type", "job_id", "data"} for event in found)
    ids = [event["id"] for event in await read(site)]
    assert ids == sorted(set(ids))


async def test_a_stream_resumes_after_any_event_without_loss_or_repetition(
    site: Site, simulator: Simulator
) -> None:
    for _ in range(3):
        await run_one(site, simulator)
    everything = await read(site)
    for event in everything:
        rest = await read(site, after=event["id"])
        assert rest == [other for other in everything if other["id"] > event["id"]]


async def test_events_are_filtered_by_type_and_job(site: Site, simulator: Simulator) -> None:
    first, second = await run_one(site, simulator), await run_one(site, simulator)
    assert {event["job_id"] for event in await read(site, type="finished")} == {first, second}
    assert [event["job_id"] for event in await read(site, type="finished", job_id=second)] == [
        second
    ]


async def test_events_are_filtered_by_the_variation_they_are_about(
    site: Site, simulator: Simulator
) -> None:
    job_id = simulator.add(Script.warned(0.0))
    await site.put(job_id)
    await site.ends(job_id, "done")
    for name, kind in (("variation", "variation_ignored"), ("warning", "warning_raised")):
        [event] = await read(site, **{name: "shadow_wall"})
        assert (event["type"], event["job_id"]) == (kind, job_id)
        assert await read(site, **{name: "shadow_wall", "type": kind}) == [event]
        assert await read(site, **{name: "clipping"}) == []
        wrong = {name: "shadow_wall", "type": "finished"}
        async with site.client.get("/api/v1/events", params=wrong) as response:
            assert response.status == 422
            assert list((await response.json())["details"]) == [name]


async def test_following_gives_stored_events_and_then_new_ones(
    site: Site, simulator: Simulator
) -> None:
    await run_one(site, simulator)
    before = await read(site)
    async with site.client.get("/api/v1/events", params={"follow": "true"}) as response:
        assert await follow(response, "finished") == before
        job_id = await run_one(site, simulator)
        assert {event["job_id"] for event in await follow(response, "finished")} >= {job_id}


async def test_server_sent_events_have_ids_and_progress_has_none(
    site: Site, simulator: Simulator
) -> None:
    await run_one(site, simulator)
    async with site.client.get("/api/v1/events", headers=SSE) as response:
        assert response.content_type == "text/event-stream"
        job_id = simulator.add(Script.sound(2.0))
        await site.put(job_id)
        seen = []
        async with asyncio.timeout(20):
            async for event in sse(response):
                seen.append(event)
                if event.get("event") == "finished":
                    break
    named = [event for event in seen if "event" in event]
    assert named[0]["event"] == "registered"  # earlier events are not sent
    progress = [event for event in named if event["event"] == "progress"]
    assert progress
    assert all("id" not in event for event in progress)
    shown = json.loads(progress[0]["data"])
    assert shown["job_id"] == job_id
    assert set(shown) == {"job_id", "time", "mode", "step", "progress"}
    ids = [int(event["id"]) for event in named if "id" in event]
    assert ids == sorted(set(ids))


async def test_a_browser_that_reconnects_gets_the_missed_events(
    site: Site, simulator: Simulator
) -> None:
    await run_one(site, simulator)
    everything = await read(site)
    headers = SSE | {"Last-Event-ID": str(everything[0]["id"])}
    async with site.client.get("/api/v1/events", headers=headers) as response:
        seen = []
        async with asyncio.timeout(20):
            async for event in sse(response):
                if "data" in event and "id" in event:
                    seen.append(json.loads(event["data"]))
                if len(seen) == len(everything) - 1:
                    break
    assert seen == everything[1:]


async def test_a_pruned_or_unknown_event_id_is_410(open_site: Open, simulator: Simulator) -> None:
    site = await open_site(storage={"history_events": 3})
    await run_one(site, simulator)
    await site.exporter.registry.upkeep.prune()
    kept = [event["id"] for event in await read(site)]
    assert len(kept) == 3
    assert len(await read(site, after=kept[0] - 1)) == 3
    for after in (kept[0] - 2, kept[-1] + 1):
        async with site.client.get("/api/v1/events", params={"after": str(after)}) as response:
            assert response.status == 410
            assert (await response.json())["error"] == "gone"


async def test_a_slow_follower_reads_from_the_store_and_misses_nothing(
    site: Site, simulator: Simulator
) -> None:
    feed = site.exporter.registry.feed
    feed._items = type(feed._items)(feed._items, maxlen=2)
    async with site.client.get("/api/v1/events", params={"follow": "true"}) as response:
        for _ in range(3):
            await run_one(site, simulator)
        everything = await read(site)
        seen: list[dict[str, Any]] = []
        while len(seen) < len(everything):
            seen += await follow(response, "finished")
    assert seen == everything


async def drop_history(site: Site) -> None:
    """Keep only the newest event in the store."""
    site.change_config("storage", history_events=1)
    await site.exporter.registry.upkeep.prune()


@pytest.mark.parametrize("trouble", [drop_history, break_store])
@pytest.mark.parametrize("follow_all", ["false", "true"])
async def test_a_stream_that_fails_is_cut_and_does_not_look_complete(
    site: Site,
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    trouble: Callable[[Site], Awaitable[None]],
    follow_all: str,
) -> None:
    await run_one(site, simulator)
    monkeypatch.setattr(feed_module, "SLICE", 1)
    feed, read_slice = site.exporter.registry.feed, site.exporter.store.history
    feed._items.clear()
    feed._dropped_id = feed.newest_id
    slices = 0

    async def history(request: HistoryRequest) -> list[StoredEvent]:
        nonlocal slices
        slices += 1
        if slices == 2:
            await trouble(site)
        return await read_slice(request)

    monkeypatch.setattr(site.exporter.store, "history", history)
    query = {"after": "0", "follow": follow_all}
    async with site.client.get("/api/v1/events", params=query) as response:
        assert response.status == 200
        with pytest.raises(ClientError):
            await asyncio.wait_for(response.read(), 60)


async def test_events_during_a_store_failure_are_sent_once_stored(
    site: Site, simulator: Simulator
) -> None:
    store = site.exporter.store
    job_id = simulator.add(Script.stuck(0.0))
    await site.put(job_id)
    await until(lambda: site.exporter.poller.answers.get(job_id))

    def fail() -> None:
        raise __import__("sqlite3").OperationalError("disk I/O error")

    async with site.client.get("/api/v1/events", params={"follow": "true"}) as response:
        store.database.before_commit = fail  # type: ignore[attr-defined]
        body = json.dumps({"job_id": job_id, "state": "done", "status": "done", "mode": "clipping"})
        with simulator.faults.override(job_id, 200, body.encode()):
            await until(lambda: not site.exporter.registry.jobs[job_id].pending)
        store.database.before_commit = lambda: None  # type: ignore[attr-defined]
        seen = await follow(response, "finished")
    assert [event["id"] for event in seen] == [event["id"] for event in await read(site)]


async def test_a_keepalive_is_sent_while_there_are_no_events(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "KEEPALIVE_SECONDS", 0.05)
    async with site.client.get("/api/v1/events", headers=SSE) as response:
        async with asyncio.timeout(20):
            assert {"comment": ""} in [event async for event in _first(sse(response), 3)]
    async with site.client.get("/api/v1/events", params={"follow": "true"}) as response:
        assert await asyncio.wait_for(response.content.readline(), 60) == b"\n"


async def _first(events: AsyncIterator[dict[str, str]], count: int) -> AsyncIterator[Any]:
    async for event in events:
        yield event
        count -= 1
        if not count:
            return


async def test_followers_are_limited_and_one_that_leaves_makes_room(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "MAX_FOLLOWERS", 1)
    monkeypatch.setattr(events_module, "RESERVED_FOLLOWERS", 1)
    monkeypatch.setattr(events_module, "CHECK_SECONDS", 0.02)
    follow_all = {"follow": "true"}

    def follow(headers: Mapping[str, str]) -> Any:
        return site.client.get("/api/v1/events", params=follow_all, headers=headers)

    async with follow(NOBODY), follow(NOBODY) as second:
        assert second.status == 503
        assert second.headers["Retry-After"]
        async with follow(BEARER) as holder, follow(BEARER) as surplus:
            assert (holder.status, surplus.status) == (200, 503)

    async def admitted() -> bool:
        async with follow(NOBODY) as response:
            return bool(response.status == 200)

    await until(admitted)


async def test_streams_end_when_the_exporter_stops(site: Site) -> None:
    async with site.client.get("/api/v1/events", headers=SSE) as response:
        assert await response.content.readuntil(b"\n\n")
        site.exporter.begin_stop()
        rest = await asyncio.wait_for(response.content.read(), 60)
    assert rest == b""


async def test_the_stream_starts_with_an_id_from_which_a_browser_can_resume(
    site: Site, simulator: Simulator
) -> None:
    async with site.client.get("/api/v1/events", headers=SSE) as response:
        assert await response.content.readuntil(b"\n\n") == b"id: 0\nretry: 2000\n\n"
    await run_one(site, simulator)
    newest = (await read(site))[-1]["id"]
    async with site.client.get("/api/v1/events", headers=SSE) as response:
        assert await response.content.readline() == b"id: %d\n" % newest


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"after": "x"}, "after"),
        ({"after": "-1"}, "after"),
        ({"type": "progress"}, "type"),
        ({"follow": "yes"}, "follow"),
        ({"limit": "5"}, "limit"),
    ],
)
async def test_a_wrong_parameter_says_what_is_expected(
    site: Site, query: dict[str, str], field: str
) -> None:
    async with site.client.get("/api/v1/events", params=query) as response:
        assert response.status == 422
        assert set((await response.json())["details"]) == {field}


def test_the_bytes_of_a_block_are_joined_once_for_all_who_want_everything() -> None:
    encoded, everything = events_module.Encoded(events_module.SSE), Wanted(progress=True)
    items = [
        StoredEvent(at, Event(EventType.REGISTERED, job_id, START))
        for at, job_id in enumerate("ab", 1)
    ]
    block = Block(items)
    [first, second] = [encoded.write(block, everything) for _ in range(2)]
    assert first is second
    assert first.count(b"event: registered") == 2
    only_b = encoded.write(block, Wanted(job_id="b"))
    assert first.endswith(only_b)
    assert only_b.count(b"event: registered") == 1
    other_format = events_module.Encoded(events_module.NDJSON).write(block, Wanted())
    assert [json.loads(line)["job_id"] for line in other_format.splitlines()] == ["a", "b"]
    apart = [encoded.write(Block([item]), everything) for item in items]
    assert b"".join(apart) == first
