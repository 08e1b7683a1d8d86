"""Mutation testing of `exporter/core/`: which changes of a line no test detects, and why.

    .venv/bin/python benchmarks/mutants.py [--processes 2] [--again]

Runs mutmut with the tests in `tests/core`, from anew unless `--again` is given. Prints each mutant
that survived with the reason that `docs/mutants.md` gives. Exit code 1 when fewer than 97 % die,
or one survives without a reason.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MUTMUT = Path(sys.executable).parent / "mutmut"
REASONS = ROOT / "docs" / "mutants.md"
LEAST_SHARE = 0.97
DEAD = {"killed", "timeout", "segfault", "caught by type check"}


def mutmut(*arguments: str) -> str:
    done = subprocess.run(
        [str(MUTMUT), *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def outcomes() -> Iterator[tuple[str, str]]:
    """Each mutant's name and what became of it."""
    for line in mutmut("results", "--all", "true").splitlines():
        name, _, outcome = line.strip().partition(": ")
        if outcome:
            yield name, outcome


def change(name: str) -> tuple[str, str]:
    """Return a mutant's place in `core`, and what it changes: `former -> new`."""
    lines = [line for line in mutmut("show", name).splitlines() if line[:1] in "-+"]
    lines = [line for line in lines if not line.startswith(("---", "+++"))]
    former = " ".join(line[1:].strip() for line in lines if line[0] == "-")
    new = " ".join(line[1:].strip() for line in lines if line[0] == "+")
    place = re.sub(r"__mutmut_\d+$", "", name).removeprefix("exporter.core.")
    place = re.sub(r"\.x_", ".", re.sub(r"xǁ(\w+)ǁ", r"\1.", place))
    return place, f"{former} -> {new}"


def reasons() -> dict[tuple[str, str], str]:
    """Return the reasons of `docs/mutants.md`: each heading is that of the mutants below it."""
    found, reason, place = {}, "", ""
    for line in REASONS.read_text().splitlines():
        if line.startswith("## "):
            reason = line[3:]
        elif line.startswith("- `"):
            place = line.strip("- `:")
        elif line.startswith("  - `"):
            found[place, line.strip()[3:-1]] = reason
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--again", action="store_true", help="test only what changed since")
    options = parser.parse_args()
    started = time.perf_counter()
    if not options.again:
        shutil.rmtree(ROOT / "mutants", ignore_errors=True)
    with (ROOT / "mutants.log").open("w") as log:
        run = [str(MUTMUT), "run", "--max-children", str(options.processes)]
        if subprocess.run(run, cwd=ROOT, stdout=log, stderr=log, check=False).returncode:
            print("mutmut could not run, see mutants.log")
            return 1
    return report(started)


def report(started: float) -> int:
    every = dict(outcomes())
    alive = sorted({change(name) for name, outcome in every.items() if outcome not in DEAD})
    counts = Counter(every.values())
    known = reasons()
    for place, what in alive:
        print(f"{place}: {what}\n    {known.get((place, what), 'NO REASON is given')}")
    for place, what in sorted(set(known) - set(alive)):
        print(f"{place}: {what}\n    dies by now: to be taken out of {REASONS.name}")
    dead = sum(counts[outcome] for outcome in DEAD)
    share = dead / len(every)
    print(f"{dict(counts)}: {share:.1%} of {len(every)} die; {time.perf_counter() - started:.0f} s")
    return 0 if share >= LEAST_SHARE and set(alive) <= set(known) else 1


if __name__ == "__main__":
    sys.exit(main())
