"""When each job is polled next and why, and the results of its last polls."""

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ..clock import Clock
from ..core.pacing.due_queue import DueQueue
from ..core.pacing.next_poll import Limit, NextPoll, PollReason
from ..core.reply import Kind
from ..core.value import value

KEPT_POLLS: Final = 20
NOT_HELD: Final = -math.inf
"""`Schedule.hold` until then holds nothing; all jobs share this number."""


@value(frozen=True, slots=True)
class Poll:
    """One request about a job, and its result."""

    time: float
    """When it ended, in seconds since 1970."""
    kind: Kind
    code: str
    """`Reply.kind` and `Reply.code`."""
    seconds: float
    """How long it took; seven digits are kept."""
    reason: str = ""
    """`Reply.reason`."""


@dataclass(slots=True)
class _Plan:
    """The data of a job that the queue does not have."""

    reason: PollReason = PollReason.SCHEDULE
    limit: Limit | None = None
    held_until: float = NOT_HELD
    polls: bytes = b""
    """The last polls, packed by `_Packing`."""
    polled_at: float = 0.0
    """When the last of them ended, in steady seconds."""


class _Packing:
    """Packs polls into bytes, the newest first: eight took 1.8 KiB as objects, and take 173 bytes.

    Room is made for ten polls at a time. Bytes that grew with each poll had another size each time,
    and Python's allocator kept what 100,000 jobs left behind in every size: 0.7 KiB for each.
    """

    _FORMAT: Final = struct.Struct("=dfH")
    """`time`, `seconds` (of which seven digits fit), and the number of the result."""
    _SIZE: Final = _FORMAT.size
    _NO_POLL: Final = bytes(_SIZE)
    _ROOM: Final = _NO_POLL * 10
    _MOST_BYTES: Final = KEPT_POLLS * _SIZE

    def __init__(self) -> None:
        self._numbers: dict[tuple[Kind, str, str], int] = {}
        """Numbers of the results (kind, code, reason); each is a word of ours or an HTTP status."""
        self._results: list[tuple[Kind, str, str]] = []
        """Number 1 and the following ones; 0 marks an empty place."""

    def add(self, polls: bytes, poll: Poll) -> bytes:
        """Return the polls with one more, without the oldest if there were `KEPT_POLLS`."""
        result = poll.kind, poll.code, poll.reason
        number = self._numbers.setdefault(result, len(self._results) + 1)
        if number > len(self._results):
            self._results.append(result)
        if len(polls) < self._MOST_BYTES and not polls.endswith(self._NO_POLL):
            polls += self._ROOM
        return self._FORMAT.pack(poll.time, poll.seconds, number) + polls[: -self._SIZE]

    def unpack(self, polls: bytes) -> Iterator[Poll]:
        """Yield the polls, the newest first."""
        for time, seconds, number in self._FORMAT.iter_unpack(polls):
            if not number:
                return
            kind, code, reason = self._results[number - 1]
            yield Poll(time, kind, code, round(seconds, 6), reason)


class Schedule(DueQueue):
    """A queue of jobs that also knows why each job is due, and its last polls.

    Removing a job from the queue keeps these; `forget` drops them.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._plans: dict[str, _Plan] = {}
        self._packing = _Packing()

    def plan(self, job_id: str, planned: NextPoll, steady: float) -> None:
        """Put in a job, as planned at the time `steady` (steady seconds)."""
        plan = self._plan(job_id)
        plan.reason, plan.limit = planned.reason, planned.limit
        self.schedule(job_id, steady + planned.delay, planned.delay)

    def hold(self, job_id: str, until: float) -> None:
        """Note until when (steady seconds) the upstream wants no request about a job."""
        self._plan(job_id).held_until = until

    def cool_down(self, job_id: str) -> float:
        """Return for how many more seconds the upstream wants no request about a job."""
        plan = self._plans.get(job_id)
        return max(0.0, plan.held_until - self._clock.monotonic()) if plan else 0.0

    def due_in(self, job_id: str) -> float:
        """Return the seconds until a job is polled; infinity when it is not queued."""
        due = self.due_of(job_id)
        return math.inf if due is None else max(0.0, due - self._clock.monotonic())

    def oldest_due(self) -> float | None:
        """Return when (since 1970) the most overdue job was or will be due."""
        due = self.next_due()
        return None if due is None else self._clock.time() + (due - self._clock.monotonic())

    def forget(self, job_id: str) -> None:
        """Drop everything about a job."""
        self.remove(job_id)
        self._plans.pop(job_id, None)

    def polled(self, job_id: str, poll: Poll, steady: float) -> None:
        """Remember a poll, ended at `steady`, of a job that is, or was, in the schedule."""
        if (plan := self._plans.get(job_id)) is not None:
            plan.polls, plan.polled_at = self._packing.add(plan.polls, poll), steady

    def reason(self, job_id: str) -> PollReason:
        """Return why the next poll comes when it does."""
        plan = self._plans.get(job_id)
        return plan.reason if plan else PollReason.SCHEDULE

    def limit(self, job_id: str) -> Limit | None:
        """Return what decided the next poll's time, if it was not the forecast."""
        plan = self._plans.get(job_id)
        return plan.limit if plan else None

    def polls(self, job_id: str) -> Sequence[Poll]:
        """Return the last polls of a job, oldest first."""
        plan = self._plans.get(job_id)
        return tuple(self._packing.unpack(plan.polls))[::-1] if plan else ()

    def last_poll(self, job_id: str) -> tuple[Poll, float] | None:
        """Return the last poll of a job, and when it ended (steady seconds)."""
        plan = self._plans.get(job_id)
        if plan is None or not plan.polls:
            return None
        return next(self._packing.unpack(plan.polls)), plan.polled_at

    def _plan(self, job_id: str) -> _Plan:
        plan = self._plans.get(job_id)
        if plan is None:
            plan = self._plans[job_id] = _Plan()
        return plan
