"""The runs of `performance.py`: each gives the exporter's cost next to its baseline's, by round.

A run yields, for each round, the figures by name, as (the exporter's, the baseline's). The exporter
is the shipped program in a process of its own, with its default config except rates and limits.
"""

import asyncio
import functools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shipped_exporter import (
    BASELINES,
    Exporter,
    cpu,
    job_name,
    listed_jobs,
    load,
    put_request,
    resident,
    serving,
    slowest_health,
    status_request,
)


@dataclass(frozen=True)
class Setting:
    """The checkout that a run measures, the number of jobs, and the figures that are wanted."""

    code: Path
    jobs: int
    wanted: Collection[str]


Rounds = Generator[Mapping[str, tuple[float, float]], None, None]
Run = Callable[[Setting], Rounds]
CALM: Mapping[str, Any] = {"upstream": {"rate": 1.0, "burst": 1}}
"""Polls that are too rare to disturb what is measured."""
FAST: Mapping[str, Any] = dict.fromkeys(
    ("min_interval", "max_interval", "progress_max_age"), "100ms"
)
"""Jobs are due sooner than they can be polled, so that 64 requests are always under way, as in the
baseline: a loop that waits between two requests needs more CPU for each."""
FULL_RATE = 10_000
WINDOW_SECONDS = 3.0
ENDS_AFTER = 50
"""The mean number of polls after which the baselines' upstream ends a job."""
POLLS = 8
"""The mean number of polls of a job after which memory is read."""
FOLLOWERS = 500


