"""Reading registrations from JSON, with errors by field."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from ..config.registration import RegistrationRules
from ..core.events import Now
from ..registry.staging import Registration
from .errors import Details

FUTURE_SECONDS: Final = 60.0
"""A `registered_at` may be this far ahead of our clock."""
_FIELDS_OF_PATH: Final = frozenset({"labels", "key", "registered_at"})
_FIELDS: Final = _FIELDS_OF_PATH | {"job_id"}


def read_registration(
    document: Any, rules: RegistrationRules, now: Callable[[], Now], path_id: str | None = None
) -> tuple[Registration | None, Details]:
    """Read one registration, or return what is wrong with it.

    `path_id` is the job's id if the URL names it; otherwise the document does.
    """
    if not isinstance(document, dict):
        return None, {"": ['expected an object such as {"labels": {}, "key": "…"}']}
    fields = _FIELDS if path_id is None else _FIELDS_OF_PATH
    details: Details = {
        str(name): [f"unknown field; known are: {', '.join(sorted(fields))}"]
        for name in document.keys() - fields
    }
    job_id = document.get("job_id") if path_id is None else path_id
    labels, key = document.get("labels", {}), document.get("key")
    details |= rules.check(job_id, labels, key)
    registered_at = None
    if document.get("registered_at") is not None:
        registered_at, error = _read_time(document["registered_at"], now().time)
        details |= {"registered_at": [error]} if error else {}
    if details or not isinstance(job_id, str):
        return None, details
    return Registration(job_id, labels, key, registered_at), {}


def _read_time(value: Any, now: float) -> tuple[float | None, str | None]:
    """Read a time in RFC 3339, in seconds since 1970, or return what is wrong with it."""
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
