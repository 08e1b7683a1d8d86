"""Is the upstream well? What each answer says of it: evidence, the state, and the circuit.

`Health` takes in every answer, keeps what is needed of it (`evidence.py`), passes its meaning to
the table of `states.py`, and says whether polls may go on (`circuit.py`). No job is called failed
without its evidence, see `failure.py`.
"""

import math
from collections.abc import Mapping
from typing import Final

from ..events import Now
from ..job import Job
from ..reply import Kind, Reply, ReplyState
from ..rules import JudgementRules, PollingRules
from .circuit import Circuit, Probe, Probes
from .control import Control, ControlTarget
from .evidence import BAD_KINDS, SERVED, Evidence, Sort, served_at
from .origin import Origin
from .refusal import Refusal
from .repeated import Hints, Silence
from .saved import BAD, SavedHealth
from .states import DOWN, PATIENT_STATES, REFUSED, Condition, Signal, UpstreamState, after
from .trouble import Trouble

__all__ = ["PATIENT_STATES", "Circuit", "Health", "Probe", "UpstreamState"]

_ANSWERED_KINDS: Final = frozenset({Kind.OK, Kind.NOT_FOUND, Kind.INVALID})
_CONTROL_FAILED: Final[Mapping[Kind, bool]] = {
    **dict.fromkeys(_ANSWERED_KINDS, False),
    **dict.fromkeys((*BAD_KINDS, Kind.TRANSPORT), True),
}
"""Whether an answer to the control means that it failed; others mean neither."""


