"""Measures the exporter next to baselines that do the least, and prints one table.

    .venv/bin/python benchmarks/performance.py [--rounds 5] [--jobs 100000] [--code DIR] [NAME ...]

CPU is user and system time of the exporter's process. Each figure is the median of the rounds'
ratios, with their range; the baseline of a round runs right before or after. `--code` measures
another checkout. `--write` puts the table and a plot into the docs, if every figure was measured.
"""

import argparse
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby, islice
from pathlib import Path
from statistics import median

from performance_plot import Bar, plot
from performance_runs import (
    Run,
    Setting,
    all_jobs,
    bulk,
    followed,
    polling,
    put,
    restart,
    scraping,
    status,
    version,
)
from shipped_exporter import ROOT

PAGE = ROOT / "docs" / "performance.md"
PLOT = ROOT / "docs" / "images" / "performance.svg"
BEGIN, END = "<!-- written by make bench -->", "<!-- end -->"


def saved(ours: float, other: float) -> float:
    """Return the baseline's cost divided by ours."""
    return other / ours


def times(ours: float, other: float) -> float:
    """Return ours divided by the baseline's."""
    return ours / other


def more(ours: float, other: float) -> float:
    """Return by how much ours is more than the baseline's."""
    return ours - other


SCALES: Mapping[str, float] = {"s": 1, "ms": 1e3, "us": 1e6, "/s": 1, "KiB": 1 / 1024}
"""What turns seconds, bytes and rates into each unit."""


@dataclass(frozen=True)
class Figure:
    """A line of the table.

    Its name and its run; what is compared, how, and the unit of both costs; its mark, whether that
    is the most or the least that is well, and the first version's figure.
    """

    name: str
    run: Run
    text: str
    compare: Callable[[float, float], float]
    unit: str
    mark: float
    at_most: bool = False
    first: float | None = None

    def is_met(self, value: float) -> bool:
        return value <= self.mark if self.at_most else value >= self.mark


@dataclass(frozen=True)
class Row:
    """A measured figure: the ratios of the rounds, sorted, and the medians of both costs."""

    figure: Figure
    ratios: Sequence[float]
    ours: float
    other: float

    @property
    def value(self) -> float:
        return median(self.ratios)

    def __str__(self) -> str:
        figure = self.figure
        first = "" if figure.first is None else f"{figure.first:g}"
        side = "at most" if figure.at_most else "at least"
        return (
            f"| `{figure.name}` | {figure.text} | {self.ours:,.4g} {figure.unit}"
            f" | {self.other:,.4g} {figure.unit} | {first}"
            f" | {self.value:.3g} ({self.ratios[0]:.3g} to {self.ratios[-1]:.3g})"
            f" | {side} {figure.mark:g} | {'yes' if figure.is_met(self.value) else 'no'} |"
        )


HEAD = (
    "| name | what | exporter | baseline | first version | now (range) | mark | met |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- |"
)


def figures(jobs: int) -> list[Figure]:
    """Return all figures; those of one run follow each other."""
    poll, page = "a bare loop's CPU of a poll / ours", "`generate_latest`'s CPU of a page / ours"
    few, tenth = min(1000, jobs), max(1, jobs // 10)
    return [
        Figure("version", version, "`--version` / `python -c pass`", times, "ms", 10, at_most=True),
        Figure("bulk", bulk, "NDJSON jobs/s / bare inserts/s", times, "/s", 0.08, first=0.014),
        Figure("put", put, "CPU of a PUT without a store / ours", saved, "us", 0.35, first=0.05),
        Figure(
            "followed", followed, "PUTs/s with 500 followers / none", times, "/s", 0.5, first=0.02
        ),
        Figure(
            "status",
            status,
            "CPU of a fixed answer / a status answer",
            saved,
            "us",
            0.65,
            first=0.44,
        ),
        Figure(
            "poll-few",
            polling("poll-few", few),
            f"{poll}, {few:,} jobs",
            saved,
            "us",
            0.65,
            first=0.36,
        ),
        Figure(
            "page-tenth",
            scraping("page-tenth", tenth),
            f"{page}, {tenth:,} jobs",
            saved,
            "ms",
            60,
            first=4.3,
        ),
        Figure("poll", all_jobs, f"{poll}, {jobs:,} jobs", saved, "us", 0.5, first=0.21),
        Figure("page", all_jobs, f"{page}, {jobs:,} jobs", saved, "ms", 100, first=4.1),
        Figure("gzip", all_jobs, "the same, compressed", saved, "ms", 30, first=3.6),
        Figure(
            "health",
            all_jobs,
            "slowest `/-/healthy` while scraped / idle",
            times,
            "ms",
            10,
            at_most=True,
        ),
        Figure(
            "memory",
            all_jobs,
            "resident KiB of a job after eight polls",
            times,
            "KiB",
            3.0,
            at_most=True,
            first=3.9,
        ),
        Figure(
            "restart",
            restart,
            "seconds until ready - when empty",
            more,
            "s",
            1.5,
            at_most=True,
            first=6.8,
        ),
    ]


def measure(wanted: Sequence[Figure], setting: Setting, rounds: int) -> Iterator[Row]:
    """Do some rounds of each run; yield the rows of the figures."""
    for run, given in groupby(wanted, lambda figure: figure.run):
        with closing(run(setting)) as going:
            found = list(islice(going, rounds))
        for figure in given:
            pairs = [one[figure.name] for one in found]
            yield Row(
                figure,
                sorted(figure.compare(*pair) for pair in pairs),
                *(median(pair[side] for pair in pairs) * SCALES[figure.unit] for side in (0, 1)),
            )


def machine() -> str:
    """Return the date, what the figures were measured on, and how busy it was."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    model = names[0] if names else platform.machine()
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores ({model}),"
        f" Python {platform.python_version()}, load average {os.getloadavg()[2]:.1f} at the end"
    )


def write(rows: Sequence[Row], jobs: int, rounds: int) -> None:
    """Put the table and the plot into the docs."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    head = f"{machine()}; {jobs:,} jobs, {rounds} rounds."
    table = "\n".join([HEAD, *map(str, rows)])
    PAGE.write_text(f"{before}{BEGIN}\n{head}\n\n{table}\n{END}{after}")
    bars = []
    for row in rows:
        figure = row.figure
        values = [row.value, *([] if figure.first is None else [figure.first])]
        shares = [figure.mark / one if figure.at_most else one / figure.mark for one in values]
        bars.append(Bar(f"{figure.name}: {figure.text}".replace("`", ""), *shares))
    PLOT.write_text(plot(bars))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--code", type=Path, default=ROOT)
    parser.add_argument("--write", action="store_true", help="write docs/performance.md")
    parser.add_argument("names", nargs="*", help="figures to measure; all by default")
    options = parser.parse_args()
    known = figures(options.jobs)
    names = options.names or [figure.name for figure in known]
    if unknown := set(names) - {figure.name for figure in known}:
        every = ", ".join(figure.name for figure in known)
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known are {every}")
    wanted = [figure for figure in known if figure.name in names]
    rows: list[Row] = []
    print(HEAD)
    for row in measure(
        wanted, Setting(options.code.resolve(), options.jobs, names), options.rounds
    ):
        rows.append(row)
        print(row, flush=True)
    if options.write and len(rows) == len(known):
        write(rows, options.jobs, options.rounds)


if __name__ == "__main__":
    main()
