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


_PACKED: Final = struct.Struct("=dfH")
"""`time`, `seconds` (of which seven digits fit), and the number of the result (0: none)."""
_NO_POLL: Final = bytes(_PACKED.size)
_NO_POLLS: Final = _NO_POLL * (KEPT_POLLS // 2)


@dataclass(slots=True)
class _Plan:
    """The data of a job that the queue does not have."""

    reason: PollReason = PollReason.SCHEDULE
    limit: Limit | None = None
    held_until: float = NOT_HELD
    recent: bytes = _NO_POLLS
    older: bytes = _NO_POLLS
    """The last polls, and those before them, packed by `_Packing`."""
    polled_at: float = 0.0
    """When the last poll ended, in steady seconds."""


class _Packing:
    """Packs polls into bytes, the newest first: eight took 1.8 KiB as objects, and take 173 bytes.

    The bytes always have room for half of the kept polls. Bytes that grew with each poll had
    another size each time, and Python's allocator kept what 20,000 jobs left behind in every size:
    0.7 KiB for each.
    """

    def __init__(self) -> None:
        self._numbers: dict[tuple[Kind, str, str], int] = {}
        """Numbers of the results (kind, code, reason); each is a word of ours or an HTTP status."""
        self._results: list[tuple[Kind, str, str]] = []
        """Number 1 and the following ones."""

    def add(self, plan: _Plan, poll: Poll) -> None:
        """Put a poll before the others; the oldest of `KEPT_POLLS` gives way."""
        result = poll.kind, poll.code, poll.reason
        number = self._numbers.setdefault(result, len(self._results) + 1)
        if number > len(self._results):
            self._results.append(result)
        last = plan.recent[-_PACKED.size :]
        packed = _PACKED.pack(poll.time, poll.seconds, number)
        plan.recent = packed + plan.recent[: -_PACKED.size]
        if last != _NO_POLL:
            plan.older = last + plan.older[: -_PACKED.size]

    def unpack(self, plan: _Plan) -> Iterator[Poll]:
        """Yield a job's polls, the newest first."""
        for time, seconds, number in _PACKED.iter_unpack(plan.recent + plan.older):
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
            self._packing.add(plan, poll)
            plan.polled_at = steady

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
        return tuple(self._packing.unpack(plan))[::-1] if plan else ()

    def last_poll(self, job_id: str) -> tuple[Poll, float] | None:
        """Return the last poll of a job, and when it ended (steady seconds)."""
        plan = self._plans.get(job_id)
        poll = next(self._packing.unpack(plan), None) if plan else None
        return (poll, plan.polled_at) if plan and poll else None

    def _plan(self, job_id: str) -> _Plan:
        plan = self._plans.get(job_id)
        if plan is None:
            plan = self._plans[job_id] = _Plan()
        return plan
