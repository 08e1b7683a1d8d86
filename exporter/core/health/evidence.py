"""The evidence of recent answers: who was served, who was not, and how often jobs are answered 5xx.

One answer says little: a 5xx means "the job failed or the service did" (the vendor's page). Many
answers of distinct jobs say more. What is kept of them is bounded, is plain data for JSON, and two
replicas' can be merged: in any order, any grouping and any number of times, with the same outcome.

Times are in seconds: steady ones for windows, well time (see `events.Now`) for what stands beside a
row of suspicious answers. Replicas that share evidence share well time; their steady clocks may
differ, `from_dict` brings one to the other.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, Self

from ..events import Now
from ..job import Job, JobState
from ..reply import Kind, Reply
from ..rules import JudgementRules
from .chance import Share
from .counts import AnswerShares, RecentAnswers
from .witnesses import Witnesses


class Sort(StrEnum):
    """What an answer about a job says of the upstream (`docs/judgement.md`)."""

    WITNESS = "witness"  # a 2xx for a job still pending: the strong witness
    WELL = "well"  # any other 2xx
    UNKNOWN_ID = "unknown id"  # 404 or 422 for a job that never was: the door is open
    BAD = "bad"  # what no service that works says: 5xx, a 2xx that cannot be read, 302, 418
    LOST = "lost"  # 404 or 422 for a job that had good answers
    OLD_NEWS = "old news"  # 5xx of a job that failed, or was like that before


BAD_KINDS: Final = frozenset({Kind.SERVER_ERROR, Kind.UNREADABLE, Kind.OTHER})
"""Answers that no service gives that works; each may still be one job's own trouble."""


def sort_of(kind: Kind, job: Job) -> Sort:
    """Return what an answer about a job, as it was before, says of the upstream."""
    if kind in BAD_KINDS:
        return Sort.BAD
    if kind is Kind.OK:
        return Sort.WITNESS if job.pending else Sort.WELL
    return Sort.LOST if job.answered else Sort.UNKNOWN_ID


def is_old_news(job: Job, healthy_time: float, rules: JudgementRules) -> bool:
    """Whether a 5xx of this job tells nothing of the upstream: it failed, or was like that before.

    When most of what is pending has failed, that would look like an outage for ever.
    """
    run = job.run_of(Kind.SERVER_ERROR)
    if run is None:
        return job.state is JobState.FAILED
    return healthy_time - run.since >= rules.outage_window


TELLS_NOTHING: Final = 3


def rank_for_probe(job: Job, healthy_time: float, rules: JudgementRules) -> int:
    """Return how little an answer about a job would tell of the upstream, to `TELLS_NOTHING`.

    Of a job that is answered 404 or 422, which ends no outage; then of one that failed, was
    suspected before, or got no answer. Else that one job would make all trials, in vain.
    """
    if job.suspicion is not None and job.suspicion.kind is not Kind.SERVER_ERROR:
        return TELLS_NOTHING
    if is_old_news(job, healthy_time, rules):
        return 2
    return int(job.suspicion is not None or job.setbacks > 0)


