"""Which tests depend on the machine's speed: rounds next to a busy loop on each core.

    .venv/bin/python benchmarks/steady.py [--rounds 10] [--workers 3] [TESTS ...]

Runs the tests that open sockets or wait for time, which is all but `PURE`, or those of them that
are named. Prints each round's outcome, duration and red tests with what the failure says, then each
test that was red and the number of such rounds. Exit code 1 when one was red.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
PURE = (
    "tests/core",
    "tests/test_house.py",
    "tests/test_prose.py",
    # These run in simulated time, which does not pass while the machine works.
    "tests/system/test_simulated_time.py",
    "tests/system/test_clocks.py",
    "tests/system/test_histories.py",
    "tests/system/test_trouble.py",
)


BUSY = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"
"""A loop that ends with the process that started it, however that one ends."""


@contextlib.contextmanager
def busy_loops(number: int) -> Iterator[None]:
    """Keep a number of cores busy."""
    loops = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(number)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def run(tests: list[str], workers: int) -> tuple[str, dict[str, str]]:
    """Run tests once; return pytest's last line, and the message of each that was red by name."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-q", "-m", "not slow"),
                *("-n", str(workers), "--dist", "worksteal"),
                *("-p", "no:cacheprovider", f"--junitxml={report}", *tests),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode not in (0, 1):
            sys.exit(f"pytest could not run:\n{done.stdout}")
        lines = done.stdout.strip().splitlines()
        return lines[-1], dict(red(report))


def red(report: Path) -> Iterator[tuple[str, str]]:
    """Yield name and message of each test that failed, from a report in JUnit's form."""
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        for outcome in (*case.findall("failure"), *case.findall("error")):
            name = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
            yield name, outcome.get("message", "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=3, help="tests that run side by side")
    parser.add_argument("tests", nargs="*", default=["tests"], help="files or folders")
    options = parser.parse_args()
    tests = [*options.tests, *(f"--ignore={path}" for path in PURE)]
    counts: Counter[str] = Counter()
    with busy_loops(os.cpu_count() or 1):
        for number in range(1, options.rounds + 1):
            started = time.perf_counter()
            outcome, failed = run(tests, options.workers)
            print(f"round {number}: {outcome} [{time.perf_counter() - started:.0f} s]", flush=True)
            for name, message in failed.items():
                print(f"    {name}\n        {message[:2000]}", flush=True)
            counts.update(failed.keys())
    for name, rounds in counts.most_common():
        print(f"red in {rounds} of {options.rounds}: {name}")
    print(f"{len(counts)} tests were red in {options.rounds} rounds")
    return 1 if counts else 0


if __name__ == "__main__":
    sys.exit(main())
