"""The outcome of a reply for a job, and the answer that stays to be served."""

import pytest
from support import START, Judgement, Polling, PollingConfig, answered, error, job, now, ok, types

from exporter.core.health.health import Health
from exporter.core.job import Job, JobState
from exporter.core.reply import Kind, Reply
from exporter.polling.last_answers import Answer, LastAnswers
from exporter.polling.outcomes import Outcomes


class Observer:
    """The outcomes over a healthy upstream, with the last answers."""

    def __init__(self) -> None:
        self.answers = LastAnswers()
        health = Health(Judgement(), Polling(), steady=now(0).steady)
        config = PollingConfig(polling=Polling(give_up_after=100.0))
        self.outcomes = Outcomes(health, self.answers, lambda: config)

    def take(self, before: Job, reply: Reply, at: float = 1.0, purpose: str = "poll") -> Job:
        """Observe a reply, and remember its answer."""
        outcome = self.outcomes.outcome(before, reply, now(at), purpose)
        self.outcomes.remember(before, outcome.job, reply, now(at))
        return outcome.job

    def served(self, job_id: str) -> Answer:
        answer = self.answers.get(job_id)
        assert answer is not None
        return answer


@pytest.fixture
def observer() -> Observer:
    return Observer()


def test_a_pending_answer_has_no_final_answer_and_is_served(observer: Observer) -> None:
    outcome = observer.outcomes.outcome(job("a"), ok(), now(1), "poll")
    assert outcome.job.pending
    assert outcome.final is None
    observer.take(job("a"), ok())
    assert observer.served("a").good
    assert observer.answers.final("a") is None


def test_an_end_is_stored_with_its_answer_byte_for_byte(observer: Observer) -> None:
    reply = Reply(Kind.OK, 200, status=ok("done").status, body=b"the very bytes")
    outcome = observer.outcomes.outcome(answered("a"), reply, now(1), "poll")
    assert outcome.job.state is JobState.DONE
    assert outcome.final is not None
    assert (outcome.final.http_status, outcome.final.body) == (200, b"the very bytes")
    observer.take(answered("a"), reply)
    assert observer.answers.final("a") == observer.served("a")


def test_an_ended_job_that_is_checked_in_vain_keeps_its_final_answer(observer: Observer) -> None:
    failed = answered("a", state=JobState.FAILED, finished_at=START)
    reply = ok("failed")
    ended = observer.take(answered("a"), reply)
    kept = observer.served("a")
    observer.take(failed, error(500))
    assert ended.state is JobState.FAILED
    assert observer.served("a") is kept


def test_a_recheck_counts_only_when_it_was_made_as_one(observer: Observer) -> None:
    failed = answered("a", state=JobState.FAILED, finished_at=START)
    by_client = observer.outcomes.outcome(failed, error(500), now(61), "client")
    as_recheck = observer.outcomes.outcome(failed, error(500), now(61), "recheck")
    assert (by_client.job.rechecks, as_recheck.job.rechecks) == (0, 1)


def test_a_suspicion_names_what_the_verdict_still_lacks(observer: Observer) -> None:
    outcome = observer.outcomes.outcome(answered("a"), error(500), now(1), "poll")
    assert "suspected" in types(list(outcome.events))
    [event] = [event for event in outcome.events if event.type == "suspected"]
    assert event.data["missing"]


def test_an_expired_job_keeps_its_last_good_answer(observer: Observer) -> None:
    before = observer.take(job("a"), ok())
    good = observer.served("a")
    expired = observer.take(before, error(500), at=101.0)
    assert expired.state is JobState.EXPIRED
    final = observer.answers.final("a")
    assert final is not None
    assert (final.http_status, final.body) == (good.http_status, good.body)


def test_an_expired_job_without_a_good_answer_keeps_the_last_of_any_kind(
    observer: Observer,
) -> None:
    expired = observer.take(job("a"), error(418, b"teapot"), at=101.0)
    assert expired.state is JobState.EXPIRED
    final = observer.answers.final("a")
    assert final is not None
    assert (final.http_status, final.body) == (418, b"teapot")
