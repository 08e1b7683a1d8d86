"""One answer of the upstream, as the values that `contract.py` reads and writes."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from .value import replace, value

MAX_BODY_BYTES: Final = 1024 * 1024
"""Answers are read up to this length; a longer 2xx is unreadable."""
MAX_VALUES: Final = 10_000
"""The values of one answer, about twice what the limits below let through; see `contract.py`."""
MAX_NAME_CHARS: Final = 128
"""The limit of steps, modes and variations, which become label values."""
MAX_MESSAGE_CHARS: Final = 1024
MAX_URL_CHARS: Final = 8192
MAX_VARIATIONS: Final = 100
MAX_MESSAGES: Final = 50
MAX_WARNINGS_CHARS: Final = 32 * 1024
"""The limit of all messages of one answer together."""
MAX_URLS_CHARS: Final = 256 * 1024
"""The limit of all `final_urls` of one answer together."""
MAX_DRIFTS: Final = 20
MAX_UNKNOWN_FIELDS: Final = 10
"""Fields that the contract does not have and that are reported of one answer."""

UNNAMED_VARIATION: Final = "unknown"
"""The variation under which warnings without one are listed."""

EMPTY: Final[Mapping[str, Any]] = {}
"""The empty mapping of answers, jobs and arguments: three of its own took 192 bytes of each job.

Nobody writes to it, because the fields of a job are read-only. It is a plain `dict`: an application
that embeds the exporter may copy a job (`dataclasses.asdict`) or write it as JSON.
"""


class Kind(StrEnum):
    """The kind of an answer, regardless of what it means for a job."""

    OK = "ok"  # 2xx with a usable state
    UNREADABLE = "unreadable"  # 2xx without a usable state; 404 or 422 that is not the API's
    KEY_REJECTED = "key_rejected"  # 401, or 403 with a JSON body
    BLOCKED = "blocked"  # any other 403: from a firewall, not from the API
    NOT_FOUND = "not_found"  # 404
    INVALID = "invalid"  # 422
    THROTTLED = "throttled"  # 429
    SERVER_ERROR = "server_error"  # 5xx: the job failed, or the service did
    TRANSPORT = "transport"  # no answer at all
    UNASKED = "unasked"  # nothing was asked: no evidence about the upstream
    OTHER = "other"  # any other status


class ReplyState(StrEnum):
    """The upstream's `state`. `failed` is not in the contract; a vendor might add it."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"


class DriftKind(StrEnum):
    """How an answer departed from the contract. A closed list: it is a metric's label."""

    UNKNOWN_STATE = "unknown_state"
    UNKNOWN_FIELD = "unknown_field"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    OUT_OF_RANGE = "out_of_range"
    TOO_LONG = "too_long"
    TOO_MANY = "too_many"
    NOT_JSON = "not_json"
    INVALID_UTF8 = "invalid_utf8"
    TOO_LARGE = "too_large"
    CUT_SHORT = "cut_short"
    WRONG_JOB_ID = "wrong_job_id"
    UNKNOWN_ERROR = "unknown_error"


@dataclass(frozen=True, slots=True)
class Drift:
    """One departure from the contract; `detail` names the field, or quotes what came."""

    kind: DriftKind
    detail: str


@value(frozen=True, slots=True)
class Status:
    """The readable content of a 2xx (the page's "Important status fields").

    `progress` is 0 to 100 as the upstream sends it, or None if it sent no readable one.
    `warnings` maps a variation to its messages, `final_urls` a variation to its URL.
    """

    state: ReplyState
    job_id: str | None
    step: str | None
    mode: str | None
    progress: float | None
    final_url: str | None
    final_urls: Mapping[str, str]
    warnings: Mapping[str, tuple[str, ...]]
    ignored_variations: tuple[str, ...]


@value(frozen=True, slots=True)
class Reply:
    """One answer of the upstream, or the lack of one.

    `http_status` is None when no answer came. Then `failure` is `timeout` or `connection`, or, if
    nothing was asked, `not_asked` or `internal` (a fault of this machine; `detail` says which).
    For a failed connection `reason` is one word (dns, refused, reset, tls, proxy, ...), and
    `detail` describes what happened.
    `retry_after` is in seconds from the answer; `retry_at` is in seconds since 1970 and comes from
    a date in an answer without a `Date` header to count from. At most one of the two is set.
    `body` is the first `MAX_BODY_BYTES` of the body, so that a final answer can be repeated.
    """

    kind: Kind
    http_status: int | None
    status: Status | None = None
    error: str | None = None
    drift: tuple[Drift, ...] = ()
    is_json: bool = False
    retry_after: float | None = None
    retry_at: float | None = None
    content_type: str = ""
    body: bytes = b""
    failure: str = ""
    reason: str = ""
    detail: str = ""

    @property
    def code(self) -> str:
        """The metrics' `code`: the HTTP status, or a `failure`, or `invalid_body`."""
        if self.kind is Kind.UNREADABLE:
            return "invalid_body"
        return self.failure if self.http_status is None else str(self.http_status)

    def retry_delay(self, time: float) -> float | None:
        """Seconds to wait from `time` (since 1970); None if there was no `Retry-After`."""
        if self.retry_at is not None:
            return max(0.0, self.retry_at - time)
        return self.retry_after

    def about(self, job_id: str) -> "Reply":
        """This reply as an answer to a question about `job_id`.

        A body that names another job (from a mixed-up cache, say) is unreadable for this one.
        """
        named = self.status.job_id if self.status else None
        if named is None or named.casefold() == job_id.casefold():
            return self
        drift = Drift(DriftKind.WRONG_JOB_ID, named)
        return replace(self, kind=Kind.UNREADABLE, status=None, drift=(*self.drift, drift))


@dataclass(frozen=True, slots=True)
class UploadReply:
    """The answer to an upload; `job_id` and `mode` are set if it was accepted."""

    http_status: int
    job_id: str | None = None
    mode: str | None = None
    error: str | None = None


def transport_failure(failure: str, reason: str = "", detail: str = "") -> Reply:
    """Return the reply for a request without an answer; see `Reply` for the arguments."""
    return Reply(Kind.TRANSPORT, None, failure=failure, reason=reason, detail=detail)


def unasked(failure: str, detail: str = "") -> Reply:
    """Return the reply for a request that was not made, with its `failure`; see `Reply`."""
    return Reply(Kind.UNASKED, None, failure=failure, detail=detail)
