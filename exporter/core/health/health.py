"""Is the upstream well? What each answer says of it: evidence, the state, and the gate.

`Health` takes in every answer, keeps what is needed of it (`evidence.py`), tells the machine of
`states.py` what it means, and says whether polls may go on (`circuit.py`). No job is called failed
without its evidence, see `judgement.py`.
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
from .evidence import BAD_KINDS, Evidence, Sort
from .refusal import Refusal
from .states import DOWN, PATIENT_STATES, REFUSED, Condition, Signal, UpstreamState, after

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
        self.served_before = False
        """Whether this upstream has ever given a good answer; restored over a restart."""
        self._bare_at = -math.inf
        """When (healthy time) the bare control request was last answered as the API answers it."""
        self.evidence = Evidence()
        self.control = Control(steady)
        self._condition = Condition.UNKNOWN
        self._probes = Probes()
        self._refusal = Refusal()
        self._control_next = False
        """While down, or refused undecidedly, the control and the jobs take turns in trials."""
        self._control_failed: bool | None = None
        """What the control said in this outage, None before it was asked."""
        self._silent_since: float | None = None
        self._silent_tries = 0
        self._hint: tuple[str, float] | None = None
        self._unable = False
        """The exporter could not ask, last time: no job is to blame for its silence."""
        self._healthy_time = 0.0
        self._counted_to = steady

    @property
    def state(self) -> UpstreamState:
        """What the evidence adds up to."""
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
        self._weigh(None)

    def next_change(self) -> float:
        """Return when (steady seconds) time alone may change the state; infinity: never."""
        if self._condition is not Condition.SUSPECT:
            return math.inf
        return self.evidence.recent.oldest() + self.rules.outage_window + _AFTER

    def restore(self, healthy_time: float) -> None:
        """Take back the clock of patience as it was stored."""
        self._healthy_time = healthy_time

    def circuit(self) -> Circuit:
        """Whether polls may go on, or when and how one may be tried."""
        if self.state in PATIENT_STATES and not self._refusal.open:
            return _OPEN
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
        """Let the next trial be made at once: the key has changed."""
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
        """Take in one answer; `job` is as it was before, None for a control or untracked id.

        `target` is that of a control request, which alone confirms; `asked` is the job_id that a
        control or a stranger asked about.
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
            self._note_silence(now.steady)
        elif reply.kind is not Kind.UNASKED:
            self._note_answer(reply, now, job, target)
            if target is not None:
                self._note_control(reply, now, target, asked)
            elif reply.kind in BAD_KINDS and not self.evidence.witnessed():
                self.control.want(now.steady, self.polling.min_interval)
            self._note_hint(reply, now, target, job.job_id if job else asked)
        if target is not None and reply.kind not in (Kind.KEY_REJECTED, Kind.BLOCKED):
            self._refusal.undecided = True  # if it is still open
        if target is not None and reply.kind in _CONTROL_FAILED:
            self._control_failed = _CONTROL_FAILED[reply.kind]
        if not self.circuit().closed and now.steady >= self._probes.at:
            self._put_off_probe(now.steady, target)

    def api_known(self, since: float) -> bool:
        """Whether a 404 or 422 since then (healthy time) can be taken as the API's own.

        It can if this upstream has ever served a job, or has answered the bare control since.
        """
        return self.served_before or self._bare_at >= since

    def _signal(self, signal: Signal) -> None:
        before, self._condition = self._condition, after(self._condition, signal)
        if self._condition in DOWN and before not in DOWN:
            self._probes.begin(self._counted_to)
            self._control_failed = None

    def _controls_turn(self) -> bool:
        """Whether the control makes the next trial; one answered in this outage tells no more."""
        helps = self._control_failed is not False and bool(self.rules.control)
        return self._control_next and helps

    def _weigh(self, sort: Sort | None) -> None:
        """Say whether most jobs are answered badly. Only an answer tells an outage, no time."""
        if not self.evidence.mostly_bad(self.rules):
            self._signal(Signal.CALM)
        elif sort is Sort.BAD and not self.evidence.witnessed():
            self._signal(Signal.ERRORS)
        else:
            self._signal(Signal.MIXED)

    def _note_refusal(self, kind: Kind, steady: float, *, control: bool) -> None:
        """One refused request closes the gate; the control says whether all are."""
        known, first = self._condition in REFUSED, not self._refusal.open
        if known or self._refusal.refused(steady, control=control):
            self._refusal.confirmed()
            self._signal(Signal.WALL if kind is Kind.BLOCKED else Signal.KEY_REFUSED)
            if kind is Kind.KEY_REJECTED:
                self.key_valid = False
        elif control:
            self._probes.set(steady + self.polling.min_interval)
        elif first and self._condition is not Condition.THROTTLED:  # else it is waited all the same
            self._probes.set(steady)

    def _throttle(self, reply: Reply, now: Now) -> None:
        self._probes.wait(reply, now, self.polling, closed=not self.circuit().closed)
        self._signal(Signal.THROTTLE)

    def _note_hint(
        self, reply: Reply, now: Now, target: ControlTarget | None, asked: str | None
    ) -> None:
        """`Retry-After` on a bad answer: one job's hint, unless a second one says so too.

        And nobody is served: jobs that failed may say it for ever. A good answer says when to ask
        about that job again, not that the service wants to be left alone.
        """
        if reply.kind in _ANSWERED_KINDS or reply.retry_delay(now.time) is None:
            return
        known, name = self._hint, asked or ""
        second = known is not None and known[0] != name
        lately = known is not None and now.steady - known[1] <= self.rules.outage_window
        if target is not None or (second and lately and not self.evidence.witnessed()):
            self._throttle(reply, now)
        self._hint = (name, now.steady)

    def _note_silence(self, steady: float) -> None:
        """No answer: an outage once that has lasted, over several tries, without a good one."""
        if self._silent_since is None:
            self._silent_since, self._silent_tries = steady, 0
        self._silent_tries += 1
        lasted = steady - self._silent_since >= self.rules.outage_window
        if lasted and self._silent_tries >= self.rules.outage_jobs:
            self._signal(Signal.SILENCE)

    def _note_answer(
        self, reply: Reply, now: Now, job: Job | None, target: ControlTarget | None
    ) -> None:
        if now.steady >= self._probes.at:  # before that it is a straggler, sent before the 429
            self._signal(Signal.WAIT_OVER)
        sort = None if job is None else self.evidence.take(reply, now, job, self.rules)
        self._note_origin(reply, now, job, target)
        if reply.kind in _ANSWERED_KINDS:
            self._note_key(now.steady, control=target is not None)
            if sort is not Sort.LOST:
                self._note_served(reply, now, target)
        if job is not None and reply.status and reply.status.state is ReplyState.DONE:
            self.control.remember_finished(job.job_id)
        self._weigh(sort)

    def _note_origin(
        self, reply: Reply, now: Now, job: Job | None, target: ControlTarget | None
    ) -> None:
        """Learn whether it is the API that answers here, and ask the bare request if unknown."""
        if reply.kind is Kind.OK:
            self.served_before = True
        elif target is ControlTarget.BARE and reply.kind is Kind.INVALID:
            self._bare_at = now.healthy_time
        elif job is not None and job.pending and reply.kind in (Kind.NOT_FOUND, Kind.INVALID):
            run = job.run_of(reply.kind)
            if not self.api_known(now.healthy_time if run is None else run.since):
                self.control.want_bare(now.steady, self.polling.min_interval)

    def _note_key(self, steady: float, *, control: bool) -> None:
        """The key is good; a refusal that was confirmed only the control takes back."""
        if control:
            self._signal(Signal.ACCEPTED)
        if self._condition not in REFUSED:
            self._refusal.answered(steady)
            self.key_valid = True

    def _note_served(self, reply: Reply, now: Now, target: ControlTarget | None) -> None:
        """The upstream did its work."""
        self._silent_since = None
        if reply.kind is Kind.OK:
            self.last_success = now.time
        if reply.kind is Kind.OK and target is None:
            self._probes.reset()
            self._signal(Signal.SERVED)
            return
        self._signal(Signal.LOOKED_UP)
        # A control where a job's turn was: there is no job left to ask.
        decides = self._control_failed or not self._controls_turn()
        if target is not None and decides and now.steady >= self._probes.at:
            self._signal(Signal.RECOVERED)

    def _note_control(
        self, reply: Reply, now: Now, target: ControlTarget, asked: str | None
    ) -> None:
        """The control's own word: failing it is an outage, unless a witness stands against it."""
        bad, lost = reply.kind in BAD_KINDS, reply.kind in (Kind.NOT_FOUND, Kind.INVALID)
        self.evidence.shares.add(None, bad=bad, at=now.healthy_time)
        if bad and not self.evidence.witnessed():
            self._signal(Signal.ERRORS)
        sign = ""
        if target is ControlTarget.FINISHED and asked is not None:
            self.control.asked_finished(asked, known=not lost)
            sign = f"finished job {asked} was answered 200 again" if reply.kind is Kind.OK else ""
        elif target is ControlTarget.RANDOM and reply.kind is Kind.NOT_FOUND:
            sign = "an id that never was is answered 404"
        if sign:
            has_data = target is ControlTarget.FINISHED
            self.evidence.witnesses.remember_weak(sign, now.healthy_time, has_data=has_data)

    def _put_off_probe(self, steady: float, target: ControlTarget | None) -> None:
        """After a trial that did not open the gate."""
        if self._condition in REFUSED:
            self._probes.set(steady + self.polling.key_retry)
        elif target is not None or not self._refusal.open:
            self._probes.put_off(steady, self.polling)
        self._control_next = target is None


_OPEN: Final = Circuit(True)
_AFTER: Final = 0.001
"""Seconds past the end of a window, so that its oldest answer has left it."""
