"""Is the upstream well? The evidence of recent answers, the state it adds up to, and the gate.

One answer says little: a 5xx means "the job failed or the service did" (the vendor's page). Many
answers of distinct jobs say more. `Health` keeps the little that is needed of them, says in which
state the upstream is, whether polls may go on (`gate`), and which other job has lately shown that
the service works (`witness`), without which no job is called failed.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from .control import ControlLadder, Rung
from .events import Now
from .evidence import AnswerShares, RecentAnswers, Share, Witnesses
from .job import Job
from .reply import Kind, Reply, ReplyState
from .rules import JudgementRules, PollingRules


class UpstreamState(StrEnum):
    """Exactly one at a time; the values of `removit_upstream_state`."""

    UNKNOWN = "unknown"
    WELL = "well"
    SUSPECT = "suspect"
    DOWN = "down"
    THROTTLED = "throttled"
    BLOCKED = "blocked"
    KEY_REJECTED = "key_rejected"


PATIENT_STATES: Final = frozenset(
    {UpstreamState.UNKNOWN, UpstreamState.WELL, UpstreamState.SUSPECT}
)
"""In these the clock of patience runs; in the others no job is to blame for its silence."""


class Trial(StrEnum):
    """How a closed gate is tried."""

    CONTROL = "control"  # a request that concerns no pending job
    POLL = "poll"  # the most overdue job


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether polls may go on; if not, when (steady seconds) and how one trial is made."""

    open: bool
    trial_at: float = 0.0
    trial: Trial = Trial.POLL


_WITNESS: Final = "witness"  # a 2xx for a job still pending: the strong witness
_WELL: Final = "well"  # any other 2xx; 404 or 422 for a job that never was
_BAD: Final = "bad"
_LOST: Final = "lost"  # 404 or 422 for a job that had good answers
_NEUTRAL: Final = "neutral"

_NOT_SUSPECT: Final = "\x00"

_ANSWERED_KINDS: Final = frozenset({Kind.OK, Kind.NOT_FOUND, Kind.INVALID})


