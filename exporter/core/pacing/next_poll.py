"""Decides the wait until a job's next poll, and the reason for it.

A pending job with a good last answer waits as long as the learner says, within the config's bounds.
Suspected jobs, rechecks, setbacks and `Retry-After` follow rules of their own.
"""

from enum import StrEnum
from typing import Final, Protocol

from ..events import Now
from ..job import Job, Suspicion
from ..reply import Reply
from ..rules import PollingRules
from ..value import value

JITTER_SHARE: Final = 0.1
"""Up to this share is added to each wait, so that jobs registered together drift apart."""
OLD_SHARE: Final = 0.2
"""`polling.progress_max_age` shortens no wait below this share of the job's age."""

SUSPECTED_SHARE: Final = 0.05
"""A suspected job waits at least this share of its run's length, so a long run costs few calls."""


class Random(Protocol):
    """A generator of random numbers, such as `random.Random`."""

    def random(self) -> float:
        """Return a number from 0 to 1, but never 1."""
        ...


class PollReason(StrEnum):
    """Which rule decided the time of the next poll; `next_poll_reason` of the API."""

    SCHEDULE = "schedule"
    RETRY_AFTER = "retry_after"
    SUSPECTED = "suspected"
    RECHECK = "recheck"
    UPSTREAM_DOWN = "upstream_down"
    KEY_REJECTED = "key_rejected"


class Limit(StrEnum):
    """What decided the wait of a job on the schedule, if it was not the forecast of its end."""

    FRESHNESS = "progress_max_age"
    LEAST = "min_interval"
    MOST = "max_interval"
    SETBACKS = "setbacks"


@value(frozen=True, slots=True)
class NextPoll:
    """The seconds to wait, and the rule that decided them; `limit`: None is the forecast."""

    delay: float
    reason: PollReason
    limit: Limit | None = None


def next_poll(
    job: Job,
    reply: Reply | None,
    now: Now,
    rules: PollingRules,
    verdict_span: tuple[int, float],
    wait: float,
    rng: Random,
) -> NextPoll | None:
    """Return when to ask about a job again, or None if it is not asked about again.

    `reply` is its last answer, None for a job just registered or loaded. `verdict_span` is the
    number of answers and the seconds that a suspected job's verdict takes. `wait` is the wait of a
    pending job that the learner proposes, in seconds.
    """
    if not job.pending:
        return _next_recheck(job, now, rules, rng)
    if reply is None and job.last_polled_at is None:
        return NextPoll(0.0, PollReason.SCHEDULE)
    delay, limit = bounded(wait, job, now, rules)
    if reply is None:  # loaded at start, or registered with an answer
        return NextPoll(_resumed_delay(job, now, delay, rng), PollReason.SCHEDULE, limit)
    reason = PollReason.SCHEDULE
    if (backoff := _backoff(job, rules)) > delay:
        delay, limit = backoff, Limit.SETBACKS
    if job.suspicion is not None:
        delay = _suspected_interval(job.suspicion, rules, verdict_span)
        reason, limit = PollReason.SUSPECTED, None
    delay = _clamp(delay, rules) * (1 + JITTER_SHARE * rng.random())
    hint = reply.retry_delay(now.time)
    if hint is not None and min(hint, rules.max_retry_after) > delay:
        return NextPoll(min(hint, rules.max_retry_after), PollReason.RETRY_AFTER)
    return NextPoll(delay, reason, limit)


def bounded(wait: float, job: Job, now: Now, rules: PollingRules) -> tuple[float, Limit | None]:
    """Return a proposed wait within the config's bounds, in seconds, and the bound that decided.

    `polling.progress_max_age` keeps the progress that is shown fresh. An old job's progress may be
    a share of its age old.
    """
    limit = None
    if rules.progress_max_age > 0:
        age = max(0.0, now.time - job.registered_at)
        freshest = max(rules.progress_max_age, OLD_SHARE * age)
        if wait > freshest:
            wait, limit = freshest, Limit.FRESHNESS
    if wait > rules.max_interval:
        return rules.max_interval, Limit.MOST
    if wait < rules.min_interval:
        return rules.min_interval, Limit.LEAST
    return wait, limit


def _backoff(job: Job, rules: PollingRules) -> float:
    """Return the least wait after answers that said nothing about the job; 0 without such."""
    if not job.setbacks:
        return 0.0
    return _clamp(rules.min_interval * 2.0 ** min(job.setbacks, 16), rules)


def _resumed_delay(job: Job, now: Now, wait: float, rng: Random) -> float:
    """Return the rest of the wait since the last poll; overdue jobs are spread over one wait.

    A last poll in the future was made before the clock was set back. It counts as made now.
    """
    since = max(0.0, now.time - (job.last_polled_at or 0.0))
    rest = wait * (1 + JITTER_SHARE * rng.random()) - since
    return rest if rest > 0 else rng.random() * wait


def _suspected_interval(
    run: Suspicion, rules: PollingRules, verdict_span: tuple[int, float]
) -> float:
    """Return the wait of a suspected job: short at first, since most suspicions clear at once.

    Later waits are even: the answers that a verdict needs then come within its time.
    """
    answers, seconds = verdict_span
    even = seconds / max(1, answers - 1)
    soon = min(even, rules.min_interval * 2.0 ** min(run.answers, 16))
    return max(soon, SUSPECTED_SHARE * run.length)


def _next_recheck(job: Job, now: Now, rules: PollingRules, rng: Random) -> NextPoll | None:
    """Return when a job is asked about again whose end was inferred, not stated by the upstream."""
    due = job.recheck_at(rules.recheck_after)
    if due is None:
        return None
    # The end may lie in the future, if the clock was set back since: wait the whole time at most.
    rest = min(due - now.time, rules.recheck_after[job.rechecks])
    delay = max(_backoff(job, rules), rest) * (1 + JITTER_SHARE * rng.random())
    return NextPoll(delay, PollReason.RECHECK)


def _clamp(seconds: float, rules: PollingRules) -> float:
    return min(rules.max_interval, max(rules.min_interval, seconds))
