"""One request to the upstream, and everything that its answer changes.

An answer bears on the upstream's health, on the job, and on what is learned about durations.
"""

from collections.abc import Callable

from ..clock import Clock
from ..core.events import Now
from ..core.health.control import ControlTarget
from ..core.reply import Kind, Reply
from ..registry.registry import Registry
from .admission import Admission
from .outcomes import Outcomes
from .planner import Planner
from .protocols import Asker, PollWatcher
from .schedule import Poll


class Requests:
    """Makes requests. When to make them is the poller's decision."""

    def __init__(
        self,
        registry: Registry,
        asker: Asker,
        admission: Admission,
        outcomes: Outcomes,
        planner: Planner,
        clock: Clock,
        now: Callable[[], Now],
        watcher: PollWatcher,
    ) -> None:
        self._registry = registry
        self._asker = asker
        self._admission = admission
        self._outcomes = outcomes
        self._planner = planner
        self._clock = clock
        self._now = now
        self._watcher = watcher

    async def ask(self, job_id: str, purpose: str, due: float | None) -> Reply:
        """Ask about a job, store what the answer makes of it, and return the answer.

        `due` is when (steady seconds) the job was due; None for a job that was not scheduled.
        """
        job = self._registry.jobs.get(job_id)
        in_turn = due is None or due <= self._clock.monotonic()
        reply, seconds = await self._send(job_id, purpose)
        now = self._now()
        if job is not None:
            poll = Poll(now.time, reply.kind, reply.code, seconds, reply.reason)
            self._planner.schedule.polled(job_id, poll, now.steady)
        for event in self._admission.note(job, reply, now, asked=job_id):
            await self._registry.record(event)
        if job is not None:
            after = await self._registry.change(
                job_id,
                job.incarnation,
                lambda known: self._outcomes.outcome(known, reply, now, purpose, in_turn=in_turn),
            )
            if after is not None:
                self._outcomes.remember(job, after, reply, now)
                self._planner.pace.answered(after, reply, now)
                if after.pending and reply.kind is Kind.OK:
                    self._planner.check_weak_verdicts(after.mode)
        return reply

    async def ask_control(self, target: ControlTarget, job_id: str | None) -> Reply:
        """Make the control request: it concerns no pending job and changes none."""
        reply, _ = await self._send(job_id, "control")
        for event in self._admission.note(None, reply, self._now(), target, job_id):
            await self._registry.record(event)
        return reply

    async def _send(self, job_id: str | None, purpose: str) -> tuple[Reply, float]:
        """Return the reply, and the seconds after which it came."""
        started = self._clock.monotonic()
        reply = await self._asker.status(job_id)
        seconds = self._clock.monotonic() - started
        self._watcher.asked(purpose, reply, seconds)
        return reply, seconds
