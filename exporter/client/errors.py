"""The errors of the client."""

from collections.abc import Mapping
from typing import Any

from .jobs import Summary


class ExporterError(Exception):
    """The base class of the client's errors."""


class UnreachableError(ExporterError):
    """The exporter gave no usable answer for `patience` seconds; the message says why.

    `summary` says what `register_many` had stored by then.
    """

    summary: Summary | None = None


class RefusedError(ExporterError):
    """The exporter refused: `status` is the HTTP status, `body` its error in JSON."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        details = body.get("message") or say_details(body.get("details", {}))
        super().__init__(f"{status} {body.get('error', 'refused')}: {details}")
        self.status = status
        self.body = body


def say_details(details: Any) -> str:
    """Return what is wrong with each field, on one line."""
    if not isinstance(details, dict):
        return ""
    return "; ".join(
        f"{name}: {', '.join(texts)}" if name else ", ".join(texts)
        for name, texts in details.items()
    )
