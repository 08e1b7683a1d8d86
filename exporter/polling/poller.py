"""The poller: asks about each job when it is due, and about any job when a caller asks.

It owns the order of the requests. `next_turn` decides whose turn it is, `planner.py` when a job is
due, and `requests.py` makes a request and takes in its answer. All requests share one rate limit
and one limit of concurrency, and there is at most one request about a job at a time.

The most overdue job of the schedule comes first, except while the circuit is open: then the job
that says most about the upstream is its probe. Nothing is dropped: when there is more to ask than
the rate admits, polls come later, and the lag shows it.
"""

import asyncio
import math
import uuid
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from ..clock import Timer
from ..core.events import Now
from ..core.health.control import ControlTarget
from ..core.health.evidence import TELLS_NOTHING, rank_for_probe
from ..core.health.health import Health, Probe, UpstreamState
from ..core.job import Job
from ..core.pacing.next_poll import PollReason, Random
from ..core.pacing.turns import Situation, Turn, next_turn
from ..core.published import Published
from ..core.reply import Reply, transport_failure, unasked
from ..registry.registry import Registry
from ..registry.staging import Outcome
from .admission import Admission
from .asks import Asks
from .flights import Flights
from .last_answers import LastAnswers
from .outcomes import Outcomes
from .pace import Pace
from .planner import Planner
from .protocols import Asker, PollerConfig, PollWatcher
from .requests import Requests
from .schedule import Schedule

_PACE: Final = "pacing"
"""The name under which the store keeps what was learned about the durations of jobs."""


