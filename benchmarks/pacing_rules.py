"""The rules that are compared: each says after a poll how many seconds to wait for the next one."""

import math
from dataclasses import dataclass
from typing import Any, Protocol

from pacing_laws import Progress

from exporter.core.pacing.learner import Learner
from exporter.core.pacing.next_poll import OLD_SHARE

MIN_INTERVAL, MAX_INTERVAL = 1.0, 60.0
FORMER_MIN_INTERVAL, FORMER_SHARE = 2.0, 0.1
"""The defaults of d1024ca."""


@dataclass(slots=True)
class Job:
    """A simulated job; ages are in seconds."""

    born: float
    seconds: float
    progress: Progress
    mode: str | None
    state: Any = None
    """The state that the rule keeps for the job."""


class Rule(Protocol):
    """When to poll; `pending` returns the seconds until the next poll."""

    def start(self, job: Job) -> None: ...
    def pending(self, job: Job, age: float, step: str, percent: int) -> float: ...
    def ended(self, job: Job, age: float) -> None: ...


class Learned:
    """The exporter's own rule; a call costs `call_cost` seconds of delay."""

    def __init__(self, call_cost: float, progress_max_age: float = math.inf) -> None:
        self.learner = Learner()
        self.call_cost, self.progress_max_age = call_cost, progress_max_age

    def start(self, job: Job) -> None:
        job.state = self.learner.watch(job.mode, 0.0)

    def pending(self, job: Job, age: float, step: str, percent: int) -> float:
        self.learner.pending(job.state, age, step, percent)
        made = self.learner.forecast(job.state, age)
        wait = min(made.wait(self.call_cost, MAX_INTERVAL), MAX_INTERVAL)
        wait = max(MIN_INTERVAL, min(wait, max(self.progress_max_age, OLD_SHARE * age)))
        self.learner.plan(job.state, made, wait)
        return wait

    def ended(self, job: Job, age: float) -> None:
        self.learner.ended(job.state, age)


def fresh(call_cost: float) -> Learned:
    """Return the exporter's own rule with the default of `polling.progress_max_age`."""
    return Learned(call_cost, 15.0)


class Former:
    """The rule of d1024ca: a share of the geometric mean of age and time without change."""

    def __init__(self, share: float) -> None:
        self.share = share

    def start(self, job: Job) -> None:
        job.state = (None, 0.0)

    def pending(self, job: Job, age: float, step: str, percent: int) -> float:
        shown, changed = job.state
        if (step, percent) != shown:
            job.state, changed = ((step, percent), age), age
        wait = self.share * math.sqrt(age * (age - changed))
        return min(MAX_INTERVAL, max(FORMER_MIN_INTERVAL, wait))

    def ended(self, job: Job, age: float) -> None:
        pass


class BackOff:
    """Each wait is longer than the one before by the same factor."""

    def __init__(self, growth: float) -> None:
        self.factor = 1 + growth

    def start(self, job: Job) -> None:
        job.state = MIN_INTERVAL / self.factor

    def pending(self, job: Job, age: float, step: str, percent: int) -> float:
        job.state = min(MAX_INTERVAL, job.state * self.factor)
        return float(job.state)

    def ended(self, job: Job, age: float) -> None:
        pass
