"""A soak under simulated time: jobs over days, and the size of all that could grow.

    .venv/bin/python benchmarks/soak.py [--jobs 1000000] [--days 7] [--seed N]

The real core, poller, registry and page run; sizes and real memory are measured at the end of each
hour. Exit code 1 when anything grew after the first hour, a job was forgotten or ended wrongly, or
series were left when every job had gone.
"""

import argparse
import logging
import random
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests")]

from soaking import Soak, soak  # noqa: E402

SHOWN = ("jobs in memory", "events", "series", "objects", "memory blocks", "resident KiB")

JOBS_AN_HOUR = 500


def show(found: Soak) -> None:
    hour = len(found.hours)
    if hour == 1 or hour % 12 == 0:
        sizes = found.hours[-1]
        print(f"{hour:>4} h " + "".join(f"{sizes[name]:>16,}" for name in SHOWN), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--days", type=float, default=7)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    options = parser.parse_args()
    if options.jobs < JOBS_AN_HOUR * 24 * options.days:
        parser.error(
            f"--jobs: at least {JOBS_AN_HOUR} an hour, here {JOBS_AN_HOUR * 24 * options.days:.0f};"
            " with fewer some label values come only later, which looks like growth"
        )
    logging.getLogger("removit_exporter").setLevel(logging.CRITICAL)
    print(f"seed {options.seed}, {options.jobs} jobs over {options.days:g} days", flush=True)
    print("       " + "".join(f"{name:>16}" for name in SHOWN))
    started = time.perf_counter()
    found = soak(
        options.jobs, options.days, seed=options.seed, real_seconds=86_400.0, each_hour=show
    )
    print(f"{found.requests} requests, ended: {dict(found.ended)}")
    faults = [*found.wrong, *found.astray, *found.left, *found.grown(share=0.1, slack=50)]
    for fault in faults[:20]:
        print(f"wrong: {fault}")
    print(f"{time.perf_counter() - started:.0f} s, {'NOT ' * bool(faults)}flat and complete")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