class Poller:
    """The schedule and the requests of one upstream."""

    def __init__(
        self,
        registry: Registry,
        asker: Asker,
        health: Health,
        clock: Timer,
        rng: Random,
        config: Callable[[], PollerConfig],
        watcher: PollWatcher,
        log: structlog.stdlib.BoundLogger,
        key_version: Callable[[], int] = lambda: 0,
    ) -> None:
        self.health = health
        self.schedule = Schedule(clock)
        self.pace = Pace()
        self.admission = Admission(health, config, clock.monotonic, log, key_version)
        self.answers = LastAnswers()
        self._registry = registry
        self._clock = clock
        self._rng = rng
        self._config = config
        self._watcher = watcher
        self._outcomes = Outcomes(health, self.answers, config)
        self._planner = Planner(
            registry.jobs, self.schedule, self.pace, health, config, self.now, rng
        )
        self._requests = Requests(
            registry,
            asker,
            self.admission,
            self._outcomes,
            self._planner,
            clock,
            self.now,
            watcher,
        )
        self._asks = Asks()
        self._asked_before = False
        self._flights = Flights(self._landed, log)
        self._recording: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._log = log
        registry.listen(self._published)
        registry.listen(self.answers.published)

    @property
    def in_flight(self) -> int:
        """How many requests are under way."""
        return len(self._flights)

    @property
    def alive(self) -> bool:
        """Whether it polls."""
        return self._task is not None and not self._task.done()

    def now(self) -> Now:
        """Return the time, three ways."""
        steady = self._clock.monotonic()
        return Now(self._clock.time(), steady, self.health.healthy_time(steady))

    def load_pace(self, kept: Mapping[str, str]) -> None:
        """Continue from what an earlier process learned; `kept` is `Snapshot.kept`."""
        try:
            if (text := kept.get(_PACE)) is not None:
                self.pace.load(text)
        except ValueError as error:
            self._log.error("stored pacing not readable; it is learned anew", error=str(error))

    async def keep_pace(self) -> None:
        """Store what was learned; raises `StoreError`."""
        await self._registry.store.keep(_PACE, self.pace.dump())

    def start(self) -> None:
        """Begin to poll."""
        self._task = asyncio.create_task(self._run(), name="poller")

    async def close(self, grace: float = 1.0) -> None:
        """Start nothing more; let the requests under way finish within `grace` seconds.

        Callers whose request was not made yet get the reply `not_asked` at once, and so does
        whoever asks later.
        """
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._asks.close()
        await self._flights.close(grace)

    async def ask(self, job_id: str, purpose: str, deadline: float, *, last: bool = False) -> Reply:
        """Ask now, out of turn, within `deadline` seconds and the rate limit; register nothing.

        All who ask about the same job meanwhile share the request, and so does the schedule. With
        `last` everything else goes before it, as is right for an id that is not registered. The
        reply's failure is `not_asked` when no request could be made in time, and `timeout` when
        one was made and not answered in time.
        """
        flight = self._flights.get(job_id)
        ask = None if flight else self._asks.join(job_id, purpose, last=last)
        waiting: asyncio.Future[Reply] | None = flight or (ask.reply if ask else None)
        if waiting is None:
            return unasked("not_asked")
        self._wake.set()
        try:
            async with asyncio.timeout(deadline):
                return await asyncio.shield(waiting)
        except TimeoutError:
            return transport_failure("timeout") if job_id in self._flights else unasked("not_asked")
        except asyncio.CancelledError:
            if not waiting.cancelled():  # it is the caller who is cancelled
                raise
            return unasked("not_asked")
        finally:
            if ask is not None:
                self._asks.leave(ask)

    def is_in_flight(self, job_id: str) -> bool:
        """Whether a request about a job is under way, until all that it changes is stored."""
        return job_id in self._flights

    def can_ask(self, job_id: str) -> bool:
        """Whether a request about a job is under way, or would start at once."""
        if self.is_in_flight(job_id):
            return True
        if not self.health.circuit().closed:  # this holds up the queued requests as well
            return False
        room = self.admission.room(self.in_flight)
        return job_id in self._asks or room >= self._asks.first + 1

    def next_poll(self, job_id: str) -> tuple[float, PollReason] | None:
        """Return when (since 1970) a job is polled next, and why then; None: not any more."""
        now = self.now()
        due = now.steady if job_id in self._flights else self.schedule.due_of(job_id)
        if due is None:
            return None
        circuit = self.health.circuit()
        reason = self.schedule.reason(job_id)
        if not circuit.closed:
            due = max(due, circuit.probe_at)
            reason = _CIRCUIT_REASONS.get(self.health.state, PollReason.KEY_REJECTED)
        return now.time + (due - now.steady), reason

    def reconfigure(self) -> None:
        """Apply the config in force."""
        self.admission.reconfigure(self._clock.monotonic())
        self._wake.set()

    def first_answer(self, job: Job, reply: Reply) -> Outcome:
        """Return what the answer for which a job is registered makes of the new job."""
        return self._outcomes.outcome(job, reply, self.now(), "client")

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            now = self._clock.monotonic()
            self._advance(now)
            turn, until = self._next_turn(now)
            while turn is not Turn.WAIT:
                self._launch(turn, now)
                turn, until = self._next_turn(now)
            await self._clock.wait(self._wake, until - self._clock.monotonic())

    def _launch(self, turn: Turn, now: float) -> None:
        self.admission.bucket.take(now)
        if turn is Turn.POLL and self.health.circuit().closed:
            self._launch_due(*self.schedule.pop(), now)
        elif turn is Turn.POLL:
            self._launch_probe(now)
        elif turn is Turn.CONTROL:
            self._launch_control()
        else:
            self._launch_ask(last=turn is Turn.ASK_LAST)
        self._asked_before = turn is Turn.ASK

    def _advance(self, now: float) -> None:
        """Let time pass for the upstream's health; the event that it makes is stored meanwhile."""
        for event in self.admission.advance(self._clock.time(), now):
            task = asyncio.create_task(self._registry.record(event), name="upstream changed")
            self._recording.add(task)
            task.add_done_callback(self._recording.discard)

    def _next_turn(self, now: float) -> tuple[Turn, float]:
        if now < self.admission.unable_until:
            return Turn.WAIT, self.admission.unable_until
        circuit = self.admission.circuit(now)
        # A control need not wait for polls under way: it names no job.
        control = not circuit.closed and circuit.probe is Probe.CONTROL
        bucket = self.admission.bucket
        turn, until = next_turn(
            Situation(
                now=now,
                circuit=circuit,
                asks=self._asks.first,
                last_asks=self._asks.last,
                asked_before=self._asked_before,
                control_at=math.inf if None in self._flights else self.health.next_control(),
                next_due=self.schedule.next_due(),
                token_at=bucket.ready_at(now),
                spare_token_at=bucket.ready_at(now, spare=1),
                in_flight=int(None in self._flights) if control else len(self._flights),
                concurrency=self._config().upstream.concurrency,
            )
        )
        return turn, self.admission.wait_until(circuit, until, now)

    def _launch_probe(self, now: float) -> None:
        """Ask about the job that says most about the upstream, or about none if none says much."""
        found = self.schedule.pop_lowest(self._rank_for_probe, TELLS_NOTHING)
        if found is None:
            self._launch_control()
        else:
            self._launch_due(*found, now)

    def _rank_for_probe(self, job_id: str) -> int:
        job, rules = self._registry.jobs.get(job_id), self._config().judgement
        healthy_time = self.now().healthy_time
        return TELLS_NOTHING if job is None else rank_for_probe(job, healthy_time, rules)

    def _launch_due(self, job_id: str, due: float, now: float) -> None:
        if job_id in self._flights:  # a former incarnation's; its landing schedules this one
            return
        self._watcher.lagged(max(0.0, now - due))
        recheck = self.schedule.reason(job_id) is PollReason.RECHECK
        self._launch_about(job_id, "recheck" if recheck else "poll", due)

    def _launch_ask(self, *, last: bool) -> None:
        ask = self._asks.next(last=last)
        due = self.schedule.due_of(ask.job_id)
        self.schedule.remove(ask.job_id)
        self._launch_about(ask.job_id, ask.purpose, due)

    def _launch_about(self, job_id: str, purpose: str, due: float | None) -> None:
        """Make a request; it also answers the callers who wait to ask about the same job."""
        self.admission.sent()
        request = self._requests.ask(job_id, purpose, due)
        flight = self._flights.launch(request, f"{purpose} {job_id}", job_id, due)
        if (ask := self._asks.take(job_id)) is not None:
            flight.add_done_callback(ask.answer)

    def _launch_control(self) -> None:
        target, job_id = self.health.control.target(self._config().judgement.control)
        if target is ControlTarget.RANDOM:
            bits = int(self._rng.random() * 2**53) << 64 | int(self._rng.random() * 2**53)
            job_id = str(uuid.UUID(int=bits, version=4))
        self._watcher.controlled(target)
        self.admission.sent()
        self._flights.launch(self._requests.ask_control(target, job_id), f"control {target}")

    def _landed(self, job_id: str | None, due: float | None, reply: Reply | None) -> None:
        self._wake.set()
        if job_id is not None:
            self._planner.plan(job_id, reply, due)

    def _published(self, published: Published) -> None:
        before, after = published.before, published.after
        if before is not None and before.pending and (after is None or not after.pending):
            self.health.evidence.decided(before.job_id)
        if after is not None:
            self._planner.note(after)
        if before is None and after is not None:
            self._planner.plan(after.job_id)
            self._wake.set()
        elif after is None and before is not None and before.job_id not in self._flights:
            self._planner.plan(before.job_id)


_CIRCUIT_REASONS: Final = {
    UpstreamState.DOWN: PollReason.UPSTREAM_DOWN,
    UpstreamState.BLOCKED: PollReason.UPSTREAM_DOWN,
    UpstreamState.THROTTLED: PollReason.RETRY_AFTER,
}
