"""Is it chance? How long a run of 5xx must be, given how often other answers are 5xx.

When every third request fails, a healthy job is soon answered 5xx three times in a row. A verdict
needs a run that chance alone would hardly make. Let p be the upper bound of the share of 5xx among
other answers: p to the power of the run's length must be below `judgement.chance`.
"""

import math
from dataclasses import dataclass
from typing import Final

CONFIDENCE: Final = 0.95
_Z: Final = 1.6448536269514722
"""The standard normal's 95 % quantile."""
_EXACT_TO: Final = 50
"""Up to this many failures the bound is exact (Clopper and Pearson), above by the normal."""


@dataclass(frozen=True, slots=True)
class Share:
    """The number of 5xx, and of all answers."""

    bad: int = 0
    answers: int = 0

    def upper_bound(self) -> float:
        """Return the upper bound of the true share, with 95 % confidence; 1 when nothing is known.

        Clopper and Pearson, "The use of confidence or fiducial limits" (1934), one-sided; for many
        failures Wilson's interval with continuity correction (Newcombe 1998, method 4).
        """
        if self.bad >= self.answers:
            return 1.0
        if self.bad == 0:
            return float(1 - (1 - CONFIDENCE) ** (1 / self.answers))
        return self._exact() if self.bad <= _EXACT_TO else self._wilson()

    def _exact(self) -> float:
        low, high = self.bad / self.answers, 1.0
        for _ in range(50):
            middle = (low + high) / 2
            if self._at_most_bad(middle) > 1 - CONFIDENCE:
                low = middle
            else:
                high = middle
        return high

    def _at_most_bad(self, p: float) -> float:
        """Return the chance of no more than `bad` failures, each of probability `p`."""
        n = self.answers
        total, term = 0.0, n * math.log1p(-p)
        for failures in range(self.bad + 1):
            total += math.exp(term)
            if failures < self.bad:
                term += math.log((n - failures) / (failures + 1)) + math.log(p / (1 - p))
        return total

    def _wilson(self) -> float:
        n, p, z2 = self.answers, self.bad / self.answers, _Z * _Z
        root = math.sqrt(z2 + 2 - 1 / n + 4 * p * (n * (1 - p) - 1))
        return min(1.0, (2 * n * p + z2 + 1 + _Z * root) / (2 * (n + z2)))


def run_length(share: Share, chance: float, least: int) -> int | None:
    """Return how many 5xx in a row chance would make with a probability below `chance`.

    At least `least`; None while so little is known that no row would do.
    """
    bound = share.upper_bound()
    if bound >= 1.0:
        return None
    return max(least, math.ceil(math.log(chance) / math.log(bound)))
