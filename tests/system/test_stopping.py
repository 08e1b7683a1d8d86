"""How the command stops: in time, with every request answered and every acknowledged job stored."""

import asyncio
import contextlib
import json
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from conftest import TOKEN, until
from processes import Running, running
from system_ports import free_port

from exporter.client import AsyncClient
from exporter.config import ConfigFile
from exporter.storage.sqlite import SqliteStore

Write = Callable[..., ConfigFile]


class Upstream:
    """An API whose jobs stay pending, and which accepts uploads but never answers them."""

    def __init__(self) -> None:
        self.upload_came = asyncio.Event()
        self._never = asyncio.Event()

    async def status(self, request: web.Request) -> web.Response:
        return web.json_response({"job_id": request.query.get("job_id"), "state": "pending"})

    async def upload(self, request: web.Request) -> web.Response:
        await request.read()
        self.upload_came.set()
        await self._never.wait()
        return web.Response()


@pytest.fixture
async def upstream() -> AsyncIterator[tuple[Upstream, str]]:
    made, app = Upstream(), web.Application()
    app.router.add_get("/api/v1/status", made.status)
    app.router.add_post("/api/v1/upload", made.upload)
    server = TestServer(app)
    await server.start_server(shutdown_timeout=0.1)
    yield made, f"http://127.0.0.1:{server.port}"
    await server.close()


UPLOAD = (
    "POST /api/v1/upload HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
    "Removit-Exporter-Key: sku-4711"
)


@pytest.mark.parametrize("locked", [False, True])
async def test_on_sigterm_every_open_request_is_answered_even_if_upstream_and_store_hang(
    write_config: Write, tmp_path: Path, upstream: tuple[Upstream, str], locked: bool
) -> None:
    address = f"127.0.0.1:{free_port()}"
    write_config(web={"listen_address": address}, upstream={"base_url": upstream[1]})
    async with running(tmp_path, address) as exporter:
        with contextlib.closing(sqlite3.connect(tmp_path / "jobs.db")) as other:
            if locked:
                other.execute("BEGIN IMMEDIATE")
            put = "PUT /api/v1/jobs/{} HTTP/1.1\r\nContent-Length: {}"
            asked = [await exporter.send(UPLOAD, "{}"), await exporter.send(put.format("h", 9))]
            if locked:
                asked += [await exporter.send(put.format(f"job-{at}", 0)) for at in range(20)]
            await asyncio.wait_for(upstream[0].upload_came.wait(), 60)
            assert await exporter.ready()
            log = await exporter.stop()
        for answer in await asyncio.gather(*asked):
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"] == "exporter_unavailable"
        assert b"may not have accepted it" in asked[0].result()
    [told] = [line for line in log if line["event"] == "upload given up"]
    assert (told["level"], told["key"]) == ("warning", "sku-4711")
    assert (told["sent_whole"], told["bytes"]) == (True, 2)
    assert ["store not written at the end" in str(log), "never retrieved" in str(log)] == [
        locked,
        False,
    ]


async def test_a_stop_while_an_upload_stalls_is_clean(
    write_config: Write, tmp_path: Path, upstream: tuple[Upstream, str]
) -> None:
    address = f"127.0.0.1:{free_port()}"
    write_config(web={"listen_address": address}, upstream={"base_url": upstream[1]})
    async with running(tmp_path, address) as exporter:
        stalled = await exporter.send(UPLOAD.replace("Length: 2", "Length: 200000"), "{" * 100_000)
        assert await exporter.ready()
        log = await exporter.stop()
        assert (await stalled).startswith(b"HTTP/1.1 503 ")
    assert [line.get("exception") for line in log if line["event"] == "request failed"] == []
    assert "Traceback" not in str(log)


async def test_a_stream_of_jobs_resumes_at_the_next_exporter_where_this_one_stopped(
    write_config: Write, tmp_path: Path, upstream: tuple[Upstream, str]
) -> None:
    address = f"127.0.0.1:{free_port()}"
    write_config(web={"listen_address": address}, upstream={"base_url": upstream[1]})
    names = [f"job-{at}" for at in range(3000)]
    acknowledged, stopped = asyncio.Event(), asyncio.Event()

    async def jobs() -> AsyncIterator[str]:
        for at, name in enumerate(names):
            if at == 1000:
                await stopped.wait()
            yield name

    def progress(position: int) -> None:
        if position == 1000:
            acknowledged.set()

    async with AsyncClient(f"http://{address}", token=TOKEN, patience=60.0) as client:
        async with running(tmp_path, address) as first:
            streaming = asyncio.create_task(client.register_many(jobs(), progress))
            await asyncio.wait_for(acknowledged.wait(), 60)
            await first.stop()
        store = SqliteStore(tmp_path / "jobs.db")
        await store.open()
        assert set(await store.get(names)) == set(names[:1000])
        await store.close()
        stopped.set()
        async with running(tmp_path, address):
            summary = await asyncio.wait_for(streaming, 60)
    assert (summary.registered, summary.known, summary.refused) == (3000, 0, [])


async def test_a_sighup_during_the_start_reloads_the_config_once_after_it(
    write_config: Write, tmp_path: Path
) -> None:
    address = f"127.0.0.1:{free_port()}"
    write_config(web={"listen_address": address})
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "exporter", "run"),
        cwd=tmp_path,
        stderr=asyncio.subprocess.PIPE,
    )
    exporter = Running(process, address)
    try:
        with contextlib.closing(sqlite3.connect(tmp_path / "jobs.db")) as other:
            other.execute("BEGIN IMMEDIATE")  # the start takes until this ends
            await until((tmp_path / "jobs.db.lock").exists)
            write_config(web={"listen_address": address}, jobs=["told-by-hup"])
            for _ in range(3):
                process.send_signal(signal.SIGHUP)
        await until(exporter.ready)

        async def reloaded() -> bool:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"{exporter.url}/api/v1/jobs/told-by-hup") as response,
            ):
                return response.status == 200

        await until(reloaded)
        log = await exporter.stop()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert [line["event"] for line in log].count("config reloaded") == 1


LOOKUPS_HANG = """
import socket, time
look_up = socket.getaddrinfo

def hang(host, *arguments, **more):
    if host == "hangs.example":
        time.sleep(600)
    return look_up(host, *arguments, **more)

socket.getaddrinfo = hang
"""


async def test_a_dns_lookup_that_hangs_does_not_delay_the_stop(
    write_config: Write, tmp_path: Path
) -> None:
    address = f"127.0.0.1:{free_port()}"
    write_config(
        web={"listen_address": address},
        upstream={"base_url": "http://hangs.example", "timeout": "60s", "connect_timeout": "60s"},
    )
    (tmp_path / "sitecustomize.py").write_text(LOOKUPS_HANG)
    async with running(tmp_path, address, PYTHONPATH=str(tmp_path)) as exporter:
        put = "PUT /api/v1/jobs/a HTTP/1.1\r\nContent-Length: 0\r\nConnection: close"
        assert (await (await exporter.send(put))).startswith(b"HTTP/1.1 201 ")

        async def polled() -> bool:
            get = "GET /metrics HTTP/1.1\r\nConnection: close"
            page = await (await exporter.send(get))
            return b'polls_in_flight{upstream="removit"} 1.0' in page

        await until(polled)
        await exporter.stop()
