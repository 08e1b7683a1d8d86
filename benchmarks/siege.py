"""One exporter that polls 500 jobs, under one attack after the other.

    .venv/bin/python benchmarks/siege.py [--seconds 60] [ATTACK ...]

For each attack it prints the 99th percentile and the slowest of `/-/healthy` in multiples of the
idle exporter's in the same run, the share of polls that was kept, by how much resident memory grew
at most, how many bytes of log were written, and how long after the end all was normal again.
Exits with 1 when a mark is missed.

`followers` also prints registrations a second as a share of those without followers. One process
registers in both cases, over 16 connections that each send the next request after the answer to the
one before it; another holds the 500 connections, reads them and drops what it reads; a third, this
one, only asks after `/-/healthy` and reads the exporter's memory. The jobs that are registered take
memory, and a line of log when they are forgotten; neither is the followers'
doing. So memory may grow by 3 KiB more for each job, and they are forgotten after the measurement.

The exporter, the upstream and the attacker are processes of their own on loopback; every attack
ends by itself after `--seconds`.
"""

import argparse
import asyncio
import itertools
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
import uuid
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml
from aiohttp import web
from shipped_exporter import BASELINES

JOBS: Final = 500
IDLE_SECONDS: Final = 10.0
NORMAL_SECONDS: Final = 1.0
"""All is normal once `/-/healthy` was quick for this long."""
TOKEN: Final = "siege-token-0123456789"
KEY: Final = "siege-key-0123456789"

P99_TIMES, SLOWEST_TIMES, SLOWEST_SECONDS = 20.0, 100.0, 0.25
KEPT_POLLS, GROWN_MIB, LOG_BYTES, NORMAL_AFTER = 0.8, 64.0, 1 << 20, 10.0
FOLLOWERS: Final = 500
FOLLOWED_SHARE: Final = 0.5
JOB_MIB: Final = 3 / 1024
"""The memory that each registered job may take: the mark of `memory` in docs/performance.md."""


@dataclass(frozen=True)
class Target:
    """Where the exporter is, and how long to attack it."""

    host: str
    port: int
    seconds: float

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def head(self, method: str, path: str, *fields: str) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}:{self.port}", *fields]
        return "\r\n".join([*lines, "", ""]).encode()


REGISTERED: Final[list[str]] = []
"""The jobs that this process has registered and not forgotten."""

Attack = Callable[[Target], Coroutine[Any, Any, str]]
"""Attacks until the time is over, and says in a few words what it did."""


