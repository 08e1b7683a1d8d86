"""Answers that no upstream should give: each is survived, counted, and blamed on no job."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from conftest import Open, Site, until

GOOD = json.dumps({"job_id": "a", "state": "pending", "status": "x", "progress": 5}).encode()
Write = Callable[[bytes], Awaitable[None]]


@asynccontextmanager
async def raw_server(answer: Callable[[Write], Awaitable[None]]) -> AsyncIterator[str]:
    """Serve whatever bytes a test likes to each request."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def write(data: bytes) -> None:
            writer.write(data)
            await writer.drain()

        try:
            await reader.readuntil(b"\r\n\r\n")
            await answer(write)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.close()


def whole(body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), b"Connection: close", *headers]
    return b"\r\n".join([*lines, b"", body])


async def never_ends(write: Write) -> None:
    await write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{")
    while True:
        await write(b" " * 65536)


async def drips(write: Write) -> None:
    await write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        await write(b" ")
        await asyncio.sleep(0.05)


async def gigantic_header(write: Write) -> None:
    await write(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n")


async def headers_never_end(write: Write) -> None:
    await write(b"HTTP/1.1 200 OK\r\n")
    while True:
        await write(b"X-A: b\r\n" * 1000)


async def compressed(write: Write) -> None:
    await write(whole(gzip.compress(GOOD), b"Content-Encoding: gzip"))


async def bomb(write: Write) -> None:
    await write(whole(gzip.compress(b" " * 50_000_000), b"Content-Encoding: gzip"))


async def not_utf8(write: Write) -> None:
    await write(whole(GOOD.replace(b'"x"', b'"\xff\xfe"')))


async def nonsense(write: Write) -> None:
    await write(b"\x00\x01\x02 SSH-2.0-OpenSSH\r\n\r\n")


async def deep(write: Write) -> None:
    await write(whole(b"[" * 500_000))


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (never_ends, "invalid_body"),
        (drips, "timeout"),
        (gigantic_header, "connection"),
        (headers_never_end, "connection"),
        (compressed, "invalid_body"),
        (bomb, "invalid_body"),
        (nonsense, "connection"),
        (deep, "invalid_body"),
        (not_utf8, "200"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
async def test_it_is_survived_and_counted(
    open_site: Open, answer: Callable[[Write], Awaitable[None]], code: str
) -> None:
    async with raw_server(answer) as url:
        site = await open_site(upstream={"base_url": url, "timeout": "300ms"})
        await site.put("a")

        async def asked_twice() -> dict[str, Any] | None:
            shown = await site.job("a")
            return shown if len(shown["polls"]) >= 2 else None

        shown = await until(asked_twice)
        assert (shown["state"], shown["suspected"]) == ("pending", False)
        assert {poll["code"] for poll in shown["polls"]} <= {code, "timeout"}
        name = "removit_upstream_requests_total"
        counted = await site.value(f'{name}{{code="{code}",endpoint="status",purpose="poll"}}')
        assert counted is not None
        assert counted >= 1
        await site.client.close()


async def test_label_values_come_out_escaped(open_site: Open) -> None:
    awkward = 'qu"ote \\back\nline'
    body = json.dumps(
        {"state": "pending", "status": awkward, "mode": awkward, "ignored_variations": [awkward]}
    ).encode()

    async def answer(write: Write) -> None:
        await write(whole(body))

    async with raw_server(answer) as url:
        site: Site = await open_site(
            upstream={"base_url": url}, registration={"allowed_labels": ["shop"]}
        )
        await site.put("a", labels={"shop": awkward})

        async def answered() -> bool:
            return (await site.job("a"))["step"] is not None

        await until(answered)
        page = await site.metrics()
        escaped = 'qu\\"ote \\\\back\\nline'
        for line in (
            f'removit_job_step{{job_id="a",step="{escaped}",upstream="removit"}} 1.0',
            f'removit_job_ignored_variations_total{{upstream="removit",variation="{escaped}"}} 1.0',
            f'shop="{escaped}"',
        ):
            assert line in page
        await site.client.close()
