"""When a run of 5xx means that the job failed: while the service was shown to work.

The status line does not tell a failed job from an outage ("fails terminally or the service is
unavailable"). A witness does: see `health/witnesses.py`. There are two ways to a verdict, and
either is enough: a strong witness in a short time, or a weak one in a long time. Times are healthy
time.
"""

from dataclasses import dataclass, replace
from typing import Final

from .health.chance import Share, run_length
from .health.evidence import longest_gap
from .health.health import Health
from .health.states import PATIENT_STATES
from .job import Job, Suspicion
from .rules import JudgementRules

GATEWAY_ANSWERS: Final = 2
"""Answers that look like a gateway's need a run this many times as long."""
GATEWAY_TIMES: Final = 3
"""With a weak witness they need this many times `judgement.weak_after`."""
MANY_TIMES: Final = 6
"""With a weak witness and `judgement.outage_jobs` suspects it takes this many times as long."""
RANDOM_TIMES: Final = 2
"""With only a random id as witness it takes this many times as long."""


@dataclass(frozen=True, slots=True)
class Case:
    """One way to a verdict: what a run of 5xx has, and what it needs.

    `witness` is what shows that the service works, None if nothing does. `needed` is None while too
    little is known of other answers to rule out chance.
    """

    strong: bool
    witness: str | None
    answers: int
    needed: int | None
    seconds: float
    needed_seconds: float
    others: Share

    @property
    def proven(self) -> bool:
        """Whether it has all it needs."""
        enough = self.needed is not None and self.answers >= self.needed
        return enough and self.witness is not None and self.seconds >= self.needed_seconds


def cases(job: Job, run: Suspicion, health: Health, rules: JudgementRules) -> tuple[Case, ...]:
    """Return the ways to the verdict on a suspected job: for each witness two.

    The first counts the answers of the service itself, the second also those of a gateway.
    """
    return (*_strong(job, run, health, rules), *_weak(job, run, health, rules))


def _strong(job: Job, run: Suspicion, health: Health, rules: JudgementRules) -> tuple[Case, Case]:
    name = health.evidence.strong_witness(job, run.since)
    witness = name and f"job {name} was answered 2xx"
    share = health.evidence.share_of_errors(job, run.since, of_mode=True)
    needed = run_length(share, rules.chance, rules.failed_answers)
    times = rules.failed_after, rules.gateway_failed_after
    return _own_and_gateway(Case(True, witness, 0, needed, run.length, 0, share), run, *times)


def _weak(job: Job, run: Suspicion, health: Health, rules: JudgementRules) -> tuple[Case, Case]:
    """The weak witness has to be served again and again from the run's beginning until now.

    One that comes late counts from when it came.
    """
    streak = health.evidence.weak_witness(run, rules)
    witness, lasted = None, 0.0
    if streak is not None:
        late = streak.since - run.since > longest_gap(rules)
        witness = str(streak.sign)
        lasted = max(0.0, run.until - (streak.since if late else run.since))
    share = health.evidence.share_of_errors(job, run.since, of_mode=False)
    needed = run_length(share, rules.chance, rules.failed_answers)
    needed = needed and max(needed, rules.weak_answers)
    many = MANY_TIMES if health.evidence.many_suspects(rules) else 1
    factor = RANDOM_TIMES if streak is health.evidence.witnesses.looked_up else 1
    times = rules.weak_after * factor * many, rules.weak_after * factor * max(many, GATEWAY_TIMES)
    return _own_and_gateway(Case(False, witness, 0, needed, lasted, 0, share), run, *times)


def _own_and_gateway(case: Case, run: Suspicion, own: float, gateway: float) -> tuple[Case, Case]:
    twice = case.needed and case.needed * GATEWAY_ANSWERS
    return (
        replace(case, answers=run.answers - run.gateway_answers, needed_seconds=own),
        replace(case, answers=run.answers, needed=twice, needed_seconds=gateway),
    )


def proof(job: Job, run: Suspicion, health: Health, rules: JudgementRules) -> Case | None:
    """Return what proves that a job failed, None while nothing does."""
    if health.state not in PATIENT_STATES:
        return None
    return next((case for case in cases(job, run, health, rules) if case.proven), None)


def likely_case(job: Job, run: Suspicion, health: Health, rules: JudgementRules) -> Case:
    """Return the way by which a verdict is to be expected first."""
    found = cases(job, run, health, rules)
    strong = found[0].witness is not None
    gateway = run.gateway_answers == run.answers
    return found[(0 if strong else 2) + gateway]
