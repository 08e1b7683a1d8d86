"""The evidence of recent answers: who was served, who was not, and how often jobs are answered 5xx.

One answer says little: a 5xx means "the job failed or the service did" (the vendor's page). Many
answers for distinct jobs say more. The memory it takes is bounded.

Times are in seconds: steady ones for windows, healthy time (see `events.Now`) for what is compared
with a run of suspicious answers.
"""

import math
from enum import StrEnum
from typing import Final

from ..events import Now
from ..job import Job, JobState, Suspicion
from ..reply import Kind, Reply, ReplyState
from ..rules import JudgementRules, PollingRules
from .chance import Share
from .counts import AnswerShares, RecentAnswers
from .turned import Turned, steady_of
from .witnesses import Streak, Witnesses


class Sort(StrEnum):
    """The meaning of an answer about a job for the upstream (`docs/judgement.md`)."""

    WITNESS = "witness"  # a 2xx for a job still pending: the strong witness
    ENDED = "ended"  # a 2xx that says a pending job has ended: it was served, some time ago
    WELL = "well"  # any other 2xx
    UNKNOWN_ID = "unknown id"  # 404 or 422 for a job without a good answer: the API can be reached
    BAD = "bad"  # what no working service answers: 5xx, a 2xx that cannot be read, 302, 418
    LOST = "lost"  # 404 or 422 for a job that had good answers
    OLD_NEWS = "old news"  # 5xx of a job that failed, or was first answered 5xx long ago


BAD_KINDS: Final = frozenset({Kind.SERVER_ERROR, Kind.UNREADABLE, Kind.OTHER})
"""Answers that no working service gives; each may still be one job's own trouble."""


def sort_of(kind: Kind, job: Job) -> Sort:
    """Return what an answer about a job says of the upstream; `job` is its value before it."""
    if kind in BAD_KINDS:
        return Sort.BAD
    if kind is Kind.OK:
        return Sort.WITNESS if job.pending else Sort.WELL
    return Sort.LOST if job.answered else Sort.UNKNOWN_ID


def is_old_news(job: Job, healthy_time: float, rules: JudgementRules) -> bool:
    """Whether a 5xx of this job says nothing new: it failed, or its run is longer than the window.

    Without this rule a batch of failed jobs would look like an endless outage.
    """
    run = job.run_of(Kind.SERVER_ERROR)
    if run is None:
        return job.state is JobState.FAILED
    return healthy_time - run.since >= rules.outage_window


TELLS_NOTHING: Final = 3


def rank_for_probe(job: Job, healthy_time: float, rules: JudgementRules) -> int:
    """Return how little an answer about a job would say of the upstream, up to `TELLS_NOTHING`.

    A job that was answered 404 or 422, also before the latest 5xx or its verdict, says nothing: its
    answers end no outage. One that ended, was suspected before, or got no answer says little: it
    could make all probes in vain.
    """
    is_unknown = job.state is JobState.NOT_FOUND
    if is_unknown or job.run_of(Kind.NOT_FOUND) or job.run_of(Kind.INVALID):
        return TELLS_NOTHING
    if not job.pending or is_old_news(job, healthy_time, rules):
        return 2
    return int(job.suspicion is not None or job.setbacks > 0)


GAP_WINDOWS: Final = 3
"""A weak witness may be unheard of for this many times `judgement.outage_window` (3 m)."""


def longest_gap(rules: JudgementRules) -> float:
    """Return for how many seconds a weak witness may be unheard of."""
    return GAP_WINDOWS * rules.outage_window


