"""The Python client and the verb `register`, with a real exporter and broken connections."""

import asyncio
import inspect
import json
import re
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from conftest import KEY, TOKEN, TOKEN_FILE, Open, Site, until
from system_ports import free_port

from exporter.client import (
    AsyncClient,
    Client,
    Refusal,
    RefusedError,
    Registration,
    UnreachableError,
)
from exporter.simulator import Script, Simulator


async def test_a_job_is_registered_shown_and_forgotten(open_site: Open) -> None:
    site = await open_site(registration={"allowed_labels": ["shop"]})
    at = datetime(2026, 3, 11, 9, 57, 8, tzinfo=UTC)
    async with AsyncClient(site.url, token=TOKEN) as client:
        made = await client.register("a", labels={"shop": "eu"}, key="sku", registered_at=at)
        assert (made["labels"], made["key"]) == ({"shop": "eu"}, "sku")
        assert made["registered_at"] == "2026-03-11T09:57:08.000Z"
        shown = await client.job("a")
        assert shown is not None
        assert shown["events"][0]["type"] == "registered"
        assert await client.forget("a")
        assert not await client.forget("a")
        assert await client.job("a") is None


async def test_a_refusal_says_why_and_is_not_retried(site: Site) -> None:
    async with AsyncClient(site.url, token=TOKEN) as client:
        with pytest.raises(RefusedError, match=r"labels\.shop: not among") as caught:
            await client.register("a", labels={"shop": "eu"})
        assert (caught.value.status, caught.value.body["error"]) == (422, "validation")


async def test_failures_are_listed_and_acknowledged(open_site: Open, simulator: Simulator) -> None:
    site = await open_site()
    lost = simulator.add(Script.lost())
    async with AsyncClient(site.url, token=TOKEN) as client:
        await client.register(lost, key="sku")
        await site.ends(lost, "not_found")
        assert [one["key"] async for one in client.failures()] == ["sku"]
        closed = await client.acknowledge("sku")
        assert closed is not None
        assert closed["job_id"] == lost
        assert await client.acknowledge("sku") is None
        assert [one async for one in client.failures()] == []


async def test_a_stream_stores_valid_jobs_and_names_the_others(site: Site) -> None:
    seen: list[int] = []
    jobs: list[str | Registration | bytes] = [
        "a",
        Registration("b", key="sku"),
        "b/c",
        b'{"job_id": "d"}',
        b"{",
        "a",
    ]
    async with AsyncClient(site.url, token=TOKEN) as client:
        summary = await client.register_many(jobs, seen.append)
    assert (summary.registered, summary.known, summary.taken) == (3, 1, 4)
    assert [(one.position, one.error) for one in summary.refused] == [
        (3, "validation"),
        (5, "malformed"),
    ]
    assert seen[-1] == 6


async def test_an_error_of_the_callers_source_is_raised(site: Site) -> None:
    def jobs() -> Iterator[str]:
        yield "a"
        raise KeyError("mine")

    async with AsyncClient(site.url, token=TOKEN, patience=5.0) as client:
        with pytest.raises(KeyError, match="mine"):
            await client.register_many(jobs())


