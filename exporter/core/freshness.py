"""Decides whether a client gets the answer in memory, or the upstream is asked first.

Ages are in seconds since the upstream gave the answer (RFC 9111, 4.2.3); None: no answer is held.
"""

import math
from enum import StrEnum
from typing import Protocol


class Freshness(Protocol):
    """The config's section `status`; times in seconds."""

    @property
    def max_age(self) -> float:
        """An answer up to this age is served unless the job's next poll is due."""
        ...

    @property
    def max_stale(self) -> float:
        """An answer up to this age is served when the upstream cannot be asked."""
        ...


class Serve(StrEnum):
    """How a question about a job is answered."""

    FRESH = "fresh"  # with the answer in memory
    ASK = "ask"  # after asking the upstream
    STALE = "stale"  # with the answer in memory, although it is old
    NOTHING = "nothing"  # with an error: no answer is held, and the upstream cannot be asked


class Forward(StrEnum):
    """Why the upstream was asked about a job, in the words of RFC 9211, 2.2."""

    MISS = "uri-miss"  # no answer is held
    REQUEST = "request"  # the answer is fresh, but the client accepts only a younger one
    STALE = "stale"  # the answer is not fresh any more


def cool_down(
    age: float | None, answered_ago: float | None, asked_for: float, rules: Freshness
) -> float:
    """Return for how many more seconds the upstream is not asked about a job.

    There are two reasons for that. The last answer, `answered_ago` seconds ago (None: there was
    none), was an error, so it is not the usable answer, which has another `age`. Or the upstream
    asked for `asked_for` seconds without requests; this is heeded while the usable answer may be
    served.
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
    """Decide how to answer, before the upstream is asked.

    `is_due`: the job's own poll is due or in flight. `can_ask`: the rate limit admits a request at
    once. `may_wait`: a request may wait for its turn; if neither holds, the upstream cannot be
    asked now. `accepted` is the age in seconds of the oldest answer that the client accepts; it is
    served an older one only if the rate limit admits no request.
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


def forward(age: float | None, *, is_due: bool, rules: Freshness) -> Forward:
    """Say why the upstream is asked; `is_due` as for `serve`."""
    if age is None:
        return Forward.MISS
    return Forward.STALE if is_due or age > rules.max_age else Forward.REQUEST


def fresh_for(age: float, due_in: float, rules: Freshness) -> float:
    """Return for how many more seconds an answer is fresh; it is negative for an older one.

    `due_in` is the time until the job's own poll, 0 while that is in flight.
    """
    return min(rules.max_age - age, due_in)


def serve_unanswered(age: float | None, rules: Freshness) -> Serve:
    """Decide how to answer after the upstream was asked and gave no usable answer."""
    return Serve.STALE if age is not None and age <= rules.max_stale else Serve.NOTHING
