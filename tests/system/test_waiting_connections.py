"""Connections without a request are closed in time, those with one never."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from conftest import BEARER
from system_ports import free_port

from exporter import Config, waiting_connections
from exporter.server import Server
from exporter.waiting_connections import WaitingConnections

MakeConfig = Callable[..., Config]


class Connection:
    """A double of aiohttp's connection; `unread` bytes of an answer are still to be sent."""

    def __init__(self, unread: int = 0) -> None:
        self.closed = False
        self.transport = self
        self._unread = unread

    def get_write_buffer_size(self) -> int:
        return self._unread

    def force_close(self) -> None:
        self.closed = True


def closed(connections: list[Connection]) -> list[int]:
    return [at for at, one in enumerate(connections) if one.closed]


def test_past_the_limit_the_connections_that_waited_longest_are_closed() -> None:
    waiting = WaitingConnections(head_seconds=1000.0, most=3)
    found = [Connection() for _ in range(5)]
    for at in range(1, 5):
        waiting.check(found[:at], float(at))
    assert closed(found) == [0]
    waiting.check(found[1:], 5.0)
    assert closed(found) == [0, 1]


async def test_the_wait_of_a_connection_begins_again_after_each_answer() -> None:
    async def answer(request: Any) -> Any:
        return None

    waiting = WaitingConnections(head_seconds=1000.0, most=1)
    busy, idle = found = [Connection(), Connection()]
    waiting.check([busy], 0.0)
    await waiting.middleware(SimpleNamespace(protocol=busy), answer)  # type: ignore[arg-type]
    waiting.check([busy, idle], 2.0)
    assert closed(found) == [1]


async def test_among_used_connections_the_one_that_waited_longest_is_closed() -> None:
    async def answer(request: Any) -> Any:
        return None

    waiting = WaitingConnections(head_seconds=1000.0, most=2)
    found = [Connection() for _ in range(3)]
    for one in found[:2]:
        await waiting.middleware(SimpleNamespace(protocol=one), answer)  # type: ignore[arg-type]
    waiting.check(found[:2], 0.0)
    for one in (found[0], found[2]):
        await waiting.middleware(SimpleNamespace(protocol=one), answer)  # type: ignore[arg-type]
    waiting.check(found, 2.0)
    assert closed(found) == [1]


def test_a_connection_whose_client_still_reads_an_answer_is_not_waiting() -> None:
    waiting = WaitingConnections(head_seconds=10.0, most=1)
    found = [Connection(unread=1), Connection(), Connection(unread=1)]
    for at in (0.0, 9.9):
        waiting.check(found, at)
    assert closed(found) == []
    waiting.check(found, 10.0)
    assert closed(found) == [1]


@contextlib.asynccontextmanager
async def serving(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Server]:
    """Serve with short waits; the real ones are too long for a test."""
    monkeypatch.setattr(waiting_connections, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(WaitingConnections.__init__, "__defaults__", (0.3, 10_000))
    server = Server(make_config(web={"listen_address": f"127.0.0.1:{free_port()}"}))
    await server.start()
    yield server
    await server.stop()


async def test_a_connection_whose_request_head_never_ends_is_closed(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(make_config, monkeypatch) as server:
        port = int(server.url.rpartition(":")[2])
        read, writers = [], []
        for sent in (b"", b"GET /metrics HTTP/1.1\r\nHost: a\r\nX-"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            writers.append(writer)
            read.append(asyncio.wait_for(reader.read(), 60))
        assert await asyncio.gather(*read) == [b"", b""]
        for writer in writers:
            writer.close()


async def test_long_requests_and_kept_alive_connections_stay_open(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        serving(make_config, monkeypatch) as server,
        aiohttp.ClientSession(headers=BEARER) as session,
    ):
        async with session.get(f"{server.url}/-/healthy") as response:
            assert response.status == 200
        following = {"follow": "true"}
        events = await session.get(f"{server.url}/api/v1/events", params=following)
        async with session.get(f"{server.url}/-/healthy") as response:
            assert response.status == 200
        port = int(server.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await asyncio.wait_for(reader.read(), 60) == b""  # it was opened after those above
        assert len(server._connections()) == 2
        async with session.put(f"{server.url}/api/v1/jobs/a") as response:
            assert response.status == 201
        assert b'"registered"' in await asyncio.wait_for(events.content.readline(), 60)
        assert len(server._connections()) == 2
        events.close()
        writer.close()
