"""What `GET /api/v1/status` serves: an answer with its age and origin, or why there is none."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from ..core.freshness import Freshness
from ..core.reply import Reply
from .last_answers import Answer


class Result(StrEnum):
    """Where an answer comes from; the label `result` of `removit_exporter_status_served_total`."""

    FRESH = "fresh"  # from memory, young enough
    REFRESHED = "refreshed"  # asked upstream first
    STALE = "stale"  # from memory, though old: the upstream could not be asked
    FINAL = "final"  # the job has ended
    LEARNED = "learned"  # about an unregistered id, which is registered now if there is room
    UNKNOWN = "unknown"  # about an id that the upstream does not know, or says nothing about
    UNAUTHORIZED = "unauthorized"
    INVALID = "invalid"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Served:
    """An answer to serve, and its age in seconds."""

    answer: Answer
    age: float
    result: Result
    reply: Reply | None = None
    """The reply, where the upstream was asked for this; otherwise None."""


class UnavailableError(Exception):
    """No answer can be served: the reason, and after how many seconds to ask again."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class KeyRejectedError(Exception):
    """The upstream rejects the key, and would say so to the client as well."""


class Timeout(Protocol):
    """The section `upstream`, as far as the status cache reads it."""

    @property
    def timeout(self) -> float:
        """How long an answer is awaited, in seconds."""
        ...


class StatusConfig(Protocol):
    """The sections of the config that the status cache reads."""

    @property
    def status(self) -> Freshness:
        """How old an answer may be."""
        ...

    @property
    def upstream(self) -> Timeout:
        """How long to wait for a new one."""
        ...
