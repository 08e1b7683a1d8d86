"""Whether an answer in memory may be given again, or the upstream is asked first. Pure.

Ages are in seconds since the upstream gave the answer (RFC 9111, 4.2.3); None: there is none.
"""

from enum import StrEnum
from typing import Protocol


class Freshness(Protocol):
    """The config's section `status`; times in seconds."""

    @property
    def max_age(self) -> float:
        """So old an answer is given as it is."""
        ...

    @property
    def max_stale(self) -> float:
        """So old an answer is given when the upstream cannot be asked."""
        ...


class Serve(StrEnum):
    """What to do for someone who wants to know of a job."""

    FRESH = "fresh"  # give what memory has
    ASK = "ask"  # ask the upstream first
    STALE = "stale"  # give what memory has, though it is old
    NOTHING = "nothing"  # there is nothing to give, and nobody to ask


def cool_down(
    age: float | None, answered_ago: float | None, asked_for: float, rules: Freshness
) -> float:
    """Return for how many seconds yet the upstream is left alone about a job.

    Either it answered about the job `answered_ago` seconds ago (None: it did not), or it asked to
    be left alone for `asked_for` seconds, heeded while the last good answer may be served.
    """
    lately = 0.0 if answered_ago is None else rules.max_age - answered_ago
    too_old = age is not None and age > rules.max_stale
    return max(lately, 0.0 if too_old else asked_for)


def serve(age: float | None, *, can_ask: bool, may_wait: bool, rules: Freshness) -> Serve:
    """Decide before anyone is asked.

    `can_ask`: a request would be under way at once, within the rate limit. `may_wait`: it would be
    once its turn comes; else the upstream is not asked at all just now.
    """
    if age is not None and age <= rules.max_age:
        return Serve.FRESH
    if can_ask:
        return Serve.ASK
    if age is not None and age <= rules.max_stale:
        return Serve.STALE
    return Serve.ASK if may_wait else Serve.NOTHING


def serve_unanswered(age: float | None, rules: Freshness) -> Serve:
    """Decide after the upstream was asked and gave no answer that helps."""
    return Serve.STALE if age is not None and age <= rules.max_stale else Serve.NOTHING
