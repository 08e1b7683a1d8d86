"""The upstream's wire contract, both ways: bytes to `Reply`, `Status` to bytes.

This module and `status_reader.py` hold all that this project knows of `GET /api/v1/status`; each
rule names the page it comes from. The vendor's reference page shows three bodies (pending, done
with `final_url`, done with `final_urls`, `warnings` and `ignored_variations`) and names 401, 404,
422 and 5xx. The API is a third party's and may change: an answer is read as far as possible, and
what could not be read is reported as drift. `parse_reply` is total: no input makes it raise.
"""

import functools
import json
import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple

from .reply import (
    MAX_BODY_BYTES,
    MAX_MESSAGE_CHARS,
    MAX_NAME_CHARS,
    MAX_VALUES,
    Drift,
    DriftKind,
    Kind,
    Reply,
    Status,
    UploadReply,
)
from .status_reader import DriftLog, StatusReader, clean, cut


def parse_reply(
    http_status: int, headers: Mapping[str, str], body: bytes, *, complete: bool = True
) -> Reply:
    """Read one answer. Never raises, whatever the bytes.

    `complete` is False when the connection ended before the body did.
    """
    fields = {name.casefold(): value for name, value in headers.items()}
    retry_after, retry_at = _retry_after(fields)
    served = 200 <= http_status <= 299
    read = _remembered if len(body) <= REMEMBERED_BYTES else _read
    content = read(body, served and complete)
    kind = _kind(http_status, readable=content.status is not None, is_json=content.is_json)
    error, drift, detail = content.error, content.drift, ""
    if served and not complete:
        drift = (*drift, Drift(DriftKind.CUT_SHORT, f"{len(body)} bytes came"))
    elif kind in _API_ERRORS and error != _API_ERRORS[kind]:
        if error is not None and _IDENTIFIER.fullmatch(error):
            drift = _one(DriftKind.UNKNOWN_ERROR, f"{http_status} {error}")
        else:
            kind, detail = Kind.UNREADABLE, f"{http_status} {_first_words(body)}"
            drift = _one(content.if_unreadable, detail)
    return Reply(
        kind=kind,
        http_status=http_status,
        status=content.status,
        error=error,
        drift=drift if kind in _KINDS_WITH_DRIFT else (),
        detail=detail,
        is_json=content.is_json,
        retry_after=retry_after,
        retry_at=retry_at,
        content_type=media_type(fields.get("content-type", "")),
        body=body[:MAX_BODY_BYTES],
    )


class _Content(NamedTuple):
    status: Status | None
    error: str | None
    drift: tuple[Drift, ...]
    is_json: bool
    if_unreadable: DriftKind
    """The fault of the body, if it is not the one that the HTTP status promises."""


def _read(body: bytes, has_status: bool) -> _Content:
    """Read a body; `has_status` if it is a complete one of a 2xx."""
    drift, too_large = DriftLog(), _too_large(body)
    text = _decode(body[:MAX_BODY_BYTES], drift)
    document, is_json = (None, False) if too_large else _load(text)
    status = None
    unreadable = DriftKind.WRONG_TYPE if is_json else DriftKind.NOT_JSON
    if too_large:
        unreadable = DriftKind.TOO_LARGE
    if has_status and isinstance(document, dict):
        status = StatusReader(document, drift).status()
    elif has_status:
        drift.add(unreadable, too_large or _first_words(body))
    return _Content(status, _error_code(document), tuple(drift.found), is_json, unreadable)


REMEMBERED_BYTES: Final = 1024
REMEMBERED_BODIES: Final = 2048
"""The size and the number of the bodies of which it is remembered what they say: up to 8 MiB."""
_remembered: Final = functools.lru_cache(REMEMBERED_BODIES)(_read)
"""Most answers about a job have the same bytes as the one before, and are not parsed again."""


def parse_upload(http_status: int, body: bytes) -> UploadReply:
    """Read the answer to `POST /api/v1/upload`. Never raises.

    The upload page shows "accepted"; here every 2xx with a `job_id` counts as accepted.
    """
    document, _ = (None, False) if _too_large(body) else _load(_decode(body, DriftLog()))
    accepted = 200 <= http_status <= 299
    fields = document if accepted and isinstance(document, dict) else {}
    reader = StatusReader(fields, DriftLog())
    return UploadReply(
        http_status=http_status,
        job_id=reader.text("job_id", MAX_MESSAGE_CHARS),
        mode=reader.text("mode", MAX_NAME_CHARS),
        error=_error_code(document),
    )


