"""Decides which request goes next; the poller makes it."""

import math
from enum import StrEnum

from ..health.circuit import Circuit, Probe
from ..value import value


class Turn(StrEnum):
    """The kind of request that goes next."""

    ASK = "ask"  # someone waits for an answer out of turn
    ASK_LAST = "ask_last"  # someone asks about an id that is not tracked
    POLL = "poll"  # the most overdue job; through an open circuit, the best probe
    CONTROL = "control"  # a request about no pending job
    WAIT = "wait"  # none, until a time or until something changes


@value(frozen=True, slots=True)
class Situation:
    """All that the next turn depends on. Times are steady seconds."""

    now: float
    circuit: Circuit
    asks: int
    """Waiting questions that go before the schedule."""
    last_asks: int
    """Waiting questions that go after everything else."""
    asked_before: bool
    """Whether the last request was one of `asks`."""
    control_at: float
    next_due: float | None
    """When the most overdue job is due, which may be in the past; None: no job is queued."""
    token_at: float
    """When the rate limit admits a request."""
    spare_token_at: float
    """When it admits a request and still has a token left."""
    in_flight: int
    concurrency: int

    @property
    def is_full(self) -> bool:
        """Whether as many requests are in flight as may be; an open circuit admits one."""
        limit = self.concurrency if self.circuit.closed else 1
        return self.in_flight >= limit

    @property
    def last_ask_at(self) -> float:
        """When a last ask may go: one token and one slot stay free for the next request."""
        leaves_a_slot = self.in_flight + 1 < max(self.concurrency, 2)
        admitted = self.last_asks and self.circuit.closed and leaves_a_slot
        return self.spare_token_at if admitted else math.inf


def next_turn(situation: Situation) -> tuple[Turn, float]:
    """Return which request goes now, or `WAIT` and until when (steady seconds).

    Asks go before the schedule; while polls are due the two take turns. Last asks go behind
    both. All requests take from the same rate limit.
    """
    now = situation.now
    if situation.is_full:
        return Turn.WAIT, math.inf
    turn, earliest = _first_in_line(situation)
    last_ask_at = situation.last_ask_at
    nothing_else_is_due = now < min(earliest, situation.control_at)
    if situation.circuit.closed and nothing_else_is_due and last_ask_at <= now:
        return Turn.ASK_LAST, now
    start = min(max(earliest, situation.token_at), last_ask_at)
    return (turn, now) if start <= now else (Turn.WAIT, start)


def _first_in_line(situation: Situation) -> tuple[Turn, float]:
    """Return the first request apart from last asks, and when it may go by its own time."""
    now, circuit = situation.now, situation.circuit
    due = math.inf if situation.next_due is None else situation.next_due
    if not circuit.closed:
        by_control = circuit.probe is Probe.CONTROL or situation.next_due is None
        return Turn.CONTROL if by_control else Turn.POLL, circuit.probe_at
    if situation.asks and not (situation.asked_before and due <= now):
        return Turn.ASK, now
    if situation.control_at <= max(now, due):
        return Turn.CONTROL, situation.control_at
    return Turn.POLL, due
