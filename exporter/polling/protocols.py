"""The interfaces that the poller uses, so that a simulation can implement them.

The properties are config keys, documented in `docs/configuration.md`. Times are in seconds.
"""

from typing import Protocol

from ..core.reply import Reply
from ..core.rules import JudgementRules, PollingRules


class Asker(Protocol):
    """Asks the upstream: `Client`, or a simulation."""

    async def status(self, job_id: str | None) -> Reply:
        """Return the reply about a job, or to the bare request."""
        ...


class PollWatcher(Protocol):
    """Counts requests in the metrics. Times are in seconds."""

    def asked(self, purpose: str, reply: Reply, seconds: float) -> None:
        """A request has ended after `seconds`, with an answer or without one."""

    def controlled(self, target: str) -> None:
        """A control request with this target is made."""

    def lagged(self, seconds: float) -> None:
        """A scheduled poll started `seconds` after it was due."""


class LimitConfig(Protocol):
    """The keys of the section `upstream` that the poller reads."""

    @property
    def rate(self) -> float: ...
    @property
    def burst(self) -> int: ...
    @property
    def concurrency(self) -> int: ...
    @property
    def heartbeat(self) -> float: ...


class PollerConfig(Protocol):
    """The sections of the config that the poller reads."""

    @property
    def upstream(self) -> LimitConfig: ...
    @property
    def polling(self) -> PollingRules: ...
    @property
    def judgement(self) -> JudgementRules: ...
