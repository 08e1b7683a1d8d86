"""Are the bad answers an outage, or jobs that failed while the service works?

Most jobs being answered badly is an outage, unless a pending job is served, or a finished one that
is asked about at once. Jobs that turned bad together are an outage even so.
"""

import math
from typing import Final

from ..rules import JudgementRules, PollingRules
from .control import Control
from .evidence import Evidence, Sort
from .states import Signal

AWAITED_SHARE: Final = 0.25
"""A finished job's answer is awaited for this share of `judgement.outage_window` (15 s)."""
STUCK_SHARE: Final = 0.5
"""Jobs that turned together are believed to be an outage for this share of
`polling.give_up_after` (12 h)."""


class Trouble:
    """Decides what the bad answers mean. Times are steady seconds."""

    def __init__(self, evidence: Evidence, control: Control) -> None:
        self._evidence = evidence
        self._control = control
        self.turned_at = -math.inf
        """When the first of the jobs turned that turned together."""
        self._explained_to = -math.inf

    def outage_ended(self, steady: float) -> None:
        """An outage has ended: it explains which jobs turned bad before."""
        self._explained_to = steady

    def stuck_until(self, polling: PollingRules) -> float:
        """Return until when jobs that turned together are an outage."""
        return self.turned_at + polling.give_up_after * STUCK_SHARE

    def signal(
        self,
        sort: Sort | None,
        steady: float,
        healthy_time: float,
        rules: JudgementRules,
        polling: PollingRules,
    ) -> Signal:
        """Return what the evidence says; `sort` is the answer's, None when only time went by.

        Only an answer begins an outage, time alone does not.
        """
        evidence, bad = self._evidence, sort is Sort.BAD
        mostly_bad = evidence.mostly_bad(rules)
        witnessed = mostly_bad and evidence.witnessed()
        if mostly_bad and not witnessed:
            evidence.nobody_served_at = healthy_time
        if not mostly_bad:
            self._control.nothing_awaited()
        if bad and evidence.turned_together(self._explained_to, rules, polling):
            self.turned_at = evidence.turned.since
            return Signal.TOGETHER
        if mostly_bad and bad and not witnessed and not self._served(steady, rules, polling):
            return Signal.ERRORS
        many = len(evidence.turned) >= rules.outage_jobs
        return Signal.MIXED if mostly_bad or many else Signal.CALM

    def _served(self, steady: float, rules: JudgementRules, polling: PollingRules) -> bool:
        """Whether a finished job is served since the jobs turned bad, or its answer is awaited."""
        latest, window = self._control.served_at, rules.outage_window
        if latest >= self._evidence.turned.since and steady - latest <= window:
            return True
        awaited = self._control.awaited(steady, rules.control, polling.min_interval)
        return awaited <= window * AWAITED_SHARE
