"""The upstream's contract from memory: one place that asks, for any number of clients.

`StatusCache` says what to answer to `GET /api/v1/status`. It is a cache in the sense of RFC 9111
that knows more than one: a job's end does not change, and what may be the service's trouble is no
job's failure. No trouble of ours is ever given in a form that reads as one.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Protocol

import structlog

from ..clock import Clock
from ..core.freshness import Freshness, Serve, cool_down, serve, serve_unanswered
from ..core.health.health import UpstreamState
from ..core.job import Job, JobState, Source
from ..core.observation import NOT_THE_JOB
from ..core.registration import register
from ..core.reply import Kind, Reply
from ..registry.registry import Registry
from ..registry.staging import RegistryFullError
from ..storage.store import StoreError
from .last_answers import Answer, answer_of, from_store
from .poller import Poller

UNKNOWN_SECONDS: Final = 5.0
"""For so long an unknown id's 404 or 422 is given again without asking."""
MAX_UNKNOWN: Final = 10_000
"""Answers about ids that nobody tracks; of more the oldest are let go."""


class Result(StrEnum):
    """How an answer was come by; the label `result` of `removit_exporter_status_served_total`."""

    FRESH = "fresh"  # from memory, young enough
    REFRESHED = "refreshed"  # asked upstream first
    STALE = "stale"  # from memory, though old, for the upstream could not be asked
    FINAL = "final"  # the job has ended
    LEARNED = "learned"  # an id that was not known, and is tracked from now on if there is room
    UNKNOWN = "unknown"  # an id that the upstream does not know, or cannot say anything of
    UNAUTHORIZED = "unauthorized"
    INVALID = "invalid"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Served:
    """An answer to give, and how old it is in seconds."""

    answer: Answer
    age: float
    result: Result
    reply: Reply | None = None
    """What the upstream said when it was asked for this; None: it was not."""


