"""Signs that count only when they are repeated: no answer, and `Retry-After` on a bad answer.

Times are steady seconds.
"""

from ..rules import JudgementRules


class Silence:
    """Requests that got no answer, one after the other."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._tries = 0

    def broken(self) -> None:
        """A good answer came."""
        self._since = None

    def lasts(self, steady: float, rules: JudgementRules) -> bool:
        """Take in one more; return whether they are an outage: enough of them over a time."""
        if self._since is None:
            self._since, self._tries = steady, 0
        self._tries += 1
        return steady - self._since >= rules.outage_window and self._tries >= rules.outage_jobs


class Hints:
    """`Retry-After` on bad answers: one job's hint, unless a second job says so too."""

    def __init__(self) -> None:
        self._last: tuple[str, float] | None = None

    def confirmed(self, asked: str, steady: float, rules: JudgementRules) -> bool:
        """Take in a hint; return whether another id was given one in `judgement.outage_window`."""
        last, self._last = self._last, (asked, steady)
        return last is not None and last[0] != asked and steady - last[1] <= rules.outage_window
