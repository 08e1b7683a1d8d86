"""Compares the judgement of a history with the truth."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from histories import History, JobHistory, Span

from exporter.core.events import Event

RECOVERY_SECONDS = 75.0
"""After an outage `down` is shown until the next probe: `polling.max_interval`, and a timeout."""
KEPT_STATES = ("down", "throttled", "blocked", "key_rejected")
"""The states of the upstream that survive a restart."""

Shown = tuple[float, str | None]
"""From when on a state of the upstream is shown; None while the exporter is off."""


class Stretch(NamedTuple):
    """A time in which one state was shown."""

    start: float
    end: float
    state: str | None


@dataclass
class Outcome:
    """How the judgement did in one history, or in all of a shape. Times are in seconds."""

    histories: int = 0
    decidable: bool = True
    jobs: int = 0
    bad: int = 0
    called: int = 0
    missed: int = 0
    late: int = 0
    wrong: int = 0
    overturned: int = 0
    unproven: int = 0
    requests: int = 0
    false_downs: int = 0
    false_down: float = 0.0
    broken: float = 0.0
    unseen: int = 0
    state_late: int = 0
    state_lost: int = 0
    never_down_broken: int = 0
    bound: float = 0.0
    delays: list[float] = field(default_factory=list)
    wrong_after: list[float] = field(default_factory=list)
    wrong_for: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    state_after: list[float] = field(default_factory=list)
    details: list[str] = field(default_factory=list)

    def add(self, other: "Outcome") -> None:
        """Add one history's."""
        for name, value in vars(other).items():
            if name == "decidable":
                self.decidable = value
            elif name == "bound":
                self.bound = max(self.bound, value)
            else:
                setattr(self, name, getattr(self, name) + value)

    @property
    def faults(self) -> int:
        """How often the judgement broke what is promised."""
        if not self.decidable:
            return self.unproven
        verdicts = self.wrong + self.missed + self.late + self.unproven
        return verdicts + self.state_late + self.state_lost + self.never_down_broken


def compare(history: History, events: Iterable[Event], shown: Sequence[Shown]) -> Outcome:
    """Return what was made of a history; times of events and states count from its start."""
    found = Outcome(histories=1, decidable=history.decidable, jobs=len(history.jobs))
    trial = _Trial(history, found)
    for event in events:
        if event.job_id is not None:
            trial.take(event, event.time)
    for job in history.jobs:
        _compare_end(job, trial.called, history, found)
    _compare_states(history, shown, found)
    return found


class _Trial:
    """Goes through the events of the jobs of one history."""

    def __init__(self, history: History, found: Outcome) -> None:
        self.called: dict[str, float] = {}
        self._jobs = {job.job_id: job for job in history.jobs}
        self._found = found
        self._start = min((span.start for span in history.spans), default=0.0)
        self._wrong: dict[str, float] = {}
        self._suspected: dict[str, float] = {}

    def take(self, event: Event, at: float) -> None:
        job = self._jobs[event.job_id or ""]
        if event.type == "suspected":
            self._suspected[job.job_id] = at
        elif event.type == "cleared":
            self._found.waits.append(at - self._suspected.pop(job.job_id, at))
        elif event.type == "finished" and event.data["state"] != "done":
            self._suspected.pop(job.job_id, None)
            self._verdict(job, event, at)
        elif event.type == "overturned" and job.job_id in self._wrong:
            self._found.overturned += 1
            self._found.wrong_for.append(at - self._wrong.pop(job.job_id))

    def _verdict(self, job: JobHistory, event: Event, at: float) -> None:
        found, end = self._found, job.bad_end()
        found.unproven += not event.data["evidence"]
        if end is not None and event.data["state"] == end[0] and at >= end[1]:
            self.called.setdefault(job.job_id, at)
            return
        self._wrong[job.job_id] = at
        found.wrong += 1
        found.wrong_after.append(at - self._start)
        text = f"{event.data['state']} at {at:.0f}: {event.data['evidence']}"
        found.details.append(f"wrong: {job.job_id} {text}")


def _compare_end(
    job: JobHistory, called: dict[str, float], history: History, found: Outcome
) -> None:
    end = job.bad_end()
    if end is None:
        return
    found.bad += 1
    if job.job_id not in called:
        found.missed += 1
        found.details.append(f"missed: {job.job_id} {end[0]} at {end[1]:.0f}")
        return
    found.called += 1
    start, stop = max(end[1], job.at), called[job.job_id]
    delay = stop - start - sum(_overlap(span, start, stop) for span in _merged(history.spans))
    found.delays.append(delay)
    found.bound = max(found.bound, history.bounds.call)
    if delay > history.bounds.call:
        found.late += 1
        found.details.append(f"late: {job.job_id} called after {delay:.0f} s")


def _compare_states(history: History, shown: Sequence[Shown], found: Outcome) -> None:
    ends = [at for at, _ in shown[1:]]
    stretches = [
        Stretch(start, end, state) for (start, state), end in zip(shown, ends, strict=False)
    ]
    for stretch in stretches:
        if stretch.state == "down":
            _compare_down(history, stretch, found)
    for span in history.spans:
        _compare_span(history, span, stretches, found)
    for before, off, after in zip(stretches, stretches[1:], stretches[2:], strict=False):
        if off.state is None and before.state in KEPT_STATES and after.state != before.state:
            found.state_lost += 1
            text = f"{before.state} before the stop at {off.start:.0f}, then {after.state}"
            found.details.append(f"lost: {text}")


def _compare_down(history: History, shown: Stretch, found: Outcome) -> None:
    down = [span for span in history.spans if span.state == "down"]
    right = _merged([Span(span.start, span.end + RECOVERY_SECONDS) for span in down])
    false = shown.end - shown.start - sum(_overlap(span, shown.start, shown.end) for span in right)
    found.false_down += false
    if false > 0:
        found.false_downs += 1
        found.never_down_broken += history.bounds.never_down
        text = f"for {false:.0f} s, from {shown.start:.0f} to {shown.end:.0f}"
        found.details.append(f"false down: {text}")


def _compare_span(
    history: History, span: Span, stretches: Sequence[Stretch], found: Outcome
) -> None:
    """Find when the right state was shown first, and for how long another one was after that."""
    right = [one for one in stretches if one.state == span.state]
    seen = [one.start for one in right if _overlap(span, one.start, one.end) > 0]
    first = max(span.start, min(seen, default=math.inf))
    if seen:
        found.state_after.append(first - span.start)
        others = [one for one in stretches if one.state not in (span.state, None)]
        found.broken += sum(_overlap(span, max(one.start, first), one.end) for one in others)
    else:
        found.unseen += 1
    if first - span.start > history.bounds.state:
        found.state_late += 1
        text = f"{span.state} shown {first - span.start:.0f} s after {span.start:.0f}"
        found.details.append(f"late: {text}")


def _merged(spans: Iterable[Span]) -> list[Span]:
    merged: list[Span] = []
    for span in sorted(spans, key=lambda one: one.start):
        if merged and span.start <= merged[-1].end:
            end = max(span.end, merged[-1].end)
            merged[-1] = Span(merged[-1].start, end, span.state)
        else:
            merged.append(span)
    return merged


def _overlap(span: Span, start: float, end: float) -> float:
    return max(0.0, min(span.end, end) - max(span.start, start))


def quantile(values: list[float], part: float) -> float:
    """Return the least value that at least this part of the values does not exceed; 0 for none."""
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)] if values else 0.0
