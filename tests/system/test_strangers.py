"""Requests of strangers: nothing is inflated, logged at length, or waited for without an end."""

import asyncio
import contextlib
import gzip
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest
from aiohttp import web
from conftest import BEARER, Open, Site, send_raw, until
from system_ports import free_port

from exporter import Config, waiting_connections
from exporter.metrics.slices import Slice
from exporter.server import Server
from exporter.waiting_connections import WaitingConnections
from exporter.web import jobs, registrations
from exporter.web.metrics import MAX_WRITING

MakeConfig = Callable[..., Config]
MALFORMED = (
    b"GARBAGE\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"a" * 20_000 + b"\r\n\r\n",
)


@contextlib.asynccontextmanager
async def serving(make_config: MakeConfig) -> AsyncIterator[Server]:
    server = Server(make_config(web={"listen_address": f"127.0.0.1:{free_port()}"}))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


class LongPage:
    """A page of metrics that does not fit into the buffers of a connection."""

    left_out = None

    def __iter__(self) -> Iterator[list[Slice]]:
        return iter([[Slice(b"#" * 99_999)]] * 400)


class Connection:
    """What `WaitingConnections` reads of a connection."""

    def __init__(self, transport: Any) -> None:
        self.transport = transport

    def force_close(self) -> None:
        """Nothing here waits long enough."""


async def test_malformed_requests_are_counted_and_logged_in_one_line(
    make_config: MakeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(make_config) as server:
        with caplog.at_level(logging.DEBUG):
            for request in MALFORMED * 4:
                assert (await send_raw(server.url, request)).split()[1] == b"400"
        labels = {"route": "malformed", "method": "other", "code": "400"}
        name = "removit_exporter_http_requests_total"
        counted = server.exporter.metrics.get_sample_value(name, labels)
        assert counted == 4 * len(MALFORMED)
        [line] = [record for record in caplog.records if record.msg == "malformed requests"]
        assert line.levelname == "WARNING"
        assert "Traceback" not in caplog.text


async def test_an_error_inside_the_http_server_is_a_line_that_names_the_upstream(
    make_config: MakeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(request: web.BaseRequest) -> web.StreamResponse:
        raise RuntimeError("why")

    async with serving(make_config) as server:
        assert server._runner.server is not None
        server._runner.server.request_handler = fails
        assert (await send_raw(server.url, b"GET / HTTP/1.0\r\n\r\n")).split()[1] == b"500"
    [line] = [record for record in caplog.records if record.exc_info]
    assert (line.name, line.levelname) == ("removit_exporter", "ERROR")
    assert vars(line)["upstream"] == "removit"


async def test_no_body_is_inflated(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiohttp.http_parser.ZLibDecompressor", inflated := Mock())
    bomb = gzip.compress(bytes(1 << 22))
    headers = {"Content-Encoding": "gzip"}
    async with (
        serving(make_config) as server,
        aiohttp.ClientSession(headers=BEARER) as session,
    ):
        async with session.get(f"{server.url}/-/healthy", data=bomb, headers=headers) as response:
            assert response.status == 200
        headers["Content-Type"] = "application/json"
        url = f"{server.url}/api/v1/jobs/a"
        async with session.put(url, data=bomb, headers=headers) as response:
            assert response.status == 415
            assert "uncompressed" in (await response.json())["message"]
    inflated.assert_not_called()


async def test_a_client_that_reads_nothing_is_disconnected(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_connections, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(waiting_connections, "READ_SECONDS", 0.3)
    async with (
        serving(make_config) as server,
        aiohttp.ClientSession(headers=BEARER) as session,
    ):
        many = [{"job_id": f"job-{at}"} for at in range(2000)]
        async with session.post(f"{server.url}/api/v1/jobs", json=many) as response:
            assert response.status == 200
        port = int(server.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        request = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
        writer.write(request * 50)  # more than the buffers of both sides hold
        await until(lambda: len(server._connections()) == 2)
        await until(lambda: len(server._connections()) == 1)
        writer.close()
        del reader


async def test_clients_that_never_read_take_no_turn_from_a_scrape(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_connections, "READ_SECONDS", 3600)  # the stalled ones stay
    async with serving(make_config) as server:
        monkeypatch.setattr(server.exporter.context.exposition, "page", lambda *_: LongPage())
        port = int(server.url.rpartition(":")[2])
        stalled = []
        for _ in range(MAX_WRITING + 2):
            _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: a\r\nAccept-Encoding: identity\r\n\r\n")
            stalled.append(writer)
        async with (
            asyncio.timeout(20),
            aiohttp.ClientSession() as session,
            session.get(f"{server.url}/metrics") as response,
        ):
            assert len(await response.read()) == 99_999 * 400
        for writer in stalled:
            writer.transport.abort()


def test_a_slow_reader_that_goes_on_reading_is_kept() -> None:
    waiting = WaitingConnections(head_seconds=10.0, most=10)
    aborted: list[str] = []
    unread = {"slow": 100, "stuck": 100, "idle": 0}

    def connection(name: str) -> Any:
        transport = SimpleNamespace(
            get_write_buffer_size=lambda: unread[name], abort=lambda: aborted.append(name)
        )
        return Connection(transport)

    found = [connection(name) for name in unread]
    for at in range(20):
        unread["slow"] -= 1
        waiting.check(found, float(at))
    assert set(aborted) == {"stuck"}


async def test_the_errors_of_a_long_list_are_limited(site: Site) -> None:
    for documents in ([0] * 5000, [{"job_id": "!"}] * 5000):
        response = await site.client.post("/api/v1/jobs", json=documents)
        details = (await response.json())["details"]
        assert response.status == 422
        assert len(details) == jobs.MAX_DETAILS + 1
        assert details[""] == [f"the first {jobs.MAX_DETAILS} errors; there may be more"]


async def test_others_have_their_turn_while_a_long_list_is_read(
    open_site: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = await open_site(registration={"max_pending": 10_000})
    turns = 0

    async def note() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    original = registrations.read_registration
    seen: list[int] = []

    def read(*arguments: Any) -> Any:
        seen.append(turns)
        return original(*arguments)

    monkeypatch.setattr(jobs, "read_registration", read)
    noting = asyncio.create_task(note())
    documents = [{"job_id": f"job-{at}"} for at in range(5000)]
    response = await site.client.post("/api/v1/jobs", json=documents)
    noting.cancel()
    assert response.status == 200
    assert len(set(seen)) >= 5000 // jobs.SLICE
