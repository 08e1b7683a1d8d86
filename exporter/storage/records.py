"""A job as JSON and back: the text that a store keeps in one column.

Fields that have their default are left out. The stored names belong to the schema: a field may be
added with a default, but a stored name is never changed or reused.
"""

import functools
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, fields
from operator import attrgetter
from typing import Any, Final

from ..core.job import Job, JobState, Source, Suspicion
from ..core.registration import share_labels
from ..core.reply import Kind
from ..core.tally import Labels

_COLUMNS: Final = frozenset({"job_id", "incarnation", "version", "clock_offset"})
_DEFAULTS: Final = {
    field.name: field.default if field.default_factory is MISSING else field.default_factory()
    for field in fields(Job)
    if field.name not in _COLUMNS
}
_values: Final = attrgetter(*_DEFAULTS)
_STORED_NAMES: Final = {
    "sources": "told_by",
    "registered_healthy_time": "registered_well",
    "reported_warnings": "told_warnings",
    "reported_ignored": "told_ignored",
    "reported_drift": "told_drift",
}
"""Fields that are stored under an earlier name."""
_FIELDS: Final = {stored: name for name, stored in _STORED_NAMES.items()}
_TUPLES: Final = ("ignored_variations", "reported_ignored", "reported_drift")
_MESSAGES: Final = ("warnings", "reported_warnings")


class RecordError(ValueError):
    """The stored text is damaged: it cannot be read as a job, labels or an object."""


def dump_job(job: Job) -> str:
    """Write a job, except the fields with columns of their own (id, incarnation, version)."""
    document: dict[str, Any] = {
        _STORED_NAMES.get(name, name): value
        for (name, default), value in zip(_DEFAULTS.items(), _values(job), strict=True)
        if value is not default and (default is MISSING or value != default)
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


def load_job(job_id: str | bytes, incarnation: int, version: int, document: str | bytes) -> Job:
    """Read what `dump_job` wrote; raises `RecordError`."""
    try:
        return Job(
            job_id=_text(job_id), incarnation=incarnation, version=version, **_fields(document)
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"{type(error).__name__}: {error}") from error


def _fields(document: str | bytes) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(_text(document))
    data = {_FIELDS.get(name, name): value for name, value in stored.items()}
    if "labels" in data:
        data["labels"] = share_labels(data["labels"])
    data["source"] = Source(data["source"])
    data["sources"] = tuple(Source(name) for name in data.get("sources", ()))
    if "state" in data:
        data["state"] = JobState(data["state"])
    for name in _TUPLES:
        if name in data:
            data[name] = tuple(data[name])
    for name in _MESSAGES:
        if name in data:
            data[name] = {variation: tuple(texts) for variation, texts in data[name].items()}
    if "suspicion" in data:
        data["suspicion"] = _load_run(data["suspicion"])
    if "other_runs" in data:
        data["other_runs"] = tuple(_load_run(run) for run in data["other_runs"])
    return data


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
