"""What becomes of one job: the rules of judgement, as a table from the last answer to a rule.

Each rule gives a verdict that names its evidence, or None. What cannot be decided is not guessed:
the job stays suspected and is asked again. Times are in seconds; patience is measured in healthy
time (see `events.Now`), which stops while the upstream is not well.
"""

from collections.abc import Callable, Mapping
from typing import Final

from .events import Now
from .failure import likely_case, proof
from .health.health import Health
from .health.states import PATIENT_STATES, UpstreamState
from .job import Job, JobState, Suspicion, Verdict
from .reply import Kind, Reply
from .rules import JudgementRules
from .value import replace


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


def weigh_loss(job: Job, health: Health, now: Now, rules: JudgementRules) -> Job:
    """Remember whether many other known jobs turned 404 or 422 together with this one.

    This is decided while its run is younger than `judgement.lost_window`. Later the jobs that were
    well then have ended and others have come, so the loss looks larger or smaller than it was.
    """
    run = job.suspicion
    if run is None or run.kind is Kind.SERVER_ERROR or job.lost_with_others or not job.answered:
        return job
    if now.healthy_time - run.since > rules.lost_window or not health.evidence.jobs_lost(
        now, rules
    ):
        return job
    return replace(job, lost_with_others=True)


WEAK_POLLS: Final = 2
"""With a weak witness, this many times `judgement.weak_answers` are planned."""
MOST_ANSWERS: Final = 1000
"""The polls of a suspected job are planned for at most this many answers."""


def span(job: Job, health: Health, rules: JudgementRules) -> tuple[int, float]:
    """Return how many answers, over how many seconds, a suspected job's verdict will take."""
    run = job.suspicion
    if run is None or run.kind is not Kind.SERVER_ERROR:
        after = rules.lost_after if job.answered else rules.not_found_grace
        return rules.not_found_answers, after
    case = likely_case(job, run, health, rules)
    if health.state is UpstreamState.SUSPECT:
        # If it is an outage, more answers decide nothing: they come at leisure.
        return rules.weak_answers, rules.weak_after
    if not case.strong:
        # One control request a minute rules out chance for a run of this length, not for a shorter.
        return WEAK_POLLS * rules.weak_answers, rules.weak_after
    return min(case.needed or MOST_ANSWERS, MOST_ANSWERS), case.needed_seconds


def _server_error(
    job: Job, run: Suspicion, health: Health, now: Now, rules: JudgementRules
) -> Verdict | None:
    """`failed`: a run of 5xx that is not chance, while the service was shown to work."""
    case = proof(job, run, health, rules)
    if case is None:
        return None
    bad, answers = case.others.bad, case.others.answers
    others = f"of {answers} other answers {bad} {'was' if bad == 1 else 'were'} 5xx"
    evidence = f"{_described(run)}; meanwhile {case.witness}, and {others}"
    return Verdict(JobState.FAILED, evidence, weak=not case.strong)


def _not_found(
    job: Job, run: Suspicion, health: Health, now: Now, rules: JudgementRules
) -> Verdict | None:
    """`not_found`: the upstream never knew the id, or does not know it any more.

    One of many jobs that were lost at once stays pending until it is known again or expires: they
    may all come back.
    """
    answers, after = span(job, health, rules)
    if run.answers < answers or run.length < after:
        return None
    if not job.answered:
        if not health.origin.known(run.since) or health.evidence.jobs_lost(now, rules):
            return None
        return Verdict(JobState.NOT_FOUND, f"{_described(run)}; no answer before was 2xx")
    if job.lost_with_others or health.evidence.jobs_lost(now, rules):  # no job is to blame
        return None
    lost, asked = health.evidence.lost_of_asked()
    others = f"of {asked} jobs asked lately {lost} {'is' if lost == 1 else 'are'} lost"
    return Verdict(JobState.NOT_FOUND, f"{_described(run)} after good answers; {others}")


def _invalid(
    job: Job, run: Suspicion, health: Health, now: Now, rules: JudgementRules
) -> Verdict | None:
    """`invalid`: "job_id is missing or malformed". A known job with that answer was lost."""
    if job.answered:
        return _not_found(job, run, health, now, rules)
    if not health.origin.known(run.since) or health.evidence.jobs_lost(now, rules):
        return None
    return Verdict(JobState.INVALID, f"answered {run.http_status}; no answer before was 2xx")


RULES: Final[
    Mapping[Kind, Callable[[Job, Suspicion, Health, Now, JudgementRules], Verdict | None]]
] = {
    Kind.SERVER_ERROR: _server_error,
    Kind.NOT_FOUND: _not_found,
    Kind.INVALID: _invalid,
}
"""The answers that can end a job; all others change nothing."""


def _expired(
    job: Job, reply: Reply, health: Health, now: Now, give_up_after: float
) -> Verdict | None:
    """`expired`: no end in `give_up_after`, and one more answer of any kind after that."""
    waited = now.healthy_time - job.registered_healthy_time
    if waited < give_up_after or reply.http_status is None:
        return None
    if health.state not in PATIENT_STATES:
        return None
    return Verdict(JobState.EXPIRED, f"no end in {waited:.0f} s, last answer {reply.code}")


def _described(run: Suspicion) -> str:
    if run.kind is Kind.SERVER_ERROR:  # the codes may differ
        return f"{run.answers} answers over {run.length:.0f} s were 5xx, the last {run.http_status}"
    return f"{run.answers} answers over {run.length:.0f} s were {run.http_status}"
