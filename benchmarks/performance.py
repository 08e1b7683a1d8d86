"""Measures the exporter next to baselines that do the least, and prints one table.

    .venv/bin/python benchmarks/performance.py [--rounds 5] [--jobs 100000] [--code DIR] [NAME ...]

CPU is user and system time of the exporter's process. Each figure is the median of the rounds'
ratios, with their range; the baseline of a round runs right before or after. `--code` measures
another checkout.
"""

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from shipped_exporter import (
    BASELINES,
    ROOT,
    Exporter,
    cpu,
    job_name,
    load,
    put_request,
    resident,
    serving,
    slowest_health,
    status_request,
)


@dataclass(frozen=True)
class Setting:
    """The checkout that a run measures, and the number of jobs."""

    code: Path
    jobs: int


@dataclass(frozen=True)
class Figure:
    """A line of the table: its name, what is compared, its mark; `run` gives (ours, baseline)."""

    name: str
    text: str
    mark: float
    unit: str
    run: Callable[[Setting], Iterator[tuple[float, float]]]
    scale: float = 1e6
    higher_is_better: bool = True
    """Whether the ratio is baseline / ours (of costs) or ours / baseline."""


def baseline(name: str, *arguments: object) -> str:
    """Run a baseline to its end; return what it prints."""
    command = [sys.executable, str(BASELINES / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def calm() -> dict[str, dict[str, float]]:
    """Polls that are too rare to disturb what is measured."""
    return {"upstream": {"rate": 1.0, "burst": 1}}


FAST = {"min_interval": "1s", "max_interval": "1s", "progress_max_age": "1s"}


def version(setting: Setting) -> Iterator[tuple[float, float]]:
    def seconds(code: str, *arguments: str) -> float:
        before = _children()
        subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=setting.code,
            env={"PYTHONPATH": ".", "PATH": ""},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return _children() - before

    main = "from exporter.__main__ import main; main()"
    seconds(main, "--version")
    while True:
        yield seconds(main, "--version"), seconds("pass")


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def restart(setting: Setting) -> Iterator[tuple[float, float]]:
    with (
        serving(str(BASELINES / "upstream.py")) as (upstream, _),
        tempfile.TemporaryDirectory() as full,
        tempfile.TemporaryDirectory() as empty,
    ):
        with Exporter(Path(full), upstream, setting.code, **calm()) as exporter:
            exporter.register(setting.jobs)
        while True:
            with Exporter(Path(full), upstream, setting.code, **calm()) as exporter:
                ours = exporter.start_seconds
            with Exporter(Path(empty), upstream, setting.code, **calm()) as exporter:
                yield ours, exporter.start_seconds


def put(setting: Setting) -> Iterator[tuple[float, float]]:
    count, done = 5000, 0
    with (
        serving(str(BASELINES / "upstream.py")) as (upstream, _),
        serving(str(BASELINES / "server.py")) as (server, server_pid),
        tempfile.TemporaryDirectory() as folder,
        Exporter(Path(folder), upstream, setting.code, **calm()) as exporter,
    ):
        while True:
            requests = [put_request(job_name(at, "put")) for at in range(done, done + count)]
            done += count
            yield cpu_of_both(exporter, server, server_pid, requests, b"201")


def bulk(setting: Setting) -> Iterator[tuple[float, float]]:
    count = 10_000
    with serving(str(BASELINES / "upstream.py")) as (upstream, _):
        while True:
            with (
                tempfile.TemporaryDirectory() as folder,
                Exporter(Path(folder), upstream, setting.code, **calm()) as exporter,
            ):
                yield count / exporter.register(count), float(baseline("rows.py", count))


def status(setting: Setting) -> Iterator[tuple[float, float]]:
    count = 10_000
    with (
        serving(str(BASELINES / "upstream.py")) as (upstream, _),
        serving(str(BASELINES / "server.py")) as (server, server_pid),
        tempfile.TemporaryDirectory() as folder,
        Exporter(Path(folder), upstream, setting.code, polling=FAST) as exporter,
    ):
        exporter.register(200)
        while 'state="pending"' in (page := exporter.scrape(part="jobs").decode()):
            time.sleep(0.5)
            if page.count('state="done"') > 50:
                break
        ended = [
            line.partition('job_id="')[2].partition('"')[0]
            for line in page.splitlines()
            if 'state="done"' in line
        ]
        requests = [status_request(ended[at % len(ended)]) for at in range(count)]
        while True:
            yield cpu_of_both(exporter, server, server_pid, requests, b"200")


def cpu_of_both(
    exporter: Exporter, server: str, server_pid: int, requests: Sequence[bytes], expected: bytes
) -> tuple[float, float]:
    """Send the same requests to the exporter and to the bare server; return CPU per request."""
    before = exporter.cpu(), cpu(server_pid)
    load(exporter.url, requests, expected)
    load(server, requests, expected)
    used = exporter.cpu() - before[0], cpu(server_pid) - before[1]
    return used[0] / len(requests), used[1] / len(requests)


def polls(setting: Setting) -> Iterator[tuple[float, float]]:
    rate = {"rate": 10000 if setting.jobs > 20000 else 1000}
    with (
        serving(str(BASELINES / "upstream.py")) as (upstream, _),
        tempfile.TemporaryDirectory() as folder,
        Exporter(Path(folder), upstream, setting.code, polling=FAST, upstream=rate) as exporter,
    ):
        exporter.register(setting.jobs)
        time.sleep(3)
        while True:
            before, polled = exporter.cpu(), exporter.polls()
            time.sleep(8)
            ours = (exporter.cpu() - before) / (exporter.polls() - polled)
            yield ours, float(baseline("polls.py", upstream, 5000, setting.jobs))


def page(setting: Setting) -> Iterator[tuple[float, float]]:
    yield from _page(setting, "identity")


def gzipped(setting: Setting) -> Iterator[tuple[float, float]]:
    yield from _page(setting, "gzip")


def _page(setting: Setting, encoding: str) -> Iterator[tuple[float, float]]:
    """Scrape each time about half of the jobs were polled; polls wait while a scrape is timed."""
    write, pack, size, packed = json.loads(baseline("page.py", setting.jobs))
    alone = write + (pack if encoding == "gzip" else 0.0)
    print(f"  baseline's page: {size:,} bytes, {packed:,} compressed", file=sys.stderr)
    # Polls come in waves: the learned pace is bounded to one wave in each interval.
    with (
        serving(str(BASELINES / "upstream.py")) as (upstream, _),
        tempfile.TemporaryDirectory() as folder,
        Exporter(
            Path(folder), upstream, setting.code, upstream={"rate": max(1, setting.jobs // 60)}
        ) as exporter,
    ):
        exporter.register(setting.jobs)
        exporter.scrape(encoding)
        while True:
            polled = exporter.polls()
            while exporter.polls() - polled < setting.jobs / 2:
                time.sleep(1)
            time.sleep(0.2)
            idle, started = exporter.cpu(), time.perf_counter()
            time.sleep(2)
            per_second = (exporter.cpu() - idle) / (time.perf_counter() - started)
            before, started = exporter.cpu(), time.perf_counter()
            body = exporter.scrape(encoding, "jobs")
            seconds = time.perf_counter() - started
            ours = exporter.cpu() - before - per_second * seconds
            print(f"  ours: {len(body):,} bytes", file=sys.stderr)
            yield max(ours, 0.001), alone


def health(setting: Setting) -> Iterator[tuple[float, float]]:
    with (
        serving(str(BASELINES / "upstream.py")) as (upstream, _),
        tempfile.TemporaryDirectory() as folder,
        Exporter(Path(folder), upstream, setting.code, **calm()) as exporter,
    ):

        async def measure(*, scraped: bool) -> float:
            stop = asyncio.Event()
            slowest = asyncio.create_task(slowest_health(exporter.url, stop))
            loop = asyncio.get_running_loop()
            if scraped:
                for encoding in ("identity", "gzip"):
                    await loop.run_in_executor(None, exporter.scrape, encoding)
            else:
                await asyncio.sleep(2)
            stop.set()
            return await slowest

        exporter.register(setting.jobs)
        while True:
            idle = asyncio.run(measure(scraped=False))
            yield asyncio.run(measure(scraped=True)), idle


def memory(setting: Setting) -> Iterator[tuple[float, float]]:
    with serving(str(BASELINES / "upstream.py")) as (upstream, _):
        while True:
            with (
                tempfile.TemporaryDirectory() as folder,
                Exporter(Path(folder), upstream, setting.code) as exporter,
            ):
                empty = resident(exporter.pid)
                exporter.register(setting.jobs)
                while exporter.polls() < 8 * setting.jobs:
                    time.sleep(1)
                exporter.scrape()
                yield (resident(exporter.pid) - empty) / setting.jobs, 1024.0


FIGURES = (
    Figure("poll", "a bare loop's CPU per poll / ours", 0.5, "us", polls),
    Figure("page", "generate_latest's CPU per page / ours", 100, "ms", page, 1e3),
    Figure("gzip", "the same, compressed", 30, "ms", gzipped, 1e3),
    Figure("health", "slowest /-/healthy while scraped / idle", 10, "ms", health, 1e3, False),
    Figure("memory", "resident KiB per job after eight polls", 3.0, "KiB", memory, 1 / 1024, False),
    Figure("bulk", "NDJSON jobs/s / bare inserts/s", 0.08, "/s", bulk, 1.0),
    Figure("put", "the CPU of a PUT without a store / ours", 0.35, "us", put),
    Figure("restart", "seconds until ready with all jobs, and empty", 0, "s", restart, 1.0, False),
    Figure("status", "a fixed answer's CPU / a status answer's", 0.65, "us", status),
    Figure("version", "--version / python -c pass", 10, "ms", version, 1e3, False),
)


def ratio(figure: Figure, ours: float, other: float) -> float:
    """Return the figure's ratio, in the direction of its mark."""
    costs = figure.higher_is_better and figure.unit != "/s"
    return other / ours if costs else ours / other


def measure(figure: Figure, setting: Setting, rounds: int) -> str:
    """Run some rounds; return a row of the table."""
    found: list[tuple[float, float]] = []
    run = figure.run(setting)
    for _ in range(rounds):
        found.append(next(run))
    run.close()  # type: ignore[attr-defined]
    ratios = sorted(ratio(figure, *one) for one in found)
    ours, other = (median(one[at] for one in found) * figure.scale for at in (0, 1))
    shown = f"{median(ratios):.3g} ({ratios[0]:.3g} to {ratios[-1]:.3g})"
    return (
        f"| {figure.name} | {figure.text} | {ours:,.4g} {figure.unit} | {other:,.4g} {figure.unit}"
        f" | {shown} | {figure.mark:g} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--code", type=Path, default=ROOT)
    parser.add_argument("names", nargs="*", default=[figure.name for figure in FIGURES])
    options = parser.parse_args()
    setting = Setting(options.code.resolve(), options.jobs)
    print("| name | what | ours | baseline | ratio (range) | mark |")
    print("| --- | --- | --- | --- | --- | --- |")
    for figure in FIGURES:
        if figure.name in options.names:
            print(measure(figure, setting, options.rounds), flush=True)


if __name__ == "__main__":
    main()
