"""Somebody asks about each pending job all the while: programs, or probes of Prometheus."""

import random
from collections.abc import Sequence
from dataclasses import replace

from histories import History, Shape

from .batches import last_few, last_many
from .outages import at_the_end, outage
from .partial import share, well
from .routing import between, forgets
from .workers import few_workers, one_upload, together


def _asked(*shapes: Shape) -> Shape:
    """Return a shape that is drawn from others, with somebody who asks."""

    def drawn(rng: random.Random, shares: Sequence[float]) -> History:
        history = rng.choice(shapes)(rng, shares)
        shape = f"asked: {history.shape}"
        return replace(history, shape=shape, asked_every=rng.choice((1.0, 5.0)))

    return drawn


asked = _asked(
    *(well, outage, share, last_few, last_many, at_the_end),
    *(between, few_workers, one_upload, together, forgets),
)
