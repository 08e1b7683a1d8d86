"""How few calls see the ends of jobs in time: `core/pacing` against other rules.

    .venv/bin/python benchmarks/pacing.py [--part table|cold-start|changes|modes|cpu ...]
        [--jobs N] [--seeds N] [--warm-up N] [--only LAW_OR_KIND] [--others] [--fresh]
        [--laws MODULE.py] [--plot FILE.svg]

Jobs arrive, last as long as a law says, and show progress of some kind. Each rule is asked after
each poll how long to wait. Its price (`call_cost`, the growth of the waits, ...) is searched until
its mean delay in seeing an end is `pacing_simulation.DELAY`. The table has its calls at that delay
as a share of the calls that a fixed interval makes for the same jobs at the same delay. The first
poll of a job, at its registration, is counted for no rule; waits have no jitter.

    mark       the share that must be reached; none is set for --fresh
    learned    the exporter's rule, without `polling.progress_max_age` unless --fresh
    known law  the best policy for somebody who knows the law, but sees no progress
    of known   calls of the exporter's rule as a share of that policy's
    p95        the 95th percentile of the exporter's delay, in seconds
    stale      mean age of the progress shown, in seconds
    calls      a job, and `delay` the mean delay in seconds
    back-off   waits that grow by a factor, at the same delay
    d1024ca    the former rule at the same delay; - where it cannot be so slow
    default    the former rule with its own settings, against a fixed interval of its own delay

`--laws` reads `LAWS` of a module: name -> `draw(rng) -> (seconds, progress)` where
`progress(share) -> (step, percent)` tells what a job shows after that share of its life.
Standard library only.
"""

import argparse
import runpy
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Final

from pacing_changes import Row, changes, cold_start, modes
from pacing_cpu import cpu
from pacing_laws import DRIFT_PERIOD, KINDS, MARKS, SECONDS, Law, combined, from_draw, lives
from pacing_optimum import optimum
from pacing_plot import Cell, plot
from pacing_rules import FORMER_SHARE, BackOff, Former, Learned, fresh
from pacing_simulation import DELAY, Outcome, Size, at_delay, run

PARTS: Final = ("table", "cold-start", "changes", "modes", "cpu")
REACHED: Final = 1.3
"""A rule whose delay is off by more than this factor is not compared."""


def laws(options: argparse.Namespace) -> Iterator[tuple[str, str, Law]]:
    """Yield each law and kind of progress, as (name, kind, law)."""
    if options.laws:
        for name, draw in runpy.run_path(options.laws)["LAWS"].items():
            yield name, "own", from_draw(draw)
        return
    for (name, seconds), (kind, progress) in product(SECONDS.items(), KINDS.items()):
        if options.only in (None, name, kind):
            yield name, kind, combined(seconds, progress)


def known_law(name: str, law: Law) -> float:
    """Return the share of a fixed interval's calls that the best policy without progress makes."""
    phases = range(0, DRIFT_PERIOD, DRIFT_PERIOD // 8) if name == "drifting" else (0,)
    return optimum([lives(law, 20_000, number) for number in phases], DELAY)


def print_table(options: argparse.Namespace, size: Size) -> int:
    """Print the calls of each rule for each law and kind; return the number of marks missed."""
    print(
        f"{'law':15}{'progress':14}{'mark':>5}{'learned':>8}{'known law':>10}{'of known':>9}",
        end="",
    )
    print(f"{'p95':>6}{'stale':>6}{'calls':>7}{'delay':>6}", end="")
    print(f"{'back-off':>9}{'d1024ca':>8}{'default':>15}" if options.others else "")
    known: dict[str, float] = {}
    cells: list[Cell] = []
    for name, kind, law in laws(options):
        if name not in known:
            known[name] = known_law(name, law)
        learned = at_delay(fresh if options.fresh else Learned, law, size, 0.5)
        mark_set = None if options.fresh else MARKS.get((name, kind))
        cell = Cell(name, kind, learned.share_of_fixed, known[name], mark_set)
        cells.append(cell)
        mark = "-" if cell.mark is None else f"{cell.mark:.2f}"
        row = f"{name:15}{kind:14}{mark:>5}{cell.share:7.2f}{'*' if cell.is_missed else ' '}"
        row += f"{cell.known:10.2f}{cell.share / cell.known:9.2f}"
        row += f"{learned.p95:6.1f}{learned.staleness:6.1f}"
        row += f"{learned.calls_per_job:7.2f}{learned.delay:6.2f}"
        print(row + (other_rules(law, size) if options.others else ""), flush=True)
    if options.plot:
        options.plot.write_text(plot(cells))
    return sum(cell.is_missed for cell in cells)


def other_rules(law: Law, size: Size) -> str:
    """Return the shares of the other rules, as columns."""
    back_off, former = at_delay(BackOff, law, size, 0.3), at_delay(Former, law, size, FORMER_SHARE)
    shipped = run(lambda: Former(FORMER_SHARE), law, size)
    by_default = f"{shipped.share_of_fixed:.2f} ({shipped.delay:.1f} s)"
    return f"{_share(back_off):>9}{_share(former):>8}{by_default:>15}"


def _share(outcome: Outcome) -> str:
    is_reached = DELAY / REACHED < outcome.delay < DELAY * REACHED
    return f"{outcome.share_of_fixed:.2f}" if is_reached else "-"


def print_rows(rows: Iterator[Row]) -> int:
    """Print measured values with their marks; return the number of marks missed."""
    missed = 0
    for row in rows:
        mark = "" if row.mark is None else f"mark {row.mark:.2f}"
        missed += row.is_missed
        flag = "*" if row.is_missed else " "
        print(f"  {row.name:76}{row.value:7.2f}{flag} {mark:10} {row.note}", flush=True)
    return missed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=PARTS, nargs="*", default=PARTS, help="what to print")
    parser.add_argument("--jobs", type=int, default=2000, help="jobs counted for each seed")
    parser.add_argument("--warm-up", type=int, default=800, help="jobs before those counted")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", help="one law or one kind of progress")
    parser.add_argument("--others", action="store_true", help="the other rules as well")
    parser.add_argument("--fresh", action="store_true", help="with progress_max_age at 15s")
    parser.add_argument("--laws", type=Path, help="a module with LAWS")
    parser.add_argument("--plot", type=Path, help="write the table as an SVG there")
    options = parser.parse_args()
    size = Size(options.jobs, options.warm_up, options.seeds)
    print(f"{size.jobs} jobs for each of {size.seeds} seeds, after {size.warm_up} to learn from")
    missed = 0
    if "table" in options.part:
        missed += print_table(options, size)
    if "cold-start" in options.part:
        missed += print_rows(cold_start(size.jobs * size.seeds))
    if "changes" in options.part:
        missed += print_rows(changes(size.seeds))
    if "modes" in options.part:
        missed += print_rows(modes(size))
    if "cpu" in options.part:
        missed += print_rows(cpu())
    print(f"{missed} marks missed (*)")


if __name__ == "__main__":
    main()
