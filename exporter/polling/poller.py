"""The poller: asks about each job when it is due, and about any job when someone asks.

It does what `core` decides: `next_turn` says who may make a request, `next_poll` when to ask again;
`outcomes.py` says what a reply makes of the job. All requests share one rate limit, one limit of
concurrency and, per job, one flight. Of the schedule the most overdue job comes first, but for
trials of a closed gate, and nothing is dropped:
when there is more to ask than the rate admits, polls come later, and the lag shows it.
"""

import asyncio
import math
import uuid
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from ..clock import Clock
from ..core.events import Now
from ..core.health.control import ControlTarget
from ..core.health.evidence import TELLS_NOTHING, rank_for_probe
from ..core.health.health import Health, Probe, UpstreamState
from ..core.job import Job
from ..core.judgement import span
from ..core.pacing.next_poll import NextPoll, PollReason, Random, next_poll
from ..core.pacing.turns import Situation, Turn, next_turn
from ..core.published import Published
from ..core.reply import Kind, Reply, transport_failure, unasked
from ..registry.registry import Registry
from ..registry.staging import Outcome
from .admission import Admission
from .asks import Asks
from .last_answers import LastAnswers
from .outcomes import Outcomes
from .pace import Pace
from .protocols import Asker, PollerConfig, PollWatcher
from .schedule import Poll, Schedule
from .weak_verdicts import WeakVerdicts

_PACE: Final = "pacing"
"""The name under which the store keeps what was learned about the durations of jobs."""


