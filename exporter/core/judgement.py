"""What becomes of one job: the rules of judgement, as a table from the last answer to a rule.

Each rule gives a verdict that names its evidence, or None: what cannot be decided is not
guessed, the job stays suspected and is asked again. Times are in seconds; patience is measured
in well time (see `events.Now`), so it stands still while the upstream is not well.
"""

from collections.abc import Callable, Mapping
from typing import Final

from .events import Now
from .health import PATIENT_STATES, Health
from .job import Job, JobState, Suspicion, Verdict
from .reply import Kind, Reply
from .rules import JudgementRules


def judge(
    job: Job, reply: Reply, health: Health, now: Now, rules: JudgementRules, give_up_after: float
) -> Verdict | None:
    """Return the verdict on a pending job after `reply`, which `job` and `health` have taken in."""
    if not job.pending:
        return None
    verdict = None
    if job.suspicion is not None and job.suspicion.kind is reply.kind:
        verdict = RULES[reply.kind](job, job.suspicion, health, now, rules)
    return verdict or _expired(job, reply, health, now, give_up_after)


def span(job: Job, rules: JudgementRules) -> tuple[int, float]:
    """Return how many answers, over how many seconds, a suspected job's verdict takes."""
    row = job.suspicion
    if row is None or row.kind is Kind.SERVER_ERROR:
        return rules.failed_answers, rules.failed_after
    after = rules.lost_after if job.answered else rules.not_found_grace
    return rules.not_found_answers, after


def _server_error(
    job: Job, row: Suspicion, health: Health, now: Now, rules: JudgementRules
) -> Verdict | None:
    """`failed`: a row of 5xx while another job was shown to be served ("fails terminally").

    The status line alone does not tell a failed job from an outage; the witness does.
    """
    answers, after = span(job, rules)
    if row.answers < answers or row.length < after or health.state not in PATIENT_STATES:
        return None
    witness = health.witness(job.job_id, row.since)
    if witness is None:
        return None
    return Verdict(
        JobState.FAILED,
        f"{_row(row)} while job {witness} was answered 2xx",
    )


def _not_found(
    job: Job, row: Suspicion, health: Health, now: Now, rules: JudgementRules
) -> Verdict | None:
    """`not_found`: the id never was, or no longer is, known upstream."""
    answers, after = span(job, rules)
    if row.answers < answers or row.length < after:
        return None
    if not job.answered:
        return Verdict(JobState.NOT_FOUND, f"{_row(row)}, never a good answer")
    if health.jobs_lost(now):  # the upstream forgets its jobs: none of them is to blame
        return None
    return Verdict(JobState.NOT_FOUND, f"{_row(row)} after good answers, other jobs are known")


def _invalid(
    job: Job, row: Suspicion, health: Health, now: Now, rules: JudgementRules
) -> Verdict | None:
    """`invalid`: "job_id is missing or malformed"; of a job once known it means it was lost."""
    if job.answered:
        return _not_found(job, row, health, now, rules)
    return Verdict(JobState.INVALID, f"{row.http_status}, never a good answer")


RULES: Final[
    Mapping[Kind, Callable[[Job, Suspicion, Health, Now, JudgementRules], Verdict | None]]
] = {
    Kind.SERVER_ERROR: _server_error,
    Kind.NOT_FOUND: _not_found,
    Kind.INVALID: _invalid,
}
"""The answers that can end a job; all others leave it as it is."""


def _expired(
    job: Job, reply: Reply, health: Health, now: Now, give_up_after: float
) -> Verdict | None:
    """`expired`: no end in `give_up_after`, and one more answer of any kind after that."""
    waited = now.well_time - job.registered_well
    if waited < give_up_after or reply.kind is Kind.TRANSPORT:
        return None
    if health.state not in PATIENT_STATES:
        return None
    return Verdict(JobState.EXPIRED, f"no end in {waited:.0f} s, last answer {reply.code}")


def _row(row: Suspicion) -> str:
    return f"{row.answers} answers {row.http_status} over {row.length:.0f} s"
