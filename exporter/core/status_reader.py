"""Reading the body of a 2xx field by field: what fits is taken, what does not is reported as drift.

The vendor's reference page ("Important status fields") names the fields. Each method reads one of
them as far as it can be read, and never raises.
"""

import math
import re
import sys
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Final, TypeVar

from .reply import (
    EMPTY,
    MAX_DRIFTS,
    MAX_MESSAGE_CHARS,
    MAX_MESSAGES,
    MAX_NAME_CHARS,
    MAX_UNKNOWN_FIELDS,
    MAX_URL_CHARS,
    MAX_URLS_CHARS,
    MAX_VARIATIONS,
    MAX_WARNINGS_CHARS,
    UNNAMED_VARIATION,
    Drift,
    DriftKind,
    ReplyState,
    Status,
)

Item = TypeVar("Item")

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
_FAILED_WORDS: Final = frozenset({"failed", "error", "cancelled", "canceled"})
_NUMBER_TEXT: Final = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")


def clean(text: str) -> str:
    """Replace lone surrogates by U+FFFD: JSON can spell them, but UTF-8 cannot encode them."""
    if text.isascii():
        return text
    return text.encode("utf-8", errors="surrogatepass").decode("utf-8", errors="replace")


def cut(text: str, limit: int) -> str:
    """Return a text of at most `limit` characters; a longer one ends in an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


class DriftLog:
    """How one answer departed from the contract: each kind and detail once, at most 20."""

    def __init__(self) -> None:
        self.found: list[Drift] = []

    def add(self, kind: DriftKind, detail: str) -> None:
        """Note a departure; `detail` names the field, or quotes what came."""
        drift = Drift(kind, cut(clean(detail), MAX_NAME_CHARS))
        if drift not in self.found and len(self.found) < MAX_DRIFTS:
            self.found.append(drift)


class StatusReader:
    """Reads the fields of one JSON object; `drift` gathers what does not fit the contract."""

    def __init__(self, document: Mapping[str, object], drift: DriftLog) -> None:
        self._document = document
        self._drift = drift
        self._room = MAX_WARNINGS_CHARS

    def status(self) -> Status | None:
        """Return the whole status; None if the body has no usable `state`."""
        unknown = (name for name in self._document if name not in _FIELDS)
        for name in islice(unknown, MAX_UNKNOWN_FIELDS):
            self._drift.add(DriftKind.UNKNOWN_FIELD, name)
        state = self._state()
        if state is None:
            return None
        for name in _ALWAYS_PRESENT:
            if name not in self._document:
                self._drift.add(DriftKind.MISSING_FIELD, name)
        return Status(
            state=state,
            job_id=self.text("job_id", MAX_MESSAGE_CHARS),
            step=self._name("status"),
            mode=self._name("mode"),
            progress=self._progress(),
            final_url=self.text("final_url", MAX_URL_CHARS, nullable=True),
            final_urls=self._urls(),
            warnings=self._warnings(),
            ignored_variations=self._ignored_variations(),
        )

    def text(self, name: str, limit: int, *, nullable: bool = False) -> str | None:
        """Return a field's text, cut to `limit` characters; None if it is empty or not a text."""
        value = self._document.get(name)
        if value is None:
            if name in self._document and not nullable:
                self._wrong_type(name)
            return None
        if not isinstance(value, str):
            self._wrong_type(name)
            return None
        return self._bounded(value, limit, name) or None

    def _name(self, field: str) -> str | None:
        """Return a field's text; all jobs with equal ones share it."""
        name = self.text(field, MAX_NAME_CHARS)
        return None if name is None else sys.intern(name)

    def _state(self) -> ReplyState | None:
        value = self._document.get("state")
        if not isinstance(value, str):
            present = "state" in self._document
            self._drift.add(DriftKind.WRONG_TYPE if present else DriftKind.MISSING_FIELD, "state")
            return None
        if value in ("pending", "done"):
            return ReplyState(value)
        self._drift.add(DriftKind.UNKNOWN_STATE, value)
        word = value.strip().casefold()
        if word in ("pending", "done"):
            return ReplyState(word)
        return ReplyState.FAILED if word in _FAILED_WORDS else None

    def _progress(self) -> float | None:
        """Return the progress in percent, clamped to 0 to 100.

        The page calls it approximate, so a falling progress is not drift.
        """
        value = self._document.get("progress")
        if isinstance(value, str) and _NUMBER_TEXT.fullmatch(value):
            self._wrong_type("progress")
            value = float(value)
        if not isinstance(value, int | float) or isinstance(value, bool):
            if "progress" in self._document:
                self._wrong_type("progress")
            return None
        if math.isnan(value):
            self._drift.add(DriftKind.OUT_OF_RANGE, "progress")
            return None
        if not 0 <= value <= 100:
            self._drift.add(DriftKind.OUT_OF_RANGE, "progress")
            return 0 if value < 0 else 100
        return value

    def _urls(self) -> Mapping[str, str]:
        """Return `final_urls`, from variation to URL; a list is read with positions as names."""
        value = self._document.get("final_urls", {})
        if isinstance(value, list):
            self._wrong_type("final_urls")
            value = {str(position): url for position, url in enumerate(value)}
        if not isinstance(value, dict):
            self._wrong_type("final_urls")
            return EMPTY
        urls = {}
        room = MAX_URLS_CHARS
        for name, url in self._first(value.items(), MAX_VARIATIONS, "final_urls"):
            room -= len(url) if isinstance(url, str) else 0
            if room < 0:
                self._drift.add(DriftKind.TOO_MANY, "final_urls")
                break
            if isinstance(url, str) and url:
                urls[self._variation(name)] = self._bounded(url, MAX_URL_CHARS, "final_urls")
            else:
                self._wrong_type("final_urls")
        return urls or EMPTY

    def _warnings(self) -> Mapping[str, tuple[str, ...]]:
        """Return `warnings`, from variation to messages.

        Messages that came without a variation are listed under `unknown`.
        """
        value = self._document.get("warnings", {})
        if isinstance(value, str | list):
            self._wrong_type("warnings")
            value = {UNNAMED_VARIATION: value} if value else {}
        if not isinstance(value, dict):
            self._wrong_type("warnings")
            return EMPTY
        warnings = {}
        for name, messages in self._first(value.items(), MAX_VARIATIONS, "warnings"):
            if texts := self._messages(messages):
                warnings[self._variation(name)] = texts
        return warnings or EMPTY

    def _messages(self, value: object) -> tuple[str, ...]:
        if not isinstance(value, list):
            self._wrong_type("warnings")
            value = [] if value is None else [value]
        texts = []
        for message in self._first(value, MAX_MESSAGES, "warnings"):
            if not isinstance(message, str):
                self._wrong_type("warnings")
            if isinstance(message, str | int | float):
                text = self._bounded(str(message), MAX_MESSAGE_CHARS, "warnings")
                self._room -= len(text)
                if self._room < 0:
                    self._drift.add(DriftKind.TOO_MANY, "warnings")
                    break
                texts.append(text)
        return tuple(dict.fromkeys(texts))

    def _ignored_variations(self) -> tuple[str, ...]:
        """Return `ignored_variations`; a single name, or the names of a map, are read too."""
        value = self._document.get("ignored_variations", [])
        if isinstance(value, str | dict):
            self._wrong_type("ignored_variations")
            value = [value] if isinstance(value, str) else list(value)
        if not isinstance(value, list):
            self._wrong_type("ignored_variations")
            return ()
        names = []
        for name in self._first(value, MAX_VARIATIONS, "ignored_variations"):
            if isinstance(name, str) and name:
                names.append(self._variation(name))
            else:
                self._wrong_type("ignored_variations")
        return tuple(dict.fromkeys(names))

    def _first(self, items: Iterable[Item], limit: int, name: str) -> list[Item]:
        found = list(islice(items, limit + 1))
        if len(found) > limit:
            self._drift.add(DriftKind.TOO_MANY, name)
        return found[:limit]

    def _variation(self, name: str) -> str:
        return self._bounded(name, MAX_NAME_CHARS, "variation") or UNNAMED_VARIATION

    def _bounded(self, value: str, limit: int, name: str) -> str:
        if len(value) > limit:
            self._drift.add(DriftKind.TOO_LONG, name)
        return cut(clean(value[: limit + 1]), limit)

    def _wrong_type(self, name: str) -> None:
        self._drift.add(DriftKind.WRONG_TYPE, name)
