"""One request was refused (401, 403): are all? The control request says so, asked often enough.

A rejected key or a firewall refuses everything, so one refused control confirms it. But where one
of several servers refuses, a control is refused by chance as well. So it is counted how often a
refusal was soon contradicted, and so many refusals in a row are asked for that chance alone hardly
makes them. Times are steady seconds.
"""

from typing import Final

from .chance import run_length
from .counts import AnswerShares

MEMORY_SECONDS: Final = 600.0
CHANCE: Final = 1e-3
"""A row of refused controls that chance makes more rarely confirms. Not as rarely as a failed job
is condemned: what is confirmed is tried again after `polling.key_retry`."""
MOST_CONTROLS: Final = 10
"""So many refused controls always confirm."""


class Refusal:
    """A refusal that is not confirmed yet, and how often earlier ones were contradicted."""

    def __init__(self) -> None:
        self.open = False
        """Whether one stands: nothing is polled until it is confirmed or contradicted."""
        self.undecided = False
        """Whether the control was asked, and could say neither: a job may be asked as well."""
        self._refused = self._controls = 0
        self._answers = AnswerShares()

    def refused(self, steady: float, *, control: bool) -> bool:
        """A request was refused; return whether that confirms that all are."""
        if not self.open:
            self.open, self.undecided, self._refused, self._controls = True, False, 0, 0
        self._refused += 1
        self._controls += control
        return self._controls >= self._controls_needed(steady)

    def confirmed(self) -> None:
        """It was no chance: it says nothing of later ones."""
        self.open = False

    def answered(self, steady: float) -> None:
        """A request was not refused, which contradicts what stands."""
        for _ in range(self._refused if self.open else 0):
            self._answers.add(None, bad=True, at=steady)
        self._answers.add(None, bad=False, at=steady)
        self.open = False

    def _controls_needed(self, steady: float) -> int:
        contradicted = self._answers.share(steady - MEMORY_SECONDS)
        if not contradicted.bad:
            return 1
        return min(MOST_CONTROLS, run_length(contradicted, CHANCE, 1) or MOST_CONTROLS)