class Poller:
    """The schedule and the requests of one upstream."""

    def __init__(
        self,
        registry: Registry,
        asker: Asker,
        health: Health,
        clock: Clock,
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
        self._asker = asker
        self._clock = clock
        self._rng = rng
        self._config = config
        self._watcher = watcher
        self._weak_verdicts = WeakVerdicts(registry.jobs)
        self._outcomes = Outcomes(health, self.answers, config)
        self._asks = Asks()
        self._asked_before = False
        self._flights: dict[str | None, asyncio.Task[Reply]] = {}
        self._due: dict[str, float] = {}
        """Of the jobs under way, when (steady seconds) they were due."""
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
        """Go on with what an earlier process learned; `kept` is `Snapshot.kept`."""
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
        """Start nothing more; let what is under way finish within `grace` seconds."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        flights = list(self._flights.values())
        if flights:
            _, late = await asyncio.wait(flights, timeout=grace)
            for flight in late:
                flight.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        self._asks.close()

    async def ask(self, job_id: str, purpose: str, deadline: float, *, last: bool = False) -> Reply:
        """Ask now, out of turn, within `deadline` seconds and the rate limit; register nothing.

        Whoever asks about the same job meanwhile, the schedule included, shares the request. With
        `last` everything else goes before it, as is right for an id that nobody tracks. When no
        request could be made in time, the reply's failure is `not_asked`, when it was made but
        not answered, `timeout`.
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
        """Whether a request about a job is under way, to the end of what it changes."""
        return job_id in self._flights

    def can_ask(self, job_id: str) -> bool:
        """Whether a question about a job would be under way at once, or is."""
        if self.is_in_flight(job_id):
            return True
        if not self.health.circuit().closed:  # this holds up the questions in the queue as well
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
        """Go by the config as it now is."""
        self.admission.reconfigure(self._clock.monotonic())
        self._wake.set()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            now = self._clock.monotonic()
            self._advance(now)
            turn, until = self._next_turn(now)
            if turn is Turn.WAIT:
                await self._clock.wait(self._wake, until - now)
                continue
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
        """Ask about the job that tells most of the upstream, or about none where none does."""
        found = self.schedule.pop_lowest(self._rank_for_probe, TELLS_NOTHING)
        if found is None:
            self._launch_control()
        else:
            self._launch_due(*found, now)

    def _launch_due(self, job_id: str, due: float, now: float) -> None:
        if job_id in self._flights:  # a former incarnation's; its landing schedules this one
            return
        self._watcher.lagged(max(0.0, now - due))
        recheck = self.schedule.reason(job_id) is PollReason.RECHECK
        self._due[job_id] = due
        self._launch(job_id, "recheck" if recheck else "poll")

    def _rank_for_probe(self, job_id: str) -> int:
        job, healthy_time = self._registry.jobs.get(job_id), self.now().healthy_time
        if job is None:
            return TELLS_NOTHING
        return rank_for_probe(job, healthy_time, self._config().judgement)

    def _launch_control(self) -> None:
        """Make the control request: it concerns no pending job and changes none."""
        target, job_id = self.health.control.target(self._config().judgement.control)
        if target is ControlTarget.RANDOM:
            bits = int(self._rng.random() * 2**53) << 64 | int(self._rng.random() * 2**53)
            job_id = str(uuid.UUID(int=bits, version=4))
        self._watcher.controlled(target)
        self.admission.sent()
        flight = asyncio.create_task(self._fly_control(target, job_id), name=f"control {target}")
        self._flights[None] = flight
        flight.add_done_callback(lambda task: self._landed(None, task))

    async def _fly_control(self, target: ControlTarget, job_id: str | None) -> Reply:
        started = self._clock.monotonic()
        reply = await self._asker.status(job_id)
        self._watcher.asked("control", reply, self._clock.monotonic() - started)
        await self._note(None, reply, self.now(), target, job_id)
        return reply

    def _launch_ask(self, *, last: bool) -> None:
        ask = self._asks.next(last=last)
        if (due := self.schedule.due_of(ask.job_id)) is not None:
            self._due[ask.job_id] = due
        self.schedule.remove(ask.job_id)
        self._launch(ask.job_id, ask.purpose)

    def _launch(self, job_id: str, purpose: str) -> None:
        self.admission.sent()
        flight = asyncio.create_task(self._fly(job_id, purpose), name=f"{purpose} {job_id}")
        self._flights[job_id] = flight
        flight.add_done_callback(lambda task: self._landed(job_id, task))
        self._answer_asks(job_id, flight)

    def _answer_asks(self, job_id: str, flight: asyncio.Task[Reply]) -> None:
        """Have a request answer those who wait to ask the same: also one of the schedule's."""
        ask = self._asks.take(job_id)
        if ask is None:
            return

        def answer(flight: asyncio.Task[Reply]) -> None:
            if not ask.reply.done():
                failed = flight.cancelled() or flight.exception() is not None
                ask.reply.set_result(unasked("not_asked") if failed else flight.result())

        flight.add_done_callback(answer)

    def _landed(self, job_id: str | None, flight: asyncio.Task[Reply]) -> None:
        del self._flights[job_id]
        self._wake.set()
        reply = None
        if not flight.cancelled():
            if error := flight.exception():
                self._log.error("poll failed inside the exporter", job_id=job_id, exc_info=error)
                reply = transport_failure("internal")
            else:
                reply = flight.result()
        if job_id is not None:
            self._plan(job_id, reply)

    async def _fly(self, job_id: str, purpose: str) -> Reply:
        job = self._registry.jobs.get(job_id)
        started = self._clock.monotonic()
        in_turn = self._due.get(job_id, -math.inf) <= started
        reply = await self._asker.status(job_id)
        seconds = self._clock.monotonic() - started
        self._watcher.asked(purpose, reply, seconds)
        now = self.now()
        if job is not None:
            self.schedule.polled(
                job.job_id,
                Poll(now.time, now.steady, reply.kind, reply.code, seconds, reply.reason),
            )
        await self._note(job, reply, now, asked=job_id)
        if job is not None:
            held = await self._registry.change(
                job.job_id,
                job.incarnation,
                lambda known: self._outcomes.outcome(known, reply, now, purpose, in_turn=in_turn),
            )
            if held is not None:
                self._outcomes.remember(job, held, reply, now)
                self.pace.answered(held, reply, now)
                if held.pending and reply.kind is Kind.OK:
                    self._ask_again_of(held.mode, now)
        return reply

    def _ask_again_of(self, mode: str | None, now: Now) -> None:
        """A pending job was served: check what was concluded of its mode without such a witness.

        That takes the place of no recheck, so it is planned as an ordinary poll.
        """
        for job_id in self._weak_verdicts.served(mode):
            if self.schedule.due_of(job_id) is not None:
                self.schedule.plan(job_id, NextPoll(0.0, PollReason.SCHEDULE), now.steady)

    async def _note(
        self,
        job: Job | None,
        reply: Reply,
        now: Now,
        target: ControlTarget | None = None,
        asked: str | None = None,
    ) -> None:
        """Let the reply bear on the upstream's health, and tell when its state changes."""
        for event in self.admission.note(job, reply, now, target, asked):
            await self._registry.record(event)

    def first_answer(self, job: Job, reply: Reply) -> Outcome:
        """What the answer that made us register a job makes of it."""
        return self._outcomes.outcome(job, reply, self.now(), "client")

    def _plan(self, job_id: str, reply: Reply | None) -> None:
        """Put a job into the schedule, when it is to be asked again."""
        job, due = self._registry.jobs.get(job_id), self._due.pop(job_id, None)
        if job is None:
            self.schedule.forget(job_id)
            self.pace.forget(job_id)
            return
        planned = self._next_poll_of(job, reply)
        if planned is None:
            self.schedule.remove(job_id)
            return
        now = self.now()
        self.schedule.plan(job_id, planned, now.steady)
        if reply is not None:
            longest = self._config().polling.max_retry_after
            hint = min(reply.retry_delay(now.time) or -math.inf, longest)
            self.schedule.hold(job_id, now.steady + hint)
        if due is not None and reply is not None and reply.kind is Kind.UNASKED:
            self.schedule.schedule(job_id, due, planned.delay)  # it is as late as before
        elif due is not None and due > now.steady and job.suspicion is not None:
            # A request out of turn does not delay the answers that a verdict needs.
            self.schedule.schedule(job_id, min(due, now.steady + planned.delay), planned.delay)
        self._wake.set()

    def _next_poll_of(self, job: Job, reply: Reply | None) -> NextPoll | None:
        config, now = self._config(), self.now()
        verdict_span = span(job, self.health, config.judgement)
        rules = config.polling
        if not job.pending:
            return next_poll(job, reply, now, rules, verdict_span, 0.0, self._rng)
        forecast = self.pace.forecast(job, now)
        wait = forecast.wait(rules.call_cost, rules.max_interval)
        planned = next_poll(job, reply, now, rules, verdict_span, wait, self._rng)
        if planned is not None:
            self.pace.planned(job, forecast, planned)
        return planned

    def _published(self, published: Published) -> None:
        before, after = published.before, published.after
        if before is not None and before.pending and (after is None or not after.pending):
            self.health.evidence.decided(before.job_id)
        if after is not None:
            self._weak_verdicts.note(after)
        if before is None and after is not None:
            self._plan(after.job_id, None)
        elif after is None and before is not None and before.job_id not in self._flights:
            self._plan(before.job_id, None)


_CIRCUIT_REASONS: Final = {
    UpstreamState.DOWN: PollReason.UPSTREAM_DOWN,
    UpstreamState.BLOCKED: PollReason.UPSTREAM_DOWN,
    UpstreamState.THROTTLED: PollReason.RETRY_AFTER,
}
