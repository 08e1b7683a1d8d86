"""What a reply makes of a job, and which answer about it is given again.

Observation comes first (`observe`), then the verdict if the evidence admits one (`judge`).
"""

from collections.abc import Callable
from dataclasses import replace

from ..core.events import Event, EventType, Now
from ..core.health.health import Health
from ..core.job import FINAL_STATES, Job, JobState
from ..core.judgement import judge, weigh_loss
from ..core.observation import conclude, observe
from ..core.outlook import outlook
from ..core.reply import Reply
from ..registry.staging import Outcome
from .last_answers import Answer, LastAnswers, answer_of, final_answer, verbatim
from .protocols import PollerConfig


class Outcomes:
    """The outcomes of replies, given the upstream's `health`; `answers` are the last ones."""

    def __init__(
        self, health: Health, answers: LastAnswers, config: Callable[[], PollerConfig]
    ) -> None:
        self._health = health
        self._answers = answers
        self._config = config

    def outcome(
        self, job: Job, reply: Reply, now: Now, purpose: str, *, in_turn: bool = True
    ) -> Outcome:
        """Return what the reply to a request made for `purpose` makes of the job.

        `in_turn` is False when it was made before the schedule's own time.
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
        """Add to the event of a suspicion what the verdict will take."""
        if event.type is not EventType.SUSPECTED:
            return event
        known = outlook(job, self._health, now, self._config().judgement)
        return replace(event, data={**event.data, "missing": known.missing if known else ()})

    def remember(self, before: Job, after: Job, reply: Reply, now: Now) -> None:
        """Keep the answer to give it again; that which ended a job stays until it goes on."""
        ended = not after.pending and after.state is not before.state
        if after.pending or ended:
            answer = self._last_answer(after, reply, now) if ended else answer_of(reply, now.steady)
            if answer is not None:
                self._answers.put(after.job_id, answer, final=ended)

    def _last_answer(self, job: Job, reply: Reply, now: Now) -> Answer | None:
        """The answer that is given again once a job has ended.

        Of one that expired the last good one, or where there was none what came last: whoever asks
        is to learn that nothing more will come.
        """
        last, known = answer_of(reply, now.steady), self._answers.get(job.job_id)
        if job.state is not JobState.EXPIRED or (last is not None and last.good):
            return last
        if known is not None and known.good:
            return known
        return last or verbatim(reply, now.steady)
