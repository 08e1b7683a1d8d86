"""Any request to any route gets an answer of the contract, never a 500, and the server goes on."""

import asyncio
import json
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from aiohttp import web
from conftest import Open, Site
from hypothesis import given
from hypothesis import strategies as st
from support import fuzzed
from yarl import URL

QUIET: dict[str, Any] = {
    "upstream": {"base_url": "http://127.0.0.1:9", "rate": 0.001, "burst": 1},
    "registration": {"max_body_bytes": 4096},
}
NAMES = st.sampled_from(
    ["job_id", "limit", "after", "state", "label.shop", "follow", "collect[]", "debug", "x"]
)
TEXTS = st.text(max_size=12) | st.sampled_from(["", "0", "-1", "1e9", "true", "a,b", "\x00", "é"])
HEADERS = st.dictionaries(
    st.sampled_from(["Accept", "Content-Type", "Authorization", "Last-Event-ID", "X-API-Key"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30),
    max_size=3,
)
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]


@pytest.fixture
async def quiet(open_site: Open) -> Site:
    return await open_site(**QUIET)


def paths(site: Site) -> list[str]:
    """All requests except those whose answer never ends."""
    app = site.client.app
    assert isinstance(app, web.Application)
    found = {route.resource.canonical for route in app.router.routes() if route.resource}
    return sorted(found)


@pytest.mark.fuzz
@fuzzed(150)
@given(st.data())
async def test_any_request_is_answered_as_the_contract_says(
    quiet: Site, data: st.DataObject
) -> None:
    method = data.draw(st.sampled_from(METHODS))
    path = data.draw(st.sampled_from(paths(quiet)))
    path = path.replace("{job_id}", quote(data.draw(TEXTS) or "a", safe=""))
    query = data.draw(st.lists(st.tuples(NAMES, TEXTS), max_size=3))
    query = [(name, value) for name, value in query if name != "follow"]
    headers = data.draw(HEADERS)
    if "event-stream" in headers.get("Accept", ""):
        del headers["Accept"]
    url = URL(quiet.url + path + ("?" + urlencode(query) if query else ""), encoded=True)
    body = data.draw(st.none() | st.binary(max_size=100))
    async with quiet.client.session.request(method, url, headers=headers, data=body) as response:
        answer = await response.read()
        assert response.status < 500 or response.status == 503, answer
        if response.status >= 400 and method != "HEAD" and path.startswith("/api/"):
            assert json.loads(answer)["error"], answer


WIRE = st.lists(
    st.sampled_from(
        [
            *(b"GET ", b"PUT ", b"/api/v1/jobs/a", b" HTTP/1.1", b" HTTP/9.9", b"\r\n", b"\n"),
            *(b"Host: x", b"Content-Length: 5", b"Content-Length: -1", b"Content-Length: 9" * 9),
            *(b"Transfer-Encoding: chunked", b"ffffffff\r\n", b"\x00", b"\xff\xfe", b": "),
            *(b"Expect: 100-continue", b"Upgrade: h2c", b"a" * 9000, b"{}"),
        ]
    )
    | st.binary(max_size=20),
    max_size=12,
).map(b"".join)


@pytest.mark.fuzz
@fuzzed(60)
@given(WIRE)
async def test_any_bytes_on_the_wire_leave_the_server_alive(quiet: Site, sent: bytes) -> None:
    server = URL(quiet.url)
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(sent)
    writer.write_eof()
    answer = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    assert not answer.startswith(b"HTTP/1.1 500"), answer
    async with quiet.client.get("/-/healthy") as response:
        assert response.status == 200
