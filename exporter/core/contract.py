"""The upstream's wire contract, both ways: bytes to `Reply`, `Status` to bytes.

All that this project knows of `GET /api/v1/status` stands here, each rule beside the page it
comes from. The vendor's reference page shows three bodies (pending, done with `final_url`, done
with `final_urls`, `warnings` and `ignored_variations`) and names 401, 404, 422 and 5xx.
The API is a third party's and may change: whatever comes is read as far as it goes, and what
could not be read is reported as drift. `parse_reply` is total; no input makes it raise.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import Final, TypeVar

from .reply import (
    MAX_BODY_BYTES,
    MAX_DRIFTS,
    MAX_MESSAGE_CHARS,
    MAX_MESSAGES,
    MAX_NAME_CHARS,
    MAX_URL_CHARS,
    MAX_VARIATIONS,
    UNNAMED_VARIATION,
    Drift,
    DriftKind,
    Kind,
    Reply,
    ReplyState,
    Status,
    UploadReply,
)

Item = TypeVar("Item")

_FAILED_WORDS: Final = frozenset({"failed", "error", "cancelled", "canceled"})


def parse_reply(
    http_status: int, headers: Mapping[str, str], body: bytes, *, complete: bool = True
) -> Reply:
    """Read one answer. Never raises, whatever the bytes.

    `complete` is False when the connection ended before the body did.
    """
    fields = {name.casefold(): value for name, value in headers.items()}
    retry_after, retry_at = _retry_after(fields)
    drifts = _Drifts()
    text = _decode(body[:MAX_BODY_BYTES], drifts)
    document, is_json = _load(text)
    status = None
    if 200 <= http_status <= 299:
        if not complete:
            drifts.add(DriftKind.CUT_SHORT, f"{len(body)} bytes came")
        elif len(body) > MAX_BODY_BYTES:
            drifts.add(DriftKind.TOO_LARGE, f"more than {MAX_BODY_BYTES} bytes")
        elif not is_json or not isinstance(document, dict):
            not_an_object = DriftKind.WRONG_TYPE if is_json else DriftKind.NOT_JSON
            drifts.add(not_an_object, _first_words(text))
        else:
            status = _read_status(document, drifts)
    error, detail = _error_code(document), ""
    kind = _kind(http_status, readable=status is not None, is_json=is_json)
    if kind in _API_ERRORS and error != _API_ERRORS[kind]:
        drifts = _Drifts()
        if error is not None and _IDENTIFIER.fullmatch(error):
            drifts.add(DriftKind.UNKNOWN_ERROR, f"{http_status} {error}")
        else:
            kind, detail = Kind.UNREADABLE, f"{http_status} {_first_words(text)}"
            drifts.add(DriftKind.WRONG_TYPE if is_json else DriftKind.NOT_JSON, detail)
    return Reply(
        kind=kind,
        http_status=http_status,
        status=status,
        error=error,
        drift=tuple(drifts.found) if kind in _KINDS_WITH_DRIFT else (),
        detail=detail,
        is_json=is_json,
        retry_after=retry_after,
        retry_at=retry_at,
        content_type=media_type(fields.get("content-type", "")),
        body=body[:MAX_BODY_BYTES],
    )


_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def is_field_value(value: str) -> bool:
    """Whether a value of a header can be handed on: one line of text (RFC 9110, 5.5).

    A parser that forgives much lets others through; bytes that are no UTF-8 come as surrogates.
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return not _CONTROL.search(value)


def media_type(value: str) -> str:
    """Return a `Content-Type` as it can be given again; empty when it is none that anyone reads."""
    fits = is_field_value(value) and value.isascii() and len(value) <= MAX_NAME_CHARS
    return value if fits else ""


def parse_upload(http_status: int, body: bytes) -> UploadReply:
    """Read the answer to `POST /api/v1/upload`. Never raises.

    The page calls it "accepted"; any 2xx with a `job_id` is read as one (upload page).
    """
    document, _ = _load(_decode(body[:MAX_BODY_BYTES], _Drifts()))
    fields = document if isinstance(document, dict) else {}
    accepted = 200 <= http_status <= 299
    drifts = _Drifts()
    return UploadReply(
        http_status=http_status,
        job_id=_read_text(fields, "job_id", MAX_MESSAGE_CHARS, drifts) if accepted else None,
        mode=_read_text(fields, "mode", MAX_NAME_CHARS, drifts) if accepted else None,
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


def _first_words(text: str) -> str:
    return _cut(text.strip(), 80) or "an empty body"


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
    if _DELTA_SECONDS.fullmatch(value):
        return float(value), None
    at = _http_date(value)
    if at is None:
        return None, None
    # Counted from the answer's own date, the two clocks need not agree.
    sent = _http_date(fields.get("date", ""))
    return (None, at) if sent is None else (max(0.0, at - sent), None)


def _http_date(value: str) -> float | None:
    """A date is in GMT (RFC 9110, 5.6.7), also where it does not say so."""
    try:
        at = parsedate_to_datetime(value)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError, OSError):
        return None