async def together(seconds: float, *attackers: Awaitable[None]) -> None:
    """Let all attack for as long as it takes, and end those that go on."""
    tasks = [asyncio.ensure_future(one) for one in attackers]
    await asyncio.wait(tasks, timeout=seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def gzip_bodies(target: Target) -> str:
    """60 connections send 1 MB that inflates to 1 GiB, 1.8 MB/s in all."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(1 << 20)
    bomb = b"".join(packer.compress(zeros) for _ in range(1024)) + packer.flush()
    head = target.head(
        "GET", "/-/healthy", "Content-Encoding: gzip", f"Content-Length: {len(bomb)}"
    )
    piece, sent = 16 * 1024, itertools.count()
    pace = 60 * piece / 1.8e6

    async def send() -> None:
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection(target.host, target.port)
                try:
                    writer.write(head)
                    for start in range(0, len(bomb), piece):
                        writer.write(bomb[start : start + piece])
                        await writer.drain()
                        next(sent)
                        await asyncio.sleep(pace)
                finally:
                    writer.transport.abort()

    await together(target.seconds, *(send() for _ in range(60)))
    return f"{next(sent) * piece / 1e6:.0f} MB sent"


async def malformed(target: Target) -> str:
    """Malformed requests, one connection after the other, as fast as one core sends them."""
    bad = (
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nBad Header: 1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"a" * 20_000 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    )
    sent = itertools.count()

    async def send() -> None:
        for request in itertools.cycle(bad):
            with suppress(OSError):
                reader, writer = await asyncio.open_connection(target.host, target.port)
                writer.write(request)
                with suppress(TimeoutError):
                    async with asyncio.timeout(5):
                        await reader.read(1)
                writer.transport.abort()
                next(sent)

    await together(target.seconds, *(send() for _ in range(4)))
    return f"{next(sent):,} requests"


async def idle_readers(target: Target) -> str:
    """800 readers ask for the page of metrics and never read it."""
    opened: list[Any] = []

    async def ask() -> None:
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection(target.host, target.port, limit=1)
                writer.transport.pause_reading()  # type: ignore[attr-defined]
                writer.write(target.head("GET", "/metrics", "Accept-Encoding: identity"))
                opened.append(writer)
                await asyncio.sleep(target.seconds)
            await asyncio.sleep(0.5)

    await together(target.seconds, *(ask() for _ in range(800)))
    return f"{len(opened)} readers"


async def followers(target: Target) -> str:
    """500 readers in a process of their own follow the events while this one registers jobs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(BASELINES / "followers.py"), target.url, str(FOLLOWERS)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    await process.stdout.readline()
    done = await registrations(target)
    read, _ = await process.communicate(b"")
    left, megabytes = read.split()
    return f"{done}, {int(left)} followers read {int(megabytes):,} MB"


async def registrations(target: Target) -> str:
    """Register jobs over 16 connections."""
    ends = time.monotonic() + target.seconds

    async def put() -> None:
        reader, writer = await asyncio.open_connection(target.host, target.port)
        while time.monotonic() < ends:
            name = str(uuid.uuid4())
            path = f"/api/v1/jobs/{name}"
            writer.write(target.head("PUT", path, f"Authorization: Bearer {TOKEN}"))
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
            if head.startswith(b"HTTP/1.1 201 "):
                REGISTERED.append(name)
        writer.close()

    await asyncio.gather(*(put() for _ in range(16)))
    return f"{len(REGISTERED) / target.seconds:.0f} registrations/s"


async def forget(target: Target) -> None:
    """Forget those jobs, so that the next attack meets as many as the one before it."""
    headers = {"Authorization": f"Bearer {TOKEN}"}

    async with aiohttp.ClientSession(headers=headers) as session:

        async def delete() -> None:
            while REGISTERED:
                name = REGISTERED.pop()
                async with session.delete(f"{target.url}/api/v1/jobs/{name}"):
                    pass

        await asyncio.gather(*(delete() for _ in range(16)))


async def large_lists(target: Target) -> str:
    """JSON lists of 1 MiB by a holder of the token: 45,000 bad jobs, 524,000 zeros."""
    bodies = [
        json.dumps([{"job_id": "!"}] * 65_000)[: 1 << 20].rpartition(",")[0].encode() + b"]",
        b"[" + b"0," * 524_000 + b"0]",
    ]
    sent = itertools.count()
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}

    async def send(session: aiohttp.ClientSession) -> None:
        for body in itertools.cycle(bodies):
            with suppress(aiohttp.ClientError):
                url = f"{target.url}/api/v1/jobs"
                async with session.post(url, data=body, headers=headers) as response:
                    await response.read()
            next(sent)

    async with aiohttp.ClientSession() as session:
        await together(target.seconds, *(send(session) for _ in range(2)))
    return f"{next(sent)} lists"


async def large_answers(target: Target) -> str:
    """The upstream answers with 1 MiB in 90,000 fields, or with 1,000 new messages each time."""
    await asyncio.sleep(target.seconds)
    return "see the upstream"


async def slow_heads(target: Target) -> str:
    """1,000 connections send their head a byte a second."""
    head = target.head("GET", "/-/healthy", *(f"X-{at}: {at}" for at in range(100)))
    opened = itertools.count()

    async def send() -> None:
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection(target.host, target.port)
                next(opened)
                for byte in head:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(1)
            await asyncio.sleep(0.5)

    await together(target.seconds, *(send() for _ in range(1000)))
    return f"{next(opened)} connections"


async def scrapes(target: Target) -> str:
    """100 scrapes at once, again and again, gzipped."""
    pages = itertools.count()
    connector = aiohttp.TCPConnector(limit=0)

    async def scrape(session: aiohttp.ClientSession) -> None:
        while True:
            with suppress(aiohttp.ClientError):
                async with session.get(f"{target.url}/metrics") as response:
                    async for _ in response.content.iter_any():
                        pass
                next(pages)

    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        await together(target.seconds, *(scrape(session) for _ in range(100)))
    return f"{next(pages)} pages"


ATTACKS: Final[dict[str, Attack]] = {
    "gzip": gzip_bodies,
    "malformed": malformed,
    "readers": idle_readers,
    "followers": followers,
    "lists": large_lists,
    "answers": large_answers,
    "heads": slow_heads,
    "scrapes": scrapes,
}


def attack(name: str, target: Target, pipe: Any) -> None:
    """Be the attacker, in a process of its own; clean up once the siege has measured."""
    pipe.send(asyncio.run(ATTACKS.get(name, registrations)(target)))
    pipe.recv()
    asyncio.run(forget(target))


