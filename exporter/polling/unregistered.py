"""Answers about ids that are not registered, which the upstream may know.

The upstream is asked once for all callers. An id that it knows is registered, together with this
first answer. Any other answer is remembered for a few seconds.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

import structlog

from ..clock import Clock
from ..core.freshness import Forward
from ..core.health.health import UpstreamState
from ..core.job import Source
from ..core.registration import register
from ..core.reply import Kind, Reply
from ..registry.registry import Registry
from ..registry.staging import RegistryFullError
from ..storage.store import StoreError
from .last_answers import Answer, answer_of
from .poller import Poller
from .served import Forwarded, KeyRejectedError, Result, Served, StatusConfig, UnavailableError

UNKNOWN_SECONDS: Final = 5.0
"""How long a 404 or 422 is served again without asking."""
MAX_UNKNOWN: Final = 10_000
"""How many answers are kept; the oldest are dropped."""


class RefusalWatcher(Protocol):
    """Counts refused registrations."""

    def refused(self, reason: str) -> None:
        """Count one."""


class UnregisteredIds:
    """Asks about unregistered ids, and registers those that the upstream knows."""

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
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self._asking: dict[str, asyncio.Task[Served]] = {}
        """By id: the task that all callers wait for, until the job is registered."""

    async def get(self, job_id: str) -> Served:
        """Return the remembered answer, or ask; raises `UnavailableError`, `KeyRejectedError`."""
        if (known := self._answers.get(job_id)) is not None:
            age = self._clock.monotonic() - known.at
            left = self._remembered_for(known) - age
            if left > 0:
                return self._serve(known, age, left)
        asking = self._asking.get(job_id)
        if asking is None:
            if not self._poller.health.circuit().closed:
                raise self._unavailable("the upstream is not asked just now")
            asking = asyncio.create_task(self._ask(job_id), name=f"ask {job_id}")
            self._asking[job_id] = asking
            asking.add_done_callback(lambda task: self._asked(job_id, task))
        return await asyncio.shield(asking)  # a caller that leaves must not cancel it

    async def _ask(self, job_id: str) -> Served:
        """Ask after all other requests; register the job if the upstream knows it."""
        patience = self._config().upstream.timeout
        reply = await self._poller.ask(job_id, "client", patience, last=True)
        if reply.kind is Kind.KEY_REJECTED:
            raise KeyRejectedError
        answer = answer_of(reply, self._clock.monotonic())
        if answer is None:
            raise self._unavailable(f"the upstream's last answer was not usable: {reply.code}")
        reason = Forward.STALE if job_id in self._answers else Forward.MISS
        forwarded = Forwarded(reason, reply)
        if reply.kind is Kind.OK and await self._register(job_id, reply, answer):
            return Served(answer, 0.0, Result.LEARNED, forwarded=forwarded)
        self._remember(job_id, answer)
        return self._serve(answer, 0.0, forwarded=forwarded)

    def _asked(self, job_id: str, asking: "asyncio.Task[Served]") -> None:
        del self._asking[job_id]
        if not asking.cancelled():
            asking.exception()  # marks it as retrieved, in case no caller waits any more

    async def _register(self, job_id: str, reply: Reply, answer: Answer) -> bool:
        """Register a job with its first answer; return whether it is in memory afterwards."""
        job, events = register(job_id, Source.STATUS, self._poller.now())
        first = self._poller.first_answer(job, reply)
        try:
            await self._registry.register_answered(replace(first, events=(*events, *first.events)))
        except RegistryFullError:
            self._watcher.refused("full")
        except StoreError as error:
            self._watcher.refused("store")
            self._log.error("store unavailable", error=str(error))
        registered = self._registry.jobs.get(job_id)
        if registered is not None:
            self._poller.answers.put(job_id, answer, final=not registered.pending)
        return registered is not None

    def _remember(self, job_id: str, answer: Answer) -> None:
        self._answers[job_id] = answer
        self._answers.move_to_end(job_id)
        while len(self._answers) > MAX_UNKNOWN:
            self._answers.popitem(last=False)

    def _serve(
        self,
        answer: Answer,
        age: float,
        fresh_for: float | None = None,
        forwarded: Forwarded | None = None,
    ) -> Served:
        """Serve an answer about an unregistered id; a 5xx only while the upstream is well."""
        well = self._poller.health.state is UpstreamState.WELL
        if answer.kind is Kind.SERVER_ERROR and not well:
            code = answer.http_status
            raise self._unavailable(f"the upstream's last answer was not usable: {code}")
        good = Result.FRESH if forwarded is None else Result.LEARNED
        result = good if answer.good else Result.UNKNOWN
        return Served(answer, age, result, fresh_for, forwarded)

    def _remembered_for(self, answer: Answer) -> float:
        unknown = answer.kind in (Kind.NOT_FOUND, Kind.INVALID)
        return UNKNOWN_SECONDS if unknown else self._config().status.max_age

    def _unavailable(self, message: str) -> UnavailableError:
        return UnavailableError(message, self._poller.admission.retry_in())
