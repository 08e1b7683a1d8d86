"""Jobs to register, and what became of them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Registration:
    """A job to register. `registered_at` (with a time zone) back-fills one that is older."""

    job_id: str
    labels: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None
    registered_at: datetime | None = None

    def document(self) -> dict[str, Any]:
        """Return it as the exporter reads it."""
        document: dict[str, Any] = {}
        if self.labels:
            document["labels"] = dict(self.labels)
        if self.key is not None:
            document["key"] = self.key
        if self.registered_at is not None:
            document["registered_at"] = self.registered_at.isoformat()
        return document


Job = str | Registration | bytes
"""An id, a `Registration`, or a line of NDJSON as it is (without its line feed)."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A job of a stream that was refused: its position, from 1, and the exporter's reason."""

    position: int
    error: str
    reason: str


@dataclass(slots=True)
class Summary:
    """What became of a stream. After a broken connection some that were new count as known."""

    registered: int = 0
    known: int = 0
    refused: list[Refusal] = field(default_factory=list)

    @property
    def taken(self) -> int:
        """How many jobs are safe."""
        return self.registered + self.known


def to_line(job: Job) -> bytes:
    """Return a job as a line of NDJSON."""
    if isinstance(job, bytes):
        return job.replace(b"\n", b" ") + b"\n"
    one = Registration(job) if isinstance(job, str) else job
    document = {"job_id": one.job_id, **one.document()}
    return json.dumps(document, ensure_ascii=False).encode() + b"\n"