class Breaking:
    """A fake exporter whose connections break: each request follows one plan.

    It keeps the lines that it acknowledged, so that a test can check them.
    """

    def __init__(self, *plans: str) -> None:
        self.plans = list(plans)
        self.taken: list[str] = []
        self.url = ""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Breaking"]:
        app = web.Application()
        app.router.add_post("/api/v1/jobs", self.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield self
        await runner.cleanup()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        plan = self.plans.pop(0) if self.plans else "well"
        if plan == "unavailable":
            return web.json_response({"error": "exporter_unavailable"}, status=503)
        response = web.StreamResponse()
        await response.prepare(request)
        if plan == "silent":
            await asyncio.sleep(30)
        number = 0
        while line := await request.content.readline():
            number += 1
            if number > 3 and plan == "drops":
                assert request.transport is not None
                request.transport.abort()
                return response
            if number > 3 and plan == "full":
                await self._say(response, {"error": "full", "retry_after": 0.1})
                return response
            self.taken.append(json.loads(line)["job_id"])
            counts = {"registered": number, "known": 0}
            await self._say(response, {"acknowledged_through": number, **counts})
        if plan != "no end":
            done = {"done": True, "registered": number, "known": 0, "refused": 0}
            await self._say(response, done)
        return response

    async def _say(self, response: web.StreamResponse, document: dict[str, Any]) -> None:
        await response.write(json.dumps(document).encode() + b"\n")


@pytest.mark.parametrize("plan", ["drops", "full", "unavailable", "silent", "no end"])
async def test_a_broken_stream_continues_after_the_last_acknowledged_job(plan: str) -> None:
    names = [f"job-{at}" for at in range(10)]
    async with Breaking(plan).serving() as server:
        async with AsyncClient(server.url, timeout=0.5, patience=60.0) as client:
            summary = await client.register_many(names)
        assert list(dict.fromkeys(server.taken)) == names
        assert summary.registered >= 10
        assert summary.refused == []


async def test_jobs_awaited_while_the_connection_breaks_are_sent_by_the_next() -> None:
    names, again = [f"job-{at}" for at in range(150)], asyncio.Event()

    async def jobs() -> AsyncIterator[str]:
        for at, name in enumerate(names):
            if at == 120:
                await again.wait()
            yield name

    async with (
        Breaking("drops").serving() as server,
        AsyncClient(server.url, timeout=5.0, patience=60.0) as client,
    ):
        streaming = asyncio.create_task(client.register_many(jobs()))
        await until(lambda: "job-99" in server.taken)  # by the second request
        again.set()
        await asyncio.wait_for(streaming, 60)
    assert list(dict.fromkeys(server.taken)) == names


async def test_an_abandoned_stream_waits_for_no_more_jobs() -> None:
    ended = asyncio.Event()

    async def jobs() -> AsyncIterator[str]:
        yield "a"
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with Breaking().serving() as server, AsyncClient(server.url) as client:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.register_many(jobs()), 0.5)
        await asyncio.wait_for(ended.wait(), 60)


async def test_when_patience_ends_the_error_says_why() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    async with AsyncClient(url, patience=0.5) as client:
        for work in (client.register("a"), client.register_many(["a"])):
            with pytest.raises(UnreachableError, match="connection refused"):
                await work
    async with (
        Breaking(*["unavailable"] * 9).serving() as server,
        AsyncClient(server.url, patience=0.5) as client,
    ):
        with pytest.raises(UnreachableError, match="exporter_unavailable"):
            await client.register_many(["a"])


async def test_a_client_works_without_a_block_and_after_its_block(site: Site) -> None:
    client = AsyncClient(site.url, token=TOKEN)
    assert (await client.register("a"))["job_id"] == "a"
    await client.close()
    async with client:
        assert await client.job("a") is not None
    assert await client.job("a") is not None
    await client.close()


def test_a_client_works_in_one_loop_after_another() -> None:
    client = AsyncClient("http://127.0.0.1:9", patience=0.0)
    with pytest.raises(UnreachableError, match="connection refused"):
        asyncio.run(client.job("a"))

    async def again() -> None:
        async with client:
            await client.job("a")

    with pytest.raises(UnreachableError, match="connection refused"):
        asyncio.run(again())


async def test_the_blocking_client_works_without_a_block(site: Site) -> None:
    def work() -> None:
        client = Client(site.url, token=TOKEN)
        assert client.register("a")["state"] == "pending"
        client.close()
        assert client.job("a") is not None
        client.close()
        client.close()

    await asyncio.to_thread(work)