def render_status(status: Status) -> bytes:
    """Write the body that `parse_reply` reads as `status`, in the page's order of fields."""
    document: dict[str, object] = {}
    for name, value in (
        ("job_id", status.job_id),
        ("status", status.step),
        ("state", status.state.value),
        ("mode", status.mode),
        ("progress", status.progress),
    ):
        if value is not None:
            document[name] = value
    if status.final_url is not None or not status.final_urls:
        document["final_url"] = status.final_url
    if status.final_urls:
        document["final_urls"] = dict(status.final_urls)
    if status.warnings:
        document["warnings"] = {name: list(texts) for name, texts in status.warnings.items()}
    if status.ignored_variations:
        document["ignored_variations"] = list(status.ignored_variations)
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def is_field_value(value: str) -> bool:
    """Whether a header's value can be passed on: one line of text (RFC 9110, 5.5).

    A lenient parser lets other values through; bytes that are not UTF-8 arrive as surrogates.
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return not _CONTROL.search(value)


@functools.lru_cache(maxsize=32)
def media_type(value: str) -> str:
    """Return a `Content-Type` that can be sent again; empty if this one cannot."""
    fits = is_field_value(value) and value.isascii() and len(value) <= MAX_NAME_CHARS
    return value if fits else ""


_KIND_BY_STATUS: Final = {
    401: Kind.KEY_REJECTED,
    404: Kind.NOT_FOUND,
    422: Kind.INVALID,
    429: Kind.THROTTLED,
}


_API_ERRORS: Final = {Kind.NOT_FOUND: "not_found", Kind.INVALID: "validation"}
"""The `error` by which the API's own 404 and 422 are known (the page's "Errors")."""
_IDENTIFIER: Final = re.compile(r"[a-z][a-z0-9_]*")
_KINDS_WITH_DRIFT: Final = frozenset({Kind.OK, Kind.UNREADABLE, *_API_ERRORS})


def _first_words(body: bytes) -> str:
    text = _decode(body[:MAX_BODY_BYTES], DriftLog())
    return cut(text.strip(), 80) or "an empty body"


def _one(kind: DriftKind, detail: str) -> tuple[Drift, ...]:
    drift = DriftLog()
    drift.add(kind, detail)
    return tuple(drift.found)


def _kind(http_status: int, *, readable: bool, is_json: bool) -> Kind:
    if 200 <= http_status <= 299:
        return Kind.OK if readable else Kind.UNREADABLE
    if http_status == 403:
        return Kind.KEY_REJECTED if is_json else Kind.BLOCKED
    if 500 <= http_status <= 599:
        return Kind.SERVER_ERROR
    return _KIND_BY_STATUS.get(http_status, Kind.OTHER)


_DELTA_SECONDS: Final = re.compile(r"[0-9]{1,18}(\.[0-9]{1,9})?")


def _retry_after(fields: Mapping[str, str]) -> tuple[float | None, float | None]:
    """`Retry-After` (RFC 9110, 10.2.3) as seconds from now, or as a time since 1970."""
    value = fields.get("retry-after", "").strip()
    if not value:
        return None, None
    if _DELTA_SECONDS.fullmatch(value):
        return float(value), None
    at = _http_date(value)
    if at is None:
        return None, None
    # Counted from the answer's own `Date`, so that the two clocks need not agree.
    sent = _http_date(fields.get("date", ""))
    return (None, at) if sent is None else (max(0.0, at - sent), None)


def _http_date(value: str) -> float | None:
    """An HTTP date is in GMT (RFC 9110, 5.6.7), even if it does not say so."""
    try:
        at = parsedate_to_datetime(value)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError, OSError):
        return None


def _decode(body: bytes, drift: DriftLog) -> str:
    try:
        return body.decode("utf-8-sig")  # a byte order mark says nothing
    except UnicodeDecodeError as error:
        drift.add(DriftKind.INVALID_UTF8, f"byte {error.start}")
        return body.decode("utf-8", errors="replace")


def _too_large(body: bytes) -> str:
    """Describe the limit that a body exceeds; empty if it may be parsed.

    1 MiB of short values takes up to 200 ms to parse. Each value is the first one in its array or
    object, or follows a comma, so that counting these is quick. Those in texts are counted as well.
    """
    if len(body) > MAX_BODY_BYTES:
        return f"more than {MAX_BODY_BYTES} bytes"
    if len(body) > MAX_VALUES and sum(map(body.count, (b",", b"[", b"{"))) > MAX_VALUES:
        return f"more than {MAX_VALUES} values"
    return ""


def _load(text: str) -> tuple[object, bool]:
    """Return the JSON document and True, or (None, False)."""
    try:
        return _DECODER.decode(text), True
    except (ValueError, RecursionError):
        return None, False


def _number(digits: str) -> float:
    return int(digits) if len(digits) <= 18 else float(digits)


# int() refuses a number of 5,000 digits, and the rest of the body would be lost with it.
_DECODER: Final = json.JSONDecoder(parse_int=_number)


def _error_code(document: object) -> str | None:
    """Return the body's `error` (`unauthorized`, `not_found`, `validation`, ...)."""
    value = document.get("error") if isinstance(document, dict) else None
    return cut(clean(value), MAX_NAME_CHARS) if isinstance(value, str) and value else None