class _Drifts:
    """Collects what strayed, each kind and detail once, to a limit."""

    def __init__(self) -> None:
        self.found: list[Drift] = []

    def add(self, kind: DriftKind, detail: str) -> None:
        drift = Drift(kind, _cut(_clean(detail), MAX_NAME_CHARS))
        if drift not in self.found and len(self.found) < MAX_DRIFTS:
            self.found.append(drift)


def _decode(body: bytes, drifts: _Drifts) -> str:
    try:
        return body.decode("utf-8-sig")  # a byte order mark says nothing
    except UnicodeDecodeError as error:
        drifts.add(DriftKind.INVALID_UTF8, f"byte {error.start}")
        return body.decode("utf-8", errors="replace")


def _load(text: str) -> tuple[object, bool]:
    """Return the JSON document and True, or (None, False)."""
    try:
        # A number of 5,000 digits is no reason to lose the rest: int() refuses it, float() reads.
        return json.loads(text, parse_int=_number), True
    except (ValueError, RecursionError):
        return None, False


def _number(digits: str) -> float:
    return int(digits) if len(digits) <= 18 else float(digits)


def _clean(text: str) -> str:
    """Lone surrogates (JSON can spell them) fit in no UTF-8 output; they become U+FFFD."""
    return text.encode("utf-8", errors="surrogatepass").decode("utf-8", errors="replace")


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _error_code(document: object) -> str | None:
    """Return the body's `error` (`unauthorized`, `not_found`, `validation`, ...)."""
    value = document.get("error") if isinstance(document, dict) else None
    return _cut(_clean(value), MAX_NAME_CHARS) if isinstance(value, str) and value else None


_FIELDS: Final = frozenset(
    {
        "job_id",
        "status",
        "state",
        "mode",
        "progress",
        "final_url",
        "final_urls",
        "warnings",
        "ignored_variations",
    }
)
_ALWAYS_PRESENT: Final = ("job_id", "status", "mode", "progress")


def _read_status(document: dict[str, object], drifts: _Drifts) -> Status | None:
    """Read a 2xx body; None when it has no usable `state`."""
    for name in document.keys() - _FIELDS:
        drifts.add(DriftKind.UNKNOWN_FIELD, name)
    state = _read_state(document, drifts)
    if state is None:
        return None
    for name in _ALWAYS_PRESENT:
        if name not in document:
            drifts.add(DriftKind.MISSING_FIELD, name)

    return Status(
        state=state,
        job_id=_read_text(document, "job_id", MAX_MESSAGE_CHARS, drifts),
        step=_read_text(document, "status", MAX_NAME_CHARS, drifts),
        mode=_read_text(document, "mode", MAX_NAME_CHARS, drifts),
        progress=_read_progress(document, drifts),
        final_url=_read_text(document, "final_url", MAX_URL_CHARS, drifts, nullable=True),
        final_urls=_read_urls(document, drifts),
        warnings=_read_warnings(document, drifts),
        ignored_variations=_read_ignored(document, drifts),
    )


def _read_state(document: Mapping[str, object], drifts: _Drifts) -> ReplyState | None:
    value = document.get("state")
    if not isinstance(value, str):
        kind = DriftKind.WRONG_TYPE if "state" in document else DriftKind.MISSING_FIELD
        drifts.add(kind, "state")
        return None
    if value in ("pending", "done"):
        return ReplyState(value)
    drifts.add(DriftKind.UNKNOWN_STATE, value)
    word = value.strip().casefold()
    if word in ("pending", "done"):
        return ReplyState(word)
    return ReplyState.FAILED if word in _FAILED_WORDS else None


def _read_text(
    document: Mapping[str, object],
    name: str,
    limit: int,
    drifts: _Drifts,
    *,
    nullable: bool = False,
) -> str | None:
    """Return the text of a field; an empty one says nothing and is None."""
    value = document.get(name)
    if value is None:
        if name in document and not nullable:
            drifts.add(DriftKind.WRONG_TYPE, name)
        return None
    if not isinstance(value, str):
        drifts.add(DriftKind.WRONG_TYPE, name)
        return None
    return _bounded(value, limit, name, drifts) or None


