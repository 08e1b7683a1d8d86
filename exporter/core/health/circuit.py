"""The circuit breaker: polls go on while it is closed; while it is open, one probe at a time.

Each probe waits twice as long as the one before, from `polling.min_interval` to
`polling.max_interval`. `Retry-After` is heeded up to `polling.max_retry_after`. Times are steady
seconds.
"""

from dataclasses import dataclass
from enum import StrEnum

from ..events import Now
from ..reply import Reply
from ..rules import PollingRules


class Probe(StrEnum):
    """The subject of a probe."""

    CONTROL = "control"  # a request that concerns no pending job
    POLL = "poll"  # the job whose answer says most


@dataclass(frozen=True, slots=True)
class Circuit:
    """Whether polls may go on; if not, when (steady seconds) and how the next probe is made."""

    closed: bool
    probe_at: float = 0.0
    probe: Probe = Probe.POLL


class Probes:
    """When the next probe is made, while the circuit is open."""

    def __init__(self) -> None:
        self.at = 0.0
        self._delay = 0.0
        self._asked_until = 0.0
        """Until when the upstream has asked to be left alone (`Retry-After`)."""

    def begin(self, steady: float) -> None:
        """The circuit has opened: the first probe may be made at once, or after `Retry-After`."""
        self.at, self._delay = max(self.at, steady), 0.0

    def reset(self) -> None:
        """The upstream serves: the next outage begins with short waits."""
        self._delay = 0.0

    def set(self, at: float) -> None:
        """Make the next probe at a given time."""
        self.at = at

    def limit(self, steady: float, rules: PollingRules) -> None:
        """Wait no longer than these rules admit."""
        longest = max(rules.max_retry_after, rules.max_interval, rules.key_retry)
        self.at = min(self.at, steady + longest)

    def put_off(self, steady: float, rules: PollingRules) -> None:
        """A probe did not close the circuit: the next one waits twice as long."""
        self._delay = min(max(rules.min_interval, self._delay * 2), rules.max_interval)
        self.at = steady + self._delay

    def wait(self, reply: Reply, now: Now, rules: PollingRules, *, is_open: bool) -> None:
        """Heed `Retry-After`. While the circuit is open a second one never shortens the wait."""
        asked = reply.retry_delay(now.time)
        if asked is None:
            asked = min(rules.max_interval, max(rules.min_interval, self._delay))
            self._delay = asked * 2
        until = now.steady + min(asked, rules.max_retry_after)
        self.at = max(self.at, until) if is_open else until
        self._asked_until = max(self._asked_until, until) if is_open else until

    def wait_left(self, steady: float) -> float:
        """Return for how many more seconds the upstream has asked to be left alone."""
        return max(0.0, min(self.at, self._asked_until) - steady)

    def resume(self, steady: float, wait: float, rules: PollingRules) -> None:
        """Go on with an earlier process's open circuit: the first probe is made after that wait."""
        self.at = self._asked_until = steady + min(wait, rules.max_retry_after)
