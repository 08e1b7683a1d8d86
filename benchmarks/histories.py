"""A history: jobs, what happens to the upstream, and what a right judgement makes of it.

A generator of your own plugs in: any callable that takes a `random.Random` and returns a
`History`, named on the command line of `judgement.py` as `module:function` (the current directory
is searched too). Draw from that generator only, so that the seed repeats the history:

    from histories import History, JobHistory
    from exporter.simulator.script import Script

    def weekend(rng):
        jobs = [JobHistory(f"job-{at}", rng.uniform(0, 600), Script.sound(60)) for at in range(9)]
        outage = lambda job, time: (503, b"") if 100 < time < 400 else None
        return History("weekend", decidable=True, seconds=600, jobs=jobs, trouble=outage)

The shapes that the benchmark knows are in `shapes/`. All times are in seconds from the start.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from exporter.simulator.script import Kind, Script

Answer = tuple[int, bytes] | str | None
"""A status and a body; `timeout` or `connection`; None where the upstream answers as usual."""

TAIL = 1500.0
"""Time after the trouble: the second recheck comes in it."""
LONG_TAIL = 5400.0
"""The same with the third and fourth recheck, which overturn what lasted longer."""


@dataclass(frozen=True)
class JobHistory:
    """A job: when it is registered, and what becomes of it upstream."""

    job_id: str
    at: float
    script: Script
    failure: Answer = None
    """How it answers after it has failed; a 500 in JSON if this is None."""
    deleted_at: float = math.inf
    """When the upstream forgets it; it is answered 404 from then on."""

    @property
    def ends_at(self) -> float:
        """When it is done or has failed; infinity for a job that never ends."""
        return math.inf if self.script.kind in _ENDLESS else self.at + self.script.seconds

    def bad_end(self) -> tuple[str, float] | None:
        """Return the final state it truly comes to, and when; None when that is `done` or none."""
        if self.script.kind is Kind.LOST:
            return "not_found", self.at
        if self.deleted_at < self.ends_at:
            return "not_found", self.deleted_at
        return ("failed", self.ends_at) if self.script.kind is Kind.FAILING else None

    def answer(self, time: float) -> Answer:
        """Return what it answers after its bad end, where the script does not say so."""
        if time >= self.deleted_at:
            return (404, b'{"error": "not_found"}')
        failed = self.script.kind is Kind.FAILING and time >= self.ends_at
        return self.failure if failed else None


_ENDLESS = (Kind.STUCK, Kind.LOST)


@dataclass(frozen=True)
class Span:
    """A time in which one state of the upstream is the right one."""

    start: float
    end: float
    state: str = "down"


@dataclass(frozen=True)
class Bounds:
    """The promises of the rules for a history. Times spent in its spans do not count."""

    call: float = 3690.0
    """A job's bad end is called this soon. By default the longest of all: six times
    `judgement.weak_after`, and a poll before and after."""
    state: float = math.inf
    """The right state is shown this soon after a span begins."""
    never_down: bool = False
    """Whether `down` is never shown outside of the spans."""


NO_BOUNDS = Bounds()
"""Nothing is promised but the longest time to call."""


@dataclass(frozen=True)
class History:
    """What happens: jobs, and `trouble(job, time)`, which may answer instead of the upstream.

    `job` is None for a control request about an unknown job. After `seconds` only the jobs that
    ended badly are wrong. The run goes on for `tail` seconds more, for verdicts and rechecks.
    """

    shape: str
    decidable: bool
    """Whether the judgement must make no mistake here."""
    seconds: float
    jobs: Sequence[JobHistory]
    trouble: Callable[[JobHistory | None, float], Answer] = field(repr=False)
    tail: float = TAIL
    spans: Sequence[Span] = ()
    bounds: Bounds = NO_BOUNDS
    restarts: Sequence[tuple[float, float]] = ()
    """When the exporter is stopped, and after how long it is started again."""
    asked_every: float = 0.0
    """Somebody asks about the newest pending jobs this often (seconds); 0: nobody does."""


Shape = Callable[[random.Random, Sequence[float]], History]
"""Draws a history. The second argument holds shares of requests that fail."""
