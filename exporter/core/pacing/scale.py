"""The scale of ages: buckets of a fifth of an octave, from a quarter of a second to 36 hours.

A position on the scale is a bucket's index plus the part of the bucket that lies before it.
"""

import math
from collections.abc import Sequence
from typing import Final

PER_OCTAVE: Final = 5
"""Buckets in each doubling of the age."""
YOUNGEST: Final = -2.0
"""The binary logarithm of the least age, in seconds."""
BUCKETS: Final = 19 * PER_OCTAVE
FARTHEST: Final = BUCKETS - 1e-6
"""The last position: older ages count in the last bucket."""
EDGES: Final = tuple(2 ** (YOUNGEST + at / PER_OCTAVE) for at in range(BUCKETS + 2))
"""Where each bucket begins, in seconds, where the last one ends, and one more."""
WIDTHS: Final = tuple(EDGES[at + 1] - EDGES[at] for at in range(BUCKETS))


def position(age: float) -> float:
    """Return where an age (seconds) lies on the scale, from 0 to `FARTHEST`."""
    if age <= EDGES[0]:
        return 0.0
    place = (math.log2(age) - YOUNGEST) * PER_OCTAVE
    return place if place < FARTHEST else FARTHEST  # noqa: FURB136 - `min` takes longer


def spread(
    start: float, end: float, belief: Sequence[float], floor: float
) -> tuple[int, list[float]]:
    """Spread one event that happened between two positions over the buckets between them.

    The shares follow `belief`, the present chance of each bucket, plus `floor`. Returns the
    first bucket and the shares from there on; they add up to 1.
    """
    first, last = int(start), int(end)
    if first == last:
        return first, [1.0]
    mass = [chance + floor for chance in belief[first : last + 1]]
    mass[0] *= first + 1 - start
    mass[-1] *= end - last
    total = sum(mass)
    return first, [part / total for part in mass]
