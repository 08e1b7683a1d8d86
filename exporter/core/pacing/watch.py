"""The state that is kept for each mode, and for each pending job."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from .law import HEAVIEST, Law
from .marks import Mark, Run, band

MARKS: Final = 12
"""A mode has this many marks of its own; all further steps and bands share one more."""
LOST_SECONDS: Final = 2.0
LOST_SHARE: Final = 0.25
"""This long, or this share of the wait, the upstream may have been unwell between two answers."""

EXPECTATION: Final = struct.Struct("3d")
"""The age at which the next poll is planned, and the chances that it sees the end, by the law and
by the mark. They take 64 bytes of each job's memory; as a tuple of numbers they took 160."""

MarkName = tuple[str, int]


class Mode:
    """The law and the marks of a mode, learned from its jobs; without a prior, of all modes."""

    __slots__ = ("is_of_all", "law", "marks", "watches")

    def __init__(self, prior: Law | None = None) -> None:
        self.law = Law(prior)
        self.is_of_all = prior is None
        self.marks: dict[MarkName | None, Mark] = {}
        self.watches = 0
        """Jobs that are being watched."""

    def mark(self, step: str, percent: int) -> Mark:
        """Return the mark of a step and a percentage (0 to 100)."""
        name: MarkName | None = (step, band(percent))
        if name not in self.marks and len(self.marks) >= MARKS:
            name = None
        return self.marks.setdefault(name, Mark()) if name not in self.marks else self.marks[name]

    def live(self, start: float, end: float) -> None:
        """Count a job that was alive at both ages (seconds)."""
        if self.law.live(start, end):
            self.law.rebuild()

    def end(self, start: float, end: float) -> None:
        """Count a job's end, which lies between two ages (seconds)."""
        is_due = self.law.end(start, end)
        if self.law.weight > HEAVIEST:
            self.rescale()
        if is_due:
            self.rebuild()

    def rescale(self) -> None:
        """Make the weight of the next end 1, and divide all counts accordingly."""
        weight = self.law.rescale()
        for mark in self.marks.values():
            mark.rescale(weight)

    def rebuild(self) -> None:
        """Compute all tables anew."""
        self.law.rebuild()
        for mark in self.marks.values():
            mark.rebuild(self.law.weight)


@dataclass(slots=True)
class Watch:
    """One pending job. All times are ages, in seconds."""

    mode: Mode
    name: str | None
    """The mode's name when the watch began."""
    first: float
    """When the job was first seen. Ages before that are not counted."""
    last: float
    """When it was last seen alive."""
    mark: Mark | None = None
    step: str = ""
    percent: int = -1
    """The highest percentage so far; a fall is ignored."""
    before: float = 0.0
    since: float = 0.0
    """The mark was entered after `before` and by `since`."""
    seen: float = 0.0
    """When the mark was last seen."""
    runs: tuple[Run, ...] = ()
    """The last run at each mark that the job has left."""
    planned_wait: float = 0.0
    """The wait until the next poll, as planned."""
    expectation: bytes = b""
    """What is expected of the next poll, as `EXPECTATION` packs it.

    Empty where the mark says nothing: there is nothing to compare.
    """
    is_over: bool = False
    lost: float = 0.0
    """For how many of the seconds until it was last seen the upstream was not well."""
    is_disturbed: bool = False
    """Whether an answer that was not good, or another wait than the planned one, came since."""

    def can_teach(self, lost: float) -> bool:
        """Whether an answer is learned from; `lost` is as above, until that answer."""
        allowed = max(LOST_SECONDS, LOST_SHARE * self.planned_wait)
        return not self.is_disturbed and lost - self.lost <= allowed

    def is_marked(self, age: float) -> bool:
        """Whether the mark says anything about a job of that age."""
        mark = self.mark
        return mark is not None and age > 0.1 and (self.since > 0.1 or not mark.is_mute)

    @property
    def is_believed(self) -> bool:
        """Whether the mark's forecast counts for more than the law's alone."""
        return self.mark is not None and self.is_marked(self.last) and self.mark.score > 0

    def move(self, age: float, step: str, percent: int) -> None:
        """Take in the step and the percentage that the job shows at an age."""
        percent = max(self.percent, percent)
        if self.mark is None or percent != self.percent or step != self.step:
            if self.mark is not None:
                self._leave(self.mark, age)
                self.before = self.last
            self.mark = self.mode.mark(step, percent)
            self.step, self.percent, self.since = step, percent, age
        self.seen = age

    def ended_runs(self) -> Sequence[Run]:
        """Return the runs at all marks, once the job has ended."""
        if self.mark is not None:
            self._leave(self.mark, None)
        return self.runs

    def _leave(self, mark: Mark, age: float | None) -> None:
        run = Run(mark, self.percent, self.before, self.since, self.seen, age)
        self.runs = (*(one for one in self.runs if one.mark is not mark), run)