class UnavailableError(Exception):
    """There is no answer that could be given; says why, and after how many seconds to ask again."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class KeyRejectedError(Exception):
    """The upstream accepts the key no more, and would say so to whoever asks it."""


class Timeout(Protocol):
    """The section `upstream`, as far as the status cache reads it."""

    @property
    def timeout(self) -> float:
        """How long an answer is awaited, in seconds."""
        ...


class StatusConfig(Protocol):
    """The sections of the config that the status cache reads."""

    @property
    def status(self) -> Freshness:
        """How old an answer may be."""
        ...

    @property
    def upstream(self) -> Timeout:
        """How long to wait for a new one."""
        ...


class RefusalWatcher(Protocol):
    """Counts the registrations that were refused, for the metrics."""

    def refused(self, reason: str) -> None:
        """Count one."""


class StatusCache:
    """What the upstream last said about each job, asked again when it is too old."""

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
        self._watcher = watcher
        self._log = log
        self._unknown: OrderedDict[str, Answer] = OrderedDict()
        self._learning: dict[str, asyncio.Task[Served]] = {}

    async def get(self, job_id: str) -> Served:
        """Return what to answer about a job.

        Raises `UnavailableError`, `KeyRejectedError`, and `StoreError` when the job is not in
        memory and the store cannot be read.
        """
        if self._poller.health.state is UpstreamState.KEY_REJECTED:
            raise KeyRejectedError
        learning = self._learning.get(job_id)
        if learning is not None:
            return await asyncio.shield(learning)
        job = await self._registry.get(job_id)
        if job is None:
            return await self._stranger(job_id)
        return await (self._pending(job) if job.pending else self._ended(job))

    async def _pending(self, job: Job) -> Served:
        known = self._usable(job.job_id)
        age, cooling_down = self._age(known), self._cool_down(job.job_id)
        match serve(
            age,
            can_ask=not cooling_down and self._poller.can_ask(job.job_id),
            may_wait=not cooling_down and self._poller.health.circuit().closed,
            rules=self._config().status,
        ):
            case Serve.FRESH:
                return _served(known, age, Result.FRESH)
            case Serve.STALE:
                return _served(known, age, Result.STALE)
            case Serve.NOTHING:
                if not cooling_down:
                    raise self._unavailable("the upstream is not asked just now")
                why = "the upstream was asked about the job lately, and its answer does not tell"
                return self._as_it_was(job.job_id, job, why)
        reply = await self._poller.ask(job.job_id, "client", self._config().upstream.timeout)
        held = self._registry.jobs.get(job.job_id)
        if held is not None and not held.pending:
            served = await self._ended(held)
        else:
            served = self._after_asking(job.job_id, held, reply)
        return served if reply.failure == "not_asked" else replace(served, reply=reply)

    def _after_asking(self, job_id: str, held: Job | None, reply: Reply) -> Served:
        known = self._usable(job_id)
        age = self._age(known)
        if known is not None and known.kind is reply.kind:
            return _served(known, age, Result.REFRESHED)
        why = f"the upstream's last answer does not tell: {reply.code}"
        return self._as_it_was(job_id, held, why)

    def _as_it_was(self, job_id: str, held: Job | None, why: str) -> Served:
        """What is known though it is old; raises `UnavailableError` that says why, if nothing is.

        What is held as suspected is told as it was, however long the verdict takes.
        """
        known = self._usable(job_id)
        age = self._age(known)
        suspected = known is not None and held is not None and held.suspicion is not None
        if suspected or serve_unanswered(age, self._config().status) is Serve.STALE:
            return _served(known, age, Result.STALE)
        raise self._unavailable(why, min(self._cool_down(job_id), self._poller.due_in(job_id)))

    def _cool_down(self, job_id: str) -> float:
        """See `freshness.cool_down`; a request in flight is awaited in every case."""
        if self._poller.is_in_flight(job_id):  # its answer may be in `polls` before it is stored
            return 0.0
        polls, ago = self._poller.polls(job_id), None
        if polls and polls[-1].kind not in NOT_THE_JOB:
            ago = self._clock.monotonic() - polls[-1].at
        age = self._age(self._usable(job_id))
        return cool_down(age, ago, self._poller.cool_down(job_id), self._config().status)

    async def _ended(self, job: Job) -> Served:
        answer = self._poller.answers.final(job.job_id)
        if answer is None:
            final = await self._registry.store.final_answer(job.job_id)
            if final is None:  # forgotten meanwhile, or ended while the store could not be written
                raise self._unavailable("the job's last answer is not kept")
            kind, time = _KINDS.get(job.state, Kind.OK), self._clock.time()
            at = self._clock.monotonic() - max(0.0, time - (job.finished_at or time))
            answer = from_store(final, at, kind)
        return _served(answer, self._age(answer), Result.FINAL)

    async def _stranger(self, job_id: str) -> Served:
        """An id that is not known: those who ask about it share the call and what comes of it."""
        known = self._unknown.get(job_id)
        age = self._age(known)
        if known is not None and age is not None and age < self._remembered_for(known):
            return self._told(known, age)
        if not self._poller.health.circuit().closed:
            raise self._unavailable("the upstream is not asked just now")
        learning = self._learning.get(job_id)
        if learning is None:
            learning = asyncio.create_task(self._learn(job_id), name=f"learn {job_id}")
            self._learning[job_id] = learning
            learning.add_done_callback(lambda task: self._learned(job_id, task))
        return await asyncio.shield(learning)

    def _learned(self, job_id: str, learning: "asyncio.Task[Served]") -> None:
        del self._learning[job_id]
        if not learning.cancelled():
            learning.exception()  # seen, should nobody be waiting any more

    async def _learn(self, job_id: str) -> Served:
        """Ask the upstream after everyone else, and register the job if the upstream knows it."""
        patience = self._config().upstream.timeout
        reply = await self._poller.ask(job_id, "client", patience, last=True)
        if reply.kind is Kind.KEY_REJECTED:
            raise KeyRejectedError
        answer = answer_of(reply, self._clock.monotonic())
        if answer is None:
            raise self._unavailable(f"the upstream's last answer does not tell: {reply.code}")
        if reply.kind is Kind.OK:
            await self._register(job_id, reply)
            if (held := self._registry.jobs.get(job_id)) is not None:
                self._poller.answers.put(job_id, answer, final=not held.pending)
                return Served(answer, 0.0, Result.LEARNED, reply)
        self._unknown[job_id] = answer
        self._unknown.move_to_end(job_id)
        while len(self._unknown) > MAX_UNKNOWN:
            self._unknown.popitem(last=False)
        return self._told(answer, 0.0, reply)

    async def _register(self, job_id: str, reply: Reply) -> None:
        """Register a job together with its first answer; where it cannot be, count and log why."""
        new, events = register(job_id, Source.STATUS, self._poller.now())
        first = self._poller.first_answer(new, reply)
        answered = replace(first, events=(*events, *first.events))
        try:
            await self._registry.register_answered(answered)
        except RegistryFullError:
            self._watcher.refused("full")
        except StoreError as error:
            self._watcher.refused("store")
            self._log.error("store unavailable", error=str(error))

    def _told(self, answer: Answer, age: float, reply: Reply | None = None) -> Served:
        """What the upstream said of an id that is not tracked; a 5xx only while it is well."""
        well = self._poller.health.state is UpstreamState.WELL
        if answer.kind is Kind.SERVER_ERROR and not well:
            code = answer.http_status
            raise self._unavailable(f"the upstream's last answer does not tell: {code}")
        known = Result.FRESH if reply is None else Result.LEARNED
        return Served(answer, age, known if answer.good else Result.UNKNOWN, reply)

    def _remembered_for(self, answer: Answer) -> float:
        lasting = answer.kind in (Kind.NOT_FOUND, Kind.INVALID)
        return UNKNOWN_SECONDS if lasting else self._config().status.max_age

    def _unavailable(self, message: str, seconds: float = 0.0) -> UnavailableError:
        return UnavailableError(message, max(seconds, self._poller.tried_again_in()))

    def _usable(self, job_id: str) -> Answer | None:
        """What may be given of a pending job: a good answer, or that its id is not known yet.

        A 5xx may be the service's own trouble; before there is a verdict nobody is told of it.
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


def _served(answer: Answer | None, age: float | None, result: Result) -> Served:
    assert answer is not None  # noqa: S101 - an answer without an age is never served
    return Served(answer, age or 0.0, result)