async def test_a_program_ends_that_closed_no_client(site: Site) -> None:
    program = (
        "import sys; from exporter.client import Client;"
        "print(Client(sys.argv[1], token=sys.argv[2]).register('a')['job_id'])"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-c", program, site.url, TOKEN),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, out) == (0, b"a\n")


@asynccontextmanager
async def silent() -> AsyncIterator[str]:
    """A server that takes connections and never answers."""

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            pass
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    yield f"http://{host}:{port}"
    server.close()


CALLS: dict[str, Any] = {
    "register": lambda client: client.register("a"),
    "register_many": lambda client: client.register_many(["a"]),
    "register none": lambda client: client.register_many([]),
    "job": lambda client: client.job("a"),
    "jobs": lambda client: anext(client.jobs()),
    "events": lambda client: anext(client.events()),
    "failures": lambda client: anext(client.failures()),
    "acknowledge": lambda client: client.acknowledge("a"),
    "forget": lambda client: client.forget("a"),
    "wait": lambda client: client.wait("a", 600.0),
}


@pytest.mark.parametrize("call", CALLS)
async def test_no_call_hangs_longer_than_patience(call: str) -> None:
    async with silent() as url, AsyncClient(url, patience=0.5, api_key=KEY) as client:
        with pytest.raises(UnreachableError):
            await asyncio.wait_for(CALLS[call](client), 30.0)  # the timeout of an answer is 10 s


async def test_waiting_returns_the_job_once_it_has_ended(site: Site, simulator: Simulator) -> None:
    async with AsyncClient(site.url, token=TOKEN, api_key=KEY) as client:
        for script, state in ((Script.sound(0.5), "done"), (Script.lost(), "not_found")):
            job_id = simulator.add(script)
            await client.register(job_id)
            ended = await client.wait(job_id, 60.0)
            assert (ended["job_id"], ended["state"]) == (job_id, state)
            assert (await client.wait(job_id, 60.0))["state"] == state


async def test_waiting_holds_requests_and_does_not_poll(site: Site, simulator: Simulator) -> None:
    job_id = simulator.add(Script.stuck(0.0))
    async with AsyncClient(site.url, token=TOKEN, api_key=KEY) as client:
        await client.register(job_id)
        with pytest.raises(TimeoutError, match=f"job '{job_id}' has not ended within 2.5 s"):
            await client.wait(job_id, 2.5)
        name = (
            'removit_exporter_http_requests_total{code="200",method="GET",route="/api/v1/status"}'
        )
        requests = await site.value(name)
        assert requests is not None
        assert 1 <= requests <= 5


async def test_waiting_says_what_is_wrong(site: Site) -> None:
    async with AsyncClient(site.url, token=TOKEN, api_key="wrong") as client:
        with pytest.raises(RefusedError, match="401"):
            await client.wait("a", 5.0)
    async with AsyncClient(site.url, api_key=KEY) as client:
        with pytest.raises(RefusedError, match="404 not_found"):
            await client.wait(str(uuid.uuid4()), 5.0)
    with pytest.raises(ValueError, match="pass api_key"):
        await AsyncClient(site.url).wait("a", 5.0)


async def test_an_outage_is_no_end_of_a_wait(site: Site, simulator: Simulator) -> None:
    job_id = simulator.add(Script.sound(0.5))
    with simulator.faults.outage():
        await site.put(job_id)
        client = AsyncClient(site.url, token=TOKEN, api_key=KEY, patience=1.0)
        waiting = asyncio.create_task(client.wait(job_id, 60.0))
        await until(lambda: site.exporter.health.state == "down")
    assert (await waiting)["state"] == "done"
    await client.close()


def test_both_clients_have_the_same_calls_with_the_same_arguments() -> None:
    def calls(kind: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(call).parameters)
            for name, call in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_") or name == "__init__"
        }

    assert calls(Client) == calls(AsyncClient)


async def test_the_blocking_client_works_next_to_a_running_loop(site: Site) -> None:
    def work() -> None:
        with Client(site.url, token=TOKEN) as client:
            assert client.register("a", key="sku")["key"] == "sku"
            summary = client.register_many(["a", "b", "x/y"])
            assert (summary.registered, summary.known) == (1, 1)
            assert summary.refused == [Refusal(3, "validation", summary.refused[0].reason)]
            shown = client.job("b")
            assert shown is not None
            assert [one["job_id"] for one in client.jobs()] == ["b", "a"]
            assert list(client.jobs(key="sku", labels={"shop": "eu"})) == []
            events = client.events(after=0, job_id="b")
            assert [next(events)["type"] for _ in range(2)] == ["connected", "registered"]
            events.close()
            assert {one["key"] for one in client.failures()} <= {"sku", "b"}
            assert client.acknowledge("none") is None
            assert client.forget("b")
            with pytest.raises(RefusedError):
                client.register("a", key="another")

    await asyncio.to_thread(work)