class Evidence:
    """All of it, about one upstream; `replica` is whose it is."""

    def __init__(self, replica: str = "") -> None:
        self.recent = RecentAnswers()
        """Of each job that the service served or failed in `judgement.outage_window`, a `Sort`."""
        self.lost = RecentAnswers()
        """Of each job in `judgement.lost_window`, a `Sort`."""
        self.suspects = RecentAnswers()
        """Of the jobs answered 5xx in `judgement.weak_after`: their mode, or `_CLEARED`."""
        self.shares = AnswerShares(replica)
        self.witnesses = Witnesses()

    def take(self, reply: Reply, now: Now, job: Job, rules: JudgementRules) -> Sort:
        """Take in an answer about a job as it was before; return what it says of the upstream."""
        sort, failed = sort_of(reply.kind, job), reply.kind is Kind.SERVER_ERROR
        if failed and is_old_news(job, now.healthy_time, rules):
            sort = Sort.OLD_NEWS
        if sort in _OF_THE_SERVICE:
            self.recent.add(job.job_id, sort, now.steady, rules.outage_window)
        self.lost.add(job.job_id, sort, now.steady, rules.lost_window)
        if failed or job.job_id in self.suspects:
            suspect = job.mode or "" if failed else _CLEARED
            self.suspects.add(job.job_id, suspect, now.steady, rules.weak_after)
        if sort is Sort.WITNESS:
            self.witnesses.remember(job, reply.status, now.healthy_time)
        if reply.kind in (Kind.OK, Kind.SERVER_ERROR) and job.suspicion is None:
            mode = job.mode or (reply.status.mode if reply.status else None)
            self.shares.add(mode, bad=failed, at=now.healthy_time)
        return sort

    def witnessed(self) -> bool:
        """Whether a pending job's latest answer in the window of outages is a 2xx."""
        return self.recent.count(Sort.WITNESS) > 0

    def mostly_bad(self, rules: JudgementRules) -> bool:
        """Whether most of the jobs asked, and enough, are answered 5xx or unreadably."""
        jobs = len(self.recent)
        bad = self.recent.count(Sort.BAD)
        return jobs >= rules.outage_jobs and bad > rules.outage_share * jobs

    def mode_in_trouble(self, mode: str | None, rules: JudgementRules) -> bool:
        """Whether so many jobs of a mode are answered 5xx that it looks like the mode's trouble."""
        return self.suspects.count(mode or "") >= rules.outage_jobs

    def weak_witness(self, since: float) -> str | None:
        """See `Witnesses.weak`, of a job that is suspected since then (well time)."""
        suspected = len(self.suspects) - self.suspects.count(_CLEARED)
        return self.witnesses.weak(since, alone=suspected <= 1)

    def jobs_lost(self, now: Now, rules: JudgementRules) -> bool:
        """Whether so many known jobs turned 404 or 422 that the upstream has lost them."""
        self.lost.prune(now.steady - rules.lost_window)
        lost, asked = self.lost_of_asked()
        return lost >= rules.lost_jobs and lost >= rules.lost_share * asked

    def lost_of_asked(self) -> tuple[int, int]:
        """Return how many known jobs turned 404 or 422, of how many asked in `lost_window`."""
        return self.lost.count(Sort.LOST), len(self.lost)

    def share_of_errors(self, job: Job, since: float, *, of_mode: bool) -> Share:
        """Return the share of 5xx among answers for other jobs since `since` (well time).

        Of all, or of the job's mode, whichever looks worse. The first 5xx of the job's own row is
        taken out.
        """
        everyone = _without_own(self.shares.share(since))
        if not of_mode or job.mode is None:
            return everyone
        same = _without_own(self.shares.share(since, job.mode))
        return max((everyone, same), key=Share.upper_bound)

    def merge(self, other: Self) -> None:
        """Take in another replica's evidence."""
        self.recent.merge(other.recent)
        self.lost.merge(other.lost)
        self.suspects.merge(other.suspects)
        self.shares.merge(other.shares)
        self.witnesses.merge(other.witnesses)

    def as_dict(self, steady: float) -> dict[str, Any]:
        """Return it as plain data for JSON; `steady` is now."""
        return {
            "steady": steady,
            "recent": self.recent.as_data(),
            "lost": self.lost.as_data(),
            "suspects": self.suspects.as_data(),
            "shares": self.shares.as_data(),
            "witnesses": self.witnesses.as_data(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], steady: float) -> Self:
        """Read what `as_dict` gave; `steady` is now, by the reader's clock.

        Raises ValueError for anything else.
        """
        made = cls()
        try:
            later = steady - data["steady"]
            for name in ("recent", "lost", "suspects"):
                getattr(made, name).add_data(data[name], later)
            made.shares.add_data(data["shares"])
            made.witnesses.add_data(data["witnesses"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"this is no evidence as `as_dict` gives it: {error!r}") from error
        return made


_CLEARED: Final = "\x00"
_OF_THE_SERVICE: Final = frozenset({Sort.WITNESS, Sort.WELL, Sort.BAD})


def _without_own(share: Share) -> Share:
    return Share(max(0, share.bad - 1), max(0, share.answers - 1)) if share.bad else share
