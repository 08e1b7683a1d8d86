"""What becomes of one job: the rules of judgement, as a table from the last answer to a rule.

Each rule gives a verdict that names its evidence, or None: what cannot be decided is not
guessed, the job stays suspected and is asked again. Times are in seconds; patience is measured
in well time (see `events.Now`), so it stands still while the upstream is not well.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from .events import Now
from .health.chance import run_length
from .health.health import Health
from .health.states import PATIENT_STATES
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


def weigh_loss(job: Job, health: Health, now: Now, rules: JudgementRules) -> Job:
    """Remember of a known job that turned 404 or 422 whether many others did so with it.

    Only while its row is younger than `judgement.lost_window`: later the jobs that were well then
    have ended, and others have come, so that the same loss looks larger or smaller than it was.
    """
    run = job.suspicion
    if run is None or run.kind is Kind.SERVER_ERROR or job.lost_with_others or not job.answered:
        return job
    if now.healthy_time - run.since > rules.lost_window or not health.evidence.jobs_lost(
        now, rules
    ):
        return job
    return replace(job, lost_with_others=True)


@dataclass(frozen=True, slots=True)
class Demand:
    """What a verdict on a suspected job takes: so many answers in a row, over so many seconds.

    `answers` is None while so little is known that no row would do.
    """

    answers: int | None
    seconds: float


MOST_ANSWERS: Final = 1000
"""For planning: a row that no length of would do is asked for as if this one did."""


def span(job: Job, health: Health, rules: JudgementRules) -> tuple[int, float]:
    """Return how many answers, over how many seconds, a suspected job's verdict will take."""
    run = job.suspicion
    if run is None or run.kind is not Kind.SERVER_ERROR:
        after = rules.lost_after if job.answered else rules.not_found_grace
        return rules.not_found_answers, after
    strong = health.evidence.witnesses.strong(job, run.since) is not None
    demands = _demands(job, run, health, rules, strong=strong)
    by_gateway = strong and run.gateway_answers == run.answers
    demand = demands[1] if by_gateway else demands[0]
    return min(demand.answers or MOST_ANSWERS, MOST_ANSWERS), demand.seconds


def _demands(
    job: Job, run: Suspicion, health: Health, rules: JudgementRules, *, strong: bool
) -> tuple[Demand, Demand]:
    """Return what it takes with answers of the service itself, and with those of a gateway."""
    share = health.evidence.share_of_errors(job, run.since, of_mode=strong)
    answers = run_length(share, rules.chance, rules.failed_answers)
    if not strong:
        own = Demand(answers and max(answers, rules.weak_answers), rules.weak_after)
        return own, Demand(None, rules.weak_after)
    return (
        Demand(answers, rules.failed_after),
        Demand(answers and 2 * answers, rules.gateway_failed_after),
    )


def _server_error(
    job: Job, run: Suspicion, health: Health, now: Now, rules: JudgementRules
) -> Verdict | None:
    """`failed`: a row of 5xx that chance does not make, while others were shown to be served.

    The status line alone does not tell a failed job from an outage ("fails terminally or the
    service is unavailable"); the witness does. Only answers of the service itself convict with a
    weak witness; those that look like a gateway's need a strong one and a row twice as long.
    """
    if health.state not in PATIENT_STATES:
        return None
    strong = health.evidence.witnesses.strong(job, run.since)
    witness = strong or health.evidence.weak_witness(run.since)
    if witness is None or (strong is None and health.evidence.mode_in_trouble(job.mode, rules)):
        return None
    own, gateway = _demands(job, run, health, rules, strong=strong is not None)
    met = _met(run.answers - run.gateway_answers, run, own) or _met(run.answers, run, gateway)
    if not met:
        return None
    share = health.evidence.share_of_errors(job, run.since, of_mode=strong is not None)
    who = f"job {witness} was answered 2xx" if strong else witness
    others = f"{share.bad} of {share.answers} answers to controls and for jobs not suspected failed"
    return Verdict(JobState.FAILED, f"{_row(run)} while {who}; {others}")


def _met(answers: int, run: Suspicion, demand: Demand) -> bool:
    enough = demand.answers is not None and answers >= demand.answers
    return enough and run.length >= demand.seconds


def _not_found(
    job: Job, run: Suspicion, health: Health, now: Now, rules: JudgementRules
) -> Verdict | None:
    """`not_found`: the id never was, or no longer is, known upstream.

    One of many that were lost at once is held, until it is known again or expires: they may all
    come back.
    """
    answers, after = span(job, health, rules)
    if run.answers < answers or run.length < after:
        return None
    if not job.answered:
        if not health.api_known(run.since) or health.evidence.jobs_lost(now, rules):
            return None
        return Verdict(JobState.NOT_FOUND, f"{_row(run)}; the job was never answered 2xx")
    if job.lost_with_others or health.evidence.jobs_lost(now, rules):  # no job is to blame
        return None
    lost, asked = health.evidence.lost_of_asked()
    others = f"{lost} of {asked} jobs lately asked are lost"
    return Verdict(JobState.NOT_FOUND, f"{_row(run)} after good answers; {others}")


def _invalid(
    job: Job, run: Suspicion, health: Health, now: Now, rules: JudgementRules
) -> Verdict | None:
    """`invalid`: "job_id is missing or malformed"; of a job once known it means it was lost."""
    if job.answered:
        return _not_found(job, run, health, now, rules)
    if not health.api_known(run.since) or health.evidence.jobs_lost(now, rules):
        return None
    return Verdict(JobState.INVALID, f"answered {run.http_status}; it was never answered 2xx")


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
    waited = now.healthy_time - job.registered_healthy_time
    if waited < give_up_after or reply.http_status is None:
        return None
    if health.state not in PATIENT_STATES:
        return None
    return Verdict(JobState.EXPIRED, f"no end in {waited:.0f} s, last answer {reply.code}")


def _row(run: Suspicion) -> str:
    is_5xx = run.kind is Kind.SERVER_ERROR  # they may be mixed
    said = f"5xx, the last {run.http_status}," if is_5xx else run.http_status
    return f"{run.answers} answers {said} over {run.length:.0f} s"
