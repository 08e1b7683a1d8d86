"""Learns from the answers about pending jobs, and forecasts their ends.

`core/pacing` does the arithmetic. This module decides which answers are learned from: an end counts
only if the upstream was well since the answer before. So an end is left out after an outage, a wait
that the upstream asked for, or a stop. A backlog of the rate limit is learned from. Otherwise it
could last for ever: what is not learned yet asks for more polls than are needed.
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

LOST_SECONDS: Final = 2.0
LOST_SHARE: Final = 0.25
"""This long, or this share of the wait, the upstream may have been unwell between two answers."""
ENDS: Final = (JobState.DONE, JobState.FAILED)


class Pace:
    """The learner of one upstream, and a watch for each pending job that was answered."""

    def __init__(self) -> None:
        self.learner = Learner()
        self._watches: dict[str, Watch] = {}
        self._disturbed: set[str] = set()
        """Jobs whose next answer is not learned from."""
        self._lost: dict[str, float] = {}
        """The lost seconds of each watched job until its last answer."""

    def answered(self, job: Job, reply: Reply, now: Now) -> None:
        """Learn from an answer; `job` is the job as changed by it."""
        watch, age = self._watches.get(job.job_id), _age(job, now)
        if reply.kind is not Kind.OK:
            self._disturbed.add(job.job_id)
        elif watch is None or watch.name != job.mode:
            self._begin(job, age, now)
        elif job.pending:
            if self._is_undisturbed(job, watch, now):
                self.learner.pending(watch, age, job.step or "", int(job.progress or 0))
            else:
                self.learner.skip(watch, age)
            self._disturbed.discard(job.job_id)
            self._lost[job.job_id] = _lost(job, now)
        elif job.state in ENDS and self._is_undisturbed(job, watch, now):
            self.learner.ended(watch, age)
        if not job.pending:
            self.forget(job.job_id)

    def forecast(self, job: Job, now: Now) -> Forecast:
        """Return the forecast of a pending job's end."""
        age = _age(job, now)
        return self.learner.forecast(self._watch(job, age), age)

    def planned(self, job: Job, made: Forecast, planned: NextPoll) -> None:
        """Note when a pending job is polled next, so that its answer can be learned from."""
        watch = self._watches.get(job.job_id)
        if planned.reason is not PollReason.SCHEDULE or watch is None:
            self._disturbed.add(job.job_id)
        else:
            self.learner.plan(watch, made, planned.delay)

    def forget(self, job_id: str) -> None:
        """Drop what is kept about a job; what was learned from it stays."""
        if (watch := self._watches.pop(job_id, None)) is not None:
            self.learner.leave(watch)
            del self._lost[job_id]
        self._disturbed.discard(job_id)

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
        self._watches.clear()
        self._lost.clear()

    def _watch(self, job: Job, age: float) -> Watch:
        """Return a job's watch, or what is known of a job that was not answered yet."""
        return self._watches.get(job.job_id) or self.learner.unwatched(job.mode, age)

    def _begin(self, job: Job, age: float, now: Now) -> None:
        self.forget(job.job_id)
        if job.pending:
            watch = self.learner.watch(job.mode, age)
            self.learner.pending(watch, age, job.step or "", int(job.progress or 0))
            self._watches[job.job_id] = watch
            self._lost[job.job_id] = _lost(job, now)

    def _is_undisturbed(self, job: Job, watch: Watch, now: Now) -> bool:
        if job.job_id in self._disturbed:
            return False
        lost = _lost(job, now) - self._lost[job.job_id]
        return lost <= max(LOST_SECONDS, LOST_SHARE * watch.planned_wait)


def _lost(job: Job, now: Now) -> float:
    """Return the seconds since the registration in which the upstream was not well."""
    return now.time - job.registered_at - (now.healthy_time - job.registered_healthy_time)


def _age(job: Job, now: Now) -> float:
    return max(0.0, now.time - job.registered_at)
