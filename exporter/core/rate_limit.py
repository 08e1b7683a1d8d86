"""The rate limit of all requests to the upstream: a token bucket. All times are steady seconds."""

import math
from typing import Final

RECOVERY_SECONDS: Final = 10.0
RECOVERY_STEP: Final = 0.1
"""After a 429 the rate rises by this share of the full rate every `RECOVERY_SECONDS`."""
SLOWEST_SHARE: Final = 1 / 64
"""However many 429s come, the rate stays at this share of the full rate or above."""


class TokenBucket:
    """Admits `rate` requests per second, and up to `burst` at once.

    A 429 halves the rate, which recovers in steps. It does not recover while the circuit is open:
    see `hold` and `drain`.
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
        """Return the requests per second that are admitted at `now`."""
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
        """Return when the next request may start and leave `spare` tokens (0 or 1); at least `now`.

        With a burst of 1 no token is left in fact, but the wait is as long as if one were. So
        requests that need none to be left can take every other token.
        """
        self._fill(now)
        return max(now, now + (1 + spare - self._tokens) / self.rate(now))

    def tokens(self, now: float) -> float:
        """Return how many requests may start at once."""
        self._fill(now)
        return min(float(self.burst), self._tokens)

    def take(self, now: float) -> None:
        """Spend a token. There must be one: see `ready_at`."""
        self._tokens = self.tokens(now) - 1

    def hold(self, now: float) -> None:
        """Stop the recovery of the rate until `drain`: the circuit has opened."""
        self._fill(now)
        self._held_at = now

    def drain(self, now: float) -> None:
        """Go on, without a burst, since the circuit has closed: waiting requests are spread out."""
        self._fill(now)
        self._tokens = min(self._tokens, 0.0)
        if self._held_at is not None:
            self._recovers_from += now - self._held_at
            self._held_at = None

    def slow_down(self, now: float) -> None:
        """Halve the rate, at most once a second: many 429s for one burst count once."""
        if now - self._slowed_at >= 1:
            share = self.rate(now) / self.full_rate / 2
            self._fill(now)
            self._share, self._slowed_at = max(SLOWEST_SHARE, share), now
            self._recovers_from = now if self._held_at is None else self._held_at

    def set_limits(self, rate: float, burst: int, now: float) -> None:
        """Take the limits of a reloaded config; tokens above the new burst are lost."""
        self._fill(now)
        self.full_rate, self.burst = rate, burst
        self._tokens = min(self._tokens, float(self._depth))

    @property
    def _depth(self) -> int:
        """The most tokens that are counted: the burst, but at least 2.

        With a burst of 1 the second token is never spent; it measures the wait of `ready_at`.
        """
        return max(self.burst, 2)

    def _fill(self, now: float) -> None:
        if now > self._filled_at:
            gained = (now - self._filled_at) * self.rate(now)
            self._tokens = min(float(self._depth), self._tokens + gained)
            self._filled_at = now
