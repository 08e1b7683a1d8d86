"""Measures the exporter next to baselines that do the least, and prints one table.

    .venv/bin/python benchmarks/performance.py [--rounds 5] [--jobs 100000] [--code DIR] [NAME ...]

CPU is user and system time of the exporter's process. Each figure is the median of the rounds'
ratios, with their range; the baseline of a round runs right before or after. `--code` measures
another checkout. `--write` puts the table and a plot into the docs, if every figure was measured.
"""

import argparse
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from performance_plot import Bar, plot
from performance_runs import (
    Run,
    Setting,
    all_jobs,
    bulk,
    followed,
    polled,
    put,
    restart,
    shown,
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


@dataclass(frozen=True)
class Figure:
    """A line of the table.

    Its name, what is compared, the mark, the figure of the first version, and how the two costs
    are shown and compared. `at_most` says on which side of the mark is well.
    """

    name: str
    text: str
    mark: float
    first: float | None
    unit: str
    scale: float
    compare: Callable[[float, float], float]
    at_most: bool = False

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


def runs(jobs: int) -> Iterator[tuple[Run, tuple[Figure, ...]]]:
    """Yield each run with the figures that it gives."""
    few, tenth = min(1000, jobs), max(1, jobs // 10)
    text = "a bare loop's CPU of a poll / ours"
    page = "`generate_latest`'s CPU of a page / ours"
    yield (
        version,
        (Figure("version", "`--version` / `python -c pass`", 10, None, "ms", 1e3, times, True),),
    )
    yield bulk, (Figure("bulk", "NDJSON jobs/s / bare inserts/s", 0.08, 0.014, "/s", 1, times),)
    yield put, (Figure("put", "CPU of a PUT without a store / ours", 0.35, 0.05, "us", 1e6, saved),)
    yield (
        followed,
        (Figure("followed", "PUTs/s with 500 followers / none", 0.5, 0.02, "/s", 1, times),),
    )
    yield (
        status,
        (
            Figure(
                "status", "CPU of a fixed answer / a status answer", 0.65, 0.44, "us", 1e6, saved
            ),
        ),
    )
    yield (
        polled("poll-few", few),
        (Figure("poll-few", f"{text}, {few:,} jobs", 0.65, 0.36, "us", 1e6, saved),),
    )
    yield (
        shown("page-tenth", tenth),
        (Figure("page-tenth", f"{page}, {tenth:,} jobs", 60, 4.3, "ms", 1e3, saved),),
    )
    yield (
        all_jobs,
        (
            Figure("poll", f"{text}, {jobs:,} jobs", 0.5, 0.21, "us", 1e6, saved),
            Figure("page", f"{page}, {jobs:,} jobs", 100, 4.1, "ms", 1e3, saved),
            Figure("gzip", "the same, compressed", 30, 3.6, "ms", 1e3, saved),
            Figure(
                *("health", "slowest `/-/healthy` while scraped / idle", 10, None, "ms", 1e3),
                *(times, True),
            ),
            Figure(
                *("memory", "resident KiB of a job after eight polls", 3.0, 3.9, "KiB", 1 / 1024),
                *(times, True),
            ),
        ),
    )
    yield (
        restart,
        (Figure("restart", "seconds until ready - when empty", 1.5, 6.8, "s", 1, more, True),),
    )


def measure(run: Run, figures: Sequence[Figure], setting: Setting, rounds: int) -> Iterator[Row]:
    """Do some rounds of a run; yield the rows of those of its figures that are wanted."""
    going = run(setting)
    found = [next(going) for _ in range(rounds)]
    going.close()  # type: ignore[attr-defined]
    for figure in figures:
        if figure.name in setting.wanted:
            pairs = [one[figure.name] for one in found]
            yield Row(
                figure,
                sorted(figure.compare(*pair) for pair in pairs),
                *(median(pair[side] for pair in pairs) * figure.scale for side in (0, 1)),
            )


def machine() -> str:
    """Return the date, and what the figures were measured on."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    model = names[0] if names else platform.machine()
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores ({model}),"
        f" Python {platform.python_version()}"
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
    known = {figure.name for _, figures in runs(options.jobs) for figure in figures}
    if unknown := set(options.names) - known:
        parser.error(f"unknown: {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    setting = Setting(options.code.resolve(), options.jobs, options.names or known)
    print(HEAD)
    rows: list[Row] = []
    for run, figures in runs(options.jobs):
        if any(figure.name in setting.wanted for figure in figures):
            for row in measure(run, figures, setting, options.rounds):
                rows.append(row)
                print(row, flush=True)
    if options.write and len(rows) == len(known):
        write(rows, options.jobs, options.rounds)


if __name__ == "__main__":
    main()
