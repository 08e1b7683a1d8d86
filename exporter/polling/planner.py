"""Decides when each job is polled next, and puts it into the schedule."""

from collections.abc import Callable, Mapping

from ..core.events import Now
from ..core.health.health import Health
from ..core.job import Job
from ..core.judgement import span
from ..core.pacing.next_poll import NextPoll, PollReason, Random, next_poll
from ..core.reply import Kind, Reply
from .pace import Pace
from .protocols import PollerConfig
from .schedule import NOT_HELD, Schedule
from .weak_verdicts import WeakVerdicts


class Planner:
    """Plans the next poll of each job, from its last answer, the rules and the learned pace.

    `jobs` are those in memory, by id.
    """

    def __init__(
        self,
        jobs: Mapping[str, Job],
        schedule: Schedule,
        pace: Pace,
        health: Health,
        config: Callable[[], PollerConfig],
        now: Callable[[], Now],
        rng: Random,
    ) -> None:
        self.schedule = schedule
        self.pace = pace
        self._jobs = jobs
        self._weak_verdicts = WeakVerdicts(jobs)
        self._health = health
        self._config = config
        self._now = now
        self._rng = rng

    def plan(self, job_id: str, reply: Reply | None = None, due: float | None = None) -> None:
        """Schedule the next poll of a job, if there is to be one; forget one not in memory.

        `reply` is the answer that just came, if there is one, and `due` the time (steady seconds)
        at which it was due. `due` is None for a request about a job that was not scheduled.
        """
        job = self._jobs.get(job_id)
        if job is None:
            self.schedule.forget(job_id)
            self.pace.forget(job_id)
            return
        now = self._now()
        planned = self._next_poll(job, reply, now)
        if planned is None:
            self.schedule.remove(job_id)
            return
        self.schedule.plan(job_id, planned, now.steady)
        if reply is not None:
            delay = reply.retry_delay(now.time)
            longest = self._config().polling.max_retry_after
            self.schedule.hold(job_id, now.steady + min(delay, longest) if delay else NOT_HELD)
        if due is None or reply is None:
            return
        if reply.kind is Kind.UNASKED:  # it is as late as before
            self.schedule.schedule(job_id, due, planned.delay)
        elif due > now.steady and job.suspicion is not None:
            # A request out of turn does not delay the answers that a verdict needs.
            earliest = min(due, now.steady + planned.delay)
            self.schedule.schedule(job_id, earliest, planned.delay)

    def note(self, job: Job) -> None:
        """Take in a job that has changed, or was loaded at the start."""
        self._weak_verdicts.note(job)

    def check_weak_verdicts(self, mode: str | None) -> None:
        """Ask again about the jobs that failed with a weak witness: their mode was served again.

        That takes the place of no recheck, so it is planned as an ordinary poll.
        """
        for job_id in self._weak_verdicts.served(mode):
            if self.schedule.due_of(job_id) is not None:
                self.schedule.plan(job_id, NextPoll(0.0, PollReason.SCHEDULE), self._now().steady)

    def _next_poll(self, job: Job, reply: Reply | None, now: Now) -> NextPoll | None:
        config = self._config()
        rules = config.polling
        if not job.pending or (reply is None and job.last_polled_at is None):
            # No forecast: it would take a third of what a registration costs here.
            return next_poll(job, reply, now, rules, (0, 0.0), 0.0, self._rng)
        verdict_span = span(job, self._health, config.judgement)
        forecast = self.pace.forecast(job, now)
        wait = forecast.wait(rules.call_cost, rules.max_interval)
        planned = next_poll(job, reply, now, rules, verdict_span, wait, self._rng)
        if planned is not None:
            self.pace.planned(job, forecast, planned)
        return planned
