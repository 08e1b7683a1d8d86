"""Uploads pass through as they come, answers come back unchanged, and the job is tracked."""

import asyncio
import contextlib
import gzip
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from conftest import KEY, AsTheCommand, Open, Site, break_store, until
from failing_store import held

from exporter import stop as stop_module
from exporter.core.reply import MAX_BODY_BYTES
from exporter.simulator import Simulator

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
URL = {"file_url": "https://example.com/shoe.png", "mode": "clipping"}


async def upload(site: Site, document: Any = URL, **headers: str) -> tuple[int, bytes, Any]:
    async with site.client.post(
        "/api/v1/upload", json=document, headers={"X-API-Key": KEY} | headers
    ) as response:
        return response.status, await response.read(), response.headers.copy()


async def test_a_file_passes_through_and_its_job_is_tracked(
    open_site: Open, simulator: Simulator
) -> None:
    site = await open_site(registration={"allowed_labels": ["shop", "Season_2"]})
    form = aiohttp.FormData({"mode": "background"})
    form.add_field("file", os.urandom(300_000), filename="shoe.png")
    async with site.client.post(
        "/api/v1/upload",
        data=form,
        headers={
            "X-API-Key": KEY,
            "Removit-Exporter-Label-Shop": "eu",
            "REMOVIT-EXPORTER-LABEL-season-2": "autumn",
            "Removit-Exporter-Key": "sku-4711",
        },
    ) as response:
        assert response.status == 200
        told = await response.json()
    assert told["status"] == "queued"
    job = await site.job(told["job_id"])
    assert job["source"] == "upload"
    assert job["labels"] == {"shop": "eu", "Season_2": "autumn"}
    assert (job["key"], job["mode"]) == ("sku-4711", "background")
    await until(lambda: simulator.ledger.jobs[told["job_id"]].polls)
    series = 'removit_upstream_requests_total{code="200",endpoint="upload",purpose="client"}'
    assert await site.value(series) == 1


async def test_the_upstreams_errors_are_passed_on_and_counted(
    site: Site, simulator: Simulator
) -> None:
    status, body, _ = await upload(site, {"mode": "clipping"})
    assert (status, json.loads(body)["error"]) == (422, "validation")
    no_credits = (
        'removit_upstream_errors_total{code="402",endpoint="upload",error="insufficient_credits"}'
    )
    assert await site.value(no_credits) == 0
    with simulator.faults.no_credits():
        status, body, _ = await upload(site)
    assert (status, json.loads(body)) == (402, {"error": "insufficient_credits"})
    assert await site.value(no_credits) == 1
    with simulator.faults.outage(503, "html", retry_after=7):
        status, body, headers = await upload(site)
    assert (status, headers["Retry-After"]) == (503, "7")
    assert body.startswith(b"<html>")
    with simulator.faults.revoked_key():
        status, body, _ = await upload(site)
    assert (status, json.loads(body)["error"]) == (401, "unauthorized")
    assert await site.value('removit_jobs_registered_total{source="upload"}') == 0


async def test_without_the_upstreams_key_nothing_is_sent(site: Site, simulator: Simulator) -> None:
    for headers in ({}, {"X-API-Key": "wrong"}):
        async with site.client.post("/api/v1/upload", json=URL, headers=headers) as response:
            assert response.status == 401
            body = await response.json()
            assert body == {"error": "unauthorized", "message": "API key invalid"}
    assert simulator.ledger.requests == {}


async def test_a_bad_label_or_key_is_422_before_anything_is_sent(
    site: Site, simulator: Simulator
) -> None:
    bad = {"Removit-Exporter-Label-Shop": "eu", "Removit-Exporter-Key": "x" * 2000}
    status, body, _ = await upload(site, **bad)
    assert status == 422
    assert set(json.loads(body)["details"]) == {"labels.shop", "key"}
    assert simulator.ledger.jobs == {}


