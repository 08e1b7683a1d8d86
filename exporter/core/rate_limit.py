"""The rate limit of all requests to the upstream: a bucket of tokens that a 429 makes smaller.

Times are steady seconds.
"""

import math
from typing import Final

RECOVERY_SECONDS: Final = 10.0
RECOVERY_STEP: Final = 0.1
"""After a 429 the rate comes back by this share of the whole each `RECOVERY_SECONDS`."""
SLOWEST_SHARE: Final = 1 / 64


class TokenBucket:
    """So many requests per second, with bursts. A 429 halves the rate, which recovers by steps.

    While nothing may be asked nothing recovers: see `hold` and `drain`.
    """

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self.full_rate = rate
        self.burst = burst
        self._tokens = float(self._depth)
        self._filled_at = now
        self._share = 1.0
        self._slowed_at = -math.inf
        self._recovers_from = -math.inf
        self._held_at: float | None = None

    def rate(self, now: float) -> float:
        """Return the requests per second allowed at `now` (steady seconds)."""
        if not self.slowed:
            return self.full_rate
        until = now if self._held_at is None else self._held_at
        steps = math.floor(max(0.0, until - self._recovers_from) / RECOVERY_SECONDS)
        return self.full_rate * min(1.0, self._share + RECOVERY_STEP * steps)

    @property
    def slowed(self) -> bool:
        """Whether a 429 ever lowered the rate."""
        return self._share < 1.0

    def ready_at(self, now: float, spare: int = 0) -> float:
        """Return when the next request may start, `now` or later, and leave `spare` tokens (0, 1).

        With a burst of 1 there is never one to leave; the wait is as long all the same, so that
        whoever leaves none takes every other token.
        """
        self._fill(now)
        return max(now, now + (1 + spare - self._tokens) / self.rate(now))

    def tokens(self, now: float) -> float:
        """Return how many requests may start at once."""
        self._fill(now)
        return min(float(self.burst), self._tokens)

    def take(self, now: float) -> None:
        """Spend a token; `ready_at` has said that there is one."""
        self._tokens = self.tokens(now) - 1

    def hold(self, now: float) -> None:
        """The gate has closed: until it opens the rate stays as it is."""
        self._fill(now)
        self._held_at = now

    def drain(self, now: float) -> None:
        """The gate has opened: start without a burst, so that what waited comes back spread out."""
        self._fill(now)
        self._tokens = min(self._tokens, 0.0)
        if self._held_at is not None:
            self._recovers_from += now - self._held_at
            self._held_at = None

    def slow_down(self, now: float) -> None:
        """Halve the rate, at most once a second: one 429 for a whole burst counts once."""
        if now - self._slowed_at >= 1:
            share = self.rate(now) / self.full_rate / 2
            self._fill(now)
            self._share, self._slowed_at = max(SLOWEST_SHARE, share), now
            self._recovers_from = now if self._held_at is None else self._held_at

    def set_limits(self, rate: float, burst: int, now: float) -> None:
        """Take new limits from a reloaded config; what was saved up stays within them."""
        self._fill(now)
        self.full_rate, self.burst = rate, burst
        self._tokens = min(self._tokens, float(self._depth))

    @property
    def _depth(self) -> int:
        """It fills up to the burst, or to 2: what is above the burst only tells for how long."""
        return max(self.burst, 2)

    def _fill(self, now: float) -> None:
        gained = max(0.0, now - self._filled_at) * self.rate(now)
        self._tokens = min(float(self._depth), self._tokens + gained)
        self._filled_at = max(self._filled_at, now)
