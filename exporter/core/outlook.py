"""How much a verdict on a suspected job still lacks, and when it can come at the earliest."""

from dataclasses import dataclass

from .events import Now
from .failure import likely_case
from .health.health import Health
from .health.states import PATIENT_STATES
from .job import Job, Suspicion
from .judgement import span
from .reply import Kind
from .rules import JudgementRules

NO_WITNESS = "a witness: no other pending job and no finished one was answered 2xx meanwhile"
NO_OTHERS = "answers for other jobs: too few came to rule out chance"
NOT_THE_API = "the bare control request answered by the API: until then something else may answer"
LOST_WITH_OTHERS = "jobs that come back: many were lost at once, so this one may be known again"


@dataclass(frozen=True, slots=True)
class Outlook:
    """How far a run of suspicious answers has come, and how far it has to come.

    `answers_needed` is None while too little is known to say. `witness` shows that the service
    works. `missing` names what is lacking, each in a few words. `verdict_at` is in seconds since
    1970, None while it cannot be told.
    """

    http_status: int
    answers: int
    answers_needed: int | None
    seconds: float
    seconds_needed: float
    witness: str | None
    missing: tuple[str, ...]
    verdict_at: float | None


def outlook(job: Job, health: Health, now: Now, rules: JudgementRules) -> Outlook | None:
    """Return what the verdict on a job still lacks; None where it is not suspected."""
    run = job.suspicion
    if run is None or not job.pending:
        return None
    if run.kind is Kind.SERVER_ERROR:
        case = likely_case(job, run, health, rules)
        witness, missing = case.witness, []
        answers, needed = case.answers, case.needed
        seconds, needed_seconds = case.seconds, case.needed_seconds
        if witness is None:
            missing.append(NO_WITNESS)
        if needed is None:
            missing.append(NO_OTHERS)
    else:
        witness, missing = None, _lost(job, run, health, now, rules)
        answers, seconds = run.answers, run.length
        at_once = run.kind is Kind.INVALID and not job.answered
        needed, needed_seconds = (1, 0.0) if at_once else span(job, health, rules)
    if needed is not None and answers < needed:
        missing.append(_count(needed - answers, "more answer"))
    left = needed_seconds - seconds
    if left > 0:
        missing.append(f"{left:.0f} s more")
    verdict_at = now.time + max(0.0, left - (now.healthy_time - run.until))
    if health.state not in PATIENT_STATES:
        missing.insert(0, f"an upstream that works: it is {health.state}, so nothing is decided")
    decidable = health.state in PATIENT_STATES and (witness or run.kind is not Kind.SERVER_ERROR)
    return Outlook(
        run.http_status,
        answers,
        needed,
        seconds,
        needed_seconds,
        witness,
        tuple(missing),
        verdict_at if decidable else None,
    )


def _lost(job: Job, run: Suspicion, health: Health, now: Now, rules: JudgementRules) -> list[str]:
    """Return what `not_found` and `invalid` still lack, apart from answers and time."""
    if job.lost_with_others or health.evidence.jobs_lost(now, rules):
        return [LOST_WITH_OTHERS]
    return [] if job.answered or health.origin.known(run.since) else [NOT_THE_API]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