class Evidence:
    """All of it, about one upstream."""

    def __init__(self) -> None:
        self.recent = RecentAnswers()
        """For each job that the service served or failed in `judgement.outage_window`, a `Sort`."""
        self.lost = RecentAnswers()
        """For each job in `judgement.lost_window`, a `Sort`."""
        self.suspects = RecentAnswers()
        """The undecided jobs answered 5xx in `judgement.weak_after`."""
        self.shares = AnswerShares()
        self.turned = Turned()
        self.witnesses = Witnesses()
        self.nobody_served_at = -math.inf
        """When (healthy time) most jobs were last answered badly and none was served."""

    def take(self, reply: Reply, now: Now, job: Job, rules: JudgementRules) -> Sort:
        """Take in an answer; return what it says of the upstream. `job` is its value before it."""
        sort, failed = sort_of(reply.kind, job), reply.kind is Kind.SERVER_ERROR
        if failed and is_old_news(job, now.healthy_time, rules):
            sort = Sort.OLD_NEWS
        if sort is Sort.WITNESS and reply.status and reply.status.state is not ReplyState.PENDING:
            sort = Sort.ENDED
        if sort in _OF_THE_SERVICE:
            self.recent.add(job.job_id, sort, now.steady, rules.outage_window)
        self.lost.add(job.job_id, sort, now.steady, rules.lost_window)
        if failed and job.pending:
            self.suspects.add(job.job_id, Sort.BAD, now.steady, rules.weak_after)
            if job.run_of(Kind.SERVER_ERROR) is None:
                self.turned.add(job, now)
        elif not failed:
            self.suspects.discard(job.job_id)
        if sort in SERVED:
            self._take_witness(reply, now, job, rules)
        counts = reply.kind is Kind.OK or (failed and job.pending)
        if counts and job.suspicion is None:
            mode = job.mode or (reply.status.mode if reply.status else None)
            self.shares.add(mode, bad=failed, at=now.healthy_time)
        return sort

    def _take_witness(self, reply: Reply, now: Now, job: Job, rules: JudgementRules) -> None:
        """A pending job was served."""
        ago = now.steady - served_at(reply, now, job)
        self.turned.served(now.steady - ago)
        at = max(job.registered_healthy_time, now.healthy_time - ago)
        mode = job.mode or (reply.status.mode if reply.status else None)
        self.witnesses.remember(job.job_id, mode, at, longest_gap(rules))

    def remember_control(
        self, finished: str | None, healthy_time: float, rules: JudgementRules
    ) -> None:
        """The control request showed a finished job served, or (None) a random id looked up."""
        self.witnesses.remember_control(finished, healthy_time, longest_gap(rules))

    def decided(self, job_id: str) -> None:
        """A job has ended, or is not tracked any more."""
        self.suspects.discard(job_id)
        self.turned.decided(job_id)

    def witnessed(self) -> bool:
        """Whether a pending job was answered 2xx in the window of outages, and not badly since."""
        return any(self.recent.count(sort) for sort in SERVED)

    def mostly_bad(self, rules: JudgementRules) -> bool:
        """Whether most of the jobs asked, and enough, are answered 5xx or unreadably."""
        jobs = len(self.recent)
        bad = self.recent.count(Sort.BAD)
        return jobs >= rules.outage_jobs and bad > rules.outage_share * jobs

    def turned_together(self, after: float, rules: JudgementRules, polling: PollingRules) -> bool:
        """Whether most pending jobs are answered badly, and turned as if the service broke.

        Only turns later than `after` (steady seconds) count. Where most of the jobs that are
        answered 5xx turned before, one by one, some more turn at about one moment by chance.
        """
        bad, good = self.recent.count(Sort.BAD), self.recent.count(Sort.WITNESS)
        most = bad > rules.outage_share * (bad + good)
        news = len(self.turned) >= rules.outage_share * len(self.suspects)
        return most and news and self.turned.together(after, rules, polling)

    def many_suspects(self, rules: JudgementRules) -> bool:
        """Whether enough undecided jobs are answered 5xx to suspect the service itself."""
        return len(self.suspects) >= rules.outage_jobs

    def strong_witness(self, job: Job, since: float) -> str | None:
        """Return a strong witness for a job that is suspected since then (healthy time).

        It was served after the last moment when most jobs were answered badly and none was served.
        """
        return self.witnesses.strong(job, max(since, self.nobody_served_at))

    def weak_witness(self, run: Suspicion, rules: JudgementRules) -> Streak | None:
        """Return the weak witness that is served during a run of 5xx, until now.

        That random ids are looked up counts only for a job that is suspected alone: a service
        whose data are gone may still know which ids it never had.
        """
        since = max(run.since, run.until - longest_gap(rules))
        if self.witnesses.served.until >= since:
            return self.witnesses.served
        if len(self.suspects) <= 1 and self.witnesses.looked_up.until >= since:
            return self.witnesses.looked_up
        return None

    def jobs_lost(self, now: Now, rules: JudgementRules) -> bool:
        """Whether enough known jobs turned 404 or 422 to say that the upstream lost them."""
        self.lost.prune(now.steady - rules.lost_window)
        lost, asked = self.lost_of_asked()
        return lost >= rules.lost_jobs and lost >= rules.lost_share * asked

    def lost_of_asked(self) -> tuple[int, int]:
        """Return how many known jobs turned 404 or 422, of how many asked in `lost_window`."""
        return self.lost.count(Sort.LOST), len(self.lost)

    def share_of_errors(self, job: Job, since: float, *, of_mode: bool) -> Share:
        """Return the share of 5xx among answers for other jobs since `since` (healthy time).

        It is that of all, or with `of_mode` that of the job's mode if it is worse. The first 5xx of
        the job's own run is taken out.
        """
        everyone = _without_own(self.shares.share(since))
        if not of_mode or job.mode is None:
            return everyone
        same = _without_own(self.shares.share(since, job.mode))
        return max((everyone, same), key=Share.upper_bound)


def served_at(reply: Reply, now: Now, job: Job) -> float:
    """Return as of when (steady seconds) a 2xx shows that a pending job was served.

    A 2xx that says the job has ended counts as of the poll before: the workers may have died since.
    """
    if reply.status is None or reply.status.state is ReplyState.PENDING:
        return now.steady
    before = job.registered_at if job.last_polled_at is None else job.last_polled_at
    return min(now.steady, steady_of(job, before, now))


SERVED: Final = (Sort.WITNESS, Sort.ENDED)
"""A pending job was served."""
_OF_THE_SERVICE: Final = frozenset({Sort.WITNESS, Sort.ENDED, Sort.WELL, Sort.BAD})


def _without_own(share: Share) -> Share:
    return Share(max(0, share.bad - 1), max(0, share.answers - 1)) if share.bad else share