def _bounded(value: str, limit: int, name: str, drifts: _Drifts) -> str:
    if len(value) > limit:
        drifts.add(DriftKind.TOO_LONG, name)
    return _cut(_clean(value), limit)


_NUMBER_TEXT: Final = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")


def _read_progress(document: Mapping[str, object], drifts: _Drifts) -> float | None:
    """Progress in percent, held to 0 to 100. It is approximate: that it falls is no drift."""
    value = document.get("progress")
    if isinstance(value, str) and _NUMBER_TEXT.fullmatch(value):
        drifts.add(DriftKind.WRONG_TYPE, "progress")
        value = float(value)
    if not isinstance(value, int | float) or isinstance(value, bool):
        if "progress" in document:
            drifts.add(DriftKind.WRONG_TYPE, "progress")
        return None
    if math.isnan(value):
        drifts.add(DriftKind.OUT_OF_RANGE, "progress")
        return None
    if not 0 <= value <= 100:
        drifts.add(DriftKind.OUT_OF_RANGE, "progress")
        return 0 if value < 0 else 100
    return value


def _read_urls(document: Mapping[str, object], drifts: _Drifts) -> dict[str, str]:
    """`final_urls`, a map from variation to URL; a list is read with its positions as names."""
    value = document.get("final_urls", {})
    if isinstance(value, list):
        drifts.add(DriftKind.WRONG_TYPE, "final_urls")
        value = {str(position): url for position, url in enumerate(value)}
    if not isinstance(value, dict):
        drifts.add(DriftKind.WRONG_TYPE, "final_urls")
        return {}
    urls = {}
    for name, url in _first(value.items(), MAX_VARIATIONS, "final_urls", drifts):
        if isinstance(url, str) and url:
            urls[_name(name, drifts)] = _bounded(url, MAX_URL_CHARS, "final_urls", drifts)
        else:
            drifts.add(DriftKind.WRONG_TYPE, "final_urls")
    return urls


def _read_warnings(document: Mapping[str, object], drifts: _Drifts) -> dict[str, tuple[str, ...]]:
    """`warnings`, a map from variation to messages; what has no variation goes under `unknown`."""
    value = document.get("warnings", {})
    if isinstance(value, str | list):
        drifts.add(DriftKind.WRONG_TYPE, "warnings")
        value = {UNNAMED_VARIATION: value} if value else {}
    if not isinstance(value, dict):
        drifts.add(DriftKind.WRONG_TYPE, "warnings")
        return {}
    warnings = {}
    for name, messages in _first(value.items(), MAX_VARIATIONS, "warnings", drifts):
        if texts := _read_messages(messages, drifts):
            warnings[_name(name, drifts)] = texts
    return warnings


def _read_messages(value: object, drifts: _Drifts) -> tuple[str, ...]:
    if not isinstance(value, list):
        drifts.add(DriftKind.WRONG_TYPE, "warnings")
        value = [] if value is None else [value]
    texts = []
    for message in _first(value, MAX_MESSAGES, "warnings", drifts):
        if not isinstance(message, str):
            drifts.add(DriftKind.WRONG_TYPE, "warnings")
        if isinstance(message, str | int | float):
            texts.append(_bounded(str(message), MAX_MESSAGE_CHARS, "warnings", drifts))
    return tuple(dict.fromkeys(texts))


def _read_ignored(document: Mapping[str, object], drifts: _Drifts) -> tuple[str, ...]:
    """`ignored_variations`, a list of names; a single name or a map's names are read as such."""
    value = document.get("ignored_variations", [])
    if isinstance(value, str | dict):
        drifts.add(DriftKind.WRONG_TYPE, "ignored_variations")
        value = [value] if isinstance(value, str) else list(value)
    if not isinstance(value, list):
        drifts.add(DriftKind.WRONG_TYPE, "ignored_variations")
        return ()
    names = []
    for name in _first(value, MAX_VARIATIONS, "ignored_variations", drifts):
        if isinstance(name, str) and name:
            names.append(_name(name, drifts))
        else:
            drifts.add(DriftKind.WRONG_TYPE, "ignored_variations")
    return tuple(dict.fromkeys(names))


def _first(items: Iterable[Item], limit: int, name: str, drifts: _Drifts) -> list[Item]:
    found = list(islice(items, limit + 1))
    if len(found) > limit:
        drifts.add(DriftKind.TOO_MANY, name)
    return found[:limit]


def _name(variation: str, drifts: _Drifts) -> str:
    return _bounded(variation, MAX_NAME_CHARS, "variation", drifts) or UNNAMED_VARIATION
