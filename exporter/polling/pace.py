"""Learns from the answers about pending jobs, and forecasts their ends.

`core/pacing` does the arithmetic. This module says what disturbed a job's polls: an end counts only
if the upstream was well since the answer before. So an end is left out after an outage, a wait that
the upstream asked for, or a stop. A backlog of the rate limit is learned from. Otherwise it could
last for ever: what is not learned yet asks for more polls than are needed.
"""

import json
from typing import Final

from ..core.events import Now
from ..core.job import Job, JobState
from ..core.pacing.forecast import Forecast
from ..core.pacing.learner import Learner
from ..core.pacing.next_poll import Limit, NextPoll, PollReason
from ..core.pacing.reasons import Estimate, estimate, explain
from ..core.pacing.saved import as_dict, from_dict
from ..core.pacing.watch import Watch
from ..core.reply import Kind, Reply
from .stored_text import parse

ENDS: Final = (JobState.DONE, JobState.FAILED)


class Pace:
    """The learner of one upstream, and a watch for each pending job that was answered."""

    def __init__(self) -> None:
        self.learner = Learner()
        self._watched: dict[str, Watch] = {}

    def answered(self, job: Job, reply: Reply, now: Now) -> None:
        """Learn from an answer; `job` is the job as changed by it."""
        known, age, lost = self._watched.get(job.job_id), _age(job, now), _lost(job, now)
        if reply.kind is not Kind.OK:
            self._disturb(job.job_id)
        elif known is None or known.name != job.mode:
            self._begin(job, age, lost)
        elif job.pending:
            if known.can_teach(lost):
                self._pending(known, job, age)
            else:
                self.learner.skip(known, age)
            known.lost, known.is_disturbed = lost, False
        elif job.state in ENDS and known.can_teach(lost):
            self.learner.ended(known, age)
        if not job.pending:
            self.forget(job.job_id)

    def forecast(self, job: Job, now: Now) -> Forecast:
        """Return the forecast of a pending job's end."""
        age = _age(job, now)
        return self.learner.forecast(self._watch(job, age), age)

    def planned(self, job: Job, made: Forecast, planned: NextPoll) -> None:
        """Note when a pending job is polled next, so that its answer can be learned from."""
        if planned.reason is not PollReason.SCHEDULE:
            self._disturb(job.job_id)
        elif (known := self._watched.get(job.job_id)) is not None:
            self.learner.plan(known, made, planned.delay)

    def forget(self, job_id: str) -> None:
        """Drop what is kept about a job; what was learned from it stays."""
        if (known := self._watched.pop(job_id, None)) is not None:
            self.learner.leave(known)

    def estimate(self, job: Job, now: Now) -> Estimate | None:
        """Return how long a pending job will still last; None after too few ends."""
        age = _age(job, now)
        return estimate(self._watch(job, age), age) if job.pending else None

    def explain(self, job: Job, now: Now, limit: Limit | None = None) -> str | None:
        """Explain the next poll's time, which a limit may have decided; None after too few ends."""
        age = _age(job, now)
        return explain(self._watch(job, age), age, limit) if job.pending else None

    def dump(self) -> str:
        """Return what was learned, as text for the store."""
        return json.dumps(as_dict(self.learner), separators=(",", ":"))

    def load(self, text: str) -> None:
        """Go on from what `dump` returned; raises `ValueError` when it cannot be read."""
        self.learner = from_dict(parse(text))
        self._watched.clear()

    def _watch(self, job: Job, age: float) -> Watch:
        """Return a job's watch, or what is known of a job that was not answered yet."""
        known = self._watched.get(job.job_id)
        return known or self.learner.unwatched(job.mode, age)

    def _begin(self, job: Job, age: float, lost: float) -> None:
        self.forget(job.job_id)
        if job.pending:
            watch = self.learner.watch(job.mode, age)
            self._pending(watch, job, age)
            watch.lost = lost
            self._watched[job.job_id] = watch

    def _pending(self, watch: Watch, job: Job, age: float) -> None:
        self.learner.pending(watch, age, job.step or "", int(job.progress or 0))

    def _disturb(self, job_id: str) -> None:
        if (known := self._watched.get(job_id)) is not None:
            known.is_disturbed = True


def _lost(job: Job, now: Now) -> float:
    """Return the seconds since the registration in which the upstream was not well."""
    return now.time - job.registered_at - (now.healthy_time - job.registered_healthy_time)


def _age(job: Job, now: Now) -> float:
    return max(0.0, now.time - job.registered_at)