@asynccontextmanager
async def attacking(name: str, target: Target) -> AsyncIterator[Any]:
    """Attack in a process of its own; yields the pipe through which it says what it did."""
    near, far = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=attack, args=(name, target, far), daemon=True
    )
    process.start()
    far.close()
    yield near
    near.send("clean up")
    await asyncio.to_thread(process.join, 120)


def upstream(pipe: Any) -> None:
    """Be the upstream: answers about any job, and says how many it gave when it is asked."""
    answered, large = 0, False
    # Together just below the 1 MiB of an answer that are read: a longer one is an error of the API,
    # after which polls are rightly fewer.
    # Written once: writing it for each answer takes longer than reading it.
    fields = "".join(f',"f{at}":0' for at in range(90_000))
    messages = itertools.count()

    async def status(request: web.Request) -> web.Response:
        nonlocal answered
        answered += 1
        body: dict[str, Any] = {"job_id": request.query["job_id"], "state": "pending"}
        body |= {"status": "pending_compose", "mode": "params", "progress": 33}
        more = fields if large and answered % 2 else ""
        if large and not more:
            body["warnings"] = {"shadow": [f"message {next(messages)}" for _ in range(1000)]}
        text = json.dumps(body, separators=(",", ":")).removesuffix("}") + more + "}"
        return web.json_response(text=text)

    async def run() -> None:
        nonlocal large
        app = web.Application()
        app.router.add_get("/api/v1/status", status)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        pipe.send(f"http://127.0.0.1:{runner.addresses[0][1]}")
        loop = asyncio.get_running_loop()
        while (said := await loop.run_in_executor(None, pipe.recv)) != "stop":
            large = said == "large"
            pipe.send(answered)

    asyncio.run(run())


@dataclass
class Health:
    """The latencies of `/-/healthy`, asked over a new connection 20 times a second."""

    target: Target
    latencies: list[tuple[float, float]] = field(default_factory=list)
    """When each was asked, and how long it took, in seconds."""

    async def watch(self) -> None:
        while True:
            started = time.monotonic()
            with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(30):
                    await self._ask()
            self.latencies.append((started, time.monotonic() - started))
            await asyncio.sleep(max(0.0, 0.05 - (time.monotonic() - started)))

    async def _ask(self) -> None:
        reader, writer = await asyncio.open_connection(self.target.host, self.target.port)
        writer.write(self.target.head("GET", "/-/healthy", "Connection: close"))
        try:
            await reader.readuntil(b"\r\n\r\n")
        finally:
            writer.transport.abort()

    def since(self, start: float, end: float) -> list[float]:
        return sorted(took for at, took in self.latencies if start <= at < end) or [30.0]

    async def normal_after(self, start: float, limit: float, at_most: float) -> float:
        """Wait until all of `NORMAL_SECONDS` were within `limit`; return how long that took."""
        while time.monotonic() - start < at_most:
            now = time.monotonic()
            latest = self.since(now - NORMAL_SECONDS, now)
            if now - start >= NORMAL_SECONDS and len(latest) > 3 and latest[-1] <= limit:
                return now - start - NORMAL_SECONDS
            await asyncio.sleep(0.1)
        return at_most