def baseline(name: str, *arguments: object) -> str:
    """Run a baseline to its end; return what it prints."""
    command = [sys.executable, str(BASELINES / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@contextmanager
def exporting(setting: Setting, **sections: Any) -> Iterator[tuple[Exporter, str]]:
    """Run an exporter in an empty folder, and the upstream that it asks; give its URL, too."""
    with (
        serving(str(BASELINES / "upstream.py")) as (upstream, _),
        tempfile.TemporaryDirectory() as folder,
        Exporter(Path(folder), upstream, setting.code, **sections) as exporter,
    ):
        yield exporter, upstream


def version(setting: Setting) -> Rounds:
    def seconds(code: str, *arguments: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=setting.code,
            env={"PYTHONPATH": ".", "PATH": ""},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    main = "from exporter.__main__ import main; main()"
    seconds(main, "--version")
    while True:
        yield {"version": (seconds(main, "--version"), seconds("pass"))}


def restart(setting: Setting) -> Rounds:
    with (
        serving(str(BASELINES / "upstream.py")) as (upstream, _),
        tempfile.TemporaryDirectory() as full,
        tempfile.TemporaryDirectory() as empty,
    ):
        with Exporter(Path(full), upstream, setting.code, **CALM) as exporter:
            exporter.register(setting.jobs)
        while True:
            with Exporter(Path(full), upstream, setting.code, **CALM) as exporter:
                ours, used = exporter.start_seconds, exporter.cpu()
            with Exporter(Path(empty), upstream, setting.code, **CALM) as exporter:
                note(f"CPU until ready: {used:.2f} s, empty {exporter.cpu():.2f} s")
                yield {"restart": (ours, exporter.start_seconds)}


def put(setting: Setting) -> Rounds:
    count, done = 5000, 0
    with (
        exporting(setting, **CALM) as (exporter, _),
        serving(str(BASELINES / "server.py")) as (server, server_pid),
    ):
        while True:
            requests = [put_request(job_name(at, "put")) for at in range(done, done + count)]
            done += count
            yield {"put": cpu_of_both(exporter, server, server_pid, requests, b"201")}


def followed(setting: Setting) -> Rounds:
    """Register jobs with followers of the events and without; each follower gets every event."""
    count, done = 2000, 0
    while True:
        with exporting(setting, **CALM) as (exporter, _):
            rates = []
            for many in (0, FOLLOWERS):
                requests = [put_request(job_name(at, "put")) for at in range(done, done + count)]
                done += count
                with serving(str(BASELINES / "followers.py"), exporter.url, str(many)):
                    started = time.perf_counter()
                    load(exporter.url, requests, b"201")
                    rates.append(count / (time.perf_counter() - started))
            yield {"followed": (rates[1], rates[0])}


def bulk(setting: Setting) -> Rounds:
    count = 10_000
    while True:
        with exporting(setting, **CALM) as (exporter, _):
            before = exporter.cpu()
            rate = count / exporter.register(count)
            note(f"CPU of a job: {(exporter.cpu() - before) / count * 1e6:.0f} us")
            yield {"bulk": (rate, float(baseline("rows.py", count)))}


def status(setting: Setting) -> Rounds:
    count = 10_000
    with (
        exporting(setting, polling=FAST) as (exporter, _),
        serving(str(BASELINES / "server.py")) as (server, server_pid),
    ):
        exporter.register(400)
        ended: list[str] = []
        while len(ended) < 50:
            time.sleep(0.5)
            lines = exporter.scrape(part="jobs").decode().splitlines()
            ended = [line.split('"')[1] for line in lines if 'state="done"' in line]
        exporter.set_rate(1)
        requests = [status_request(ended[at % len(ended)]) for at in range(count)]
        while True:
            yield {"status": cpu_of_both(exporter, server, server_pid, requests, b"200")}


def cpu_of_both(
    exporter: Exporter, server: str, server_pid: int, requests: Sequence[bytes], expected: bytes
) -> tuple[float, float]:
    """Send the same requests to the exporter and to the bare server; return CPU per request."""
    before = exporter.cpu(), cpu(server_pid)
    load(exporter.url, requests, expected)
    load(server, requests, expected)
    used = exporter.cpu() - before[0], cpu(server_pid) - before[1]
    return used[0] / len(requests), used[1] / len(requests)


def polling(name: str, jobs: int) -> Run:
    """Return a run that measures `name`, the CPU of a poll, with this many jobs."""

    def run(setting: Setting) -> Rounds:
        with exporting(setting, polling=FAST, upstream={"rate": FULL_RATE}) as (exporter, upstream):
            exporter.register(jobs)
            ended = 0
            time.sleep(1)
            while True:
                yield {name: _cpu_of_poll(exporter, upstream, jobs)}
                before, ended = ended, exporter.polls() // ENDS_AFTER
                exporter.register(ended - before, start=jobs + before)

    return run


def _cpu_of_poll(exporter: Exporter, upstream: str, jobs: int) -> tuple[float, float]:
    polls, before = exporter.polls(), exporter.cpu()
    time.sleep(WINDOW_SECONDS)
    used, polls = exporter.cpu() - before, exporter.polls() - polls
    note(f"{polls / WINDOW_SECONDS:.0f} polls/s")
    return used / polls, float(baseline("polls.py", upstream, 5000, jobs))


def scraping(name: str, jobs: int) -> Run:
    """Return a run that measures `name`, the CPU of a page, with this many jobs."""

    def run(setting: Setting) -> Rounds:
        with _all_jobs(setting, jobs) as (exporter, _):
            while True:
                yield {name: _page(exporter, jobs, "identity")}

    return run


def all_jobs(setting: Setting) -> Rounds:
    """Measure all that needs `setting.jobs`: half of them are polled between two measurements."""
    jobs, wanted = setting.jobs, setting.wanted
    with _all_jobs(setting, jobs) as (exporter, upstream):
        while True:
            found: dict[str, tuple[float, float]] = {}
            for name, encoding in (("page", "identity"), ("gzip", "gzip")):
                if name in wanted:
                    found[name] = _page(exporter, jobs, encoding)
            if "health" in wanted:
                found["health"] = _health(exporter, jobs)
            if "poll" in wanted:  # after the pages, when most jobs have been answered once
                found["poll"] = _cpu_of_poll(exporter, upstream, jobs)
            if "memory" in wanted:
                found["memory"] = (_memory(exporter, jobs), 1024.0)
            yield found


def _memory(exporter: Exporter, jobs: int) -> float:
    """Return a job's resident bytes after it was polled and scraped, as Prometheus scrapes.

    Free memory is given back within a minute.
    """
    while exporter.polls() < POLLS * jobs:
        time.sleep(1)
    exporter.set_rate(1)
    for _ in range(2):  # the plain lines were asked for as well before, but not any more
        exporter.scrape("gzip")
    time.sleep(61)
    grown = resident(exporter.pid) - exporter.start_bytes
    exporter.set_rate(FULL_RATE)
    return grown / jobs


@contextmanager
def _all_jobs(setting: Setting, jobs: int) -> Iterator[tuple[Exporter, str]]:
    with exporting(setting, polling=FAST, upstream={"rate": 1}) as (exporter, upstream):
        exporter.register(jobs)
        for encoding in ("identity", "gzip"):
            exporter.scrape(encoding)
        exporter.set_rate(FULL_RATE)
        yield exporter, upstream


@functools.cache
def _baselines_page(jobs: int) -> tuple[float, float]:
    """Return the CPU seconds in which the baseline writes its page, and deflates it."""
    write, pack, size, packed = json.loads(baseline("page.py", jobs))
    note(f"baseline's page: {size:,} bytes, {packed:,} compressed")
    return write, pack


def _page(exporter: Exporter, jobs: int, encoding: str) -> tuple[float, float]:
    """Return the CPU of a scrape, and that of the baseline's page for as many jobs.

    Half of the jobs were polled since the scrape before, which asked for the same form, as a server
    does that always asks for the same. Polls wait while it is measured. In a run longer than
    `metrics.per_job.linger`, jobs that ended leave the page, which costs CPU as well.
    """
    write, pack = _baselines_page(jobs)
    former = listed_jobs(exporter.scrape(encoding))
    with _resting(exporter, jobs / 2):
        before = exporter.cpu()
        body = exporter.scrape(encoding, "jobs")
        ours = exporter.cpu() - before
    listed = listed_jobs(body)
    note(f"ours: {len(body):,} bytes, {listed:,} jobs, {former - listed:,} left since")
    alone = write + (pack if encoding == "gzip" else 0.0)
    return ours, alone * listed / jobs


@contextmanager
def _resting(exporter: Exporter, polls: float) -> Iterator[None]:
    """Wait for this many polls, then let the exporter poll no more until the block ends."""
    begun = exporter.polls()
    while exporter.polls() - begun < polls:
        time.sleep(0.5)
    exporter.set_rate(1)
    note(f"{exporter.polls() - begun:,} polls")
    exporter.rest()
    yield
    exporter.set_rate(FULL_RATE)


def _health(exporter: Exporter, jobs: int) -> tuple[float, float]:
    async def slowest(*encodings: str) -> float:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        asking = asyncio.create_task(slowest_health(exporter.url, stop))
        for encoding in encodings:
            await loop.run_in_executor(None, exporter.scrape, encoding)
        if not encodings:
            await asyncio.sleep(2)
        stop.set()
        return await asking

    with _resting(exporter, jobs / 2):
        idle = asyncio.run(slowest())
        return asyncio.run(slowest("identity", "gzip")), idle


def note(text: str) -> None:
    """Print a detail of a figure."""
    print(f"  {text}", file=sys.stderr, flush=True)