@pytest.mark.parametrize(
    ("key", "length", "code"), [(KEY, 9000, 100), ("wrong", 9000, 401), (KEY, 1025, 413)]
)
async def test_expecting_100_continue_a_refused_file_need_not_be_sent(
    open_site: Open, key: str, length: int, code: int
) -> None:
    site = await open_site(upstream={"max_upload_bytes": "1KiB" if code == 413 else "1MiB"})
    reader, writer = await asyncio.open_connection("127.0.0.1", site.client.port)
    writer.write(
        b"POST /api/v1/upload HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\nX-API-Key: %b\r\n\r\n"
        % (length, key.encode())
    )
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
    assert head.split()[1] == str(code).encode()
    assert (b"\r\nConnection: close\r\n" in head) == (code != 100)
    writer.close()


async def test_http_1_0_gets_no_100_continue(site: Site) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.client.port)
    document = json.dumps(URL).encode()
    writer.write(
        b"POST /api/v1/upload HTTP/1.0\r\nExpect: 100-continue\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\nX-API-Key: %b\r\n\r\n%b"
        % (len(document), KEY.encode(), document)
    )
    assert (await asyncio.wait_for(reader.readline(), 60)).split()[1] == b"200"
    writer.close()


class Recorder:
    """An upstream that notes how an upload came, byte by byte."""

    def __init__(self) -> None:
        self.size = 0
        self.headers: Any = {}
        self.ended = asyncio.Event()
        self.whole = False
        self.paused: asyncio.Event | None = None
        self.body = b""
        self.query = ""
        self.early: bytes | None = None
        self.answer: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None

    async def take(self, request: web.Request) -> web.StreamResponse:
        self.headers, self.query = request.headers, request.rel_url.raw_query_string
        if self.early is not None:
            return web.Response(status=413, body=self.early)
        try:
            async for piece in request.content.iter_any():
                self.size += len(piece)
                self.body = (self.body + piece)[:10_000]
                if self.paused is not None:
                    await self.paused.wait()
            self.whole = True
        except (OSError, aiohttp.ClientError, web.RequestPayloadError):
            pass
        finally:
            self.ended.set()
        if self.answer is not None:
            return await self.answer(request)
        return web.json_response({"job_id": "taken", "status": "queued", "mode": "clipping"})


@pytest.fixture
def server() -> type[TestServer]:
    """How the exporter is served; tests about clients that go away run under both ways."""
    return TestServer


BOTH_SERVERS = pytest.mark.parametrize("server", [TestServer, AsTheCommand])


@pytest.fixture
async def recorder(
    open_site: Open, server: type[TestServer], request: pytest.FixtureRequest
) -> AsyncIterator[tuple[Recorder, Site]]:
    made = Recorder()
    limits = {"max_upload_bytes": "8MiB", "upload_timeout": "30s"} | getattr(request, "param", {})
    app = web.Application(handler_args={"auto_decompress": False})
    app.router.add_post("/api/v1/upload", made.take)
    async with TestServer(app) as upstream:
        limits["base_url"] = f"http://127.0.0.1:{upstream.port}"
        yield made, await open_site(server=server, upstream=limits)


