"""The upstream's contract from memory: one poller asks for any number of clients.

`StatusCache` decides how `GET /api/v1/status` is answered. It is a cache in the sense of RFC 9111
that also understands the answers: a final state does not change, and an error that may be the
service's own is not a job's failure. An error of the exporter never looks like a failed job.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import structlog

from ..clock import Clock
from ..core.freshness import Serve, cool_down, forward, fresh_for, serve, serve_unanswered
from ..core.health.health import UpstreamState
from ..core.job import Job, JobState
from ..core.observation import NOT_THE_JOB
from ..core.reply import Kind, Reply
from ..registry.registry import Registry
from .last_answers import Answer, from_store
from .poller import Poller
from .served import Forwarded, KeyRejectedError, Result, Served, StatusConfig, UnavailableError
from .unregistered import RefusalWatcher, UnregisteredIds


class StatusCache:
    """Serves the upstream's last answer about a job, and asks again when it is too old."""

    def __init__(
        self,
        registry: Registry,
        poller: Poller,
        clock: Clock,
        config: Callable[[], StatusConfig],
        watcher: RefusalWatcher,
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self._registry = registry
        self._poller = poller
        self._clock = clock
        self._config = config
        self._unregistered = UnregisteredIds(registry, poller, clock, config, watcher, log)

    async def get(self, job_id: str, accepted: float = math.inf) -> Served:
        """Return the answer about a job, if possible at most `accepted` seconds old.

        Raises `UnavailableError`, `KeyRejectedError`, and `StoreError` when the job is not in
        memory and the store cannot be read.
        """
        if self._poller.health.state is UpstreamState.KEY_REJECTED:
            raise KeyRejectedError
        job = await self._registry.get(job_id)
        if job is None:
            return await self._unregistered.get(job_id)
        return await (self._pending(job, accepted) if job.pending else self._ended(job))

    async def _pending(self, job: Job, accepted: float) -> Served:
        known = self._usable(job.job_id)
        age, cooling_down = self._age(known), self._cool_down(job.job_id)
        is_due, rules = self._due_in(job.job_id) <= 0, self._config().status
        match serve(
            age,
            accepted=accepted,
            is_due=is_due,
            can_ask=not cooling_down and self._poller.can_ask(job.job_id),
            may_wait=not cooling_down and self._poller.health.circuit().closed,
            rules=rules,
        ):
            case Serve.FRESH:
                return self._served(job.job_id, known, age, Result.FRESH)
            case Serve.STALE:
                return self._served(job.job_id, known, age, Result.STALE)
            case Serve.NOTHING:
                if not cooling_down:
                    raise self._unavailable("the upstream is not asked just now")
                why = "the upstream was asked about the job just now, and gave no usable answer"
                return self._old_answer(job.job_id, job, why)
        reply = await self._poller.ask(job.job_id, "client", self._config().upstream.timeout)
        held = self._registry.jobs.get(job.job_id)
        if held is not None and not held.pending:
            served = await self._ended(held)
        else:
            served = self._after_asking(job.job_id, held, reply)
        if reply.failure == "not_asked":
            return served
        reason = forward(age, is_due=is_due, rules=rules)
        return replace(served, forwarded=Forwarded(reason, reply))

    def _after_asking(self, job_id: str, held: Job | None, reply: Reply) -> Served:
        known = self._usable(job_id)
        age = self._age(known)
        if known is not None and known.kind is reply.kind:
            return self._served(job_id, known, age, Result.REFRESHED)
        why = f"the upstream's last answer was not usable: {reply.code}"
        return self._old_answer(job_id, held, why)

    def _old_answer(self, job_id: str, held: Job | None, why: str) -> Served:
        """Return the old answer; raises `UnavailableError` with `why` if there is none to serve.

        A suspected job keeps its last good answer until the verdict.
        """
        known = self._usable(job_id)
        age = self._age(known)
        suspected = known is not None and held is not None and held.suspicion is not None
        if suspected or serve_unanswered(age, self._config().status) is Serve.STALE:
            return self._served(job_id, known, age, Result.STALE)
        raise self._unavailable(
            why, min(self._cool_down(job_id), self._poller.schedule.due_in(job_id))
        )

    def _served(
        self, job_id: str, answer: Answer | None, age: float | None, result: Result
    ) -> Served:
        assert answer is not None  # noqa: S101 - an answer without an age is never served
        age = age or 0.0
        left = fresh_for(age, self._due_in(job_id), self._config().status)
        return Served(answer, age, result, left)

    def _due_in(self, job_id: str) -> float:
        """Return the seconds until a job's own poll, 0 while it is in flight."""
        if self._poller.is_in_flight(job_id):
            return 0.0
        return self._poller.schedule.due_in(job_id)

    def _cool_down(self, job_id: str) -> float:
        """See `freshness.cool_down`; 0 while a request is in flight, which is always awaited."""
        if self._poller.is_in_flight(job_id):  # its poll is noted before it is stored
            return 0.0
        poll, polled_at = self._poller.schedule.last_poll(job_id) or (None, 0.0)
        known = self._usable(job_id)
        now = self._clock.monotonic()  # read once: the two ages are compared
        ago = None if poll is None or poll.kind in NOT_THE_JOB else now - polled_at
        age = None if known is None else now - known.at
        return cool_down(age, ago, self._poller.schedule.cool_down(job_id), self._config().status)

    async def _ended(self, job: Job) -> Served:
        answer = self._poller.answers.final(job.job_id)
        if answer is None:
            final = await self._registry.store.final_answer(job.job_id)
            if final is None:  # forgotten meanwhile, or ended while the store was not writable
                raise self._unavailable("the job's last answer is not kept")
            kind, time = _KINDS.get(job.state, Kind.OK), self._clock.time()
            at = self._clock.monotonic() - max(0.0, time - (job.finished_at or time))
            answer = from_store(final, at, kind)
        return Served(answer, self._age(answer) or 0.0, Result.FINAL)

    def _unavailable(self, message: str, seconds: float = 0.0) -> UnavailableError:
        return UnavailableError(message, max(seconds, self._poller.admission.retry_in()))

    def _usable(self, job_id: str) -> Answer | None:
        """Return the answer about a pending job if it may be served: a good one, a 404 or a 422.

        A 5xx may be the service's own trouble, so it is not served before the verdict.
        """
        answer = self._poller.answers.get(job_id)
        return None if answer is not None and answer.kind is Kind.SERVER_ERROR else answer

    def _age(self, answer: Answer | None) -> float | None:
        return None if answer is None else max(0.0, self._clock.monotonic() - answer.at)


_KINDS: Final = {
    JobState.FAILED: Kind.SERVER_ERROR,
    JobState.NOT_FOUND: Kind.NOT_FOUND,
    JobState.INVALID: Kind.INVALID,
}
