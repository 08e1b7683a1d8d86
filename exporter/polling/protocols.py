"""What the poller needs of others, spelt out so that a simulation can stand in.

The properties are config keys, documented in `docs/configuration.md`; times in seconds.
"""

from typing import Protocol

from ..core.reply import Reply
from ..core.rules import JudgementRules, PollingRules


class Asker(Protocol):
    """What asks the upstream: `Client`, or a simulation."""

    async def status(self, job_id: str | None) -> Reply:
        """Return the reply about a job, or to the bare request."""
        ...


class PollWatcher(Protocol):
    """Who is told of requests, for the metrics; times in seconds."""

    def asked(self, purpose: str, reply: Reply, seconds: float) -> None:
        """A request was answered, or was not, after so long."""

    def controlled(self, target: str) -> None:
        """A control request of this rung is made."""

    def lagged(self, seconds: float) -> None:
        """A scheduled poll started so long after it was due."""


class LimitConfig(Protocol):
    """The keys of the section `upstream` that the poller goes by."""

    @property
    def rate(self) -> float: ...
    @property
    def burst(self) -> int: ...
    @property
    def concurrency(self) -> int: ...
    @property
    def heartbeat(self) -> float: ...


class PollerConfig(Protocol):
    """The sections that the poller goes by."""

    @property
    def upstream(self) -> LimitConfig: ...
    @property
    def polling(self) -> PollingRules: ...
    @property
    def judgement(self) -> JudgementRules: ...
