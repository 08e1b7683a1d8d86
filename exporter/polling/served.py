"""Values of `GET /api/v1/status`: an answer with its age and origin, or the reason without one."""

from enum import StrEnum
from typing import Protocol

from ..core.freshness import Forward, Freshness
from ..core.reply import Reply
from ..core.value import value
from .last_answers import Answer


class Result(StrEnum):
    """The origin of an answer; the label `result` of `removit_exporter_status_served_total`."""

    FRESH = "fresh"  # from memory, and young enough
    REFRESHED = "refreshed"  # after the upstream was asked
    STALE = "stale"  # from memory, though old: the upstream could not be asked
    FINAL = "final"  # the job has ended
    LEARNED = "learned"  # about an unregistered id, which is registered now if there is room
    UNKNOWN = "unknown"  # about an unregistered id without a good answer
    UNAUTHORIZED = "unauthorized"
    INVALID = "invalid"
    UNAVAILABLE = "unavailable"


@value(frozen=True, slots=True)
class Forwarded:
    """A question that was passed on to the upstream: why, and the reply."""

    reason: Forward
    reply: Reply


@value(frozen=True, slots=True)
class Served:
    """An answer to serve, and its age in seconds."""

    answer: Answer
    age: float
    result: Result
    fresh_for: float | None = None
    """For how many more seconds it is fresh; None if that is not known or has no end."""
    forwarded: Forwarded | None = None
    """None if the upstream was not asked now."""


class UnavailableError(Exception):
    """No answer can be served: the reason, and after how many seconds to ask again."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class KeyRejectedError(Exception):
    """The upstream rejects the key. A client that asked it directly would get the same answer."""


class Timeout(Protocol):
    """The keys of the section `upstream` that the status cache reads."""

    @property
    def timeout(self) -> float:
        """How long an answer is awaited, in seconds."""
        ...


class StatusConfig(Protocol):
    """The sections of the config that the status cache reads."""

    @property
    def status(self) -> Freshness:
        """How old an answer may be, and when it is refreshed."""
        ...

    @property
    def upstream(self) -> Timeout:
        """How long to wait for a new answer."""
        ...