class Health:
    """The state of one upstream. Not thread-safe; every time comes from the caller."""

    def __init__(
        self,
        rules: JudgementRules,
        polling: PollingRules,
        *,
        steady: float = 0.0,
        heartbeat: float = math.inf,
    ) -> None:
        self.rules = rules
        self.polling = polling
        self.heartbeat = heartbeat
        """Seconds without any request after which a control request is made."""
        self.last_success: float | None = None
        """Seconds since 1970 of the last good answer."""
        self.key_valid: bool | None = None
        self.origin = Origin()
        self.evidence = Evidence()
        self.control = Control(steady)
        self._trouble = Trouble(self.evidence, self.control)
        self._condition = Condition.UNKNOWN
        self._probes = Probes()
        self._refusal = Refusal()
        self._control_next = False
        """While down, or refused undecidedly, control requests and jobs take turns as probes."""
        self._control_failed: bool | None = None
        """Whether the control request failed in this outage, None before it was made."""
        self._silence = Silence()
        self._hints = Hints()
        self._unable = False
        """The exporter could not ask, last time: no job is to blame for its silence."""
        self._healthy_time = 0.0
        self._counted_to = steady

    @property
    def state(self) -> UpstreamState:
        """The state that people see."""
        return self._condition.shown

    @property
    def up(self) -> bool | None:
        """`removit_up`: False only for down and blocked, None until known."""
        if self.state is UpstreamState.UNKNOWN:
            return None
        return self.state not in (UpstreamState.DOWN, UpstreamState.BLOCKED)

    def healthy_time(self, steady: float) -> float:
        """Return the seconds in which the upstream was well and the exporter ran and could ask.

        Reading it changes nothing; `advance` does.
        """
        if not self.circuit().closed or self._unable:
            return self._healthy_time
        return self._healthy_time + max(0.0, steady - self._counted_to)

    def advance(self, steady: float) -> None:
        """Let time pass: count it, drop old answers, and leave states that end with time."""
        self._healthy_time = self.healthy_time(steady)
        self._counted_to = max(self._counted_to, steady)
        self.evidence.recent.prune(steady - self.rules.outage_window)
        self.evidence.suspects.prune(steady - self.rules.weak_after)
        if self._condition is Condition.STUCK and steady >= self.next_change():
            self._signal(Signal.TOO_LONG)
        self._weigh(None)

    def next_change(self) -> float:
        """Return when (steady seconds) time alone may change the state; infinity: never."""
        if self._condition is Condition.STUCK:
            return self._trouble.stuck_until(self.polling)
        if self._condition is Condition.SUSPECT:
            return self.evidence.recent.oldest() + self.rules.outage_window + _AFTER
        return math.inf

    def restore(self, healthy_time: float) -> None:
        """Take back the stored healthy time."""
        self._healthy_time = healthy_time

    def saved(self, steady: float) -> SavedHealth:
        """Return what is to outlive a restart."""
        bad = self._condition if self._condition in BAD else None
        turned_ago = steady - self._trouble.turned_at if bad is Condition.STUCK else 0.0
        wait = self._probes.wait_left(steady)
        return SavedHealth(self.origin.served_before, bad, wait, turned_ago)

    def resume(self, saved: SavedHealth, steady: float) -> None:
        """Go on from what an earlier process saved; a bad state is probed at once."""
        self.origin.served_before = saved.served_before
        if saved.condition is not None:
            self._condition = saved.condition
            if saved.condition is Condition.STUCK:
                self._trouble.turned_at = steady - saved.turned_ago
            self._probes.resume(steady, saved.wait, self.polling)
            if saved.condition is Condition.KEY_REJECTED:
                self.key_valid = False

    def circuit(self) -> Circuit:
        """Whether polls may go on, or when and how one may be tried."""
        if self._condition not in BAD and not self._refusal.open:
            return _CLOSED
        if self._refusal.open:
            by_poll = self._refusal.undecided and not self._control_next
        else:
            by_poll = self._condition in DOWN and not self._controls_turn()
        return Circuit(False, self._probes.at, Probe.POLL if by_poll else Probe.CONTROL)

    def set_rules(self, rules: JudgementRules, polling: PollingRules, steady: float) -> None:
        """Go by other rules from now on, a wait under way included."""
        self.rules, self.polling = rules, polling
        self._probes.limit(steady, polling)

    def try_now(self, steady: float) -> None:
        """Let the next probe be made at once: the key has changed."""
        self._probes.set(steady)

    def next_control(self) -> float:
        """Return when (steady seconds) a control request is due; infinity while none is wanted."""
        return self.control.due(self.rules.control, self.heartbeat)

    def note(
        self,
        reply: Reply,
        now: Now,
        *,
        job: Job | None,
        target: ControlTarget | None = None,
        asked: str | None = None,
    ) -> None:
        """Take in one answer.

        `job` is its value before the answer, None for a control request or an untracked id.
        `target` is a control request's target; only these confirm. `asked` is the job_id that a
        control request or a client asked about.
        """
        self.advance(now.steady)
        now = Now(now.time, now.steady, self._healthy_time)
        self._unable = reply.kind is Kind.UNASKED
        self.control.answered(now.steady, target)
        if reply.kind in (Kind.KEY_REJECTED, Kind.BLOCKED):
            self._note_refusal(reply.kind, now.steady, control=target is not None)
        elif reply.kind is Kind.THROTTLED:
            self._throttle(reply, now)
        elif reply.kind is Kind.TRANSPORT:
            if self._silence.lasts(now.steady, self.rules):
                self._signal(Signal.SILENCE)
            elif target is None:  # one job may be silent for ever
                self.control.want(now.steady, self.rules.outage_window)
        elif reply.kind is not Kind.UNASKED:
            self._note_answer(reply, now, job, target)
            if target is not None:
                self._note_control(reply, now, target, asked)
            elif reply.kind in BAD_KINDS:
                self._want_control(job, now.steady)
            self._note_hint(reply, now, target, job.job_id if job else asked)
        if target is not None and reply.kind not in (Kind.KEY_REJECTED, Kind.BLOCKED):
            self._refusal.undecided = True  # if it is still open
        if target is not None and reply.kind in _CONTROL_FAILED:
            self._control_failed = _CONTROL_FAILED[reply.kind]
        if not self.circuit().closed and now.steady >= self._probes.at:
            self._put_off_probe(now.steady, target)

    def _signal(self, signal: Signal) -> None:
        before, self._condition = self._condition, after(self._condition, signal)
        if self._condition is before:
            return
        if self._condition in DOWN and before not in DOWN:
            self._probes.begin(self._counted_to)
            self._control_failed = None
        elif before in DOWN and self._condition not in DOWN:
            self._trouble.outage_ended(self._counted_to)

    def _want_control(self, job: Job | None, steady: float) -> None:
        """After a bad answer: at once when a job turns bad, then at times while it is undecided.

        While a pending job is served, it waits until that was long ago.
        """
        turns = job is None or job.run_of(Kind.SERVER_ERROR) is None
        apart = self.polling.min_interval if turns else self.rules.outage_window
        if self.evidence.witnessed():
            steady = self.evidence.recent.newest(SERVED) + self.rules.outage_window + _AFTER
        self.control.want(steady, apart)

    def _controls_turn(self) -> bool:
        """Whether the next probe is a control request; one that was answered shows nothing more."""
        helps = self._control_failed is not False and bool(self.rules.control)
        return self._control_next and helps

    def _weigh(self, sort: Sort | None) -> None:
        """Signal what the bad answers mean; `sort` is None when only time has passed."""
        times = self._counted_to, self._healthy_time
        self._signal(self._trouble.signal(sort, *times, self.rules, self.polling))

    def _note_refusal(self, kind: Kind, steady: float, *, control: bool) -> None:
        """One refused request opens the circuit; the control request shows whether all are."""
        known, first = self._condition in REFUSED, not self._refusal.open
        if known or self._refusal.refused(steady, control=control):
            self._refusal.confirmed()
            self._signal(Signal.WALL if kind is Kind.BLOCKED else Signal.KEY_REFUSED)
            if kind is Kind.KEY_REJECTED:
                self.key_valid = False
        elif control:
            self._probes.set(steady + self.polling.min_interval)
        elif first and self._condition is not Condition.THROTTLED:  # its wait goes on
            self._probes.set(steady)

    def _throttle(self, reply: Reply, now: Now) -> None:
        self._probes.wait(reply, now, self.polling, is_open=not self.circuit().closed)
        self._signal(Signal.THROTTLE)

    def _note_hint(
        self, reply: Reply, now: Now, target: ControlTarget | None, asked: str | None
    ) -> None:
        """`Retry-After` on a bad answer makes all polls wait only if it is confirmed.

        The control request confirms it, or a second job while nobody is served: jobs that failed
        may say it for ever. On a good answer it says only when to ask about that job again.
        """
        if reply.kind in _ANSWERED_KINDS or reply.retry_delay(now.time) is None:
            return
        confirmed = self._hints.confirmed(asked or "", now.steady, self.rules)
        if target is not None or (confirmed and not self.evidence.witnessed()):
            self._throttle(reply, now)

    def _note_answer(
        self, reply: Reply, now: Now, job: Job | None, target: ControlTarget | None
    ) -> None:
        if now.steady >= self._probes.at:  # before that it is a straggler, sent before the 429
            self._signal(Signal.WAIT_OVER)
        sort = None if job is None else self.evidence.take(reply, now, job, self.rules)
        if self.origin.note(reply, now.healthy_time, job, target):
            self.control.want_bare(now.steady, self.polling.min_interval)
        if reply.kind in _ANSWERED_KINDS:
            self._note_key(now.steady, control=target is not None)
            if sort is not Sort.LOST:
                self._note_served(reply, now, target)
        if sort in SERVED:
            self.control.need_none()
        if sort in SERVED and job and served_at(reply, now, job) >= self._trouble.turned_at:
            self._signal(Signal.WORKING)
        if job is not None and reply.status and reply.status.state is ReplyState.DONE:
            self.control.remember_finished(job.job_id)
        self._weigh(sort)

    def _note_key(self, steady: float, *, control: bool) -> None:
        """The key is good; only the control request takes a confirmed refusal back."""
        if control:
            self._signal(Signal.ACCEPTED)
        if self._condition not in REFUSED:
            self._refusal.answered(steady)
            self.key_valid = True

    def _note_served(self, reply: Reply, now: Now, target: ControlTarget | None) -> None:
        """The upstream did its work."""
        self._silence.broken()
        if reply.kind is Kind.OK:
            self.last_success = now.time
        if reply.kind is Kind.OK and target is None:
            self._probes.reset()
            self._signal(Signal.SERVED)
            return
        self._signal(Signal.LOOKED_UP)
        # A control request was made though it was a job's turn: no job is left to ask.
        decides = self._control_failed or not self._controls_turn()
        if target is not None and decides and now.steady >= self._probes.at:
            self._signal(Signal.RECOVERED)

    def _note_control(
        self, reply: Reply, now: Now, target: ControlTarget, asked: str | None
    ) -> None:
        """The control request failing is an outage, unless a pending job is served."""
        bad, lost = reply.kind in BAD_KINDS, reply.kind in (Kind.NOT_FOUND, Kind.INVALID)
        self.evidence.shares.add(None, bad=bad, at=now.healthy_time)
        if bad and not self.evidence.witnessed():
            self._signal(Signal.ERRORS)
        if target is ControlTarget.FINISHED and asked is not None:
            self.control.asked_finished(asked, known=not lost)
            if reply.kind is Kind.OK:
                self.control.served(now.steady)
                self.evidence.remember_control(asked, now.healthy_time, self.rules)
        elif target is ControlTarget.RANDOM and reply.kind is Kind.NOT_FOUND:
            self.evidence.remember_control(None, now.healthy_time, self.rules)

    def _put_off_probe(self, steady: float, target: ControlTarget | None) -> None:
        """After a probe that did not close the circuit."""
        if self._condition in REFUSED:
            self._probes.set(steady + self.polling.key_retry)
        elif target is not None or not self._refusal.open:
            self._probes.put_off(steady, self.polling)
        self._control_next = target is None


_CLOSED: Final = Circuit(True)
_AFTER: Final = 0.001
"""Seconds past the end of a window, so that its oldest answer has left it."""
