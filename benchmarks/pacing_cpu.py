"""The processor time of a decision, in microseconds."""

import copy
import time
from collections.abc import Callable, Iterator

from pacing_changes import CALL_COST, Row
from pacing_laws import KINDS, SECONDS, combined
from pacing_rules import MAX_INTERVAL, Job, Learned
from pacing_simulation import Size, run

from exporter.core.pacing.watch import Watch

JOBS, REPEATS = 2000, 5
DECISION_MARK, LEARNING_MARK = 15.0, 25.0


class Recorded(Learned):
    """The exporter's rule that keeps its decisions and everything that it was asked to learn."""

    def __init__(self) -> None:
        super().__init__(CALL_COST)
        self.decisions: list[tuple[Watch, float]] = []
        self.answers: list[tuple[Job, float, tuple[str, int] | None]] = []
        """Job, age, and what it showed; None: it had ended."""

    def pending(self, job: Job, age: float, step: str, percent: int) -> float:
        self.answers.append((job, age, (step, percent)))
        wait = super().pending(job, age, step, percent)
        self.decisions.append((copy.copy(job.state), age))
        return wait

    def ended(self, job: Job, age: float) -> None:
        self.answers.append((job, age, None))
        super().ended(job, age)


def cpu() -> Iterator[Row]:
    """Yield the time of a decision by itself, and with all the learning between two decisions."""
    for kind in ("silent", "quarters", "fine", "nonsense"):
        rule = Recorded()
        run(lambda: rule, combined(SECONDS["log-normal .5"], KINDS[kind]), Size(JOBS, 0, 1))  # noqa: B023 - called at once
        count = len(rule.decisions)
        deciding = _fastest(lambda: _decide(rule))  # noqa: B023 - called at once
        learning = _fastest(lambda: _replay(rule))  # noqa: B023 - called at once
        yield Row(f"a decision, {kind}, us", deciding / count * 1e6, DECISION_MARK)
        yield Row(f"a decision with learning, {kind}, us", learning / count * 1e6, LEARNING_MARK)


def _decide(rule: Recorded) -> None:
    forecast, call_cost = rule.learner.forecast, rule.call_cost
    for watch, age in rule.decisions:
        forecast(watch, age).wait(call_cost, MAX_INTERVAL)


def _replay(rule: Recorded) -> None:
    """Learn everything again, and decide after each answer."""
    again = Learned(rule.call_cost)
    for job, age, shown in rule.answers:
        if age == 0.0:
            again.start(job)
        if shown is None:
            again.ended(job, age)
        else:
            again.pending(job, age, *shown)


def _fastest(work: Callable[[], None]) -> float:
    """Return the least processor time of a few runs, in seconds."""
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)
