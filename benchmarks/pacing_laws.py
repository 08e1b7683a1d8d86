"""How long simulated jobs last, what progress they show, and the marks for each pair of the two.

The laws are those of the design: the log-normal ones have a median of a minute, the others a mean
of a minute.
"""

import math
import random
from collections.abc import Callable
from typing import NamedTuple

MINUTE = 60.0
DRIFT_PERIOD = 2000
"""Jobs after which the drifting law is again what it was."""

Progress = Callable[[float], tuple[str, int]]
"""Returns the step and the percentage that a job shows after a share of its life."""
Draw = Callable[[random.Random], tuple[float, Progress]]
"""Draws one job: its seconds and its progress."""
Seconds = Callable[[random.Random, int], float]
"""Draws how long a job lasts; the job's number lets a law change."""


class Drawn(NamedTuple):
    """One job as a law draws it."""

    seconds: float
    progress: Progress
    mode: str | None = "mode"


Law = Callable[[random.Random, int], Drawn]


def log_normal(sigma: float, median: float = MINUTE) -> Seconds:
    return lambda rng, number: median * math.exp(rng.gauss(0.0, sigma))


def two_humps(rng: random.Random, number: int) -> float:
    return (20.0 if rng.random() < 0.5 else 100.0) * math.exp(rng.gauss(0.0, 0.2))


def drifting(rng: random.Random, number: int) -> float:
    """Return log-normal seconds whose median swings between 30 s and 120 s."""
    median = MINUTE * 2 ** math.sin(2 * math.pi * number / DRIFT_PERIOD)
    return median * math.exp(rng.gauss(0.0, 0.5))


SECONDS: dict[str, Seconds] = {
    "log-normal .3": log_normal(0.3),
    "log-normal .5": log_normal(0.5),
    "log-normal .8": log_normal(0.8),
    "log-normal 1.2": log_normal(1.2),
    "two humps": two_humps,
    "uniform": lambda rng, number: rng.uniform(10.0, 110.0),
    "exponential": lambda rng, number: rng.expovariate(1 / MINUTE),
    "drifting": drifting,
}


def silent(rng: random.Random) -> Progress:
    return lambda share: ("running", 0)


def quarters(rng: random.Random) -> Progress:
    return lambda share: ("running", int(share * 4) * 25)


def fine(rng: random.Random) -> Progress:
    return lambda share: ("running", int(share * 100))


def skewed(rng: random.Random) -> Progress:
    """Half of the life is spent at 90."""
    return lambda share: ("running", int(min(share * 2, 1.0) * 90))


def noisy(rng: random.Random) -> Progress:
    """Each twenty-fifth of the life has an error of its own, 8 points on average."""
    seed = rng.random()

    def progress(share: float) -> tuple[str, int]:
        noise = random.Random(seed + int(share * 25)).gauss(0.0, 0.08)
        return "running", min(99, max(0, int((share + noise) * 100)))

    return progress


def stuck(rng: random.Random) -> Progress:
    """99 is reached after some two thirds of the life."""
    reached = rng.uniform(0.55, 0.8)
    return lambda share: ("running", min(99, int(share / reached * 99)))


def falling(rng: random.Random) -> Progress:
    """Two parts of the work are repeated: progress falls by 20 and rises again."""
    at = (rng.uniform(0.2, 0.4), rng.uniform(0.6, 0.8))
    return lambda share: ("running", int(share * 100) - 20 * any(0 < share - x < 0.1 for x in at))


def three_rounds(rng: random.Random) -> Progress:
    """Progress counts to 100 for each of three parts of the work."""
    return lambda share: ("running", int(share * 3 % 1 * 100))


def nonsense(rng: random.Random) -> Progress:
    return lambda share: ("running", rng.randrange(100))


def steps(rng: random.Random) -> Progress:
    """Four steps by name, and no percentage; each takes about the same share of every life."""
    ends = [at + rng.uniform(-0.05, 0.05) for at in (0.1, 0.4, 0.7)]
    return lambda share: (f"step {sum(share >= end for end in ends)}", 0)


KINDS: dict[str, Callable[[random.Random], Progress]] = {
    "silent": silent,
    "nonsense": nonsense,
    "quarters": quarters,
    "fine": fine,
    "skewed": skewed,
    "noisy": noisy,
    "stuck at 99": stuck,
    "falling": falling,
    "steps by name": steps,
    "three rounds": three_rounds,
}

_SILENT = (0.60, 0.82, 0.98, 1.00, 0.60, 0.82, 1.08)
_TOLD = (0.54, 0.54, 0.53, 0.45, 0.42, 0.55, 0.60)
_STEPS = (0.55, 0.60, 0.60, 0.55, 0.45, 0.60, 0.70)
MARKS = {
    (law, kind): mark
    for kind in KINDS
    if kind != "three rounds"
    for law, mark in zip(
        SECONDS,
        {"silent": _SILENT, "nonsense": _SILENT, "steps by name": _STEPS}.get(kind, _TOLD),
        strict=False,
    )
}
"""The share of a fixed interval's calls that must be reached; none is set for the others."""


def combined(
    seconds: Seconds, kind: Callable[[random.Random], Progress], mode: str | None = "mode"
) -> Law:
    """Return the law of jobs with these lives and this kind of progress."""
    return lambda rng, number: Drawn(seconds(rng, number), kind(rng), mode)


def from_draw(draw: Draw) -> Law:
    """Return the law of jobs that another module draws."""
    return lambda rng, number: Drawn(*draw(rng))


def lives(law: Law, count: int, number: int = 0) -> list[float]:
    """Return sorted seconds of that many jobs, all drawn as the job of that number."""
    rng = random.Random(-1)
    return sorted(max(law(rng, number).seconds, 0.3) for _ in range(count))
