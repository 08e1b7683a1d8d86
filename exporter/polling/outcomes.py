"""The outcome of a reply for a job, and the answer that is served again.

Observation comes first (`observe`), then the verdict if the evidence admits one (`judge`).
"""

from collections.abc import Callable

from ..core.events import Event, EventType, Now
from ..core.health.health import Health
from ..core.job import FINAL_STATES, Job, JobState
from ..core.judgement import judge, weigh_loss
from ..core.observation import conclude, observe
from ..core.outlook import outlook
from ..core.reply import Reply
from ..core.value import replace
from ..registry.staging import Outcome
from .last_answers import Answer, LastAnswers, answer_of, final_answer, verbatim
from .protocols import PollerConfig


class Outcomes:
    """Derives the outcomes of replies from the upstream's `health`, and keeps the last answers."""

    def __init__(
        self, health: Health, answers: LastAnswers, config: Callable[[], PollerConfig]
    ) -> None:
        self._health = health
        self._answers = answers
        self._config = config

    def outcome(
        self, job: Job, reply: Reply, now: Now, purpose: str, *, in_turn: bool = True
    ) -> Outcome:
        """Return the job after the reply to a request for `purpose`, with the events.

        `in_turn` is False for a request made before the job was due.
        """
        config = self._config()
        after, events = observe(job, reply, now, config.judgement.gateway_codes, in_turn=in_turn)
        if purpose != "recheck" and after.rechecks > job.rechecks:
            after = replace(after, rechecks=job.rechecks)  # out of turn: the check stays due
        after = weigh_loss(after, self._health, now, config.judgement)
        events = [self._with_outlook(event, after, now) for event in events]
        give_up_after = config.polling.give_up_after
        verdict = judge(after, reply, self._health, now, config.judgement, give_up_after)
        if verdict is not None:
            after, more = conclude(after, verdict, now)
            events += more
        ended = after.state in FINAL_STATES and after.state is not job.state
        last = self._last_answer(after, reply, now) if ended else None
        return Outcome(after, events, final_answer(last) if last else None)

    def _with_outlook(self, event: Event, job: Job, now: Now) -> Event:
        """Add to the event of a suspicion what the verdict still lacks."""
        if event.type is not EventType.SUSPECTED:
            return event
        known = outlook(job, self._health, now, self._config().judgement)
        return replace(event, data={**event.data, "missing": known.missing if known else ()})

    def remember(self, before: Job, after: Job, reply: Reply, now: Now) -> None:
        """Keep the answer, to serve it again. A final one stays until the job is pending again."""
        ended = not after.pending and after.state is not before.state
        if after.pending or ended:
            answer = self._last_answer(after, reply, now) if ended else answer_of(reply, now.steady)
            if answer is not None:
                self._answers.put(after.job_id, answer, final=ended)

    def _last_answer(self, job: Job, reply: Reply, now: Now) -> Answer | None:
        """Return the answer that is served once a job has ended.

        For an expired job that is its last good answer. Without one it is the last of any kind,
        so that a client learns that nothing more will come.
        """
        last, known = answer_of(reply, now.steady), self._answers.get(job.job_id)
        if job.state is not JobState.EXPIRED or (last is not None and last.good):
            return last
        if known is not None and known.good:
            return known
        return last or verbatim(reply, now.steady)
