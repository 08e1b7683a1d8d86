"""When to poll: the wait until a job's next poll, the queue of due times, whose turn it is.

A job's interval is a tenth of the geometric mean of its age and of the time since it last moved:
it grows with age, so that the delay in seeing the end stays a small share of the whole, and
shrinks when progress or step moves. `next_turn` decides; the poller acts.
"""

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from .events import Now
from .health.health import Circuit, Probe
from .job import Job, Suspicion
from .reply import Reply
from .rules import PollingRules

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


class DueQueue:
    """Which job is due when (steady seconds); the most overdue comes first. One entry a job."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, str]] = []
        self._due: dict[str, float] = {}
        self._rates: dict[str, float] = {}
        self._demand = 0.0

    def __len__(self) -> int:
        return len(self._due)

    @property
    def demand(self) -> float:
        """Polls per second that the queued jobs ask for, each one poll per its present wait."""
        return max(0.0, self._demand)

    def schedule(self, job_id: str, due: float, wait: float) -> None:
        """Put a job in, or move it. `wait` is the seconds for which it was put off."""
        self.remove(job_id)
        self._due[job_id] = due
        self._rates[job_id] = 1 / max(wait, 1.0)
        self._demand += self._rates[job_id]
        heapq.heappush(self._heap, (due, job_id))
        if len(self._heap) > 2 * len(self._due) + 64:
            self._heap = [(at, name) for name, at in self._due.items()]
            heapq.heapify(self._heap)

    def remove(self, job_id: str) -> None:
        """Take a job out; one that is not in is no error."""
        if self._due.pop(job_id, None) is not None:
            self._demand -= self._rates.pop(job_id)

    def due_of(self, job_id: str) -> float | None:
        """Return when a job is due, or None when it is not queued."""
        return self._due.get(job_id)

    def overdue(self, now: float) -> int:
        """Return how many jobs are due at `now` (steady seconds)."""
        return sum(due <= now for due in self._due.values())

    def next_due(self) -> float | None:
        """Return the earliest due time, or None when the queue is empty."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)  # moved or removed since
        return self._heap[0][0] if self._heap else None

    def pop(self) -> tuple[str, float]:
        """Take out the most overdue job; raises IndexError when the queue is empty."""
        due = self.next_due()
        if due is None:
            raise IndexError("no job is queued")
        job_id = self._heap[0][1]
        self.remove(job_id)
        return job_id, due

    def pop_lowest(self, rank: Callable[[str], int], below: int) -> tuple[str, float] | None:
        """Take out the most overdue job of the lowest rank; None when none is `below` that.

        Looks at every job.
        """
        ranked = ((rank(name), due, name) for name, due in self._due.items())
        lowest, due, job_id = min(ranked, default=(below, 0.0, ""))
        if lowest >= below:
            return None
        self.remove(job_id)
        return job_id, due


class Turn(StrEnum):
    """Whose turn it is to make a request."""

    ASK = "ask"  # someone waits for an answer out of turn
    ASK_LAST = "ask_last"  # someone asks about an id that nobody tracks
    POLL = "poll"  # the most overdue job, or, through a closed gate, the most telling one
    CONTROL = "control"  # a request that concerns no pending job
    WAIT = "wait"  # nobody's, until a time or until something changes


def next_turn(
    now: float,
    *,
    circuit: Circuit,
    asks: int,
    last_asks: int,
    asked_before: bool,
    control_at: float,
    next_due: float | None,
    token_at: float,
    spare_token_at: float,
    in_flight: int,
    concurrency: int,
) -> tuple[Turn, float]:
    """Decide who may make the next request, and until when (steady seconds) to wait if nobody.

    Pure: the poller does what it says. Those who ask out of turn go before the schedule, but while
    polls are due the two take turns (`asked_before` says whose the last one was). `last_asks` go
    behind both, and leave a token and a slot of the concurrency free for whoever comes next. All
    take from the same rate limit; through a closed gate goes one trial at a time.
    """
    never = math.inf
    if in_flight >= concurrency or (not circuit.closed and in_flight):
        return Turn.WAIT, never
    leaves_a_slot = in_flight + 1 < max(concurrency, 2)
    last_at = spare_token_at if last_asks and circuit.closed and leaves_a_slot else never
    turn, earliest = Turn.POLL, never if next_due is None else next_due
    if not circuit.closed:
        by_control = circuit.probe is Probe.CONTROL or next_due is None
        turn, earliest = Turn.CONTROL if by_control else Turn.POLL, circuit.probe_at
    elif asks and not (asked_before and earliest <= now):
        turn, earliest = Turn.ASK, now
    elif last_at <= now < min(earliest, control_at):
        return Turn.ASK_LAST, now
    elif control_at <= max(now, earliest):
        turn, earliest = Turn.CONTROL, control_at
    start = min(max(earliest, token_at), last_at)
    return (turn, now) if start <= now else (Turn.WAIT, start)
