"""Uploads pass through as they come, answers come back unchanged, and the job is tracked."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from conftest import KEY, Open, Site, break_store, until

from exporter.simulator import Simulator

URL = {"file_url": "https://example.com/shoe.png", "mode": "clipping"}


async def upload(site: Site, document: Any = URL, **headers: str) -> tuple[int, bytes, Any]:
    async with site.client.post(
        "/api/v1/upload", json=document, headers={"X-API-Key": KEY} | headers
    ) as response:
        return response.status, await response.read(), response.headers


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


async def test_expecting_100_continue_a_refused_file_need_not_be_sent(site: Site) -> None:
    for key, answer in ((KEY, "100"), ("wrong", "401")):
        reader, writer = await asyncio.open_connection("127.0.0.1", site.client.port)
        writer.write(
            b"POST /api/v1/upload HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
            b"Content-Type: application/json\r\nContent-Length: 9000\r\n"
            b"X-API-Key: " + key.encode() + b"\r\n\r\n"
        )
        line = await asyncio.wait_for(reader.readline(), 20)
        assert line.split()[1].decode() == answer
        writer.close()


class Recorder:
    """An upstream that notes how an upload came, byte by byte."""

    def __init__(self) -> None:
        self.size = 0
        self.headers: Any = {}
        self.ended = asyncio.Event()
        self.whole = False
        self.paused: asyncio.Event | None = None
        self.answer: bytes | None = None

    async def take(self, request: web.Request) -> web.StreamResponse:
        self.headers = request.headers
        if self.answer is not None:
            return web.Response(status=413, body=self.answer)
        try:
            async for piece in request.content.iter_any():
                self.size += len(piece)
                if self.paused is not None:
                    await self.paused.wait()
            self.whole = True
        except (OSError, aiohttp.ClientError, web.RequestPayloadError):
            pass
        finally:
            self.ended.set()
        return web.json_response({"job_id": "taken", "status": "queued", "mode": "clipping"})


@pytest.fixture
async def recorder(
    open_site: Open, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[Recorder, Site]]:
    made, limit = Recorder(), getattr(request, "param", "8MiB")
    app = web.Application()
    app.router.add_post("/api/v1/upload", made.take)
    async with TestServer(app) as server:
        url = f"http://127.0.0.1:{server.port}"
        limits = {"base_url": url, "max_upload_bytes": limit, "upload_timeout": "30s"}
        yield made, await open_site(upstream=limits)


async def test_what_is_not_the_upstreams_is_not_passed_on(
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


async def test_a_bearer_key_reaches_the_upstream_as_its_key(
    recorder: tuple[Recorder, Site],
) -> None:
    upstream, site = recorder
    headers = {"Authorization": f"Bearer {KEY}"}
    async with site.client.post("/api/v1/upload", json=URL, headers=headers) as response:
        assert response.status == 200
    assert upstream.headers["X-API-Key"] == KEY
    assert "Authorization" not in upstream.headers


async def _post(site: Site, data: Any) -> int:
    async with site.client.post(
        "/api/v1/upload", data=data, headers={"X-API-Key": KEY}
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
        await asyncio.wait_for(upstream.ended.wait(), 20)
    assert not upstream.whole


async def test_a_client_that_goes_away_ends_the_upload_without_an_end(
    recorder: tuple[Recorder, Site],
) -> None:
    upstream, site = recorder
    _, writer = await asyncio.open_connection("127.0.0.1", site.client.port)
    head = (
        "POST /api/v1/upload HTTP/1.1\r\nHost: localhost\r\n"
        f"X-API-Key: {KEY}\r\nContent-Length: 500000\r\n\r\n"
    )
    writer.write(head.encode() + bytes(100_000))
    await until(lambda: upstream.size > 0)
    writer.transport.abort()
    await asyncio.wait_for(upstream.ended.wait(), 20)
    assert not upstream.whole
    async with site.client.get("/api/v1/jobs") as response:
        assert (await response.json())["jobs"] == []


async def test_the_upstreams_early_answer_ends_the_sending(
    recorder: tuple[Recorder, Site],
) -> None:
    upstream, site = recorder
    upstream.answer = b'{"error": "too_large"}'
    try:
        async with site.client.post(
            "/api/v1/upload", data=_endless(100), headers={"X-API-Key": KEY}
        ) as response:
            assert (response.status, await response.read()) == (413, upstream.answer)
    except aiohttp.ClientConnectionError:  # it was still sending when the answer came
        pass
    page = await site.metrics()
    assert 'code="413",endpoint="upload"' in page


@pytest.mark.parametrize("recorder", ["128MiB"], indirect=True)
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


async def test_what_hinders_tracking_hinders_no_upload(
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
