"""One request was refused (401, 403): are all? The control request says so, asked often enough.

A rejected key or a firewall refuses everything, so one refused control confirms it. But where one
of several servers refuses, a control is refused by chance as well. So after a refusal that was
contradicted, as many controls in a row have to be refused as chance hardly gives. Times are steady
seconds.
"""

import math
from typing import Final

MEMORY_SECONDS: Final = 600.0
"""How long a contradicted refusal makes the next one harder to confirm."""
CAREFUL_CONTROLS: Final = 10
"""How many refused controls then confirm: a server that refuses half of all requests does that
once in a thousand times. A refusal confirmed by mistake is probed after `polling.key_retry`."""


class Refusal:
    """A refusal that is not confirmed yet, and when an earlier one was last contradicted."""

    def __init__(self) -> None:
        self.open = False
        """Whether one is open: nothing is polled until it is confirmed or contradicted."""
        self.undecided = False
        """Whether the control was asked, and could say neither: a job may be asked as well."""
        self._controls = 0
        self._contradicted_at = -math.inf

    def refused(self, steady: float, *, control: bool) -> bool:
        """A request was refused; return whether that confirms that all are."""
        if not self.open:
            self.open, self.undecided, self._controls = True, False, 0
        self._controls += control
        careful = steady - self._contradicted_at <= MEMORY_SECONDS
        return self._controls >= (CAREFUL_CONTROLS if careful else 1)

    def confirmed(self) -> None:
        """It was no chance: it says nothing about later ones."""
        self.open = False

    def answered(self, steady: float) -> None:
        """A request was not refused, which contradicts an open refusal."""
        if self.open:
            self.open, self._contradicted_at = False, steady
