"""Answers that no upstream should give: each is survived, counted, and blamed on no job."""

import asyncio
import contextlib
import errno
import gzip
import itertools
import json
import math
import os
import resource
import socket
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import KEY, Open, Site, until
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.core.reply import MAX_BODY_BYTES
from exporter.simulator import Script, Simulator
from exporter.upstream.connections import our_own_trouble
from exporter.upstream.resolver import DaemonResolver

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


async def early_answers_never_end(write: Write) -> None:
    while True:
        await write(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 10_000)


async def compressed(write: Write) -> None:
    await write(whole(gzip.compress(GOOD), b"Content-Encoding: gzip"))


BOMB = gzip.compress(b" " * 50_000_000)  # once: it takes longer than a time-out below


async def bomb(write: Write) -> None:
    await write(whole(BOMB, b"Content-Encoding: gzip"))


async def not_utf8(write: Write) -> None:
    await write(whole(GOOD.replace(b'"x"', b'"\xff\xfe"')))


async def as_long_as_may_be(write: Write) -> None:
    await write(whole(GOOD + b" " * (MAX_BODY_BYTES - len(GOOD))))


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
        (early_answers_never_end, "connection"),
        (compressed, "200"),
        (bomb, "invalid_body"),
        (nonsense, "connection"),
        (deep, "invalid_body"),
        (not_utf8, "200"),
        (as_long_as_may_be, "200"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
async def test_it_is_survived_and_counted(
    open_site: Open, answer: Callable[[Write], Awaitable[None]], code: str
) -> None:
    async with raw_server(answer) as url:
        timeout = "300ms" if code == "timeout" else "5s"
        site = await open_site(upstream={"base_url": url, "timeout": timeout})
        await site.put("a")

        async def asked_twice() -> dict[str, Any] | None:
            shown = await site.job("a")
            codes = [poll["code"] for poll in shown["polls"]]
            return shown if len(codes) >= 2 and code in codes else None

        shown = await until(asked_twice)
        assert (shown["state"], shown["suspected"]) == ("pending", False)
        assert {poll["code"] for poll in shown["polls"]} <= {code, "timeout"}
        name = "removit_upstream_requests_total"
        counted = await site.value(f'{name}{{code="{code}",endpoint="status",purpose="poll"}}')
        assert counted is not None
        assert counted >= 1
        await site.client.close()


def answered(site: Site, job_id: str = "a") -> bool:
    return "200" in [poll.code for poll in site.exporter.poller.schedule.polls(job_id)]


async def test_early_answers_before_the_answer_are_passed_over(open_site: Open) -> None:
    async def hints_first(write: Write) -> None:
        await write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 100 + whole(GOOD))

    async with raw_server(hints_first) as url:
        site = await open_site(upstream={"base_url": url})
        await site.put("a")
        await until(lambda: answered(site))
        await site.client.close()


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def connections(talk: Talk) -> AsyncIterator[tuple[str, list[int]]]:
    """Serve connections that may be kept; the list counts the requests read from each."""
    requests: list[int] = []
    talks: list[asyncio.Task[Any]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (task := asyncio.current_task()) is not None:
            talks.append(task)
        requests.append(0)
        at = len(requests) - 1
        try:
            while not writer.is_closing():
                await reader.readuntil(b"\r\n\r\n")
                requests[at] += 1
                await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", requests
    server.close()
    await asyncio.wait(talks)


def kept(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


async def test_a_connection_that_breaks_is_one_request_and_counted(open_site: Open) -> None:
    async def break_the_second(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(kept(GOOD))
        await reader.readuntil(b"\r\n\r\n")
        broken.append(1)
        writer.close()

    broken: list[int] = []
    async with connections(break_the_second) as (url, requests):
        # A control request would use the connections as well.
        site = await open_site(upstream={"base_url": url}, judgement={"control": []})
        await site.put("a")
        await until(lambda: len(broken) >= 3)
        counted = [poll.code for poll in site.exporter.poller.schedule.polls("a")]
        await site.client.close()
        assert 0 <= sum(requests) + len(broken) - len(counted) <= 1  # one may be under way
        assert counted[:5] == ["200", "connection"] * 2 + ["200"]


@pytest.mark.parametrize("later", [0.0, 0.1])
async def test_what_comes_after_an_answer_is_not_taken_for_the_next(
    open_site: Open, later: float
) -> None:
    other = kept(GOOD.replace(b'"progress": 5', b'"progress": 99'))

    async def say_more(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(kept(GOOD))
        await asyncio.sleep(later)
        writer.write(other * 5)

    async with connections(say_more) as (url, requests):
        waits = {"min_interval": "500ms", "max_interval": "500ms"}
        site = await open_site(upstream={"base_url": url}, polling=waits)
        await site.put("a")
        await until(lambda: len(requests) >= 3)
        assert set(requests) <= {0, 1}
        assert (await site.job("a"))["progress"] == 5
        await site.client.close()


@pytest.mark.parametrize("host", ["a..b", "x" * 70 + ".example"])
async def test_a_name_that_cannot_be_looked_up_is_an_error(host: str) -> None:
    with pytest.raises(socket.gaierror):
        await asyncio.wait_for(DaemonResolver().resolve(host, 80), 60)


@pytest.mark.parametrize("number", [errno.EADDRNOTAVAIL, errno.ENFILE, errno.ENOMEM])
def test_what_this_machine_lacks_is_its_own_trouble(number: int) -> None:
    assert our_own_trouble(OSError(number, "x")) == os.strerror(number)
    for other in (ConnectionRefusedError(errno.ECONNREFUSED, "x"), ValueError("x")):
        assert our_own_trouble(other) is None


@contextlib.contextmanager
def no_descriptor_to_spare() -> Iterator[None]:
    """Let no file or socket be opened by this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("clients", [False, True])
async def test_without_a_descriptor_nobody_is_blamed_and_it_is_logged(
    open_site: Open,
    simulator: Simulator,
    caplog: pytest.LogCaptureFixture,
    host: str,
    clients: bool,
) -> None:
    site = await open_site(upstream={"base_url": simulator.url.replace("127.0.0.1", host)})
    poller, job_id = site.exporter.poller, simulator.add(Script.stuck(0.1))

    def codes() -> list[str]:
        return [poll.code for poll in poller.schedule.polls(job_id)]

    async def late() -> bool:
        if clients:  # who asks out of turn makes no poll less late
            await poller.ask(job_id, "client", 0.05)
        return time.time() - (poller.schedule.oldest_due() or math.inf) > 3  # outage_window

    async with site.client.get("/-/healthy"):
        pass  # the client keeps its connection; to the upstream there is none yet
    with no_descriptor_to_spare():
        await site.put(job_id)
        await until(late)
        assert set(codes()) == {"internal"}
        assert site.exporter.health.state in ("unknown", "well")
        query = {"job_id": job_id, "debug": "true"}
        async with site.client.get("/probe", params=query) as response:
            story = await response.text()
        assert "It could not be asked from here: Too many open files." in story
    await until(lambda: codes()[-1] == "200")
    told = [record for record in caplog.records if "cannot ask" in record.getMessage()]
    assert len(told) == 1
    assert told[0].__dict__["error"] == "Too many open files"


DONE = json.dumps({"job_id": "a", "state": "done", "final_url": "https://x/y.png"}).encode()


@pytest.mark.parametrize(
    "told", [b"application/json\t\x0b; a=\x01b", b"app\xff\xfe/json", b"a/\xc3"]
)
async def test_a_content_type_that_cannot_be_written_hides_no_finished_job(
    open_site: Open, tmp_path: Path, told: bytes
) -> None:
    async def done(write: Write) -> None:
        await write(whole(DONE, b"Content-Type: " + told))

    async def ask(site: Site) -> tuple[int, str | None, bytes]:
        async with site.client.get(
            "/api/v1/status", params={"job_id": "a"}, headers={"X-API-Key": KEY}
        ) as response:
            return response.status, response.headers.get("Content-Type"), await response.read()

    async with raw_server(done) as url:
        site = await open_site(upstream={"base_url": url})
        await site.put("a")
        await site.ends("a", "done")
        assert await ask(site) == (200, "application/json", DONE)
        await site.client.close()
        with contextlib.closing(sqlite3.connect(tmp_path / "jobs.db")) as database, database:
            # As the exporter once stored it.
            kept = told.decode(errors="replace")
            assert database.execute("UPDATE jobs SET final_type = ?", (kept,)).rowcount == 1
        again = await open_site(upstream={"base_url": url})
        assert await ask(again) == (200, "application/json", DONE)


AWKWARD = {
    "quotes": "qu\"ote's",
    "backslashes": "\\n \\\\ \\",
    "newlines": "one\ntwo\r\nthree\u2028four\x85",
    "controls": "".join(map(chr, range(1, 32))) + "\x7f",
    "nul": "a\x00b",
    "braces": '{a="b",c="d"} 1.0 # EOF',
    "letters": "größe 大小 😀",
}
FORMATS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "text": ("text/plain", parse_text),
    "openmetrics": ("application/openmetrics-text; version=1.0.0", parse_openmetrics),
}


@pytest.mark.parametrize("value", AWKWARD.values(), ids=AWKWARD)
async def test_label_values_come_out_escaped_so_that_they_can_be_read_back(
    open_site: Open, value: str
) -> None:
    good = {
        "state": "pending",
        "status": value,
        "mode": value,
        "warnings": {value: ["x"]},
        "ignored_variations": [value],
    }
    answers = itertools.cycle(
        [
            whole(json.dumps(good).encode()),
            whole(json.dumps({"error": value}).encode()).replace(b"200 OK", b"418 No"),
        ]
    )

    async def answer(write: Write) -> None:
        await write(next(answers))

    async with raw_server(answer) as url:
        site = await open_site(
            upstream={"base_url": url},
            registration={"allowed_labels": ["shop"]},
            metrics={"group_labels": ["shop"], "const_labels": {"env": value}},
        )
        told: dict[str, Any] = {"labels": {"shop": value}, "key": value}
        async with site.client.put("/api/v1/jobs/a", json=told) as response:
            taken = response.status == 201
        if not taken:  # registration refuses what no person means; an upstream may still say it
            await site.put("a")
        await until(lambda: len(site.exporter.poller.schedule.polls("a")) >= 3)
        for accept, parse in FORMATS.values():
            async with site.client.get("/metrics", headers={"Accept": accept}) as response:
                page = await response.text()
            read = {
                (sample.name, label): sample.labels[label]
                for family in parse(page)
                for sample in family.samples
                for label in sample.labels
                if sample.labels[label] == value
            }
            assert {
                ("removit_job_step", "step"),
                ("removit_job_info", "mode"),
                ("removit_job_info", "env"),
                ("removit_jobs_pending", "mode"),
                ("removit_jobs_pending_by_step", "step"),
                ("removit_job_step_transitions_total", "step"),
                ("removit_job_warnings_total", "variation"),
                ("removit_job_ignored_variations_total", "variation"),
                ("removit_upstream_errors_total", "error"),
                ("removit_exporter_build_info", "env"),
            } <= set(read)
            registered = {("removit_job_info", "key"), ("removit_job_info", "shop")}
            assert (registered | {("removit_jobs_pending", "shop")} <= set(read)) is taken
        assert taken is not any(ord(letter) < 32 for letter in value)
        await site.client.close()
