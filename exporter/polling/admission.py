"""Decides whether the upstream may be asked, and how soon.

That depends on the upstream's health, the rate limit, the API key and this machine. The rules are
in `core`; this module applies each answer to all of them.
"""

import math
from collections.abc import Callable
from typing import Final

import structlog

from ..core.events import Event, EventType, Now
from ..core.health.control import ControlTarget
from ..core.health.health import Circuit, Health, Probe
from ..core.health.saved import SavedHealth
from ..core.job import Job
from ..core.rate_limit import TokenBucket
from ..core.reply import Kind, Reply
from .protocols import PollerConfig

KEY_CHECK_SECONDS: Final = 1.0
"""While the key is rejected, the exporter checks this often whether it has changed."""

LOG_AGAIN_SECONDS: Final = 60.0
"""The same reason is logged again only after this long, so that a flapping link fills no log."""


class Admission:
    """Admits requests to one upstream. Times are steady seconds."""

    def __init__(
        self,
        health: Health,
        config: Callable[[], PollerConfig],
        steady: Callable[[], float],
        log: structlog.stdlib.BoundLogger,
        key_version: Callable[[], int],
    ) -> None:
        upstream = config().upstream
        self.health = health
        self.bucket = TokenBucket(upstream.rate, upstream.burst, steady())
        self.unable_until = -math.inf
        """When to try again, after this machine could not send a request."""
        self._config = config
        self._steady = steady
        self._log = log
        self._key_version = key_version
        self._key_sent = key_version()
        self._published_state = health.state
        self.failure: Reply | None = None
        """The latest reply if it was no usable answer; None once the upstream has given one."""
        self._failed_at: dict[str, float] = {}
        """When a request last failed, by its reason."""

    def circuit(self, steady: float) -> Circuit:
        """Return the circuit. If it is open and the key has changed, the probe is due now."""
        circuit = self.health.circuit()
        if not circuit.closed and self._key_version() != self._key_sent:
            # This holds until a request is sent with the new key: requests under way may still be
            # refused because of the old one.
            self.health.try_now(steady)
            circuit = self.health.circuit()
        return circuit

    def room(self, in_flight: int) -> float:
        """Return how many requests could start at once, given those that are under way."""
        free = self._config().upstream.concurrency - in_flight
        return min(free, self.bucket.tokens(self._steady()))

    def retry_in(self) -> float:
        """Return the seconds until the upstream is asked again; 0 while the circuit is closed."""
        circuit = self.health.circuit()
        return 0.0 if circuit.closed else max(0.0, circuit.probe_at - self._steady())

    def wait_until(self, circuit: Circuit, until: float, steady: float) -> float:
        """Return until when to wait at most. A changed key wakes nobody, so it is polled for."""
        until = min(until, self.health.next_change())
        if circuit.closed or circuit.probe is not Probe.CONTROL:
            return until
        return min(until, steady + KEY_CHECK_SECONDS)

    def resume(self, saved: SavedHealth) -> None:
        """Continue from the health that an earlier process saved. Its state makes no new event."""
        self.health.resume(saved, self._steady())
        self._published_state = self.health.state

    def sent(self) -> None:
        """Note that a request is made now, with the present key."""
        self._key_sent = self._key_version()

    def reconfigure(self, steady: float) -> None:
        """Apply the config in force."""
        config = self._config()
        self.bucket.set_limits(config.upstream.rate, config.upstream.burst, steady)
        self.health.set_rules(config.judgement, config.polling, steady)
        self.health.heartbeat = config.upstream.heartbeat

    def note(
        self,
        job: Job | None,
        reply: Reply,
        now: Now,
        target: ControlTarget | None = None,
        asked: str | None = None,
    ) -> list[Event]:
        """Apply a reply to all parts (see `Health.note`); return the events of the upstream."""
        events = self.advance(now.time, now.steady)
        self._note_ability(reply, now.steady)
        self._note_failure(reply, now.steady)
        was_closed = self.health.circuit().closed
        self.health.note(reply, now, job=job, target=target, asked=asked)
        if reply.kind is Kind.THROTTLED:
            self.bucket.slow_down(now.steady)
        is_closed = self.health.circuit().closed
        if was_closed and not is_closed:
            self.bucket.hold(now.steady)
        elif is_closed and not was_closed:
            self.bucket.drain(now.steady)
        return [*events, *self._changes(now.time, reply.code)]

    def advance(self, time: float, steady: float) -> list[Event]:
        """Let time pass; return an event if that alone has changed the upstream's state."""
        self.health.advance(steady)
        return self._changes(time, None)

    def _changes(self, time: float, code: str | None) -> list[Event]:
        before, after = self._published_state, self.health.state
        self._published_state = after
        if after is before:
            return []
        data = {"from": before.value, "to": after.value, "code": code}
        return [Event(EventType.UPSTREAM_CHANGED, None, time, data)]

    def _note_failure(self, reply: Reply, steady: float) -> None:
        """Log why requests get no answer, once per change of the reason.

        An answer that cannot be read is logged as the job's drift.
        """
        if reply.kind is Kind.UNREADABLE:
            self.failure = reply
        elif reply.http_status is not None:
            self.failure = None
        elif reply.kind is Kind.TRANSPORT:
            reason = _reason(reply)
            changed = self.failure is None or _reason(self.failure) != reason
            before = self._failed_at.get(reason, -math.inf)
            if changed and steady - before >= LOG_AGAIN_SECONDS:
                self._log.warning("no answer from the upstream", reason=reason, error=reply.detail)
            self.failure, self._failed_at[reason] = reply, steady

    def _note_ability(self, reply: Reply, steady: float) -> None:
        if reply.kind is not Kind.UNASKED:
            self.unable_until = -math.inf
        elif steady >= self.unable_until:  # otherwise the request was made before the wait began
            if self.unable_until == -math.inf:
                self._log.error("this machine cannot ask the upstream", error=reply.detail)
            self.unable_until = steady + self._config().polling.min_interval


def _reason(reply: Reply) -> str:
    return reply.reason or reply.failure