def upload_timeout(duration: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("recorder", [{"upload_timeout": duration}], indirect=True)


async def begin(site: Site, head: str, body: bytes = b"") -> Connection:
    """Send the beginning of an upload over a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.client.port)
    lines = f"POST /api/v1/upload HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {KEY}\r\n{head}\r\n"
    writer.write(lines.encode() + body)
    return reader, writer


async def test_our_own_headers_and_hop_by_hop_headers_are_not_passed_on(
    recorder: tuple[Recorder, Site],
) -> None:
    upstream, site = recorder
    headers = {
        "Removit-Exporter-Key": "sku",
        "X-Forwarded-For": "10.0.0.1",
        "Cookie": "a=b",
        "X-Request-Id": "42",
        "Connection": "keep-alive, X-Hop",
        "X-Hop": "1",
    }
    assert (await upload(site, **headers))[0] == 200
    names = {name.casefold() for name in upstream.headers}
    assert upstream.headers["X-API-Key"] == KEY
    assert upstream.headers["X-Request-Id"] == "42"
    assert upstream.headers["Accept-Encoding"] == "identity"
    assert not names & {"removit-exporter-key", "x-forwarded-for", "cookie", "x-hop"}


async def test_headers_named_by_any_connection_line_are_not_passed_on(
    recorder: tuple[Recorder, Site],
) -> None:
    upstream, site = recorder
    head = "Connection: close, X-One\r\nX-One: 1\r\nconnection: X-Two\r\nX-Two: 2\r\n"
    reader, writer = await begin(site, f"{head}Content-Length: 2\r\n", b"{}")
    assert (await asyncio.wait_for(reader.readline(), 60)).split()[1] == b"200"
    writer.close()
    assert not {"X-One", "X-Two", "Connection"} & set(upstream.headers)


async def test_the_query_is_passed_on_unchanged(recorder: tuple[Recorder, Site]) -> None:
    upstream, site = recorder
    query = "x=%2F+%7e&y&x=a%20b%0d%0aHost:z"
    reader, writer = await asyncio.open_connection("127.0.0.1", site.client.port)
    head = f"POST /api/v1/upload?{query} HTTP/1.0\r\nX-API-Key: {KEY}\r\nContent-Length: 2\r\n\r\n"
    writer.write(head.encode() + b"{}")
    assert (await asyncio.wait_for(reader.readline(), 60)).split()[1] == b"200"
    writer.close()
    assert upstream.query == query


@pytest.mark.parametrize(
    ("coding", "passed_on"), [("gzip", False), ("GZip", False), ("x-own", True)]
)
async def test_a_decoded_body_is_passed_on_without_its_encoding(
    recorder: tuple[Recorder, Site], coding: str, passed_on: bool
) -> None:
    upstream, site = recorder
    plain = json.dumps(URL | {"params": {"note": "a" * 5000}}).encode()
    sent = plain if passed_on else gzip.compress(plain)
    assert await _post(site, sent, {"Content-Encoding": coding}) == 200
    assert upstream.whole
    assert upstream.body == plain
    assert upstream.headers.get("Content-Encoding") == (coding if passed_on else None)
    assert upstream.headers.get("Content-Length") == (str(len(sent)) if passed_on else None)


async def test_the_limit_applies_to_the_length_of_the_decoded_body(
    recorder: tuple[Recorder, Site],
) -> None:
    upstream, site = recorder
    bomb = gzip.compress(bytes(64 * 1024 * 1024))
    with contextlib.suppress(aiohttp.ClientConnectionError):  # it was still sending
        assert await _post(site, bomb, {"Content-Encoding": "gzip"}) == 413
    await asyncio.wait_for(upstream.ended.wait(), 60)
    assert not upstream.whole


async def test_the_answers_headers_come_back_except_those_about_connection_or_origin(
    recorder: tuple[Recorder, Site],
) -> None:
    upstream, site = recorder
    passed = [
        ("Content-Type", "application/problem+json"),
        ("Date", "Tue, 01 Jan 2030 00:00:00 GMT"),
        ("Server", "removit"),
        ("X-Request-Id", "42"),
        ("X-RateLimit-Remaining", "7"),
        ("Link", "</a>; rel=help"),
        ("Link", "</b>; rel=next"),
    ]
    held = [
        ("Connection", "X-Hop"),
        ("X-Hop", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Set-Cookie", "session=1"),
        ("Strict-Transport-Security", "max-age=9; includeSubDomains"),
        ("Access-Control-Allow-Origin", "*"),
        ("Alt-Svc", 'h3=":443"'),
        ("Clear-Site-Data", '"*"'),
        ("X-Accel-Redirect", "/private"),
    ]

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=422, body=b"{}", headers=[*passed, *held])

    upstream.answer = answer
    status, body, headers = await upload(site)
    assert (status, body) == (422, b"{}")
    del headers["Content-Length"]
    assert [(name.title(), value) for name, value in headers.items()] == [
        (name.title(), value) for name, value in passed
    ]


async def test_a_bearer_key_reaches_the_upstream_as_its_key(
    recorder: tuple[Recorder, Site],
) -> None:
    upstream, site = recorder
    headers = {"Authorization": f"Bearer {KEY}"}
    async with site.client.post("/api/v1/upload", json=URL, headers=headers) as response:
        assert response.status == 200
    assert upstream.headers["X-API-Key"] == KEY
    assert "Authorization" not in upstream.headers


async def _post(site: Site, data: Any, headers: dict[str, str] | None = None) -> int:
    async with site.client.post(
        "/api/v1/upload", data=data, headers={"X-API-Key": KEY} | (headers or {})
    ) as response:
        return response.status


async def _endless(pieces: int, size: int = 65536) -> AsyncIterator[bytes]:
    for _ in range(pieces):
        yield bytes(size)


@pytest.mark.parametrize("announced", [True, False])
async def test_an_upload_past_the_limit_is_413_and_the_upstream_never_sees_its_end(
    recorder: tuple[Recorder, Site], announced: bool
) -> None:
    upstream, site = recorder
    headers = {"X-API-Key": KEY}
    if announced:
        headers["Content-Length"] = str(200 * 65536)
    try:
        async with site.client.post(
            "/api/v1/upload", data=_endless(200), headers=headers
        ) as response:
            assert response.status == 413
            assert "upstream.max_upload_bytes" in (await response.json())["message"]
    except aiohttp.ClientConnectionError:  # it was still sending when the answer came
        pass
    if not announced:
        await asyncio.wait_for(upstream.ended.wait(), 60)
    assert not upstream.whole


@BOTH_SERVERS
@pytest.mark.parametrize("framing", ["Content-Length: 500000", "Transfer-Encoding: chunked"])
async def test_a_client_that_goes_away_ends_the_upload_without_an_end(
    recorder: tuple[Recorder, Site], framing: str
) -> None:
    upstream, site = recorder
    _, writer = await begin(site, f"{framing}\r\n", b"5\r\nhello\r\n")
    await until(lambda: upstream.size > 0)
    writer.transport.abort()
    await asyncio.wait_for(upstream.ended.wait(), 60)
    assert not upstream.whole
    async with site.client.get("/api/v1/jobs") as response:
        assert (await response.json())["jobs"] == []
    assert 'endpoint="upload",purpose="client"' not in await site.metrics()


@BOTH_SERVERS
async def test_an_accepted_upload_is_registered_although_the_client_has_left(
    recorder: tuple[Recorder, Site],
) -> None:
    _, site = recorder
    with held(site.exporter.store):
        _, writer = await begin(site, "Content-Length: 2\r\n", b"{}")
        await until(lambda: taken(site))
        writer.transport.abort()
        await asyncio.wait_for(writer.wait_closed(), 60)
        await until(lambda: len(connections(site)) == 1)  # the tests' own
    assert (await until(lambda: site.exporter.registry.jobs.get("taken"))).job_id == "taken"


def connections(site: Site) -> list[Any]:
    """The connections to an exporter that are not lost."""
    runner = site.client.server.runner
    assert runner is not None
    assert runner.server is not None
    return [made for made in runner.server.connections if made.transport is not None]


async def taken(site: Site) -> float | None:
    return await site.value(
        'removit_upstream_requests_total{code="200",endpoint="upload",purpose="client"}'
    )


@upload_timeout("5s")
async def test_time_that_we_need_does_not_count_as_the_upstreams(
    recorder: tuple[Recorder, Site],
) -> None:
    _, site = recorder
    with held(site.exporter.store):
        asked = asyncio.create_task(_post(site, b"{}"))
        done, _ = await asyncio.wait([asked], timeout=5.5)
        assert not done
    assert await asked == 200
    assert site.exporter.registry.jobs.get("taken")
    assert 'code="timeout",endpoint="upload"' not in await site.metrics()


@upload_timeout("500ms")
async def test_a_client_that_sends_too_slowly_is_408_and_does_not_count_as_an_upstream_timeout(
    recorder: tuple[Recorder, Site], caplog: pytest.LogCaptureFixture
) -> None:
    upstream, site = recorder
    reader, writer = await begin(site, "Content-Length: 500000\r\n", b"slow")
    line = await asyncio.wait_for(reader.readline(), 60)
    assert line.split()[1] == b"408"
    await asyncio.wait_for(upstream.ended.wait(), 60)
    assert not upstream.whole
    assert 'endpoint="upload",purpose="client"' not in await site.metrics()
    writer.close()
    await until(lambda: len(connections(site)) == 1)
    assert not caplog.records


async def test_the_upstreams_early_answer_ends_the_sending(
    recorder: tuple[Recorder, Site],
) -> None:
    upstream, site = recorder
    upstream.early = b'{"error": "too_large"}'
    try:
        async with site.client.post(
            "/api/v1/upload", data=_endless(100), headers={"X-API-Key": KEY}
        ) as response:
            assert (response.status, await response.read()) == (413, upstream.early)
    except aiohttp.ClientConnectionError:  # it was still sending when the answer came
        pass
    page = await site.metrics()
    assert 'code="413",endpoint="upload"' in page


@pytest.mark.parametrize("recorder", [{"max_upload_bytes": "128MiB"}], indirect=True)
async def test_the_slower_side_sets_the_pace(recorder: tuple[Recorder, Site]) -> None:
    upstream, site = recorder
    upstream.paused = asyncio.Event()
    sent, pieces = 0, 1500

    async def counted() -> AsyncIterator[bytes]:
        nonlocal sent
        async for piece in _endless(pieces):
            sent += len(piece)
            yield piece

    request = asyncio.create_task(_post(site, counted()))
    before = -1
    while sent != before:  # until nothing more is taken: what lies in the sockets is bounded
        before = sent
        await asyncio.sleep(0.3)
    held_back = sent < pieces * 65536
    upstream.paused.set()
    assert await request == 200
    assert upstream.whole
    assert upstream.size == pieces * 65536
    assert held_back


@pytest.mark.parametrize(("fault", "code"), [("stall", "timeout"), ("dropped", "connection")])
async def test_an_upstream_that_gives_no_answer_is_503_and_counted(
    open_site: Open, simulator: Simulator, fault: str, code: str
) -> None:
    site = await open_site(upstream={"upload_timeout": "300ms"})
    faults = simulator.faults
    with faults.stall() if fault == "stall" else faults.dropped_connection():
        status, body, headers = await upload(site)
    assert (status, json.loads(body)["error"]) == (503, "exporter_unavailable")
    assert headers["Retry-After"]
    assert f'code="{code}",endpoint="upload"' in await site.metrics()


async def test_an_answer_cut_short_is_503_and_counted(recorder: tuple[Recorder, Site]) -> None:
    upstream, site = recorder

    async def cut(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Length": "100"})
        await answer.prepare(request)
        await answer.write(b'{"job_id": "taken"}')
        assert request.transport is not None
        request.transport.close()
        return answer

    upstream.answer = cut
    status, body, _ = await upload(site)
    assert (status, json.loads(body)["error"]) == (503, "exporter_unavailable")
    page = await site.metrics()
    assert 'code="connection",endpoint="upload"' in page
    assert 'code="200",endpoint="upload"' not in page
    assert site.exporter.registry.jobs.get("taken") is None


@pytest.mark.parametrize("whole", [True, False])
async def test_a_long_answer_comes_back_to_its_last_byte_or_is_visibly_cut(
    recorder: tuple[Recorder, Site], whole: bool
) -> None:
    upstream, site = recorder
    sent, long = os.urandom(3 * 1024 * 1024), 4 * 1024 * 1024
    arrived = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Length": str(len(sent) if whole else long)})
        await answer.prepare(request)
        await answer.write(sent)
        if not whole:
            await arrived.wait()
            assert request.transport is not None
            request.transport.abort()
        return answer

    upstream.answer = answer
    got = b""
    async with site.client.post("/api/v1/upload", data=b"{}", headers={"X-API-Key": KEY}) as reply:
        assert reply.status == 200
        broken = contextlib.nullcontext() if whole else pytest.raises(aiohttp.ClientPayloadError)
        with broken:
            async for piece in reply.content.iter_any():
                got += piece
                if len(got) > 1024 * 1024:
                    arrived.set()
    assert got == sent[: len(got)]
    if whole:
        assert len(got) == len(sent)


@contextlib.asynccontextmanager
async def upstream_that_says(open_site: Open, said: bytes) -> AsyncIterator[Site]:
    """Open an exporter whose upstream answers any head with these bytes and closes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        yield await open_site(upstream={"base_url": f"http://127.0.0.1:{port}"})


@pytest.mark.parametrize("value", [b"a\x01b", b"a\x7fb", b"caf\xe9"])
async def test_a_header_of_the_answer_that_is_not_text_is_left_out(
    open_site: Open, value: bytes
) -> None:
    head = b"HTTP/1.1 200 OK\r\nX-Bad: %b\r\nX-Good: 1\r\nContent-Length: 19\r\n\r\n" % value
    async with upstream_that_says(open_site, head + b'{"job_id": "taken"}') as site:
        status, body, headers = await upload(site)
        assert (status, body) == (200, b'{"job_id": "taken"}')
        assert headers["X-Good"] == "1"
        assert "X-Bad" not in headers
        assert site.exporter.registry.jobs.get("taken")


NO_ANSWERS = {
    "nothing": b"",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "a switch of protocols": (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    ),
    "no final status": b"HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\n{}",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 2\r\n\r\n{}abc",
    "a length and chunks": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\n{}\r\n0\r\n\r\n"
    ),
    "no chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZ\r\n{}",
    "a second head in a field": (
        b"HTTP/1.1 200 OK\r\nX: a\rHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    ),
}


@pytest.mark.parametrize("said", NO_ANSWERS.values(), ids=NO_ANSWERS.keys())
async def test_an_invalid_http_answer_is_not_passed_back(
    open_site: Open, said: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    async with upstream_that_says(open_site, said) as site:
        status, body, _ = await upload(site)
        assert (status, json.loads(body)["error"]) == (503, "exporter_unavailable")
        assert 'code="connection",endpoint="upload"' in await site.metrics()
    assert "upload not answered" in caplog.text
    assert KEY not in caplog.text + body.decode()


@upload_timeout("2s")
async def test_a_client_that_does_not_read_a_long_answer_is_disconnected(
    recorder: tuple[Recorder, Site],
) -> None:
    upstream, site = recorder
    let_go = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        try:
            while True:
                await answer.write(bytes(65536))
        finally:
            let_go.set()

    upstream.answer = endless
    _, writer = await begin(site, "Content-Length: 2\r\n", b"{}")
    await asyncio.wait_for(let_go.wait(), 60)
    writer.close()


SMUGGLED = {
    "a length and chunks": (
        "Content-Length: 44\r\nTransfer-Encoding: chunked\r\n",
        b"0\r\n\r\nPOST /api/v1/upload HTTP/1.1\r\nHost: x\r\n\r\n",
    ),
    "two lengths": ("Content-Length: 2\r\nContent-Length: 3\r\n", b"{}x"),
    "a signed length": ("Content-Length: +2\r\n", b"{}"),
    "chunks that are not the last coding": ("Transfer-Encoding: chunked, x\r\n", b"0\r\n\r\n"),
    "a bare line feed": ("X-A: b\nX-B: c\r\nContent-Length: 2\r\n", b"{}"),
    "a space before the colon": ("Content-Length : 2\r\n", b"{}"),
}


@pytest.mark.parametrize(("head", "body"), SMUGGLED.values(), ids=SMUGGLED.keys())
async def test_an_ambiguous_request_head_is_not_passed_on(
    recorder: tuple[Recorder, Site], head: str, body: bytes
) -> None:
    upstream, site = recorder
    reader, writer = await begin(site, head, body)
    assert (await asyncio.wait_for(reader.readline(), 60)).split()[1] == b"400"
    writer.close()
    assert not upstream.headers


LARGE = b'{"job_id": "1", "page": "%b"}' % (b"x" * MAX_BODY_BYTES)
TOO_LARGE = "the answer is larger than 1048576 bytes, so its job_id was not read"


@pytest.mark.parametrize(
    ("body", "coding", "why"),
    [
        (b"{}", "identity", "the answer has no job_id"),
        (LARGE, "identity", TOO_LARGE),
        (gzip.compress(LARGE), "gzip", TOO_LARGE),
    ],
)
async def test_the_log_says_why_an_accepted_upload_is_not_tracked(
    recorder: tuple[Recorder, Site],
    caplog: pytest.LogCaptureFixture,
    body: bytes,
    coding: str,
    why: str,
) -> None:
    upstream, site = recorder

    async def nameless(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, headers={"Content-Encoding": coding})

    upstream.answer = nameless
    async with site.client.post("/api/v1/upload", json=URL, headers={"X-API-Key": KEY}) as response:
        assert response.status == 200
        await response.read()
    [line] = [record for record in caplog.records if record.msg == "upload not tracked"]
    assert line.__dict__["error"] == why


async def test_an_upload_whose_job_cannot_be_registered_is_answered_all_the_same(
    open_site: Open, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    site = await open_site(registration={"max_pending": 1, "job_id_pattern": "[a-f0-9-]{36}"})
    assert (await upload(site))[0] == 200
    assert (await upload(site))[0] == 200
    assert await site.value('removit_exporter_registrations_refused_total{reason="full"}') == 1
    await break_store(site)
    assert (await upload(site))[0] == 200
    assert "upload not tracked" in caplog.text
    assert len(simulator.ledger.jobs) == 3


@pytest.fixture
def short_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop_module, "REQUEST_SECONDS", 0.2)


def stop(site: Site) -> "asyncio.Task[None]":
    """Begin to stop an exporter as the signal does, its clients still there."""
    assert site.client.server.runner is not None
    return asyncio.create_task(site.client.server.runner.cleanup())


@pytest.mark.usefixtures("short_stop")
@pytest.mark.parametrize("server", [AsTheCommand])
@pytest.mark.parametrize("whole", [True, False])
async def test_an_upload_without_an_answer_when_the_exporter_stops_is_503_and_is_logged(
    recorder: tuple[Recorder, Site], caplog: pytest.LogCaptureFixture, whole: bool
) -> None:
    upstream, site = recorder
    upstream.paused = asyncio.Event()
    head = f"Removit-Exporter-Key: sku-1\r\nContent-Length: {2 if whole else 9}\r\n"
    reader, writer = await begin(site, head, b"{}")
    await until(lambda: upstream.size == 2)
    stopping = stop(site)
    answer = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    await asyncio.wait_for(stopping, 60)
    upstream.paused.set()
    assert answer.split()[1] == b"503"
    told = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert told["error"] == "exporter_unavailable"
    assert ("may not have accepted it" in told["message"]) == whole
    [line] = [record for record in caplog.records if record.msg == "upload given up"]
    said = (line.levelname, line.__dict__["key"], line.__dict__["sent_whole"])
    assert said == ("WARNING", "sku-1", whole)


@pytest.mark.usefixtures("short_stop")
@pytest.mark.parametrize("server", [AsTheCommand])
async def test_an_upload_whose_job_cannot_be_registered_before_the_stop_is_answered(
    recorder: tuple[Recorder, Site], caplog: pytest.LogCaptureFixture
) -> None:
    _, site = recorder
    with held(site.exporter.store):
        reader, writer = await begin(
            site, "Removit-Exporter-Key: sku-1\r\nContent-Length: 2\r\n", b"{}"
        )
        await until(lambda: taken(site))
        stopping = stop(site)
        answer = await asyncio.wait_for(reader.read(), 60)
        writer.close()
    await asyncio.wait_for(stopping, 60)
    assert answer.split()[1] == b"200"
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["job_id"] == "taken"
    [line] = [record for record in caplog.records if record.msg == "upload not tracked"]
    assert (line.__dict__["job_id"], line.__dict__["key"]) == ("taken", "sku-1")


@pytest.mark.usefixtures("short_stop")
@BOTH_SERVERS
async def test_an_answer_that_has_begun_when_the_exporter_stops_is_cut(
    recorder: tuple[Recorder, Site],
) -> None:
    upstream, site = recorder
    ends = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        await answer.write(bytes(3 * MAX_BODY_BYTES))
        await ends.wait()
        return answer

    upstream.answer = endless
    reader, writer = await begin(site, "Content-Length: 2\r\n", b"{}")
    assert (await asyncio.wait_for(reader.readline(), 60)).split()[1] == b"200"
    stopping = stop(site)
    rest = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    assert len(rest) > MAX_BODY_BYTES
    assert not rest.endswith(b"0\r\n\r\n")  # the chunk that would say that it is whole
    ends.set()
    await asyncio.wait_for(stopping, 60)


async def test_an_upload_whose_client_leaves_before_the_answer_is_logged(
    recorder: tuple[Recorder, Site], caplog: pytest.LogCaptureFixture
) -> None:
    upstream, site = recorder
    upstream.paused = asyncio.Event()
    _, writer = await begin(site, "Content-Length: 2\r\n", b"{}")
    await until(lambda: upstream.size == 2)
    writer.transport.abort()
    await until(lambda: "upload given up" in caplog.text)
    upstream.paused.set()
