"""The gate: whether polls may go on, and how a closed gate is tried, one trial at a time.

It is a circuit breaker: a closed gate is its open circuit, a trial its half-open probe.

Trials come ever later, from `polling.min_interval` to `polling.max_interval`; what the upstream
asks by `Retry-After` is waited, to `polling.max_retry_after`. Times are steady seconds.
"""

from dataclasses import dataclass
from enum import StrEnum

from ..events import Now
from ..reply import Reply
from ..rules import PollingRules


class Probe(StrEnum):
    """How a closed gate is tried."""

    CONTROL = "control"  # a request that concerns no pending job
    POLL = "poll"  # the job whose answer tells most


@dataclass(frozen=True, slots=True)
class Circuit:
    """Whether polls may go on; if not, when (steady seconds) and how one trial is made."""

    closed: bool
    probe_at: float = 0.0
    probe: Probe = Probe.POLL


class Probes:
    """When the next trial is made, while the gate is closed."""

    def __init__(self) -> None:
        self.at = 0.0
        self._delay = 0.0

    def begin(self, steady: float) -> None:
        """The gate has closed: the first may be made at once, or when a wait asked for is over."""
        self.at, self._delay = max(self.at, steady), 0.0

    def reset(self) -> None:
        """The upstream serves: the next row of trials begins with short waits."""
        self._delay = 0.0

    def set(self, at: float) -> None:
        """Make the next one at a time of its own."""
        self.at = at

    def limit(self, steady: float, rules: PollingRules) -> None:
        """Wait no longer than other rules admit."""
        longest = max(rules.max_retry_after, rules.max_interval, rules.key_retry)
        self.at = min(self.at, steady + longest)

    def put_off(self, steady: float, rules: PollingRules) -> None:
        """One was made and did not open the gate: the next, twice as late each time."""
        self._delay = min(max(rules.min_interval, self._delay * 2), rules.max_interval)
        self.at = steady + self._delay

    def wait(self, reply: Reply, now: Now, rules: PollingRules, *, closed: bool) -> None:
        """The upstream asks for a wait. A second asking never shortens it."""
        asked = reply.retry_delay(now.time)
        if asked is None:
            asked = min(rules.max_interval, max(rules.min_interval, self._delay))
            self._delay = asked * 2
        until = now.steady + min(asked, rules.max_retry_after)
        self.at = max(self.at, until) if closed else until
