"""A job as JSON and back: the text that a store keeps in one column.

Fields that have their default are left out. The stored names belong to the schema: a field may be
added with a default, but a stored name is never changed or reused.
"""

import functools
import json
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, fields
from itertools import compress
from operator import attrgetter, is_not
from typing import Any, Final

from ..core.job import Job, JobState, Source, Suspicion
from ..core.registration import share_labels, share_sources
from ..core.reply import Kind
from ..core.tally import Labels

_COLUMNS: Final = frozenset({"job_id", "incarnation", "version", "clock_offset"})
_STORED_FIELDS: Final = tuple(field for field in fields(Job) if field.name not in _COLUMNS)
_DEFAULTS: Final = tuple(
    field.default if field.default_factory is MISSING else field.default_factory()
    for field in _STORED_FIELDS
)
_values: Final = attrgetter(*(field.name for field in _STORED_FIELDS))
_STORED_NAMES: Final = {
    "sources": "told_by",
    "registered_healthy_time": "registered_well",
    "reported_warnings": "told_warnings",
    "reported_ignored": "told_ignored",
    "reported_drift": "told_drift",
}
"""Fields that are stored under an earlier name."""
_NAMES: Final = tuple(_STORED_NAMES.get(field.name, field.name) for field in _STORED_FIELDS)
_FIELDS: Final = {stored: name for name, stored in _STORED_NAMES.items()}


class RecordError(ValueError):
    """The stored text is damaged: it cannot be read as a job, labels or an object."""


def dump_job(job: Job) -> str:
    """Write a job, except the fields with columns of their own (id, incarnation, version)."""
    values = _values(job)
    # Most fields have their default itself, which `compress` leaves out without a step of Python.
    document: dict[str, Any] = {
        name: value
        for name, value, default in compress(
            zip(_NAMES, values, _DEFAULTS, strict=True), map(is_not, values, _DEFAULTS)
        )
        if value != default
    }
    if job.suspicion is not None:
        document["suspicion"] = _dump_run(job.suspicion)
    if job.other_runs:
        document["other_runs"] = [_dump_run(run) for run in job.other_runs]
    return dump(document)


def _dump_run(run: Suspicion) -> list[Any]:
    return [run.kind, run.answers, run.since, run.until, run.http_status, run.gateway_answers]


def _load_run(stored: Sequence[Any]) -> Suspicion:
    kind, *numbers = stored
    return Suspicion(Kind(kind), *numbers)


Document = str | bytes | dict[str, Any]
"""What `dump_job` wrote, or what `parse_documents` made of it."""


def parse_documents(documents: Sequence[bytes]) -> Sequence[Document]:
    """Parse documents in one pass, which takes a third of the time; all or none.

    A damaged one leaves all of them as they are, so that `load_job` finds out which one it is.
    """
    try:
        parsed = json.loads(_text(b"[%b]" % b",".join(documents)))
    except (ValueError, TypeError):
        return documents
    whole = len(parsed) == len(documents) and all(type(one) is dict for one in parsed)
    return parsed if whole else documents


def load_job(job_id: str | bytes, incarnation: int, version: int, document: Document) -> Job:
    """Read what `dump_job` wrote, once: it changes a parsed one; raises `RecordError`."""
    try:
        return Job(
            job_id=_text(job_id), incarnation=incarnation, version=version, **_fields(document)
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"{type(error).__name__}: {error}") from error


def _fields(document: Document) -> dict[str, Any]:
    data: dict[str, Any] = document if isinstance(document, dict) else json.loads(_text(document))
    for stored, load in _LOADERS.items():
        if stored in data:
            data[_FIELDS.get(stored, stored)] = load(data.pop(stored))
    return data


def _sources(stored: Sequence[str]) -> tuple[Source, ...]:
    return share_sources(tuple([_SOURCES[name] for name in stored]))


def _messages(stored: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    return {variation: tuple(texts) for variation, texts in stored.items()}


def _runs(stored: Sequence[Sequence[Any]]) -> tuple[Suspicion, ...]:
    return tuple([_load_run(run) for run in stored])


def _same(stored: Any) -> Any:
    return stored


_SOURCES: Final[Mapping[str, Source]] = {source.value: source for source in Source}
_LOADERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "source": _SOURCES.__getitem__,
    "told_by": _sources,
    "labels": share_labels,
    "mode": sys.intern,
    "step": sys.intern,
    "registered_well": _same,
    "state": JobState,
    "ignored_variations": tuple,
    "told_ignored": tuple,
    "told_drift": tuple,
    "warnings": _messages,
    "told_warnings": _messages,
    "suspicion": _load_run,
    "other_runs": _runs,
}
"""What reads each stored value that JSON does not give as the field has it, or under its name."""


def dump(value: Mapping[str, Any]) -> str:
    """Write a mapping compactly."""
    return _encode(value)


@functools.lru_cache(1024)
def dump_labels(labels: Labels) -> str:
    """Write the labels of a series. They are sorted, so equal labels give equal text."""
    return _encode(labels)


_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
"""Made once: `json.dumps` makes an encoder for each text."""


def load_labels(text: str | bytes) -> Labels:
    """Read what `dump_labels` wrote; raises `RecordError`."""
    try:
        return tuple((name, value) for name, value in json.loads(_text(text)))
    except (ValueError, TypeError) as error:
        raise RecordError(f"{type(error).__name__}: {error}") from error


def load_object(text: str | bytes) -> dict[str, Any]:
    """Read what `dump` wrote; raises `RecordError`."""
    try:
        return dict(json.loads(_text(text)).items())
    except (ValueError, AttributeError) as error:
        raise RecordError(f"{type(error).__name__}: {error}") from error


def load_mapping(text: str) -> dict[str, Any]:
    """Read what `dump` wrote; an empty mapping if it is damaged."""
    try:
        return load_object(text)
    except RecordError:
        return {}


def json_list(values: Collection[str]) -> str:
    """Write a list for SQLite's `json_each`, which takes any number of values as one parameter."""
    return json.dumps(list(values))


def _text(stored: str | bytes) -> str:
    return stored if isinstance(stored, str) else stored.decode()