async def register(
    url: str, *arguments: str, given: str = "", directory: Path | None = None
) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "exporter", "register", "--exporter.url", url]
    if "--exporter.token-file" not in arguments:
        command += ["--exporter.token-file", str(TOKEN_FILE)]
    process = await asyncio.create_subprocess_exec(
        *command,
        *arguments,
        cwd=directory,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(given.encode())
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_the_verb_registers_from_arguments_a_file_and_a_pipe(
    open_site: Open, tmp_path: Path
) -> None:
    site = await open_site(registration={"allowed_labels": ["shop", "run"]})
    url = site.url
    assert await register(url, "a", "b", "--label", "shop=eu") == (
        0,
        "registered 2, known 0, refused 0\n",
        "",
    )
    assert (await site.job("a"))["labels"] == {"shop": "eu"}
    lines = ["c", "", '{"job_id": "d", "labels": {"run": "1"}, "key": "sku"}', "x/y", "{oops"]
    (tmp_path / "jobs.ndjson").write_text("\n".join(lines))
    code, out, err = await register(
        url, "--file", "jobs.ndjson", "--label", "shop=us", directory=tmp_path
    )
    assert (code, out) == (1, "registered 2, known 0, refused 2\n")
    assert err.splitlines()[0].startswith("jobs.ndjson:4: validation: job_id: ")
    assert err.splitlines()[1].startswith("jobs.ndjson:5: malformed: ")
    assert (await site.job("d"))["labels"] == {"shop": "us", "run": "1"}
    code, out, _ = await register(url, "a", "--file", "-", given="e\nf\n")
    assert (code, out) == (0, "registered 2, known 1, refused 0\n")
    (tmp_path / "bom.txt").write_bytes(b"\xef\xbb\xbfa\r\ne\r\n")
    code, out, _ = await register(url, "--file", "bom.txt", directory=tmp_path)
    assert (code, out) == (0, "registered 0, known 2, refused 0\n")
    assert await register(url, "g", "--key", "sku-2") == (
        0,
        "registered 1, known 0, refused 0\n",
        "",
    )


async def test_a_full_exporter_says_so_and_how_many_jobs_it_took(
    open_site: Open, simulator: Simulator
) -> None:
    site = await open_site(registration={"max_pending": 2})
    stuck = [simulator.add(Script.stuck(0.0)) for _ in range(3)]
    code, _, err = await register(site.url, *stuck, "--patience", "300ms")
    assert code == 3
    assert "registration.max_pending: 2 jobs are pending already" in err
    assert "registered 2, known 0 before that" in err


async def test_the_verbs_exit_codes_and_errors(site: Site, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("wrong")
    wrong = ("--exporter.token-file", str(tmp_path / "mine"))
    code, _, err = await register(site.url, "a", *wrong)
    assert (code, "401 unauthorized" in err) == (1, True)
    nowhere = f"http://127.0.0.1:{free_port()}"
    code, _, err = await register(nowhere, "a", "--patience", "300ms")
    assert (code, "connection refused; is the exporter running there" in err) == (3, True)
    for arguments in ((), ("a", "b", "--key", "k"), ("a", "--label", "shop"), ("--file", "none")):
        code, _, err = await register(site.url, *arguments)
        assert code == 2, arguments
        assert "Error" in err


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("127.0.0.1:10977", 'the scheme is missing in "127.0.0.1:10977"; expected "http://127.0'),
        ("exporter", 'the scheme is missing in "exporter"; expected "http://exporter"'),
        ("ftp://exporter", 'expected a URL such as "http://127.0.0.1:10977", got "ftp://exporter"'),
    ],
)
def test_a_url_that_cannot_be_the_exporters_is_refused(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        AsyncClient(url)
