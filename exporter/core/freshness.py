"""Whether an answer in memory may be given again, or the upstream is asked first. Pure.

Ages are in seconds since the upstream gave the answer (RFC 9111, 4.2.3); None: there is none.
"""

import math
from enum import StrEnum
from typing import Protocol


class Freshness(Protocol):
    """The config's section `status`; times in seconds."""

    @property
    def max_age(self) -> float:
        """An answer up to this age is given as it is, unless the job's next poll is due."""
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

    Either its last answer, `answered_ago` seconds ago (None: there is none), is not the usable one
    of that `age`, or it asked to be left alone for `asked_for` seconds. The latter is heeded while
    the usable answer may be served.
    """
    lately = 0.0
    if answered_ago is not None and (age is None or age > answered_ago):
        lately = rules.max_age - answered_ago
    too_old = age is not None and age > rules.max_stale
    return max(lately, 0.0 if too_old else asked_for)


def serve(
    age: float | None,
    *,
    is_due: bool,
    can_ask: bool,
    may_wait: bool,
    rules: Freshness,
    accepted: float = math.inf,
) -> Serve:
    """Decide before anyone is asked.

    `is_due`: the job's own poll is due or under way. `can_ask`: a request would be under way at
    once, within the rate limit. `may_wait`: it would be once its turn comes; without that the
    upstream is not asked at all just now. `accepted` is the oldest answer that the client accepts,
    in seconds; within the rate limit it gets no older one.
    """
    if age is not None and age <= min(accepted, rules.max_age) and not is_due:
        return Serve.FRESH
    if can_ask:
        return Serve.ASK
    if age is not None and age <= rules.max_age:
        return Serve.FRESH
    if age is not None and age <= rules.max_stale:
        return Serve.STALE
    return Serve.ASK if may_wait else Serve.NOTHING


def serve_unanswered(age: float | None, rules: Freshness) -> Serve:
    """Decide after the upstream was asked and gave no answer that helps."""
    return Serve.STALE if age is not None and age <= rules.max_stale else Serve.NOTHING
