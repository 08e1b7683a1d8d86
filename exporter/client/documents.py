"""The types of what the exporter answers. Times are RFC 3339 in UTC; `openapi.yaml` has more."""

from typing import Any, TypedDict


class FailureDocument(TypedDict):
    """An open entry of the failure ledger. A job without a key counts under its id."""

    key: str
    job_id: str
    state: str
    evidence: str | None
    labels: dict[str, str]
    finished_at: str


class EventDocument(TypedDict, total=False):
    """Something that happened. `progress` has no id; `connected` has nothing but its type."""

    id: int
    time: str
    type: str
    job_id: str | None
    data: dict[str, Any]
    mode: str | None
    step: str | None
    progress: float | None


class JobDocument(TypedDict):
    """A job; `progress` is in percent, None before the first answer."""

    job_id: str
    source: str
    sources: list[str]
    key: str | None
    labels: dict[str, str]
    mode: str | None
    state: str
    step: str | None
    progress: float | None
    warnings: dict[str, list[str]]
    ignored_variations: list[str]
    final_url: str | None
    final_urls: dict[str, str]
    registered_at: str
    last_polled_at: str | None
    last_progress_at: str | None
    finished_at: str | None
    suspected: bool
    evidence: str | None
    next_poll_at: str | None
    next_poll_reason: str | None
    next_poll_why: str | None
    expected_at: str | None
    expected_by: str | None


class FullJobDocument(JobDocument):
    """A job that was asked for alone, with its last polls and its newest events."""

    suspicion: dict[str, Any] | None
    polls: list[dict[str, Any]]
    events: list[EventDocument]
