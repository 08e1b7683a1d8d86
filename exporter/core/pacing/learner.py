"""Learns from each job's answers how long the jobs of its mode last, and paces its polls by that.

There is one law for each mode, and one over all modes for the modes that are not known yet.
"""

from typing import Final

from .forecast import Forecast, forecast
from .watch import EXPECTATION, Mode, Watch

MODES: Final = 32
"""Modes of which anything is kept: those being watched, and the most recently watched ones.

A job of a further mode shares the law over all modes. So what is kept does not grow with jobs.
"""
ON_TIME_SHARE: Final = 0.15
"""A forecast is rated only if the poll came within this share of the planned wait."""


class Learner:
    """The laws of one upstream. All times are a job's ages, in seconds.

    An age below the one before comes from a clock that was set back: no time has passed then.
    """

    def __init__(self) -> None:
        self.all = Mode()
        self.modes: dict[str, Mode] = {}

    def watch(self, name: str | None, age: float) -> Watch:
        """Begin to watch a pending job that is first seen at an age."""
        mode = self._mode(name)
        mode.watches += 1
        return Watch(mode, name, first=age, last=age)

    def leave(self, watch: Watch) -> None:
        """End a watch: a mode that nobody watches may give way to a new one."""
        watch.mode.watches -= not watch.is_over
        watch.is_over = True

    def unwatched(self, name: str | None, age: float) -> Watch:
        """Return what is known of a job that is not watched; nothing is learned from it."""
        mode = self.all if name is None else self.modes.get(name, self.all)
        return Watch(mode, name, first=age, last=age)

    def pending(self, watch: Watch, age: float, step: str, percent: int) -> None:
        """Take in that the job was pending at an age, with this step and percentage."""
        age = max(age, watch.last)
        watch.mode.live(watch.last, age)
        self._rate(watch, age, ended=False)
        watch.move(age, step, percent)
        watch.last = age

    def skip(self, watch: Watch, age: float) -> None:
        """Learn nothing from the time until an age, at which the job was pending."""
        watch.first = watch.last = max(age, watch.last)
        watch.expectation = b""

    def ended(self, watch: Watch, age: float) -> None:
        """Take in that the job had ended at an age, by itself and since it was last seen."""
        age = max(age, watch.last)
        self._rate(watch, age, ended=True)
        weight = watch.mode.law.weight
        for run in watch.ended_runs():
            run.mark.learn(run, (watch.last, age), weight)
        watch.mode.end(watch.last, age)
        if watch.mode is not self.all:
            self.all.live(watch.first, watch.last)
            self.all.end(watch.last, age)
        self.leave(watch)

    def forecast(self, watch: Watch, age: float) -> Forecast:
        """Return what is known of the end of a job that is pending at an age."""
        return forecast(watch, age)

    def plan(self, watch: Watch, made: Forecast, wait: float) -> None:
        """Note that the next poll comes after `wait` seconds: its answer rates the forecast."""
        at, watch.planned_wait = made.age + wait, wait
        chances = made.chances(at)
        watch.expectation = b"" if chances is None else EXPECTATION.pack(at, *chances)

    def _rate(self, watch: Watch, age: float, *, ended: bool) -> None:
        """Rate the mark against the law by what the poll at an age brought."""
        expectation, watch.expectation = watch.expectation, b""
        if not expectation or watch.mark is None:
            return
        planned_at, plain, told = EXPECTATION.unpack(expectation)
        if abs(age - planned_at) > ON_TIME_SHARE * watch.planned_wait:
            return
        if ended:
            watch.mark.rate(plain, told)
        else:
            watch.mark.rate(1 - plain, 1 - told)

    def _mode(self, name: str | None) -> Mode:
        if name is None:
            return self.all
        mode = self.modes.pop(name, None)
        if mode is None:
            if len(self.modes) >= MODES and not self._drop_one():
                return self.all
            mode = Mode(self.all.law)
        self.modes[name] = mode
        return mode

    def _drop_one(self) -> bool:
        """Drop the mode that was watched least recently of those that no one watches now."""
        for name, mode in self.modes.items():
            if not mode.watches:
                del self.modes[name]
                return True
        return False
