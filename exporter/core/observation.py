"""How a reply becomes a job's next value, and the events that tell the difference.

A reply (`observe`) and a verdict of `judgement.py` (`conclude`) both give a new job and its events.
Everything that anyone sees, a counter, a log line, a row of history, is made from those events, so
the same reply twice gives no second event.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

from .events import Event, EventType, Now
from .job import TRANSITIONS, Job, JobState, Suspicion, Verdict
from .reply import Kind, Reply, ReplyState, Status
from .value import replace

MAX_REMEMBERED_MESSAGES: Final = 1000
MAX_REMEMBERED_CHARS: Final = 64 * 1024
"""Messages of a job that are told. An upstream may invent new ones with every answer."""
"""Warnings remembered a job as already told; past these no further one is counted."""


def observe(
    job: Job,
    reply: Reply,
    now: Now,
    gateway_codes: Collection[int] = (),
    *,
    in_turn: bool = True,
) -> tuple[Job, list[Event]]:
    """Return what one reply makes of a job, and the events. Verdicts are for `conclude`.

    A reply that says nothing new gives no event. `in_turn` is False for an answer that somebody
    asked for before the schedule's own time: it may begin a run, but lengthens none. The registry
    keeps answers about another incarnation away.
    """
    job = _set_stamps_right(job, now)
    at = max(now.time, job.last_polled_at or 0.0, job.registered_at)
    told, drift_events = _tell_drift(job, reply, at)
    if reply.kind is Kind.OK and reply.status is not None:
        changed, events = _good_answer(told, reply.status, at)
    elif job.pending:
        gateway = _looks_like_gateway(reply, gateway_codes)
        changed, events = _other_answer(told, reply, now, at, gateway=gateway, in_turn=in_turn)
    else:
        changed, events = _asked_again(told, reply), []
    return replace(changed, last_polled_at=at), [*drift_events, *events]


_STAMPS: Final = (
    *("registered_at", "first_answer_at", "step_since"),
    *("last_polled_at", "last_progress_at", "finished_at"),
)
CLOCK_STEP_SECONDS: Final = 1.0
"""A wall clock that moved by less against the steady one was not set."""


def _set_stamps_right(job: Job, now: Now) -> Job:
    """Move a job's stamps along when the wall clock was set, so that durations stay true.

    Stamps of an earlier process can only be compared with the present: none lies in the future.
    """
    offset = now.time - now.steady
    if job.clock_offset is not None:
        shift = offset - job.clock_offset
        if abs(shift) < CLOCK_STEP_SECONDS:
            return job
    else:
        latest = max(getattr(job, name) or 0.0 for name in _STAMPS)
        shift = min(0.0, now.time - latest)
    moved = {name: stamp + shift for name in _STAMPS if (stamp := getattr(job, name)) is not None}
    return replace(job, clock_offset=offset, **moved)


def conclude(job: Job, verdict: Verdict, now: Now) -> tuple[Job, list[Event]]:
    """End a pending job by a verdict of ours; what has ended only the upstream can overturn."""
    if not job.pending or (job.state, verdict.state) not in TRANSITIONS:
        return job, []
    at = max(now.time, job.last_polled_at or 0.0, job.registered_at)
    job, events = _finish(job, verdict.state, verdict.evidence, at)
    return replace(job, weakly_failed=verdict.weak), events


def _tell_drift(job: Job, reply: Reply, at: float) -> tuple[Job, list[Event]]:
    new = {drift.kind: drift for drift in reply.drift if drift.kind.value not in job.reported_drift}
    if not new:
        return job, []
    events = [
        Event(EventType.DRIFT, job.job_id, at, {"kind": kind.value, "detail": drift.detail})
        for kind, drift in new.items()
    ]
    return replace(job, reported_drift=(*job.reported_drift, *(kind.value for kind in new))), events


def _looks_like_gateway(reply: Reply, gateway_codes: Collection[int]) -> bool:
    """Whether a 5xx came from something before the service: by its code, or for want of JSON."""
    is_error = reply.kind is Kind.SERVER_ERROR
    return is_error and (not reply.is_json or reply.http_status in gateway_codes)


def _other_answer(
    job: Job, reply: Reply, now: Now, at: float, *, gateway: bool, in_turn: bool
) -> tuple[Job, list[Event]]:
    """A pending job, and anything but a readable 2xx."""
    if reply.kind in (Kind.SERVER_ERROR, Kind.NOT_FOUND, Kind.INVALID):
        return _suspect(job, reply, now, at, gateway=gateway, in_turn=in_turn)
    return replace(job, setbacks=job.setbacks + 1), []


NOT_THE_JOB: Final = frozenset(
    {Kind.TRANSPORT, Kind.UNASKED, Kind.THROTTLED, Kind.KEY_REJECTED, Kind.BLOCKED}
)
"""Answers, or the lack of one, that come from before the job: they say nothing of it."""


def _asked_again(job: Job, reply: Reply) -> Job:
    """A finished job, and an answer that does not overturn: that recheck is done with."""
    if reply.kind in NOT_THE_JOB:
        return replace(job, setbacks=job.setbacks + 1)
    return replace(job, setbacks=0, rechecks=job.rechecks + 1)


def _suspect(
    job: Job, reply: Reply, now: Now, at: float, *, gateway: bool, in_turn: bool
) -> tuple[Job, list[Event]]:
    """Begin or lengthen the run of this kind; a run of another kind is kept as well.

    An answer counts only when healthy time has passed since the one before, so that a run stands
    still while the upstream is not well.
    """
    http_status = reply.http_status or 0
    run = job.run_of(reply.kind)
    others = tuple(
        one
        for one in (job.suspicion, *job.other_runs)
        if one is not None and one.kind is not reply.kind
    )
    job = replace(job, suspicion=run, other_runs=others, setbacks=0)
    if run is not None:
        if now.healthy_time <= run.until or not in_turn:
            return job, []
        run = replace(
            run,
            answers=run.answers + 1,
            until=max(run.until, now.healthy_time),
            http_status=http_status,
            gateway_answers=run.gateway_answers + gateway,
        )
        return replace(job, suspicion=run), []
    run = Suspicion(reply.kind, 1, now.healthy_time, now.healthy_time, http_status, int(gateway))
    data = {"http_status": http_status, "error": reply.error}
    event = Event(EventType.SUSPECTED, job.job_id, at, data)
    return replace(job, suspicion=run), [event]


def _clear(job: Job, at: float) -> tuple[Job, list[Event]]:
    if job.suspicion is None:
        return job, []
    data = {"http_status": job.suspicion.http_status, "answers": job.suspicion.answers}
    return replace(job, suspicion=None, other_runs=()), [
        Event(EventType.CLEARED, job.job_id, at, data)
    ]


_OVERTURNED_BY: Final[Mapping[tuple[JobState, ReplyState], JobState]] = {
    (JobState.FAILED, ReplyState.PENDING): JobState.PENDING,
    (JobState.FAILED, ReplyState.DONE): JobState.DONE,
    (JobState.NOT_FOUND, ReplyState.PENDING): JobState.PENDING,
    (JobState.NOT_FOUND, ReplyState.DONE): JobState.DONE,
    (JobState.NOT_FOUND, ReplyState.FAILED): JobState.FAILED,
    (JobState.EXPIRED, ReplyState.DONE): JobState.DONE,
    (JobState.EXPIRED, ReplyState.FAILED): JobState.FAILED,
}
"""Which inference which answer overturns, and where the job goes. An expired job that is still
pending stays expired: that it is pending is what expired means."""


def _good_answer(job: Job, status: Status, at: float) -> tuple[Job, list[Event]]:
    events: list[Event] = []
    if not job.pending:
        if (job.state, status.state) not in _OVERTURNED_BY:
            return replace(job, setbacks=0, rechecks=job.rechecks + 1), []
        events.append(Event(EventType.OVERTURNED, job.job_id, at, {"from": job.state.value}))
        job = replace(
            job,
            state=JobState.PENDING,
            finished_at=None,
            evidence=None,
            suspicion=None,
            rechecks=0,
            weakly_failed=False,
        )
    for read in (_learn, _move, _warn, _ignore):
        job, more = read(job, status, at)
        events += more
    if job.setbacks or job.lost_with_others:
        job = replace(job, setbacks=0, lost_with_others=False)
    job, more = _clear(job, at)
    events += more
    if status.state is not ReplyState.PENDING:
        evidence = None if status.state is ReplyState.DONE else "explicit"
        job, more = _finish(job, JobState(status.state.value), evidence, at)
        events += more
    return job, events


def _learn(job: Job, status: Status, at: float) -> tuple[Job, list[Event]]:
    """Take the mode (once) and the results; report the first answer."""
    events = []
    if not job.answered:
        data = {"state": status.state.value, "mode": status.mode}
        events.append(Event(EventType.FIRST_ANSWER, job.job_id, at, data))
        final = status.state is not ReplyState.PENDING
        job = replace(job, first_answer_at=at, first_seen_final=final)
    mode, url, urls = job.mode or status.mode, status.final_url, status.final_urls
    if (mode, url, urls) != (job.mode, job.final_url, job.final_urls):
        job = replace(job, mode=mode, final_url=url, final_urls=urls)
    return job, events


FALL_POINTS: Final = 10.0
"""The contract calls progress approximate: a fall by this much or less is not reported."""


def _move(job: Job, status: Status, at: float) -> tuple[Job, list[Event]]:
    """Follow step and progress. The step is data, never an enum; progress alone makes no event."""
    progress = job.progress if status.progress is None else status.progress
    step = status.step or job.step
    events = []
    if not job.progress_fell and (progress or 0.0) < (job.progress or 0.0) - FALL_POINTS:
        fall = {"progress": progress, "from_progress": job.progress}
        events.append(Event(EventType.PROGRESS_FELL, job.job_id, at, fall))
        job = replace(job, progress_fell=True)
    if (step, progress) != (job.step, job.progress):
        job = replace(job, progress=progress, last_progress_at=at)
    if step == job.step:
        return job, events
    data: dict[str, Any] = {"step": step, "from_step": job.step}
    if job.step_since is not None:
        data["seconds"] = at - job.step_since
    events.append(Event(EventType.STEP_CHANGED, job.job_id, at, data))
    return replace(job, step=step, step_since=at), events


def _warn(job: Job, status: Status, at: float) -> tuple[Job, list[Event]]:
    """Report each message once a job, however often it comes."""
    if status.warnings == job.warnings:
        return job, []
    told = dict(job.reported_warnings)
    room = MAX_REMEMBERED_MESSAGES - sum(map(len, told.values()))
    chars = MAX_REMEMBERED_CHARS - sum(len(text) for texts in told.values() for text in texts)
    events = []
    for variation, messages in status.warnings.items():
        known = told.get(variation, ())
        new = tuple(text for text in messages if text not in known)[: max(0, room)]
        chars -= sum(map(len, new))
        if new and chars >= 0:
            room -= len(new)
            told[variation] = (*known, *new)
            data = {"variation": variation, "messages": list(new)}
            events.append(Event(EventType.WARNING_RAISED, job.job_id, at, data))
    return replace(job, warnings=status.warnings, reported_warnings=told), events


def _ignore(job: Job, status: Status, at: float) -> tuple[Job, list[Event]]:
    """Report each ignored variation once a job, with the warnings that name it."""
    room = MAX_REMEMBERED_MESSAGES - len(job.reported_ignored)
    new = [name for name in status.ignored_variations if name not in job.reported_ignored][:room]
    events = [
        Event(
            EventType.VARIATION_IGNORED,
            job.job_id,
            at,
            {"variation": name, "messages": list(status.warnings.get(name, ()))},
        )
        for name in new
    ]
    if status.ignored_variations != job.ignored_variations:
        job = replace(job, ignored_variations=status.ignored_variations)
    return replace(job, reported_ignored=(*job.reported_ignored, *new)) if new else job, events


def _finish(job: Job, state: JobState, evidence: str | None, at: float) -> tuple[Job, list[Event]]:
    data: dict[str, Any] = {"state": state.value, "evidence": evidence}
    if job.answered and not job.first_seen_final:
        data["seconds"] = at - job.registered_at
    if job.last_polled_at is not None:
        data["unseen_seconds"] = at - job.last_polled_at
    if job.first_seen_final and job.first_answer_at == at:
        data["first_seen_final"] = True
    if state is JobState.DONE and job.final_url is None and not job.final_urls:
        data["without_result"] = True
    finished = replace(
        job,
        state=state,
        finished_at=at,
        evidence=evidence,
        suspicion=None,
        other_runs=(),
        rechecks=0,
    )
    return finished, [Event(EventType.FINISHED, job.job_id, at, data)]
