"""The shipped exporter in a process of its own, and clients that put load on it."""

import asyncio
import contextlib
import gzip
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
BASELINES = Path(__file__).parent / "baselines"
KEY = "key"
TOKEN = "token"
CONNECTIONS = 64


def cpu(pid: int) -> float:
    """Return the user and system seconds that a process's threads have taken so far.

    The kernel's scheduler counts nanoseconds; `stat` counts ticks of 10 ms.
    """
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def resident(pid: int) -> int:
    """Return a process's resident bytes."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def serving(*command: str) -> Iterator[tuple[str, int]]:
    """Run a baseline that prints a line, such as its URL, once it is ready.

    Give the line and the process id. The baseline ends with its standard input.
    """
    process = subprocess.Popen(
        [sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline().strip()
        if not line:
            raise RuntimeError(f"{command} ended before it was ready")
        yield line, process.pid
    finally:
        process.communicate("")


class Exporter:
    """An exporter of the code in `code`, with its files in `folder`."""

    def __init__(self, folder: Path, url: str, code: Path, **sections: Any) -> None:
        for name, text in (("api-key", KEY), ("write-token", TOKEN)):
            (folder / name).write_text(text)
            (folder / name).chmod(0o600)
        document: dict[str, Any] = {
            "upstream": {
                "base_url": url,
                "api_key_file": "api-key",
                "rate": 10000,
                "burst": 1000,
                "concurrency": CONNECTIONS,
            },
            "registration": {
                "token_file": "write-token",
                "allowed_labels": ["shop", "size"],
                "max_pending": 1_000_000,
            },
            "metrics": {"per_job": {"max_jobs": 1_000_000}},
            "web": {"listen_address": "127.0.0.1:0"},
            "storage": {"path": "jobs.db"},
        }
        for name, section in sections.items():
            document.setdefault(name, {}).update(section)
        self._document = document
        self._config = folder / "config.yaml"
        self._config.write_text(yaml.safe_dump(document))
        self._log = folder / "log"
        self._code = code
        self.url = ""
        self.pid = 0
        self.start_seconds = 0.0
        self.start_bytes = 0
        """Its resident bytes once it was ready."""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Exporter":
        started = time.perf_counter()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-c", "from exporter.__main__ import main; main()"),
                    *("run", "--config.file", str(self._config)),
                ],
                stderr=log,
                cwd=self._code,
                env=os.environ | {"PYTHONPATH": "."},
            )
        self.pid = self._process.pid
        while '"url"' not in (text := self._log.read_text()):
            if self._process.poll() is not None:
                raise RuntimeError(text)
            time.sleep(0.01)
        self.url = text.partition('"url": "')[2].partition('"')[0]
        self.start_seconds = time.perf_counter() - started
        self.start_bytes = resident(self.pid)
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait()

    def cpu(self) -> float:
        """Return the CPU seconds that it has taken so far."""
        return cpu(self.pid)

    def rest(self) -> None:
        """Wait until it takes less than 1 % of a core, but at most 10 s."""
        for _ in range(20):
            before = self.cpu()
            time.sleep(0.5)
            if self.cpu() - before < 0.005:
                break

    def set_rate(self, rate: float) -> None:
        """Let it make this many polls in a second from now on."""
        burst = max(1, int(rate / 10))
        self._document["upstream"] |= {"rate": rate, "burst": burst}
        self._config.write_text(yaml.safe_dump(self._document))
        headers = {"Authorization": f"Bearer {TOKEN}"}
        request = urllib.request.Request(f"{self.url}/-/reload", b"", headers)
        urllib.request.urlopen(request).close()

    def register(self, jobs: int, prefix: str = "job", start: int = 0) -> float:
        """Register jobs as NDJSON, with two labels and a key; return the seconds it took."""
        lines = b"".join(
            b'{"job_id": "%s", "key": "sku-%d", "labels": {"shop": "shop-%d", "size": "l"}}\n'
            % (job_name(at, prefix).encode(), at, at % 7)
            for at in range(start, start + jobs)
        )
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/x-ndjson"}
        started = time.perf_counter()
        request = urllib.request.Request(f"{self.url}/api/v1/jobs", lines, headers)
        with urllib.request.urlopen(request) as response:
            last = json.loads(response.read().splitlines()[-1])
        assert last["registered"] == jobs, last
        return time.perf_counter() - started

    def scrape(self, encoding: str = "identity", part: str = "") -> bytes:
        """Return the body of a page, compressed or not."""
        query = f"?collect[]={part}" if part else ""
        headers = {"Accept-Encoding": encoding, "Accept": "application/openmetrics-text"}
        request = urllib.request.Request(f"{self.url}/metrics{query}", headers=headers)
        with urllib.request.urlopen(request) as response:
            body: bytes = response.read()
            return body

    def polls(self) -> int:
        """Return how many polls were answered so far."""
        page = self.scrape(part="exporter").decode() + self.scrape(part="totals").decode()
        found = [
            float(line.rpartition(" ")[2])
            for line in page.splitlines()
            if line.startswith("removit_upstream_requests_total{") and 'purpose="poll"' in line
        ]
        return int(sum(found))


def listed_jobs(body: bytes) -> int:
    """Return how many jobs have series on a page, compressed or not."""
    plain = gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body
    return plain.count(b"\nremovit_job_info{")


def job_name(at: int, prefix: str = "job") -> str:
    """Return a job id that is as random as a UUID, and the same each time."""
    number = (at + 1) * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128
    digits = f"{number:032x}"
    return f"{prefix[0]}{digits[1:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def put_request(job_id: str) -> bytes:
    """Return a PUT that registers a job with two labels."""
    body = b'{"labels": {"shop": "shop-1", "size": "l"}}'
    return (
        f"PUT /api/v1/jobs/{job_id} HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def status_request(job_id: str) -> bytes:
    """Return a status request about a job."""
    head = f"GET /api/v1/status?job_id={job_id} HTTP/1.1\r\nHost: localhost"
    return f"{head}\r\nX-API-Key: {KEY}\r\n\r\n".encode()


def load(url: str, requests: Sequence[bytes], expected: bytes) -> None:
    """Send requests over 64 connections, each after the answer to the one before it."""
    asyncio.run(_load(url, iter(requests), expected))


async def _load(url: str, requests: Iterator[bytes], expected: bytes) -> None:
    host, _, port = url.removeprefix("http://").partition(":")

    async def connection() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for request in requests:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 " + expected), head
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
        writer.close()

    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))


async def slowest_health(url: str, stop: asyncio.Event) -> float:
    """Return the slowest of `/-/healthy`'s answers, one after the other, in seconds."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    slowest = 0.0
    async for _ in _until(stop):
        started = time.perf_counter()
        writer.write(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
        slowest = max(slowest, time.perf_counter() - started)
    writer.close()
    return slowest


async def _until(stop: asyncio.Event) -> AsyncIterator[None]:
    while not stop.is_set():
        yield
        await asyncio.sleep(0.002)
