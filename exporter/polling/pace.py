"""Learns from the answers about pending jobs, and forecasts their ends.

`core/pacing` does the arithmetic. This module decides which answers are learned from: an end counts
only if the poll that saw it came when it was planned. So an end is left out after an outage, a wait
that the upstream asked for, a backlog of the rate limit, or a stop.
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

LATE_SECONDS: Final = 2.0
LATE_SHARE: Final = 0.25
"""A poll is late when it comes this long, or this share of its wait, after it was planned."""
ENDS: Final = (JobState.DONE, JobState.FAILED)


class Pace:
    """The learner of one upstream, and a watch for each pending job that was answered."""

    def __init__(self) -> None:
        self.learner = Learner()
        self._watches: dict[str, Watch] = {}
        self._disturbed: set[str] = set()
        """Jobs whose next answer is not learned from."""

    def answered(self, job: Job, reply: Reply, now: Now) -> None:
        """Learn from an answer; `job` is the job as changed by it."""
        watch, age = self._watches.get(job.job_id), _age(job, now)
        if reply.kind is not Kind.OK:
            self._disturbed.add(job.job_id)
        elif watch is None or watch.name != job.mode:
            self._begin(job, age)
        elif job.pending:
            if self._is_undisturbed(job.job_id, watch, age):
                self.learner.pending(watch, age, job.step or "", int(job.progress or 0))
            else:
                self.learner.skip(watch, age)
            self._disturbed.discard(job.job_id)
        elif job.state in ENDS and self._is_undisturbed(job.job_id, watch, age):
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

    def _watch(self, job: Job, age: float) -> Watch:
        """Return a job's watch, or what is known of a job that was not answered yet."""
        return self._watches.get(job.job_id) or self.learner.unwatched(job.mode, age)

    def _begin(self, job: Job, age: float) -> None:
        self.forget(job.job_id)
        if job.pending:
            watch = self.learner.watch(job.mode, age)
            self.learner.pending(watch, age, job.step or "", int(job.progress or 0))
            self._watches[job.job_id] = watch

    def _is_undisturbed(self, job_id: str, watch: Watch, age: float) -> bool:
        late = max(LATE_SECONDS, LATE_SHARE * watch.planned_wait)
        return job_id not in self._disturbed and age <= watch.planned_at + late


def _age(job: Job, now: Now) -> float:
    return max(0.0, now.time - job.registered_at)
