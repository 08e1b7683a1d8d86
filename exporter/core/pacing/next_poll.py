"""The wait until a job's next poll.

A job's interval is a tenth of the geometric mean of its age and of the time since it last moved:
it grows with age, so that the delay in seeing the end stays a small share of the whole, and
shrinks when progress or step moves.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from ..events import Now
from ..job import Job, Suspicion
from ..reply import Reply
from ..rules import PollingRules

INTERVAL_SHARE: Final = 0.1
"""The interval's share of a job's age."""
JITTER_SHARE: Final = 0.1
"""Up to this share is added to each wait, so that jobs registered together drift apart."""


class Random(Protocol):
    """The one thing asked of a generator such as `random.Random`."""

    def random(self) -> float:
        """Return a number from 0 up to, not including, 1."""
        ...


SUSPECTED_SHARE: Final = 0.05
"""A suspected job waits at least this share of its row's length: a long row is asked for seldom."""


class PollReason(StrEnum):
    """Why a job is polled next when it is; `next_poll_reason` of the API."""

    SCHEDULE = "schedule"
    RETRY_AFTER = "retry_after"
    SUSPECTED = "suspected"
    RECHECK = "recheck"
    UPSTREAM_DOWN = "upstream_down"
    KEY_REJECTED = "key_rejected"


@dataclass(frozen=True, slots=True)
class NextPoll:
    """Seconds to wait, and why."""

    delay: float
    reason: PollReason


def next_poll(
    job: Job,
    reply: Reply | None,
    now: Now,
    rules: PollingRules,
    verdict_span: tuple[int, float],
    rng: Random,
) -> NextPoll | None:
    """Return when to ask about a job again, or None when it need not be asked.

    `reply` is its last answer, None for a job just registered or loaded. `verdict_span` is what
    a suspected job's verdict takes: so many answers over so many seconds.
    """
    if not job.pending:
        return _next_recheck(job, now, rules, rng)
    if reply is None and job.last_polled_at is None:
        return NextPoll(0.0, PollReason.SCHEDULE)
    if reply is None:  # loaded at start, or registered with an answer
        return NextPoll(_resumed_delay(job, now, rules, rng), PollReason.SCHEDULE)
    delay, reason = interval(job, now, rules), PollReason.SCHEDULE
    if job.setbacks:
        delay = max(delay, rules.min_interval * 2.0 ** min(job.setbacks, 16))
    if job.suspicion is not None:
        delay = _suspected_interval(job.suspicion, rules, verdict_span)
        reason = PollReason.SUSPECTED
    delay = _clamp(delay, rules) * (1 + JITTER_SHARE * rng.random())
    hint = reply.retry_delay(now.time)
    if hint is not None and min(hint, rules.max_retry_after) > delay:
        return NextPoll(min(hint, rules.max_retry_after), PollReason.RETRY_AFTER)
    return NextPoll(delay, reason)


def interval(job: Job, now: Now, rules: PollingRules) -> float:
    """Return the seconds between two polls of a healthy pending job, without jitter."""
    age = max(0.0, now.time - job.registered_at)
    idle = max(0.0, now.time - (job.last_progress_at or job.registered_at))
    return _clamp(INTERVAL_SHARE * math.sqrt(age * idle), rules)


def _resumed_delay(job: Job, now: Now, rules: PollingRules, rng: Random) -> float:
    """The rest of the interval since the last poll; those that are overdue are spread over one.

    A poll that the clock says is still to come was made before the clock was set right.
    """
    whole = interval(job, now, rules)
    since = max(0.0, now.time - (job.last_polled_at or 0.0))
    rest = whole * (1 + JITTER_SHARE * rng.random()) - since
    return rest if rest > 0 else rng.random() * whole


def _suspected_interval(
    run: Suspicion, rules: PollingRules, verdict_span: tuple[int, float]
) -> float:
    """Soon at first, for most suspicions clear at once; then so that the verdict is not late."""
    answers, seconds = verdict_span
    even = seconds / max(1, answers - 1)
    soon = min(even, rules.min_interval * 2.0 ** min(run.answers, 16))
    return max(soon, SUSPECTED_SHARE * run.length)


def _next_recheck(job: Job, now: Now, rules: PollingRules, rng: Random) -> NextPoll | None:
    """`failed`, `not_found` and `expired` are inferences: such a job is asked again."""
    due = job.recheck_at(rules.recheck_after)
    if due is None:
        return None
    # No longer than from the end on, should that be still to come by a clock that was set right.
    rest = min(due - now.time, rules.recheck_after[job.rechecks])
    backoff = _clamp(rules.min_interval * 2.0 ** min(job.setbacks, 16), rules)
    floor = backoff if job.setbacks else 0.0
    delay = max(floor, rest) * (1 + JITTER_SHARE * rng.random())
    return NextPoll(delay, PollReason.RECHECK)


def _clamp(seconds: float, rules: PollingRules) -> float:
    return min(rules.max_interval, max(rules.min_interval, seconds))
