"""Jobs to register, and the result of a stream of them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Registration:
    """A job to register. `registered_at` (with a time zone) is for a job that is older."""

    job_id: str
    labels: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None
    registered_at: datetime | None = None

    def document(self) -> dict[str, Any]:
        """Return the registration as JSON data."""
        document: dict[str, Any] = {}
        if self.labels:
            document["labels"] = dict(self.labels)
        if self.key is not None:
            document["key"] = self.key
        if self.registered_at is not None:
            document["registered_at"] = self.registered_at.isoformat()
        return document


Job = str | Registration | bytes
"""An id, a `Registration`, or a line of NDJSON without its line feed."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused job of a stream: its position, counted from 1, and the exporter's reason."""

    position: int
    error: str
    reason: str


@dataclass(slots=True)
class Summary:
    """The result of a stream. After a broken connection some new jobs may count as known."""

    registered: int = 0
    known: int = 0
    refused: list[Refusal] = field(default_factory=list)

    @property
    def taken(self) -> int:
        """How many jobs are stored."""
        return self.registered + self.known


def to_line(job: Job) -> bytes:
    """Return a job as a line of NDJSON."""
    if isinstance(job, bytes):
        return job.replace(b"\n", b" ") + b"\n"
    one = Registration(job) if isinstance(job, str) else job
    document = {"job_id": one.job_id, **one.document()}
    return json.dumps(document, ensure_ascii=False).encode() + b"\n"
