"""Pacing while little is known: the first jobs, a sudden change, and modes that tell nothing."""

import random
from collections.abc import Iterator
from typing import NamedTuple

from pacing_laws import KINDS, MINUTE, SECONDS, Drawn, Law, Seconds, combined, lives, log_normal
from pacing_optimum import best, optimum
from pacing_rules import Learned
from pacing_simulation import DELAY, Outcome, Size, at_delay, run, simulate

CALL_COST = 0.5
"""The default of `polling.call_cost`, in seconds."""
BEFORE, AFTER = 1000, 1000
"""Jobs before a change, and jobs after it until what is counted."""
ARRIVALS = (2.0, 10.0)
"""Mean seconds between two of the first jobs: the more overlap, the less is known of each."""
FIRST = {5: 1.8, 20: 1.25, 50: 1.16, 200: 1.09}
"""The first jobs: their number, and the mark for their calls as a share of a fixed interval's."""
SLOW_DOWN_MARK, SPEED_UP_MARK, UNKNOWN_MARK = 1.3, 1.5, 1.1


class Row(NamedTuple):
    """One measured value and its mark, None where none is set."""

    name: str
    value: float
    mark: float | None
    note: str = ""

    @property
    def is_missed(self) -> bool:
        return self.mark is not None and self.value > self.mark


def cold_start(jobs: int) -> Iterator[Row]:
    """Yield the calls of the first jobs at the default price, as a share of a fixed interval's.

    Each row is the mean over `jobs` jobs or more; each law is measured by itself.
    """
    for arrival in ARRIVALS:
        for count, mark in FIRST.items():
            for law, seconds in SECONDS.items():
                total = Outcome()
                for seed in range(max(4, jobs // count)):
                    rule = Learned(CALL_COST)
                    silent = combined(seconds, KINDS["silent"])
                    total.add(simulate(rule, silent, count, seed, [range(count)], arrival)[0])
                name = f"first {count:3}, one each {arrival:2.0f} s, {law}"
                yield Row(name, total.share_of_fixed, mark, f"delay {total.delay:.1f} s")


def changes(seeds: int) -> Iterator[Row]:
    """Yield what a sudden change costs, at the default price."""
    for kind in ("silent", "quarters", "fine", "nonsense"):
        slower = _changed(log_normal(0.5), log_normal(0.5, 5 * MINUTE), kind)
        after = run(lambda: Learned(CALL_COST), slower, Size(AFTER, BEFORE, seeds))
        yield Row(
            f"slow-down by five, {kind}: calls of the next {AFTER}, share of fixed",
            after.share_of_fixed,
            SLOW_DOWN_MARK,
            f"delay {after.delay:.1f} s",
        )
    for median in (MINUTE, 10 * MINUTE):
        fast = log_normal(0.5, median / 10)
        known = best(lives(combined(fast, KINDS["silent"]), 20_000), CALL_COST)
        for kind in ("silent", "quarters", "fine", "nonsense"):
            faster = _changed(log_normal(0.5, median), fast, kind)
            after = run(lambda: Learned(CALL_COST), faster, Size(1000, BEFORE + AFTER, seeds))
            yield Row(
                f"speed-up by ten to {median / 10:.0f} s, {kind}: delay after {AFTER} jobs, share "
                "of the known law's",
                after.delay / known.delay,
                SPEED_UP_MARK,
                f"{after.delay:.2f} s of {known.delay:.2f} s, "
                f"{after.calls_per_job:.1f} calls of {known.calls:.1f}",
            )


def modes(size: Size) -> Iterator[Row]:
    """Yield the calls of jobs of several modes, as a share of a fixed interval's."""
    for kind in ("silent", "nonsense"):
        law = combined(SECONDS["log-normal .5"], KINDS[kind], mode=None)
        yield _at_delay(f"no mode is known, {kind}", law, size, UNKNOWN_MARK)
        yield _at_delay(
            f"each job has a mode of its own, {kind}", _own_mode(law), size, UNKNOWN_MARK
        )
    fast, slow = log_normal(0.3, MINUTE / 3), log_normal(0.3, 3 * MINUTE)
    phases = [lives(combined(one, KINDS["silent"]), 20_000) for one in (fast, slow)]
    known = f"known law {optimum(phases, DELAY):.2f}"
    for kind in ("silent", "quarters"):
        law = _two_modes(combined(fast, KINDS[kind], "fast"), combined(slow, KINDS[kind], "slow"))
        yield _at_delay(f"two modes of 20 s and 180 s, {kind}", law, size, None, known)
    law = _two_modes(*(combined(one, KINDS["silent"], None) for one in (fast, slow)))
    yield _at_delay("two modes that are not known, silent", law, size, UNKNOWN_MARK)


def _at_delay(name: str, law: Law, size: Size, mark: float | None, note: str = "") -> Row:
    outcome = at_delay(Learned, law, size, CALL_COST)
    note = ", ".join(filter(None, (f"delay {outcome.delay:.1f} s", note)))
    return Row(name, outcome.share_of_fixed, mark, note)


def _changed(before: Seconds, after: Seconds, kind: str) -> Law:
    """Return the law whose jobs change after the first `BEFORE`."""
    return combined(
        lambda rng, number: (before if number < BEFORE else after)(rng, number), KINDS[kind]
    )


def _own_mode(law: Law) -> Law:
    return lambda rng, number: law(rng, number)._replace(mode=f"mode {number}")


def _two_modes(first: Law, second: Law) -> Law:
    def draw(rng: random.Random, number: int) -> Drawn:
        return (first if rng.random() < 0.5 else second)(rng, number)

    return draw