def p99(sorted_: list[float]) -> float:
    return sorted_[min(len(sorted_) - 1, len(sorted_) * 99 // 100)]


def resident(pid: int) -> float:
    """Return the resident memory of a process, in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


class Siege:
    """The exporter under attack, what asks after its health, and the upstream."""

    def __init__(self, target: Target, pid: int, log: Path, pipe: Any) -> None:
        self._target = target
        self._pid = pid
        self._log = log
        self._pipe = pipe
        self._health = Health(target)
        self._idle = [0.0]
        self._idle_polls = 0.0
        self._idle_rate = 0.0

    async def run(self, attacks: list[str]) -> bool:
        watching = asyncio.create_task(self._health.watch())
        started, polls = time.monotonic(), self._polls()
        await asyncio.sleep(IDLE_SECONDS)
        self._idle = self._health.since(started, time.monotonic())
        self._idle_polls = (self._polls() - polls) / (time.monotonic() - started)
        if "followers" in attacks:
            idle = replace(self._target, seconds=IDLE_SECONDS)
            async with attacking("registrations", idle) as pipe:
                self._idle_rate = float((await asyncio.to_thread(pipe.recv)).split()[0])
        print(
            f"idle: /-/healthy p99 {p99(self._idle) * 1000:.1f} ms, slowest"
            f" {self._idle[-1] * 1000:.1f} ms, {self._idle_polls:.0f} polls/s,"
            f" {resident(self._pid):.0f} MiB"
        )
        print(
            f"{'attack':11}{'p99':>8}{'slowest':>18}{'polls':>8}{'memory':>11}{'log':>11}"
            f"{'normal':>9}"
        )
        met = [await self._attack(name) for name in attacks]
        watching.cancel()
        return all(met)

    def _polls(self, say: str = "") -> int:
        self._pipe.send(say)
        return int(self._pipe.recv())

    async def _attack(self, name: str) -> bool:
        before, log = resident(self._pid), self._log.stat().st_size
        started, polls = time.monotonic(), self._polls("large" if name == "answers" else "")
        async with attacking(name, self._target) as pipe:
            most = before
            while not pipe.poll():
                most = max(most, resident(self._pid))
                await asyncio.sleep(0.1)
            done = pipe.recv()
            ended = time.monotonic()
            kept = (self._polls() - polls) / (ended - started) / self._idle_polls
            limit = max(10 * self._idle[-1], 0.1)
            normal = await self._health.normal_after(ended, limit, 120.0)
            latencies = self._health.since(started, ended)
            most = max(most, resident(self._pid))
            logged = self._log.stat().st_size - log
            return self._report(name, latencies, kept, most - before, logged, normal, done)

    def _report(
        self,
        name: str,
        latencies: list[float],
        kept: float,
        grown: float,
        log: int,
        normal: float,
        done: str,
    ) -> bool:
        slow, slowest = p99(latencies) / p99(self._idle), latencies[-1]
        rate = float(done.split()[0]) if name == "followers" else 0.0
        jobs = rate * self._target.seconds * JOB_MIB
        times = slowest / self._idle[-1]
        missed = [
            what
            for what, met in (
                ("p99", slow <= P99_TIMES),
                ("slowest", times <= SLOWEST_TIMES or slowest <= SLOWEST_SECONDS),
                ("polls", kept >= KEPT_POLLS),
                ("memory", grown <= GROWN_MIB + jobs),
                ("log", log <= LOG_BYTES),
                ("normal", normal <= NORMAL_AFTER),
            )
            if not met
        ]
        if name == "followers":
            share = rate / self._idle_rate
            done += f", {share:.2f} of those without followers"
            missed += ["registrations"] if share < FOLLOWED_SHARE else []
            missed += ["followers"] if f", {FOLLOWERS} followers" not in done else []
        print(
            f"{name:11}{slow:7.1f}x{times:8.1f}x {slowest * 1000:5.0f} ms{kept:8.0%}"
            f"{grown:+7.0f} MiB{log:9,} B{normal:7.1f} s  {done}"
            + (f"  MISSED: {', '.join(missed)}" if missed else "")
        )
        return not missed


async def fill(target: Target) -> None:
    """Register the jobs, once the exporter is ready."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        while True:
            with suppress(aiohttp.ClientError):
                async with session.get(f"{target.url}/-/ready") as response:
                    if response.status == 200:
                        break
            await asyncio.sleep(0.1)
        jobs = [{"job_id": str(uuid.UUID(int=at))} for at in range(JOBS)]
        async with session.post(f"{target.url}/api/v1/jobs", json=jobs) as response:
            response.raise_for_status()


def free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def main() -> bool:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("attacks", nargs="*", metavar="ATTACK", help=", ".join(ATTACKS))
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each attack lasts")
    options = parser.parse_args()
    if unknown := set(options.attacks) - ATTACKS.keys():
        parser.error(f"no attack is called {', '.join(sorted(unknown))}")
    near, far = multiprocessing.get_context("spawn").Pipe()
    multiprocessing.get_context("spawn").Process(target=upstream, args=(far,), daemon=True).start()
    target = Target("127.0.0.1", free_port(), options.seconds)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "key").write_text(KEY)
        (folder / "token").write_text(TOKEN)
        document = {
            "upstream": {"base_url": near.recv(), "api_key_file": "key", "rate": 100, "burst": 100},
            # Each job every ten seconds: the polls that are kept can be compared.
            "polling": {"min_interval": "10s", "max_interval": "10s"},
            "registration": {"token_file": "token"},
            "storage": {"path": "jobs.db"},
            "web": {"listen_address": f"{target.host}:{target.port}"},
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(document))
        log = folder / "log"
        with log.open("w") as stderr:
            exporter = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "exporter",
                    "run",
                    f"--config.file={folder / 'config.yaml'}",
                ],
                stderr=stderr,
            )
        try:
            asyncio.run(fill(target))
            met = asyncio.run(
                Siege(target, exporter.pid, log, near).run(options.attacks or list(ATTACKS))
            )
        finally:
            near.send("stop")
            exporter.terminate()
            exporter.wait(20)
    return met


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
