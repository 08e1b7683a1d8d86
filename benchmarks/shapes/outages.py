"""Everything fails for some time: nothing that is asked is answered as usual."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from histories import Answer, Bounds, History, JobHistory, Shape, Span

from exporter.simulator.script import Script, draw

from .draws import (
    HTML,
    JOBS,
    LENGTHS,
    drawn_spans,
    last_end,
    mixed,
    nothing,
    slow,
    sound,
    way_of_outage,
)

CROWD = 10_000


def during(spans: Sequence[Span], answer: Answer) -> Callable[[JobHistory | None, float], Answer]:
    """Return a trouble that gives one answer to everything during some spans."""
    return lambda job, time: (
        answer if any(span.start <= time < span.end for span in spans) else None
    )


def _everything(rng: random.Random, shape: str, answer: Answer, state: str = "down") -> History:
    seconds = rng.choice(LENGTHS)
    jobs = mixed(rng, rng.choice(JOBS), seconds)
    spans = drawn_spans(rng, seconds, state)
    return History(shape, True, seconds, jobs, during(spans, answer), spans=spans)


def outage(rng: random.Random, shares: Sequence[float]) -> History:
    """Everything fails, in one way."""
    return _everything(rng, "outage", way_of_outage(rng))


def maintenance(rng: random.Random, shares: Sequence[float]) -> History:
    """A page for people, with status 200."""
    return _everything(rng, "maintenance page", (200, HTML))


def firewall(rng: random.Random, shares: Sequence[float]) -> History:
    """403 that no API gives."""
    return _everything(rng, "firewall", (403, HTML), "blocked")


def revoked(rng: random.Random, shares: Sequence[float]) -> History:
    """The key is not accepted."""
    return _everything(rng, "revoked key", (401, b'{"error": "unauthorized"}'), "key_rejected")


def lone(rng: random.Random, shares: Sequence[float]) -> History:
    """One job alone, and everything fails."""
    script = draw(rng, "params", {"sound": 0.5, "failing": 0.5})
    start = rng.uniform(0, 60)
    spans = [Span(start, start + rng.choice((60.0, 600.0, 1800.0)))]
    trouble = during(spans, way_of_outage(rng))
    return History(
        "alone, outage",
        True,
        spans[0].end,
        [JobHistory("alone", 0.0, script)],
        trouble,
        spans=spans,
    )


def crowd(rng: random.Random, shares: Sequence[float]) -> History:
    """Ten thousand jobs, and an outage."""
    start = rng.uniform(0, 1200.0)
    spans = [Span(start, start + rng.choice((60.0, 600.0, 1800.0)))]
    trouble = during(spans, way_of_outage(rng))
    end = max(1200.0, spans[0].end)
    jobs = mixed(rng, CROWD, 1200.0)
    return History("crowd", True, end, jobs, trouble, tail=6 * 3600.0, spans=spans)


def at_the_end(rng: random.Random, shares: Sequence[float]) -> History:
    """A total outage that begins exactly when only the last jobs of a batch are pending."""
    done = sound(rng, 45, 0.0, 2.0)
    start = last_end(done)
    last = slow(rng, rng.choice((1, 2, 5, 20)), start - 60, 1.0, start)
    spans = [Span(start, start + rng.choice((300.0, 3600.0, 8 * 3600.0)))]
    trouble = during(spans, way_of_outage(rng))
    bounds = Bounds(state=_SOON, never_down=True)
    return History(
        *("outage at the end of a batch", True, spans[0].end, [*done, *last], trouble),
        spans=spans,
        bounds=bounds,
    )


_SOON = 130.0
"""An outage without answers is seen after `judgement.outage_window` and five tries, each of which
takes up to `upstream.timeout`; others much sooner."""


def _restarted(state: str, way: Callable[[random.Random], Answer]) -> Shape:
    def drawn(rng: random.Random, shares: Sequence[float]) -> History:
        jobs = mixed(rng, rng.choice(JOBS), 300.0)
        start = rng.uniform(60, 300)
        span = Span(start, start + rng.uniform(1200, 2400), state)
        stops = (rng.uniform(start + 200, start + 300), rng.uniform(start + 600, start + 900))
        restarts = [(at, rng.choice((2.0, 30.0, 240.0))) for at in stops]
        shape = f"restart while {state}"
        history = History(shape, True, span.end, jobs, during([span], way(rng)), spans=[span])
        return replace(history, restarts=restarts)

    return drawn


restart_down = _restarted("down", way_of_outage)
restart_blocked = _restarted("blocked", lambda rng: (403, HTML))
restart_key_rejected = _restarted("key_rejected", lambda rng: (401, b'{"error": "unauthorized"}'))
restart_throttled = _restarted("throttled", lambda rng: (429, b"{}"))


def restart_well(rng: random.Random, shares: Sequence[float]) -> History:
    """The exporter is restarted several times while only jobs fail."""
    jobs = mixed(rng, rng.choice(JOBS), 600.0)
    restarts = [(at, rng.choice((2.0, 30.0, 240.0))) for at in (150.0, 420.0, 700.0)]
    bounds = Bounds(never_down=True)
    return History(
        "restart while well", True, 900.0, jobs, nothing, restarts=restarts, bounds=bounds
    )


def restart_last(rng: random.Random, shares: Sequence[float]) -> History:
    """The exporter is restarted while the last jobs of a batch have failed."""
    done = sound(rng, 45, 0.0, 2.0)
    at = last_end(done)
    bad = [
        JobHistory(f"bad-{number}", at - 40 + 9 * number, Script.failing(rng.uniform(15, 40)))
        for number in range(rng.choice((1, 2)))
    ]
    restarts = [(at + 200.0, rng.choice((2.0, 30.0)))]
    bounds = Bounds(call=1500.0, never_down=True)
    return History(
        *("restart, last jobs failed", True, at + 300, [*done, *bad], nothing),
        restarts=restarts,
        bounds=bounds,
        tail=3600.0,
    )