class Health:
    """The evidence about one upstream. Not thread-safe; every time comes from the caller."""

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
        self._well_time = 0.0
        self._counted_to = steady
        self._recent = RecentAnswers()
        self._lost = RecentAnswers()
        self.shares = AnswerShares()
        self._suspects = RecentAnswers()
        """The latest answer of each job, by mode where it was a 5xx."""
        self._witnesses = Witnesses()
        self.control = ControlLadder(steady)
        self._answered = False
        self._refusal: Kind | None = None  # an unconfirmed 401 or 403 closes the gate
        self._refusal_confirmed = False
        self._down: Kind | None = None  # what it went down by: 5xx (or unreadable), or silence
        self._silent_since: float | None = None
        self._silent_tries = 0
        self._throttled = False
        self._hint: tuple[str, float] | None = None
        self._trial_at = 0.0
        self._trial_delay = 0.0

    @property
    def state(self) -> UpstreamState:
        """What the evidence adds up to."""
        if self._refusal_confirmed:
            blocked = self._refusal is Kind.BLOCKED
            return UpstreamState.BLOCKED if blocked else UpstreamState.KEY_REJECTED
        if self._throttled:
            return UpstreamState.THROTTLED
        if self._down is not None:
            return UpstreamState.DOWN
        if self._mostly_bad():
            return UpstreamState.SUSPECT
        return UpstreamState.WELL if self._answered else UpstreamState.UNKNOWN

    @property
    def up(self) -> bool | None:
        """`removit_up`: False only for down and blocked, None until known."""
        if self.state is UpstreamState.UNKNOWN:
            return None
        return self.state not in (UpstreamState.DOWN, UpstreamState.BLOCKED)

    def well_time(self, steady: float) -> float:
        """Seconds, so far, in which the upstream was well and the exporter ran."""
        if self.state in PATIENT_STATES and self._refusal is None:
            self._well_time += max(0.0, steady - self._counted_to)
        self._counted_to = max(self._counted_to, steady)
        self._recent.prune(steady - self.rules.outage_window)
        return self._well_time

    def restore(self, well_time: float) -> None:
        """Take back the clock of patience as it was stored."""
        self._well_time = well_time

    def gate(self) -> Gate:
        """Whether polls may go on, or when and how one may be tried."""
        if self._refusal is not None or self._throttled:
            return Gate(False, self._trial_at, Trial.CONTROL)
        if self._down is not None:
            return Gate(False, self._trial_at, Trial.POLL)
        return Gate(True)

    def try_now(self, steady: float) -> None:
        """Let the next trial be made at once: the key has changed."""
        self._trial_at = steady

    def witness(self, job: Job, since: float) -> str | None:
        """Return the strong witness of the design's rule for 5xx, see `Witnesses.strong`."""
        return self._witnesses.strong(job, since)

    def weak_witness(self, since: float) -> str | None:
        """Return a weaker one, in words, see `Witnesses.weak`."""
        return self._witnesses.weak(since)

    def share_of_errors(self, job: Job, since: float, *, of_mode: bool) -> Share:
        """Return the share of 5xx among answers for other jobs since `since` (well time).

        Of all, or of the job's mode, whichever looks worse. The first 5xx of the job's own row is
        taken out.
        """
        everyone = _without_own(self.shares.share(since))
        if not of_mode or job.mode is None:
            return everyone
        same = _without_own(self.shares.share(since, job.mode))
        return max((everyone, same), key=Share.upper_bound)

    def next_control(self) -> float:
        """Return when (steady seconds) a control request is due; infinity while none is wanted."""
        return self.control.due(self.rules.control, self.heartbeat)

    def jobs_lost(self, now: Now) -> bool:
        """Whether so many known jobs turned 404 or 422 that the upstream has lost them."""
        self._lost.prune(now.steady - self.rules.lost_window)
        lost = self._lost.count(_LOST)
        return lost >= self.rules.lost_jobs and lost >= self.rules.lost_share * len(self._lost)

    def note(
        self,
        reply: Reply,
        now: Now,
        *,
        job: Job | None,
        rung: Rung | None = None,
        asked: str | None = None,
    ) -> None:
        """Take in one answer; `job` is as it was before, None for a control or untracked id.

        `rung` is that of a control request, `asked` its job_id.
        """
        self.well_time(now.steady)
        self.control.answered(now.steady, of_control=rung is not None)
        if reply.kind in (Kind.KEY_REJECTED, Kind.BLOCKED):
            self._note_refusal(reply.kind, now, control=job is None)
        elif reply.kind is Kind.THROTTLED:
            self._throttle(reply, now)
        elif reply.kind is Kind.TRANSPORT:
            self._note_silence(now)
        else:
            self._note_answer(reply, now, job)
            self._note_share(reply, job, rung)
            if rung is not None:
                self._note_control(reply, now, rung, asked)
            elif reply.kind is Kind.SERVER_ERROR and not self._recent.count(_WITNESS):
                self.control.want(now.steady, self.polling.min_interval)
            self._note_hint(reply, now, job)
        if not self.gate().open and now.steady >= self._trial_at:
            self._put_off_trial(now, control=job is None)

    def _note_refusal(self, kind: Kind, now: Now, *, control: bool) -> None:
        """One refused job closes the gate; the control request says whether it is the key."""
        if self._refusal is None:
            self._trial_at = now.steady
        if control or self._refusal_confirmed:
            self._refusal_confirmed = True
            self._trial_at = now.steady + self.polling.key_retry
        self._refusal = kind
        if self._refusal_confirmed and kind is Kind.KEY_REJECTED:
            self.key_valid = False

    def _throttle(self, reply: Reply, now: Now) -> None:
        asked = reply.retry_delay(now.time)
        if asked is None:
            asked = min(
                self.polling.max_interval, max(self.polling.min_interval, self._trial_delay)
            )
            self._trial_delay = asked * 2
        until = now.steady + min(asked, self.polling.max_retry_after)
        self._trial_at = max(self._trial_at, until) if self._throttled else until
        self._throttled = True

    def _note_hint(self, reply: Reply, now: Now, job: Job | None) -> None:
        """`Retry-After` on anything but a 429: one job's hint, unless a second one says so too."""
        if reply.retry_delay(now.time) is None:
            return
        name = job.job_id if job else ""
        known = self._hint
        if job is None or (
            known and known[0] != name and now.steady - known[1] <= self.rules.outage_window
        ):
            self._throttle(reply, now)
        self._hint = (name, now.steady)

    def _note_silence(self, now: Now) -> None:
        """No answer: an outage once that has lasted, over several tries, without a good one."""
        if self._silent_since is None:
            self._silent_since, self._silent_tries = now.steady, 0
        self._silent_tries += 1
        lasted = now.steady - self._silent_since >= self.rules.outage_window
        if lasted and self._silent_tries >= self.rules.outage_jobs:
            self._go_down(Kind.TRANSPORT, now)

    def _note_answer(self, reply: Reply, now: Now, job: Job | None) -> None:
        if now.steady >= self._trial_at:  # before that it is a straggler, sent before the 429
            self._throttled = False
        sort = _sort(reply.kind, job)
        if job is not None:
            self._recent.add(job.job_id, sort, now.steady, self.rules.outage_window)
            self._lost.add(job.job_id, sort, now.steady, self.rules.lost_window)
            suspect = (job.mode or "") if reply.kind is Kind.SERVER_ERROR else _NOT_SUSPECT
            self._suspects.add(job.job_id, suspect, now.steady, self.rules.weak_after)
        if reply.kind in _ANSWERED_KINDS:
            self._note_served(reply.kind, control=job is None)
        if reply.kind is Kind.OK:
            self.last_success = now.time
        if sort == _WITNESS and job is not None:
            self._witnesses.remember(job, reply.status, self._well_time)
        elif sort == _BAD and self._mostly_bad() and not self._recent.count(_WITNESS):
            self._go_down(Kind.SERVER_ERROR, now)

    def _note_served(self, kind: Kind, *, control: bool) -> None:
        """The upstream did its work: the key is good and nothing is silent."""
        if control or not self._refusal_confirmed:
            self._refusal, self._refusal_confirmed, self.key_valid = None, False, True
        self._answered = True
        self._silent_since = None
        # The door may be open while what is behind it is dead: only a 2xx ends an outage of 5xx.
        if kind is Kind.OK or self._down is Kind.TRANSPORT:
            self._down, self._trial_delay = None, 0.0

    def _note_share(self, reply: Reply, job: Job | None, rung: Rung | None) -> None:
        """Count an answer for a job that nothing was wrong with, or of a control request."""
        bad = reply.kind is Kind.SERVER_ERROR
        if job is not None:
            if reply.kind not in (Kind.OK, Kind.SERVER_ERROR) or job.suspicion is not None:
                return
            mode = job.mode or (reply.status.mode if reply.status else None)
            self.shares.add(mode, bad=bad, at=self._well_time)
            if reply.status is not None and reply.status.state is ReplyState.DONE:
                self.control.remember_finished(job.job_id)
        elif rung is not None and (bad or reply.kind in _ANSWERED_KINDS):
            self.shares.add(None, bad=bad, at=self._well_time)

    def _note_control(self, reply: Reply, now: Now, rung: Rung, asked: str | None) -> None:
        """The control's own word: a 5xx is an outage, unless a witness stands against it."""
        at = self._well_time
        if reply.kind is Kind.SERVER_ERROR and not self._recent.count(_WITNESS):
            self._go_down(Kind.SERVER_ERROR, now)
        elif rung is Rung.FINISHED and reply.kind is Kind.OK:
            self._witnesses.remember_weak(f"finished job {asked} was answered 200 again", at)
        elif rung is Rung.FINISHED:
            self.control.drop(asked)
        elif rung is Rung.RANDOM and reply.kind is Kind.NOT_FOUND:
            self._witnesses.remember_weak("an id that never was is answered 404", at)

    def mostly_bad(self, mode: str | None) -> bool:
        """Whether so many jobs of a mode are answered 5xx that it looks like the mode's trouble."""
        return self._suspects.count(mode or "") >= self.rules.outage_jobs

    def _mostly_bad(self) -> bool:
        bad, jobs = self._recent.count(_BAD), len(self._recent)
        return jobs >= self.rules.outage_jobs and bad > self.rules.outage_share * jobs

    def _go_down(self, cause: Kind, now: Now) -> None:
        if self._down is None:
            self._down, self._trial_at, self._trial_delay = cause, now.steady, 0.0

    def _put_off_trial(self, now: Now, *, control: bool) -> None:
        """After a trial that did not open the gate: the next, twice as late each time."""
        if self._refusal_confirmed:
            self._trial_at = now.steady + self.polling.key_retry
        elif self._refusal is None or control:
            delay = max(self.polling.min_interval, self._trial_delay * 2)
            self._trial_delay = min(delay, self.polling.max_interval)
            self._trial_at = now.steady + self._trial_delay


def _without_own(share: Share) -> Share:
    return Share(max(0, share.bad - 1), max(0, share.answers - 1)) if share.bad else share


def _sort(kind: Kind, job: Job | None) -> str:
    """What an answer says of the upstream (the right column of the design's table)."""
    if kind in (Kind.SERVER_ERROR, Kind.UNREADABLE):
        return _BAD
    if kind is Kind.OK:
        return _WITNESS if job is not None and job.pending else _WELL
    if kind in (Kind.NOT_FOUND, Kind.INVALID):
        return _LOST if job is not None and job.answered else _WELL
    return _NEUTRAL
