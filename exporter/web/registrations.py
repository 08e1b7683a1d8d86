"""Reading what someone tells of a job, from JSON; what is wrong comes by field."""

from datetime import datetime
from typing import Any, Final, Protocol

from ..registry.staging import Registration

FUTURE_SECONDS: Final = 60.0
"""A `registered_at` may be this far ahead of our clock."""

Details = dict[str, list[str]]
"""What is wrong, by field."""


class RegistrationRules(Protocol):
    """The config's `registration`."""

    def check(self, job_id: object, labels: object, key: object) -> Details:
        """Say what is wrong with a job to register, by field."""
        ...


def read_registration(
    document: Any, rules: RegistrationRules, now: float, path_id: str | None = None
) -> tuple[Registration | None, Details]:
    """Read one job to register at `now` (since 1970); `path_id` where the id is not in it."""
    if not isinstance(document, dict):
        return None, {"": ['expected an object such as {"labels": {}, "key": "…"}']}
    fields = {"labels", "key", "registered_at"} | ({"job_id"} if path_id is None else set())
    details: Details = {
        str(name): [f"unknown field; known are: {', '.join(sorted(fields))}"]
        for name in document.keys() - fields
    }
    job_id = document.get("job_id") if path_id is None else path_id
    labels, key = document.get("labels", {}), document.get("key")
    details |= rules.check(job_id, labels, key)
    registered_at = None
    if document.get("registered_at") is not None:
        registered_at, wrong = _read_time(document["registered_at"], now)
        details |= {"registered_at": [wrong]} if wrong else {}
    if details or not isinstance(job_id, str):
        return None, details
    return Registration(job_id, labels, key, registered_at), {}


def _read_time(value: Any, now: float) -> tuple[float | None, str | None]:
    try:
        at = datetime.fromisoformat(value)
        seconds = at.timestamp() if at.tzinfo else None
    except (TypeError, ValueError, OverflowError):
        seconds = None
    if seconds is None:
        return None, 'expected a time such as "2026-03-11T09:57:08Z"'
    if seconds < 0:
        return None, "lies before 1970"
    if seconds > now + FUTURE_SECONDS:
        return None, "lies in the future"
    return seconds, None
